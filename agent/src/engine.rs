//! The seam to the container engine: what the reconcile loop, the health prober and the log shipper ask of it, in our
//! own types. `host/docker` is the real one; tests of the loop bring a scripted one.
//!
//! Every call has a deadline of its own. A deadline that passes is [`EngineError::Unreachable`]: the state is
//! *unknown*, never *gone*.

use crate::observed::{Container, Disk};
use crate::registry::Login;
use jiff::Timestamp;
use node::config::settings::{ImageReference, Service};
use node::fault::Hint;
use secrecy::SecretString;
use std::collections::BTreeSet;
use std::future::Future;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

/// Why the engine did not do it.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No answer in time, or no connection: the state of the engine is unknown.
    #[error("the Docker engine at {endpoint} does not answer ({operation})")]
    Unreachable {
        /// Socket or URL.
        endpoint: String,
        /// What was asked, on which thing.
        operation: String,
        /// Why, where something is known.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The engine answered with an error.
    #[error("cannot {operation}: {message}")]
    Refused {
        /// What was asked, on which thing.
        operation: String,
        /// `problems[].code`, e.g. `port_in_use`, `pull_refused`, `engine_refused`.
        code: &'static str,
        /// The engine's words.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
}

impl EngineError {
    /// Stable code for `problems[]`.
    pub fn code(&self) -> &'static str {
        match self {
            EngineError::Unreachable { .. } => "docker_unresponsive",
            EngineError::Refused { code, .. } => code,
        }
    }
}

impl Hint for EngineError {
    fn hint(&self) -> Option<String> {
        match self {
            EngineError::Unreachable { .. } => Some("look at `systemctl status docker`".to_owned()),
            EngineError::Refused { hint, .. } => hint.clone(),
        }
    }
}

/// Everything that is needed to make one container.
#[derive(Debug, Clone)]
pub struct ContainerSpec {
    /// `[services.NAME]`; also its name on the node's bridge.
    pub service: String,
    /// The validated section.
    pub settings: Service,
    /// Digest to run, `sha256:…`.
    pub digest: String,
    /// Label [`crate::observed::labels::SPEC`].
    pub spec_hash: String,
    /// Label [`crate::observed::labels::GENERATION`]; the container is named `SERVICE-GENERATION`.
    pub generation: u64,
    /// Environment with secrets filled in, by name.
    pub environment: Vec<(String, SecretString)>,
    /// Secret name and the folder to mount read-only at `/run/secrets/NAME`.
    pub secret_folders: Vec<(String, PathBuf)>,
}

impl ContainerSpec {
    /// Deterministic, so that making it twice finds the first one.
    pub fn container_name(&self) -> String {
        format!("{}-{}", self.service, self.generation)
    }
}

/// How far a pull is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PullProgress {
    /// Bytes that arrived.
    pub current_bytes: u64,
    /// Bytes known so far; grows as layers are announced.
    pub total_bytes: u64,
}

/// What the engine knows of an image that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageFacts {
    /// It declares a HEALTHCHECK.
    pub has_healthcheck: bool,
}

/// An image in the engine's store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalImage {
    /// `sha256:…` of its configuration.
    pub id: String,
    /// All of its names: `registry/repository@digest` and `registry/repository:tag`.
    pub names: Vec<String>,
    /// Bytes, shared layers included.
    pub size_bytes: u64,
    /// When it came into the store, or was built.
    pub created_at: Timestamp,
    /// A container, running or not, was made of it.
    pub in_use: bool,
}

/// How a command inside a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutcome {
    /// Exit status.
    pub code: i64,
    /// The first kilobyte that it wrote.
    pub output: String,
}

/// A container engine.
pub trait Engine: Send + Sync + 'static {
    /// All containers that carry our labels, in any state.
    fn containers(&self) -> impl Future<Output = Result<Vec<Container>, EngineError>> + Send;

    /// What is known of `registry/repository@digest`; `None` when it was not pulled.
    fn image(
        &self,
        image: &ImageReference,
        digest: &str,
    ) -> impl Future<Output = Result<Option<ImageFacts>, EngineError>> + Send;

    /// Pulls `registry/repository@digest`. Fails when no byte arrives for a while.
    fn pull(
        &self,
        image: &ImageReference,
        digest: &str,
        login: Option<Login>,
        progress: &(dyn Fn(PullProgress) + Send + Sync),
    ) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Makes the container (and the node's bridge, if it is missing). Finding one of that name with the same labels is
    /// success. Returns its id.
    fn create(&self, spec: &ContainerSpec) -> impl Future<Output = Result<String, EngineError>> + Send;

    /// Starts it; one that runs already is success.
    fn start(&self, container_id: &str) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Stop signal, then SIGKILL after `timeout`; one that does not run is success. Nothing is cut short when this is
    /// dropped, and asking again within that time neither sends the signal again nor gives more time, as far as the
    /// engine remembers.
    fn stop(
        &self,
        container_id: &str,
        timeout: Duration,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Removes it with its anonymous volumes, killing it if it runs; one that is gone is success.
    fn remove(&self, container_id: &str) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// The last lines that it wrote to both streams.
    fn last_log_lines(
        &self,
        container_id: &str,
        count: usize,
    ) -> impl Future<Output = Result<Vec<String>, EngineError>> + Send;

    /// Runs a command inside it and waits for its end, `timeout` at most.
    fn exec(
        &self,
        container_id: &str,
        command: &[String],
        timeout: Duration,
    ) -> impl Future<Output = Result<ExecOutcome, EngineError>> + Send;

    /// Returns when something happened to one of our containers since the last call. Cancel safe. While the engine is
    /// away it waits and tries to listen again; having missed events counts as something that happened.
    fn changed(&self) -> impl Future<Output = ()> + Send;

    /// Room on the file system that holds its images and containers; `None` where that cannot be seen from here.
    fn disk(&self) -> impl Future<Output = Result<Option<Disk>, EngineError>> + Send;

    /// All images in its store.
    fn images(&self) -> impl Future<Output = Result<Vec<LocalImage>, EngineError>> + Send;

    /// Removes the image under that name (`registry/repository@digest` or an id); one that is gone is success. One that
    /// a container uses is refused, `image_in_use`.
    fn remove_image(&self, name: &str) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// The networks that hold our containers, each as address and length of its prefix; none before the first container
    /// was made.
    fn bridges(&self) -> impl Future<Output = Result<BTreeSet<(Ipv4Addr, u8)>, EngineError>> + Send {
        std::future::ready(Ok(BTreeSet::new()))
    }

    /// Containers that somebody had the engine signal (`docker stop`, `docker kill`, an engine that goes down) since they
    /// were started.
    fn signalled(&self) -> BTreeSet<String> {
        BTreeSet::new()
    }

    /// How often listening broke off so far: for a while nobody knows what happened, although every question may have
    /// been answered. A socket that systemd holds lets a question wait for the next engine.
    fn breaks(&self) -> u64 {
        0
    }
}
