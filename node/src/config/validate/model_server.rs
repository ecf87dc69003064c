//! Who serves the models, where it listens, and where its files lie on the host: `[models] server` and `directory`, with
//! what the service that is named says in its environment and its mounts.
//!
//! Invariant: the folder is never a guess. Where a service's cannot be found, or is not on the host, that is a mistake.

use super::{Document, optional};
use crate::config::findings::{Findings, Wrong};
use crate::config::settings::{ModelServer, Mount};
use crate::config::text::{path, server};
use crate::config::tree::Place;
use crate::config::written;

/// The service that serves them where nothing is written.
const USUAL: &str = "ollama";

/// Below the home of the user that the server runs as.
const FOLDER: &str = ".ollama/models";

/// The server and its folder on the host, where that is known.
pub(super) fn server(
    document: Document<'_>,
    written: &written::Models,
    findings: &mut Findings,
) -> Option<(ModelServer, Option<String>)> {
    let place = document.root.key("models");
    let directory = place.key("directory");
    match named(document, written, place, findings)? {
        Named::Url(url) => {
            let directory = optional(written.directory.as_deref(), |folder| {
                findings.take(directory.at(), path::absolute(folder))
            });
            Some((ModelServer::Url(url), directory?))
        }
        Named::Service(name) => {
            if directory.is_written() {
                let wrong = format!(
                    "`directory` is not written for a service: `{name}` has its models where its mounts lead"
                );
                let hint = format!(
                    "leave it out; where they lie in the container is `OLLAMA_MODELS` in [services.{name}.environment]"
                );
                findings.add(directory.key_at(), Wrong::new(wrong).hint(hint));
            }
            let place = document.root.key("services").key(&name);
            let service = Serving { written: document.written.services.get(&name)?, name: &name, place };
            let port = service.port(findings);
            let folder = service.folder(findings);
            Some((ModelServer::Service { port: port?, name }, Some(folder?)))
        }
    }
}

enum Named {
    Service(String),
    Url(String),
}

fn named(
    document: Document<'_>,
    written: &written::Models,
    place: Place<'_>,
    findings: &mut Findings,
) -> Option<Named> {
    let at = place.key("server").at();
    match written.server.as_deref() {
        Some(text) if text.contains("://") => findings.take(at, server::url(text)).map(Named::Url),
        Some(text) if text.is_empty() || text.contains([':', '/', '.']) => {
            let wrong = Wrong::new(format!("\"{text}\" is neither the name of a service nor a URL"));
            let hint = match server::url(&format!("http://{text}")) {
                Ok(url) => format!("write \"{url}\""),
                Err(_) => "write the name of a service, or http://HOST:PORT".to_owned(),
            };
            findings.add(at, wrong.hint(hint));
            None
        }
        Some(name) => findings.take(at, document.reference("services", name)).map(Named::Service),
        None if place.has_or_means("server") => None,
        None => Some(match document.reference("services", USUAL) {
            Ok(name) => Named::Service(name),
            Err(_) => Named::Url(format!("http://127.0.0.1:{}", server::PORT)),
        }),
    }
}

/// The service that serves models.
struct Serving<'t> {
    name: &'t str,
    written: &'t written::Service,
    place: Place<'t>,
}

