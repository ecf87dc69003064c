//! The loop of the models, and what it is connected with.
//!
//! ```text
//! board: containers -> models -> board: models, problems
//!                        |
//!                        +-> reconcile: restarts of the server's container
//! ```

#![expect(clippy::disallowed_methods, reason = "hands the clock to the loop")]

use super::super::Agent;
use crate::host::memory;
use crate::host::model_files::ModelFolder;
use crate::host::ollama::{ModelRegistries, Ollama};
use crate::models::{self, Inputs, Outside, Wanted, store};
use jiff::Timestamp;
use node::config::Settings;
use node::config::settings::ModelServer;
use std::path::Path;
use std::sync::Arc;

/// The port of a server that names none.
const DEFAULT_PORT: u16 = 11434;

/// Starts it where node.toml has models. From then on the node is not ready before they are.
pub(super) fn start(agent: &mut Agent, settings: &Settings) {
    let Some(wanted) = wanted(agent, settings) else { return };
    models::announce(&wanted.models, &agent.board, Timestamp::now());
    let outside = Outside {
        server: Arc::new(Ollama::default()),
        registry: Arc::new(ModelRegistries::default()),
        files: Arc::new(ModelFolder::default()),
        engine: Arc::new(agent.docker.clone()),
        store: store::Store::new(&agent.start.paths),
    };
    let drain = agent.parts.models.drain.clone();
    let (commands, hand_over) = agent.model_commands.lend(agent.parts.models.stop.clone());
    agent.parts.models.spawn("commands for models", hand_over);
    let inputs = Inputs {
        wanted,
        commands,
        services: agent.services.clone(),
        board: agent.board.clone(),
        clock: Arc::new(Timestamp::now),
        shutdown: drain,
    };
    agent.parts.models.spawn("models", models::run(outside, inputs));
}

fn wanted(agent: &Agent, settings: &Settings) -> Option<Wanted> {
    let mut models = settings.models.clone()?;
    if let (ModelServer::Url(url), Some(host)) =
        (&mut models.server, agent.start.environment.get("OLLAMA_HOST"))
    {
        match named(host, url) {
            Ok(endpoint) => *url = endpoint,
            Err(why) => tracing::warn!("{why}"),
        }
    }
    let service = match &models.server {
        ModelServer::Service { name, .. } => settings.services.get(name).cloned(),
        ModelServer::Url(_) => None,
    };
    let limit = service.as_ref().and_then(|service| service.memory_bytes);
    // Of the running kernel, also with another root for the files.
    let memory_bytes = limit.or_else(|| memory::total_bytes(Path::new("/proc/meminfo")));
    let directory = models.directory.as_ref().map(|directory| agent.start.paths.at(directory));
    Some(Wanted { models, directory, service, memory_bytes })
}

/// Where the server is that the environment names, or why another is asked. What makes no sense may have a password in it.
fn named(host: &str, else_asked: &str) -> Result<String, String> {
    endpoint(host).ok_or_else(|| {
        format!("OLLAMA_HOST is no [http://]HOST[:PORT], without a name or a path, and {else_asked} is asked")
    })
}

/// What `OLLAMA_HOST` means to a client: `[SCHEME://][HOST][:PORT][/]`. Source: ollama `envconfig/config.go`.
fn endpoint(host: &str) -> Option<String> {
    let (scheme, rest) = host.trim().split_once("://").unwrap_or(("", host.trim()));
    let rest = rest.trim_end_matches('/');
    let (scheme, default_port) = match scheme {
        "" => ("http", Some(DEFAULT_PORT)),
        "http" | "https" => (scheme, None),
        _ => return None,
    };
    let bare_ipv6 = !rest.starts_with('[') && rest.matches(':').count() > 1;
    let (name, port) = match rest.rsplit_once(':') {
        _ if bare_ipv6 => (format!("[{rest}]"), default_port),
        Some((name, port)) if !port.ends_with(']') => (name.to_owned(), Some(port.parse().ok()?)),
        _ => (rest.to_owned(), default_port),
    };
    let name = if name.is_empty() { "127.0.0.1" } else { &name };
    if name.contains(|c: char| c == '/' || c == '@' || c.is_whitespace()) {
        return None;
    }
    Some(port.map_or_else(|| format!("{scheme}://{name}"), |port| format!("{scheme}://{name}:{port}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_name_for_a_server_is_read_as_its_own_clients_read_it() {
        for (host, url) in [
            ("127.0.0.1:11434", "http://127.0.0.1:11434"),
            ("127.0.0.1", "http://127.0.0.1:11434"),
            (":11435", "http://127.0.0.1:11435"),
            ("gpu.internal", "http://gpu.internal:11434"),
            ("http://gpu.internal", "http://gpu.internal"),
            ("https://gpu.internal:8443/", "https://gpu.internal:8443"),
            ("[::1]:11434", "http://[::1]:11434"),
            ("[::1]", "http://[::1]:11434"),
            ("::1", "http://[::1]:11434"),
        ] {
            assert_eq!(endpoint(host).as_deref(), Some(url), "{host}");
        }
        for host in ["ftp://gpu", "gpu:port", "gpu:99999", "a b", "user@gpu", "gpu/path"] {
            assert_eq!(endpoint(host), None, "{host}");
        }
    }

    #[test]
    fn a_password_in_it_is_not_told() {
        let why = named("http://user:secret@gpu:11434", "http://127.0.0.1:11434").unwrap_err();
        assert!(why.contains("OLLAMA_HOST") && why.contains("http://127.0.0.1:11434 is asked"), "{why}");
        assert!(!why.contains("secret") && !why.contains("user") && !why.contains("gpu"), "{why}");
    }
}
