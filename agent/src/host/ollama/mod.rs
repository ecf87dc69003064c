//! A model server that speaks Ollama's API, and the registries that it pulls from: [`ModelServer`] and
//! [`crate::models::registry::ModelRegistry`] over HTTP.
//!
//! In: an endpoint, names of models. Out: our own values, or a [`ServerError`] in words. Every call has a deadline; one
//! that passes, and a server that is busy, leave the state unknown. What is read of bytes is pure and apart.
//! Not its job: deciding what is pulled or loaded, retrying, the server's container.
//!
//! Source: ollama `server/routes.go`, `server/sched.go`, `api/types.go`, `types/model/name.go`. Names are sent as the
//! server lists them. A scheme in front of them is read by some versions and dropped by others; `insecure` has all of
//! them speak plain HTTP to the registry.

mod answers;
#[cfg(test)]
mod cases;
mod lines;
pub mod pulling;
mod refusal;
mod registries;
#[cfg(test)]
mod scripted;
mod transport;
#[cfg(test)]
mod wire_tests;

pub use refusal::{Failure, Meaning};
pub use registries::ModelRegistries;

use crate::models::server::{Endpoint, Installed, Kind, Loaded, ModelServer, PullProgress, ServerError};
use node::config::settings::ModelReference;
use pulling::{PATIENCE, Patience, Stream};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;
use transport::{Call, Transport, broken_connection};

/// Questions are answered from memory and from small files.
const ASK_DEADLINE: Duration = Duration::from_secs(5);
/// Copying writes one small file, letting go only notes it: on a disk that a pull keeps busy.
const COPY_DEADLINE: Duration = Duration::from_secs(30);
/// Deleting looks through all manifests and removes files of many gigabytes, which takes some file systems long.
const DELETE_DEADLINE: Duration = Duration::from_secs(60);
/// Tokens of an answer that is only compared with what was expected.
const LONGEST_ANSWER_TOKENS: u32 = 200;

/// A client for all model servers; clones share it. Making it makes no call.
#[derive(Debug, Clone)]
pub struct Ollama {
    transport: Transport,
    patience: Patience,
}

impl Default for Ollama {
    fn default() -> Ollama {
        Ollama { transport: Transport::new(), patience: PATIENCE }
    }
}

