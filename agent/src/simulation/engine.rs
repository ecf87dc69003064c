//! The seams of the loop before a [`World`]: engine, registry and gates in tokio's (paused) time.

use super::firewall::BRIDGE;
use super::{Trouble, World, samples};
use crate::bell::Bell;
use crate::clock::Clock;
use crate::engine::{ContainerSpec, Engine, EngineError, ExecOutcome, ImageFacts, LocalImage, PullProgress};
use crate::firewall::{Firewall, FirewallError};
use crate::health::Verdict;
use crate::observed::{Container, ContainerState, Disk};
use crate::reconcile::Gates;
use crate::registry::{Login, Registry, RegistryError, Resolved};
use crate::rules::Rules;
use crate::snapshot::ImageState;
use jiff::Timestamp;
use node::config::settings::{self, ImageReference, ImageVersion, Network, Strategy};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;

/// The engine's words for a trouble of the model.
pub(crate) fn engine_error(trouble: &Trouble, operation: &str) -> EngineError {
    match trouble {
        Trouble::Unreachable => EngineError::Unreachable {
            endpoint: "/var/run/docker.sock".to_owned(),
            operation: operation.to_owned(),
            source: None,
        },
        Trouble::Refused(code) => EngineError::Refused {
            operation: operation.to_owned(),
            code,
            message: code.replace('_', " "),
            hint: None,
        },
    }
}

/// A world that lives in tokio's time; clones share it.
#[derive(Clone)]
pub(crate) struct Simulated {
    world: Arc<Mutex<World>>,
    registry: Arc<Mutex<BTreeMap<String, String>>>,
    began: Instant,
    /// How long a pull takes.
    pub(crate) pull_takes: Duration,
    events: Bell,
    gates: Bell,
    rules: Bell,
}

impl Simulated {
    /// Empty, from now on.
    pub(crate) fn new() -> Simulated {
        Simulated {
            world: Arc::new(Mutex::new(World::new())),
            registry: Arc::default(),
            began: Instant::now(),
            pull_takes: Duration::from_secs(2),
            events: Bell::default(),
            gates: Bell::default(),
            rules: Bell::default(),
        }
    }

    /// The time of the world.
    pub(crate) fn now(&self) -> Timestamp {
        samples::at(0) + self.began.elapsed()
    }

    pub(crate) fn clock(&self) -> Clock {
        let own = self.clone();
        Arc::new(move || own.now())
    }

    /// The world as it is now.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        let mut world = self.world.lock().unwrap();
        world.advance(self.now());
        world
    }

    /// Changes the world and tells of it.
    pub(crate) fn change(&self, change: impl FnOnce(&mut World)) {
        change(&mut self.world());
        self.rules.ring();
        self.events.ring();
        self.gates.ring();
    }

    /// What `name` (for `name:latest`) or `name:tag` names; without a `latest` the registry does not answer.
    pub(crate) fn push(&self, name: &str, digest: Option<&str>) {
        let mut registry = self.registry.lock().unwrap();
        match digest {
            Some(digest) => drop(registry.insert(name.to_owned(), digest.to_owned())),
            None => drop(registry.remove(name)),
        }
    }

    fn done<T>(&self, operation: &str, result: Result<T, Trouble>) -> Result<T, EngineError> {
        self.events.ring();
        self.gates.ring();
        if let Some(end) = self.world().next_end() {
            let (own, wait) = (self.clone(), Duration::try_from(end.duration_since(self.now())));
            tokio::spawn(async move {
                tokio::time::sleep(wait.unwrap_or_default() + Duration::from_millis(1)).await;
                own.events.ring();
            });
        }
        result.map_err(|trouble| engine_error(&trouble, operation))
    }
}

impl Engine for Simulated {
    async fn containers(&self) -> Result<Vec<Container>, EngineError> {
        let world = self.world();
        match world.up {
            true => Ok(world.containers.clone()),
            false => Err(engine_error(&Trouble::Unreachable, "list containers")),
        }
    }

    async fn image(&self, image: &ImageReference, digest: &str) -> Result<Option<ImageFacts>, EngineError> {
        Ok(match self.world().image(&image.pinned(digest)) {
            ImageState::Present(facts) => Some(facts),
            ImageState::Absent => None,
        })
    }

