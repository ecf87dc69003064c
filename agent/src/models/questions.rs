//! Questions beside the loop: what a tag names at its registry, and whether a model answers prompts. At most one of a kind
//! for each model; the answers are kept.

use super::observed::Lookup;
use super::registry::{Manifest, ModelRegistry};
use super::server::{Endpoint, Kind, ModelServer as Server, ServerError};
use crate::command::LOOKUP_DEADLINE;
use crate::registry::RegistryError;
use jiff::Timestamp;
use node::config::settings::ModelReference;
use node::fault::one_line;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// From a question for the kind of a model that was not answered to the next.
const KIND_RETRY: Duration = Duration::from_secs(10);

/// An answer of a registry.
pub(super) struct Found {
    pub(super) model: String,
    pub(super) answer: Result<Manifest, RegistryError>,
}

/// What registries said.
pub(super) struct Lookups<R> {
    registry: Arc<R>,
    answers: BTreeMap<String, Lookup>,
    asking: BTreeSet<String>,
    tasks: JoinSet<Found>,
}

impl<R: ModelRegistry> Lookups<R> {
    pub(super) fn new(registry: Arc<R>) -> Lookups<R> {
        Lookups { registry, answers: BTreeMap::new(), asking: BTreeSet::new(), tasks: JoinSet::new() }
    }

    /// By full name.
    pub(super) fn answers(&self) -> &BTreeMap<String, Lookup> {
        &self.answers
    }

    /// Asks, unless that is being asked.
    pub(super) fn begin(&mut self, name: &ModelReference) {
        let model = name.full();
        if !self.asking.insert(model.clone()) {
            return;
        }
        let (registry, name) = (Arc::clone(&self.registry), name.clone());
        self.tasks.spawn(async move {
            let answer = tokio::time::timeout(LOOKUP_DEADLINE, registry.manifest(&name)).await;
            Found { model, answer: answer.unwrap_or_else(|_| Err(no_answer(&name))) }
        });
    }

    /// The next answer; never, while no question is under way. Cancel safe.
    pub(super) async fn next(&mut self) -> Found {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(found)) => return found,
                // A panic ends the process.
                Some(Err(error)) => tracing::error!("a look-up broke off: {error}"),
                None => std::future::pending().await,
            }
        }
    }

    /// Takes an answer over. What was known stays known when the registry has nothing to say.
    pub(super) fn take(&mut self, found: &Found, now: Timestamp) {
        self.asking.remove(&found.model);
        let before = self.answers.remove(&found.model).and_then(|before| before.known);
        let known = match &found.answer {
            Ok(manifest) => Some(manifest.clone()),
            Err(error) => {
                tracing::info!("{}", node::fault::with_hint(error));
                before
            }
        };
        let lookup = Lookup { at: now, answer: found.answer.clone(), known };
        self.answers.insert(found.model.clone(), lookup);
    }
}

fn no_answer(name: &ModelReference) -> RegistryError {
    RegistryError {
        code: "model_registry_unreachable",
        message: format!("no answer for {name} within {} s", LOOKUP_DEADLINE.as_secs()),
        hint: Some(format!("check that the node can reach {}", name.host)),
    }
}

/// Whether a version answers prompts.
pub(super) struct Shown {
    digest: String,
    kind: Result<Kind, ServerError>,
}

/// What the server said of its models.
pub(super) struct Kinds<S> {
    server: Arc<S>,
    answers: BTreeMap<String, Kind>,
    asked: BTreeMap<String, Instant>,
    tasks: JoinSet<Shown>,
}

impl<S: Server> Kinds<S> {
    pub(super) fn new(server: Arc<S>) -> Kinds<S> {
        Kinds { server, answers: BTreeMap::new(), asked: BTreeMap::new(), tasks: JoinSet::new() }
    }

    /// By digest.
    pub(super) fn answers(&self) -> &BTreeMap<String, Kind> {
        &self.answers
    }

    /// Asks of the version that the name means now, unless that was asked a moment ago.
    pub(super) fn begin(&mut self, at: &Endpoint, name: &ModelReference, digest: String) {
        if self.asked.get(&digest).is_some_and(|asked| asked.elapsed() < KIND_RETRY) {
            return;
        }
        self.asked.insert(digest.clone(), Instant::now());
        let (server, at, name) = (Arc::clone(&self.server), at.clone(), name.clone());
        self.tasks.spawn(async move { Shown { digest, kind: server.kind(&at, &name).await } });
    }

    /// The next answer; never, while no question is under way. Cancel safe.
    pub(super) async fn next(&mut self) -> Shown {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(shown)) => return shown,
                // A panic ends the process.
                Some(Err(error)) => tracing::error!("a question for a model broke off: {error}"),
                None => std::future::pending().await,
            }
        }
    }

    /// Takes an answer over. A server that answers, but does not say, is taken to mean a model for prompts: whether it can
    /// be loaded is seen, and told, when it is.
    pub(super) fn take(&mut self, shown: Shown) {
        match shown.kind {
            Ok(kind) => {
                self.answers.insert(shown.digest, kind);
            }
            Err(error @ (ServerError::Unreachable { .. } | ServerError::Busy { .. })) => {
                tracing::info!("{}", one_line(&error))
            }
            Err(error) => {
                tracing::warn!("{}", node::fault::with_hint(&error));
                self.answers.insert(shown.digest, Kind::Generates);
            }
        }
    }
}