impl Serving<'_> {
    /// The port on which it listens, which has to be one that the agent can reach.
    fn port(&self, findings: &mut Findings) -> Option<u16> {
        let Some(text) = self.variable("OLLAMA_HOST", findings)? else { return Some(server::PORT) };
        let at = self.place.key("environment").key("OLLAMA_HOST").at();
        let listens = findings.take(at, server::listens(text))?;
        let (is_reached, why, instead) = match self.written.network {
            written::Network::Node => {
                (listens.from_outside, "nobody outside its container gets there", "0.0.0.0")
            }
            written::Network::Host => (listens.at_loopback, "the agent asks at 127.0.0.1", "127.0.0.1"),
        };
        if !is_reached {
            let wrong = Wrong::new(format!("`{}` would listen at \"{text}\": {why}", self.name));
            findings.add(at, wrong.hint(format!("write \"{instead}:{}\"", listens.port)));
            return None;
        }
        Some(listens.port)
    }

    /// Its folder on the host: that of the mount with the longest path in the container that leads there.
    fn folder(&self, findings: &mut Findings) -> Option<String> {
        let inside = self.folder_inside(findings)?;
        let place = self.place.key("mounts");
        if place.is_unusable() || (!place.is_written() && self.place.has_or_means("mounts")) {
            return None;
        }
        let mounts: Option<Vec<Mount>> =
            self.written.mounts.iter().map(|text| path::bind_mount(text).ok()).collect();
        let mounts = mounts?;
        let leading =
            mounts.iter().enumerate().filter(|(_, mount)| below(&inside, &mount.container).is_some());
        let Some((index, mount)) = leading.max_by_key(|(_, mount)| mount.container.len()) else {
            findings.add(place.at(), self.is_lost(&inside));
            return None;
        };
        let deeper = mounts
            .iter()
            .position(|mount| below(&mount.container, &inside).is_some_and(|rest| !rest.is_empty()));
        if let Some(index) = deeper {
            let wrong = format!(
                "a mount inside the models' folder {inside} of `{}`: they would lie in two places",
                self.name
            );
            findings.add(place.item(index).at(), Wrong::new(wrong).hint("mount the folder as a whole"));
            return None;
        }
        if mount.read_only {
            let wrong = format!("`{}` cannot write to the mount that its models are on", self.name);
            findings.add(place.item(index).at(), Wrong::new(wrong).hint("leave out `:ro`"));
            return None;
        }
        let rest = below(&inside, &mount.container).unwrap_or_default();
        let folder = format!("{}{rest}", mount.host.trim_end_matches('/'));
        Some(if folder.is_empty() { mount.host.clone() } else { folder })
    }

    fn is_lost(&self, inside: &str) -> Wrong {
        let usual = format!("/root/{FOLDER}");
        let target = if inside == usual { "/root/.ollama" } else { inside };
        Wrong::absent(format!(
            "the models of `{}` would lie inside its container, in {inside}, and be lost with it",
            self.name
        ))
        .hint(format!("mount a folder of the host there: mounts = [\"/mnt/models:{target}\"]"))
    }

    /// Its folder in the container.
    fn folder_inside(&self, findings: &mut Findings) -> Option<String> {
        let environment = self.place.key("environment");
        if let Some(folder) = self.variable("OLLAMA_MODELS", findings)? {
            return findings.take(environment.key("OLLAMA_MODELS").at(), path::absolute(folder));
        }
        if let Some(home) = self.variable("HOME", findings)? {
            let home = findings.take(environment.key("HOME").at(), path::absolute(home))?;
            return Some(format!("{}/{FOLDER}", home.trim_end_matches('/')));
        }
        let user = self.place.key("user");
        if user.is_unusable() {
            return None;
        }
        let is_root = |user: &str| matches!(user.split(':').next(), Some("0" | "root"));
        if self.written.user.as_deref().is_none_or(is_root) {
            return Some(format!("/root/{FOLDER}"));
        }
        let wrong = format!("`{}` does not run as root, and nothing says where it has its models", self.name);
        let hint = format!(
            "write OLLAMA_MODELS = \"/models\" in [services.{}.environment], and a mount that leads there",
            self.name
        );
        findings.add(user.at(), Wrong::new(wrong).hint(hint));
        None
    }

    /// A variable of its environment. The inner `None` is "not written", the outer one "cannot be known".
    fn variable(&self, name: &str, findings: &mut Findings) -> Option<Option<&str>> {
        let place = self.place.key("environment");
        match self.written.environment.get(name) {
            Some(written::EnvironmentValue::Literal(text)) => Some(Some(text)),
            Some(written::EnvironmentValue::FromSecret(_)) => {
                let wrong = Wrong::new(format!(
                    "`{name}` of a service that serves models cannot come from a secret: the agent has to know it"
                ));
                findings.add(place.key(name).at(), wrong.hint("write it as a text"));
                None
            }
            None if place.is_unusable() || place.key(name).is_written() => None,
            None if !place.is_written() && self.place.has_or_means("environment") => None,
            None => Some(None),
        }
    }
}

/// What is left of `path` below `folder`: nothing, or steps with their slash. `None` where it is not below.
fn below<'p>(path: &'p str, folder: &str) -> Option<&'p str> {
    path.strip_prefix(folder).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}
