//! What a tag names at its registry, asked without a login, over the proxy that the agent's environment names.
//!
//! Lookups are rare: each has a client of its own, so that an authority that was added to the host's store meanwhile
//! counts, and nothing is held in between. The digest is that of the very bytes that came.

use crate::models::manifest;
use crate::models::registry::{Manifest, ModelRegistry};
use crate::registry::RegistryError;
use node::config::settings::ModelReference;
use node::fault::one_line;
use reqwest::header::ACCEPT;
use reqwest::redirect::{Action, Attempt, Policy};
use reqwest::{Client, Url};
use std::time::Duration;

/// For connection, redirects, head and body together.
const DEADLINE: Duration = Duration::from_secs(20);
/// Manifests have some hundred bytes; those of models of many tensors some hundred KiB.
const LARGEST_BYTES: usize = 4 << 20;
const REDIRECTS_AT_MOST: usize = 5;
const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// The registries of models, by the host in their names.
#[derive(Debug, Clone)]
pub struct ModelRegistries {
    deadline: Duration,
}

impl Default for ModelRegistries {
    fn default() -> ModelRegistries {
        ModelRegistries { deadline: DEADLINE }
    }
}

/// Why there is no manifest, before it is known of what.
enum Failure {
    /// The client or the connection.
    Http(reqwest::Error),
    Status(u16),
    Answer(String),
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Failure {
        Failure::Http(error.without_url())
    }
}

impl ModelRegistry for ModelRegistries {
    async fn manifest(&self, name: &ModelReference) -> Result<Manifest, RegistryError> {
        match tokio::time::timeout(self.deadline, fetch(name)).await {
            Ok(fetched) => fetched.map_err(|failure| refused(name, failure)),
            Err(_) => {
                let seconds = self.deadline.as_secs_f64();
                Err(unreachable(name, &format!("no answer within {seconds} s"), ROUTE_HINT))
            }
        }
    }
}

async fn fetch(name: &ModelReference) -> Result<Manifest, Failure> {
    let ModelReference { insecure, host, namespace, model, tag } = name;
    let scheme = if *insecure { "http" } else { "https" };
    let url = format!("{scheme}://{host}/v2/{namespace}/{model}/manifests/{tag}");
    let mut response = client(*insecure)?.get(url).header(ACCEPT, MANIFEST).send().await?;
    if !response.status().is_success() {
        return Err(Failure::Status(response.status().as_u16()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > LARGEST_BYTES {
            return Err(Failure::Answer(format!("it is longer than {LARGEST_BYTES} bytes")));
        }
    }
    manifest::read(&body).map_err(Failure::Answer)
}

fn client(insecure: bool) -> Result<Client, reqwest::Error> {
    node::cloud::install_crypto_provider();
    let builder = Client::builder()
        .redirect(Policy::custom(redirect))
        .retry(reqwest::retry::never())
        .pool_max_idle_per_host(0)
        .user_agent(concat!("node-agent/", env!("CARGO_PKG_VERSION")));
    // Without TLS no authority is needed, and a host without any can ask, too.
    let builder = if insecure { builder.tls_certs_only([]) } else { builder };
    builder.build()
}

fn redirect(attempt: Attempt<'_>) -> Action {
    if is_followed(attempt.previous(), attempt.url()) { attempt.follow() } else { attempt.stop() }
}

/// A few, and never from TLS to none: whoever is between would choose the model.
fn is_followed(before: &[Url], next: &Url) -> bool {
    let was_secure = before.last().is_some_and(|url| url.scheme() == "https");
    before.len() <= REDIRECTS_AT_MOST && (!was_secure || next.scheme() == "https")
}

const ROUTE_HINT: &str =
    "check the route to the registry: DNS, NAT, security groups, or HTTPS_PROXY of the agent";

fn unreachable(name: &ModelReference, why: &str, hint: &str) -> RegistryError {
    error(name, "model_registry_unreachable", why, hint)
}

fn error(name: &ModelReference, code: &'static str, why: &str, hint: &str) -> RegistryError {
    let message = format!("cannot look up {name} at {}: {why}", name.host);
    RegistryError { code, message, hint: Some(hint.to_owned()) }
}

fn refused(name: &ModelReference, failure: Failure) -> RegistryError {
    match failure {
        Failure::Http(cause) => {
            let why = one_line(&cause);
            let hint = if why.contains("certificate") {
                "add the registry's authority to the host's store, or write `http://` before the name"
            } else {
                ROUTE_HINT
            };
            unreachable(name, &why, hint)
        }
        Failure::Status(status) => of_status(name, status),
        Failure::Answer(why) => {
            let hint = "look whether a registry of models answers at this host";
            error(name, "model_registry_broken_answer", &why, hint)
        }
    }
}

fn of_status(name: &ModelReference, status: u16) -> RegistryError {
    let why = format!("status {status}");
    match status {
        401 | 403 => {
            // A version that has to be pulled is asked for whatever `every` says; one that is there is not.
            let hint = format!(
                "the agent asks without a login: let the registry answer this node without one; or have the server \
                 pull it with its own key (`ollama pull {name}`) and set `every = \"never\"` in [models]"
            );
            error(name, "model_registry_denied", &why, &hint)
        }
        404 => {
            let hint = "check the name and the tag: https://ollama.com/library lists those without a host";
            error(name, "model_not_found", "there is no such model", hint)
        }
        408 | 425 | 429 | 500..=599 => unreachable(name, &why, "it is asked again later"),
        407 => unreachable(name, &why, "the proxy of the agent's environment wants a login"),
        _ => error(
            name,
            "model_registry_broken_answer",
            &why,
            "look whether a registry of models answers at this host",
        ),
    }
}

#[cfg(test)]
#[path = "registries_tests.rs"]
mod tests;