impl Ollama {
    async fn get<T>(
        &self,
        at: &Endpoint,
        (path, operation): (&'static str, &str),
        read: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Result<T, ServerError> {
        let call = Call { method: Method::GET, path, body: None, deadline: ASK_DEADLINE };
        let answer = self.transport.ask(at, call).await;
        let value = answer.and_then(|body| read(&body).map_err(Failure::Broken));
        value.map_err(|failure| failure.of(at, operation.to_owned()))
    }

    async fn post(
        &self,
        at: &Endpoint,
        path: &'static str,
        body: Value,
        deadline: Duration,
    ) -> Result<Vec<u8>, Failure> {
        self.transport.ask(at, Call { method: Method::POST, path, body: Some(body), deadline }).await
    }

    /// Reads the stream to its end. Silence is measured from the last thing that was new.
    async fn pull_stream(
        &self,
        at: &Endpoint,
        name: &ModelReference,
        progress: &(dyn Fn(PullProgress) + Send + Sync),
    ) -> Result<(), Failure> {
        let body = json!({"model": name, "stream": true, "insecure": name.insecure});
        let mut stream = Stream::default();
        let deadline = stream.patience(&self.patience);
        let call = Call { method: Method::POST, path: "/api/pull", body: Some(body), deadline };
        let mut response = self.transport.open(at, call).await?;
        let mut moved_at = Instant::now();
        let mut told = None;
        loop {
            let idle = stream.patience(&self.patience);
            let chunk = match tokio::time::timeout_at(moved_at + idle, response.chunk()).await {
                // It has said so; how the connection ends is of no interest.
                Err(_) | Ok(Err(_)) if stream.is_done() => return Ok(()),
                Err(_) => return Err(Failure::Stalled(idle)),
                Ok(chunk) => chunk.map_err(broken_connection)?,
            };
            let Some(chunk) = chunk else { return stream.end().map(|_| ()) };
            if stream.chunk(&chunk)? {
                moved_at = Instant::now();
            } else if moved_at.elapsed() >= idle {
                // Lines that repeat each other come without a pause that would be long enough to be seen above.
                return Err(Failure::Stalled(idle));
            }
            let now = stream.progress();
            if told.replace(now) != Some(now) {
                progress(now);
            }
        }
    }
}

impl ModelServer for Ollama {
    async fn version(&self, at: &Endpoint) -> Result<String, ServerError> {
        self.get(at, ("/api/version", "read its version"), answers::version).await
    }

    async fn installed(&self, at: &Endpoint) -> Result<Vec<Installed>, ServerError> {
        self.get(at, ("/api/tags", "list models"), answers::installed).await
    }

    async fn loaded(&self, at: &Endpoint) -> Result<Vec<Loaded>, ServerError> {
        self.get(at, ("/api/ps", "list the models in memory"), answers::loaded).await
    }

    async fn kind(&self, at: &Endpoint, name: &ModelReference) -> Result<Kind, ServerError> {
        let answer = self.post(at, "/api/show", json!({"model": name}), ASK_DEADLINE).await;
        let kind = answer.and_then(|body| answers::kind(&body).map_err(Failure::Broken));
        kind.map_err(|failure| failure.of(at, format!("look at {name}")))
    }

    async fn pull(
        &self,
        at: &Endpoint,
        name: &ModelReference,
        progress: &(dyn Fn(PullProgress) + Send + Sync),
    ) -> Result<(), ServerError> {
        let pulled = self.pull_stream(at, name, progress).await;
        pulled.map_err(|failure| failure.of(at, format!("pull {name}")))
    }

    async fn copy(
        &self,
        at: &Endpoint,
        from: &ModelReference,
        to: &ModelReference,
    ) -> Result<(), ServerError> {
        let body = json!({"source": from, "destination": to});
        let copied = self.post(at, "/api/copy", body, COPY_DEADLINE).await;
        copied.map(|_| ()).map_err(|failure| failure.of(at, format!("copy {from} to {to}")))
    }

    async fn delete(&self, at: &Endpoint, name: &ModelReference) -> Result<(), ServerError> {
        let body = Some(json!({"model": name}));
        let call = Call { method: Method::DELETE, path: "/api/delete", body, deadline: DELETE_DEADLINE };
        match self.transport.ask(at, call).await {
            Ok(_) => Ok(()),
            Err(Failure::Refused(Meaning { code: "model_not_found", .. })) => Ok(()),
            Err(failure) => Err(failure.of(at, format!("delete {name}"))),
        }
    }

    async fn load(
        &self,
        at: &Endpoint,
        name: &ModelReference,
        kind: Kind,
        deadline: Duration,
    ) -> Result<(), ServerError> {
        // Without a prompt, or with nothing to embed, the server loads the model and answers when it is there.
        let loaded = match kind {
            Kind::Generates => {
                let body = json!({"model": name, "keep_alive": -1, "stream": false});
                self.post(at, "/api/generate", body, deadline).await
            }
            Kind::Embeds => {
                let body = json!({"model": name, "input": "", "keep_alive": -1});
                self.post(at, "/api/embed", body, deadline).await
            }
        };
        loaded.map(|_| ()).map_err(|failure| failure.of(at, format!("load {name}")))
    }

    async fn unload(&self, at: &Endpoint, name: &ModelReference, kind: Kind) -> Result<(), ServerError> {
        let body = json!({"model": name, "keep_alive": 0, "stream": false});
        let unloaded = match self.post(at, "/api/generate", body, COPY_DEADLINE).await {
            // To embed nothing with this would load the model first, where it is not there: only for servers that
            // refuse to generate before they look at `keep_alive`.
            Err(Failure::Refused(_)) if kind == Kind::Embeds => {
                let body = json!({"model": name, "input": "", "keep_alive": 0});
                self.post(at, "/api/embed", body, COPY_DEADLINE).await
            }
            other => other,
        };
        unloaded.map(|_| ()).map_err(|failure| failure.of(at, format!("unload {name}")))
    }

    async fn answer(
        &self,
        at: &Endpoint,
        name: &ModelReference,
        prompt: &str,
        deadline: Duration,
    ) -> Result<String, ServerError> {
        // Without `keep_alive` a model that is in memory stays as long as whoever loaded it asked for, and another one
        // for as long as the server keeps any. None of these options has the server load it again.
        let options = json!({"num_predict": LONGEST_ANSWER_TOKENS, "temperature": 0, "seed": 0});
        let body = json!({"model": name, "prompt": prompt, "stream": false, "options": options});
        let answer = self.post(at, "/api/generate", body, deadline).await;
        let text = answer.and_then(|body| answers::answer(&body).map_err(Failure::Broken));
        text.map_err(|failure| failure.of(at, format!("ask {name}")))
    }
}
