//! The Docker engine: [`Engine`] on bollard. Only this folder names that library.
//!
//! In: wanted containers and questions. Out: our own values, or an [`EngineError`] in words. Every call has a deadline;
//! what carries no label of ours is neither listed nor touched.
//! Not its job: deciding what runs, retrying (but for the subscription to events), asking registries.

mod connections;
mod containers;
mod create_body;
mod distribution;
mod events;
mod exec;
mod frames;
mod info;
mod inspections;
mod log_file;
mod logs;
mod look;
mod pull;
mod refusal;
mod stop;
mod store;
mod tail;
mod transport;

use super::log_files::Keep;
use crate::bell::Bell;
use crate::engine::{ContainerSpec, Engine, EngineError, ExecOutcome, ImageFacts, LocalImage, PullProgress};
use crate::observed::{Container, Disk};
use crate::registry::Login;
use bollard::query_parameters::RemoveContainerOptionsBuilder;
use inspections::Inspections;
use node::config::settings::ImageReference;
use refusal::{NoAnswer, Refusal};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use transport::{Endpoint, Transport};

/// The bridge on which services reach each other by name.
pub const NODE_NETWORK: &str = "node-agent";

/// Questions are answered from the engine's memory.
const ASK_DEADLINE: Duration = Duration::from_secs(5);
/// Creating and starting write to the disk, set up namespaces and rules.
const MAKE_DEADLINE: Duration = Duration::from_secs(30);
/// Removing waits for a kill and deletes a file system layer.
const REMOVE_DEADLINE: Duration = Duration::from_secs(30);
/// Steps at the same time that make, start or remove containers: measured, more are no faster, and would wait for each
/// other until their deadlines pass.
const MADE_AT_ONCE: usize = 8;
/// The library insists on a limit of its own; ours are always shorter, but for pulls and events, which have none.
const LIBRARY_TIMEOUT_SECONDS: u64 = 365 * 24 * 3600;

/// A connection to the engine; clones share it. Connecting makes no call.
#[derive(Debug, Clone)]
pub struct Docker {
    client: bollard::Docker,
    shared: Arc<Shared>,
    /// Each clone listens for itself.
    bell: Bell,
}

#[derive(Debug)]
struct Shared {
    transport: Arc<Transport>,
    seen: Mutex<Seen>,
    /// Held while the bridge is looked for and made, so that we do not make it twice.
    network: tokio::sync::Mutex<()>,
    inspections: Arc<Mutex<Inspections<look::Inspected>>>,
    /// Taken for a step that writes to the engine's disk.
    making: Semaphore,
    storage: Mutex<Option<store::Storage>>,
    events: events::Subscription,
    /// Keeps the log of a container before it is removed.
    keep: OnceLock<Arc<Keep>>,
}

/// What was seen of the containers, for messages only.
#[derive(Debug, Default)]
struct Seen {
    /// Names by id.
    names: BTreeMap<String, String>,
    /// Ids of containers with unreadable labels, which are reported once.
    unreadable: BTreeSet<String>,
}

impl Docker {
    /// A client for `DOCKER_HOST` (`unix://`, `tcp://`, `http://`), else `/var/run/docker.sock`. The API version is
    /// negotiated at the first call.
    ///
    /// # Errors
    /// `docker_host_invalid` when `DOCKER_HOST` has none of these forms.
    pub fn connect(docker_host: Option<&str>) -> Result<Docker, EngineError> {
        let invalid = |message: String| EngineError::Refused {
            operation: "use DOCKER_HOST".to_owned(),
            code: "docker_host_invalid",
            message,
            hint: Some("unset it to use /var/run/docker.sock".to_owned()),
        };
        let endpoint = Endpoint::parse(docker_host).map_err(invalid)?;
        let transport = Arc::new(Transport::new(endpoint));
        let carrier = Arc::clone(&transport);
        let client = bollard::Docker::connect_with_custom_transport(
            move |request| {
                let carrier = Arc::clone(&carrier);
                async move { carrier.request(request).await }
            },
            Some("http://docker"),
            LIBRARY_TIMEOUT_SECONDS,
            bollard::API_DEFAULT_VERSION,
        )
        .map_err(|error| invalid(error.to_string()))?;
        let shared = Shared {
            transport,
            seen: Mutex::default(),
            network: tokio::sync::Mutex::default(),
            inspections: Arc::default(),
            making: Semaphore::new(MADE_AT_ONCE),
            storage: Mutex::default(),
            events: events::Subscription::default(),
            keep: OnceLock::new(),
        };
        Ok(Docker { client, shared: Arc::new(shared), bell: Bell::default() })
    }

