//! The seam to the model server: what the loop asks of it, in our own types. `host/ollama` is the real one.
//!
//! Every call has a deadline of its own. One that passes is [`ServerError::Unreachable`]: the state is *unknown*.

use jiff::Timestamp;
use node::config::settings::ModelReference;
use node::fault::Hint;
use std::future::Future;
use std::time::Duration;

/// Where a server listens: `http://HOST:PORT`, without a slash at the end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint(pub String);

impl std::fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A model that the server has (`GET /api/tags`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// As the server lists it; a [`ModelReference`] when parsed.
    pub name: String,
    /// `sha256:…` of its manifest (the server leaves the prefix out).
    pub digest: String,
    /// Bytes of all its layers.
    pub size_bytes: u64,
    /// When its manifest was written, where the server says so.
    pub modified_at: Option<Timestamp>,
}

/// A model in the server's memory (`GET /api/ps`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// As the server lists it.
    pub name: String,
    /// `sha256:…` of the manifest that was loaded; not necessarily that of the name by now.
    pub digest: String,
    /// Bytes in all.
    pub size_bytes: u64,
    /// Bytes of these on GPUs.
    pub size_vram_bytes: u64,
    /// When the server lets go of it; far in the future with `keep_alive` -1.
    pub expires_at: Option<Timestamp>,
}

impl Loaded {
    /// No byte of it is on a GPU.
    pub fn is_on_cpu(&self) -> bool {
        self.size_bytes > 0 && self.size_vram_bytes == 0
    }
}

/// How a model is brought into memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It answers prompts: `POST /api/generate`.
    Generates,
    /// It makes embeddings and nothing else: `POST /api/embed`.
    Embeds,
}

/// How far a pull is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PullProgress {
    /// Bytes that are there, those that were kept from an earlier pull among them.
    pub completed_bytes: u64,
    /// Bytes known so far; grows as layers are announced.
    pub total_bytes: u64,
}

/// The code of a server that is busy, which says nothing of what it was asked for.
pub const BUSY: &str = "model_server_busy";

/// Why the server did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// No answer in time, or no connection: nothing is known.
    #[error("the model server at {endpoint} does not answer ({operation})")]
    Unreachable {
        /// Its address.
        endpoint: Endpoint,
        /// What was asked, on which model.
        operation: String,
        /// Why, where something is known.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// It says that it cannot now: too many wait, or it starts. Nothing is known.
    #[error("the model server at {endpoint} is busy ({operation})")]
    Busy {
        /// Its address.
        endpoint: Endpoint,
        /// What was asked, on which model.
        operation: String,
        /// Its words.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It said no, with a status or with an `error` in the middle of a stream.
    #[error("cannot {operation}: {message}")]
    Refused {
        /// What was asked, on which model.
        operation: String,
        /// `problems[].code`: `model_not_found`, `model_disk_full`, `model_out_of_memory`, `model_server_refused`.
        code: &'static str,
        /// Its words, one line.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// A pull brought no byte for so long.
    #[error("cannot {operation}: no byte came for {} s", idle.as_secs())]
    Stalled {
        /// What was asked, on which model.
        operation: String,
        /// How long.
        idle: Duration,
    },
    /// A stream ended without `success`, or made no sense.
    #[error("cannot {operation}: {message}")]
    Broken {
        /// What was asked, on which model.
        operation: String,
        /// What was wrong with the answer.
        message: String,
    },
}

impl ServerError {
    /// Stable code for `problems[]`.
    pub fn code(&self) -> &'static str {
        match self {
            ServerError::Unreachable { .. } => "model_server_unreachable",
            ServerError::Busy { .. } => BUSY,
            ServerError::Refused { code, .. } => code,
            ServerError::Stalled { .. } => "model_pull_stalled",
            ServerError::Broken { .. } => "model_server_broken_answer",
        }
    }
}

impl Hint for ServerError {
    fn hint(&self) -> Option<String> {
        match self {
            ServerError::Unreachable { .. } => {
                Some("look at `agentctl status` for the service that serves models".to_owned())
            }
            ServerError::Busy { .. } => {
                Some("it is asked again; OLLAMA_MAX_QUEUE says how many requests may wait".to_owned())
            }
            ServerError::Refused { hint, .. } => hint.clone(),
            ServerError::Stalled { .. } => {
                Some("what came is kept, and the pull is taken up again".to_owned())
            }
            ServerError::Broken { .. } => Some("look at the server's log".to_owned()),
        }
    }
}

/// A model server that speaks Ollama's API.
pub trait ModelServer: Send + Sync + 'static {
    /// `GET /api/version`
    fn version(&self, at: &Endpoint) -> impl Future<Output = Result<String, ServerError>> + Send;

    /// `GET /api/tags`: all that it has, our kept versions among them.
    fn installed(&self, at: &Endpoint) -> impl Future<Output = Result<Vec<Installed>, ServerError>> + Send;

    /// `GET /api/ps`
    fn loaded(&self, at: &Endpoint) -> impl Future<Output = Result<Vec<Loaded>, ServerError>> + Send;

    /// `POST /api/show`: whether it answers prompts. A server that names no capabilities is taken to.
    fn kind(
        &self,
        at: &Endpoint,
        name: &ModelReference,
    ) -> impl Future<Output = Result<Kind, ServerError>> + Send;

    /// `POST /api/pull`, until `success`. Dropping it cancels the pull; the server keeps what came, and the next pull
    /// goes on from there. Fails when no byte comes for a while.
    fn pull(
        &self,
        at: &Endpoint,
        name: &ModelReference,
        progress: &(dyn Fn(PullProgress) + Send + Sync),
    ) -> impl Future<Output = Result<(), ServerError>> + Send;

    /// `POST /api/copy`: `to` becomes another name of what `from` names now; the layers are shared.
    fn copy(
        &self,
        at: &Endpoint,
        from: &ModelReference,
        to: &ModelReference,
    ) -> impl Future<Output = Result<(), ServerError>> + Send;

    /// `DELETE /api/delete`: the name, and the layers that no other name needs. One that is gone is success.
    fn delete(
        &self,
        at: &Endpoint,
        name: &ModelReference,
    ) -> impl Future<Output = Result<(), ServerError>> + Send;

    /// Brings it into memory for good (`keep_alive` -1), within `deadline`. One that is there is success.
    fn load(
        &self,
        at: &Endpoint,
        name: &ModelReference,
        kind: Kind,
        deadline: Duration,
    ) -> impl Future<Output = Result<(), ServerError>> + Send;

    /// Lets go of it (`keep_alive` 0). One that is not in memory is success.
    fn unload(
        &self,
        at: &Endpoint,
        name: &ModelReference,
        kind: Kind,
    ) -> impl Future<Output = Result<(), ServerError>> + Send;

    /// Asks it: the answer's text, at most a few hundred tokens.
    fn answer(
        &self,
        at: &Endpoint,
        name: &ModelReference,
        prompt: &str,
        deadline: Duration,
    ) -> impl Future<Output = Result<String, ServerError>> + Send;
}