    async fn pull(
        &self,
        image: &ImageReference,
        digest: &str,
        _login: Option<Login>,
        progress: &(dyn Fn(PullProgress) + Send + Sync),
    ) -> Result<(), EngineError> {
        progress(PullProgress { current_bytes: 1_000_000, total_bytes: 2_000_000 });
        tokio::time::sleep(self.pull_takes).await;
        let result = self.world().pull(&image.pinned(digest));
        self.done("pull", result)
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<String, EngineError> {
        let labels = (spec.digest.as_str(), spec.spec_hash.as_str());
        let mut made = samples::container(&spec.service, spec.generation, labels, ContainerState::Created);
        if spec.settings.update.strategy == Strategy::BlueGreen {
            made.routed_ports.clone_from(&spec.settings.ports);
        }
        let result = self.world().create(made);
        self.done("create", result)
    }

    async fn start(&self, container_id: &str) -> Result<(), EngineError> {
        let result = self.world().start(container_id);
        self.done("start", result)
    }

    async fn disk(&self) -> Result<Option<Disk>, EngineError> {
        Ok(self.world().disk)
    }

    async fn bridges(&self) -> Result<BTreeSet<(Ipv4Addr, u8)>, EngineError> {
        Ok(BTreeSet::from([BRIDGE]))
    }

    async fn images(&self) -> Result<Vec<LocalImage>, EngineError> {
        Ok(self.world().store())
    }

    async fn remove_image(&self, name: &str) -> Result<(), EngineError> {
        let result = self.world().remove_image(name);
        self.done("remove an image", result)
    }

    async fn stop(&self, container_id: &str, _timeout: Duration) -> Result<(), EngineError> {
        let result = self.world().stop(container_id);
        self.done("stop", result)
    }

    async fn remove(&self, container_id: &str) -> Result<(), EngineError> {
        let result = self.world().remove(container_id);
        self.done("remove", result)
    }

    async fn last_log_lines(&self, container_id: &str, _count: usize) -> Result<Vec<String>, EngineError> {
        Ok(vec![format!("last words of {container_id}")])
    }

    async fn exec(
        &self,
        _container_id: &str,
        _command: &[String],
        _timeout: Duration,
    ) -> Result<ExecOutcome, EngineError> {
        Ok(ExecOutcome { code: self.world().says, output: "so it is".to_owned() })
    }

    async fn changed(&self) {
        self.events.heard().await;
    }

    fn signalled(&self) -> BTreeSet<String> {
        self.world().signalled.clone()
    }

    fn breaks(&self) -> u64 {
        self.world().breaks
    }
}

impl Firewall for Simulated {
    async fn rules(&self) -> Result<Rules, FirewallError> {
        let world = self.world();
        if world.firewall_works { Ok(world.rules.clone()) } else { Err(firewall_error("read the rules")) }
    }

    async fn replace(&self, rules: &Rules) -> Result<(), FirewallError> {
        let done = self.world().replace_rules(rules);
        self.rules.ring();
        if done { Ok(()) } else { Err(firewall_error("replace the rules")) }
    }

    async fn changed(&self) {
        self.rules.heard().await;
    }

    async fn connections(&self, pid: u32, _ports: &[u16]) -> Option<u64> {
        let world = self.world();
        let found = world.containers.iter().find(|container| container.pid == Some(pid))?;
        Some(world.clients.get(&found.id).copied().unwrap_or(0))
    }

    async fn let_closed_go(&self, container: Ipv4Addr) {
        let mut world = self.world();
        let story = format!("{} forget connections to {container} that are over", world.now);
        world.story.push(story);
    }
}

fn firewall_error(operation: &str) -> FirewallError {
    FirewallError {
        operation: operation.to_owned(),
        message: "permission denied".to_owned(),
        hint: Some("look at the unit".to_owned()),
    }
}

impl Registry for Simulated {
    async fn resolve(&self, image: &ImageReference) -> Result<Resolved, RegistryError> {
        if self.world().registry_hangs {
            std::future::pending::<()>().await;
        }
        let registry = self.registry.lock().unwrap();
        let error = |code, message| Err(RegistryError { code, message, hint: Some("look at it".to_owned()) });
        if !registry.contains_key(&image.repository) {
            return error("registry_unreachable", format!("{} does not answer", image.registry));
        }
        let named = match &image.version {
            ImageVersion::Tag(tag) if tag == "latest" => registry.get(&image.repository),
            ImageVersion::Tag(tag) => registry.get(&format!("{}:{tag}", image.repository)),
            ImageVersion::Digest(digest) => registry.values().find(|there| *there == digest),
        };
        match named {
            Some(digest) => Ok(Resolved { digest: digest.clone(), pushed_at: None, size_bytes: None }),
            None => error("image_not_found", format!("{image} is not in the registry")),
        }
    }

    async fn login(&self, _image: &ImageReference) -> Result<Option<Login>, RegistryError> {
        Ok(None)
    }
}

impl Gates for Simulated {
    fn watch(&self, _containers: &[(Container, settings::Health, Network)]) {}

    fn verdicts(&self) -> BTreeMap<String, Verdict> {
        self.world().verdicts()
    }

    async fn changed(&self) {
        self.gates.heard().await;
    }
}