    /// The library's client, for the files of this folder.
    pub(super) fn client(&self) -> &bollard::Docker {
        &self.client
    }

    /// One call with its deadline, not yet named: some answers are looked at before they count as errors.
    async fn ask<T>(
        &self,
        deadline: Duration,
        call: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Result<T, Refusal> {
        let answer = match tokio::time::timeout(deadline, call).await {
            Ok(answer) => answer.map_err(Refusal::from),
            Err(_) => Err(Refusal::Unreachable(Box::new(NoAnswer(deadline)))),
        };
        if matches!(answer, Err(Refusal::Unreachable(_))) {
            self.shared.transport.forget();
        }
        answer
    }

    /// Names the call that was refused: `operation` in words with its object.
    fn refused(&self, operation: &str, refusal: Refusal) -> EngineError {
        refusal.of(operation, &self.shared.transport.endpoint.to_string())
    }

    fn inspections(&self) -> MutexGuard<'_, Inspections<look::Inspected>> {
        self.shared.inspections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until fewer than [`MADE_AT_ONCE`] such steps are under way; deadlines begin after it.
    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed; were it, going on without a turn would only be slower.
        self.shared.making.acquire().await.ok()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a person calls the container: its name where it was seen, else the short id.
    fn called(&self, container_id: &str) -> String {
        match self.seen().names.get(container_id) {
            Some(name) => name.clone(),
            None => container_id.chars().take(12).collect(),
        }
    }
}

impl Engine for Docker {
    async fn containers(&self) -> Result<Vec<Container>, EngineError> {
        self.list().await
    }

    async fn image(&self, image: &ImageReference, digest: &str) -> Result<Option<ImageFacts>, EngineError> {
        self.image_facts(&image.pinned(digest)).await
    }

    async fn pull(
        &self,
        image: &ImageReference,
        digest: &str,
        login: Option<Login>,
        progress: &(dyn Fn(PullProgress) + Send + Sync),
    ) -> Result<(), EngineError> {
        self.pull_image(image, digest, login, progress).await
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<String, EngineError> {
        let _turn = self.turn().await;
        self.create_container(spec).await
    }

    async fn start(&self, container_id: &str) -> Result<(), EngineError> {
        let _turn = self.turn().await;
        // 304, already started, is a success to the library.
        let started = self.ask(MAKE_DEADLINE, self.client.start_container(container_id, None)).await;
        started.map_err(|refusal| {
            self.refused(&format!("start container {}", self.called(container_id)), refusal)
        })
    }

    async fn stop(&self, container_id: &str, timeout: Duration) -> Result<(), EngineError> {
        self.stop_container(container_id, timeout).await
    }

    async fn remove(&self, container_id: &str) -> Result<(), EngineError> {
        let _turn = self.turn().await;
        self.keep_log_of(container_id).await;
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        match self.ask(REMOVE_DEADLINE, self.client.remove_container(container_id, Some(options))).await {
            // 409: the engine is removing it already.
            Err(refusal) if !matches!(refusal.status(), Some(404 | 409)) => {
                Err(self.refused(&format!("remove container {}", self.called(container_id)), refusal))
            }
            _ => Ok(()),
        }
    }

    async fn last_log_lines(&self, container_id: &str, count: usize) -> Result<Vec<String>, EngineError> {
        self.tail(container_id, count).await
    }

    async fn exec(
        &self,
        container_id: &str,
        command: &[String],
        timeout: Duration,
    ) -> Result<ExecOutcome, EngineError> {
        self.run_inside(container_id, command, timeout).await
    }

    async fn disk(&self) -> Result<Option<Disk>, EngineError> {
        self.room().await
    }

    async fn images(&self) -> Result<Vec<LocalImage>, EngineError> {
        self.local_images().await
    }

    async fn remove_image(&self, name: &str) -> Result<(), EngineError> {
        self.drop_image(name).await
    }

    async fn bridges(&self) -> Result<BTreeSet<(Ipv4Addr, u8)>, EngineError> {
        self.network_prefixes().await
    }

    async fn changed(&self) {
        let heard = events::Heard {
            bell: self.bell.clone(),
            inspections: Arc::clone(&self.shared.inspections),
            transport: Arc::clone(&self.shared.transport),
        };
        self.shared.events.start(&self.client, heard);
        self.bell.heard().await;
    }

    fn signalled(&self) -> BTreeSet<String> {
        self.inspections().signalled().clone()
    }

    fn breaks(&self) -> u64 {
        self.shared.events.breaks()
    }
}

#[cfg(test)]
mod connections_tests;
#[cfg(test)]
mod wire_tests;
