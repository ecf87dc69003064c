//! A node in memory for tests: an engine whose images behave as told, the verdicts of their gates, and a clock that is
//! wound by hand. [`World`] is the model; [`engine`] puts the seams of the loop before it; [`histories`] plans and
//! applies on it whatever chance brings.

pub(crate) mod engine;
pub(crate) mod firewall;
mod histories;
pub(crate) mod samples;

use crate::engine::{ImageFacts, LocalImage};
use crate::health::Verdict;
use crate::observed::{Container, ContainerState, Disk};
use crate::rules::{HostPort, Rules};
use crate::snapshot::ImageState;
use crate::status::HealthState;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How containers of an image behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// Passes from its start.
    Healthy,
    /// Runs, and its gate says no.
    Failing,
    /// Runs, and its gate has no answer.
    Silent,
    /// Ends with that code so many seconds after its start; passes until then.
    Ends { code: i64, after: u64 },
    /// The engine refuses to make it.
    CreateRefused,
    /// The engine refuses to start it.
    StartRefused,
    /// The registry refuses the pull.
    PullRefused,
}

/// After a deed of the agent clients of a service got no answer any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) service: String,
    /// Who answered before.
    pub(crate) before: Container,
    pub(crate) deed: String,
}

/// Why the model did not do it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// No answer.
    Unreachable,
    /// A definite no, with a code.
    Refused(&'static str),
}

/// It ran until then; its address is free again.
fn end(container: &mut Container, code: i64, at: Timestamp) {
    container.state = ContainerState::Exited { code, at, out_of_memory: false, error: None };
    (container.address, container.pid) = (None, None);
    container.ipv6_ports.clear();
}

/// The model of one node.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) now: Timestamp,
    pub(crate) up: bool,
    /// Questions to the registry are never answered.
    pub(crate) registry_hangs: bool,
    /// How often listening to its events broke off.
    pub(crate) breaks: u64,
    /// Ours.
    pub(crate) containers: Vec<Container>,
    /// Those of others; nothing may ever touch them.
    pub(crate) foreign: Vec<String>,
    /// Pinned images in the store.
    pub(crate) images: BTreeSet<String>,
    /// By digest; [`Behaviour::Healthy`] where nothing is said.
    pub(crate) behaviours: BTreeMap<String, Behaviour>,
    /// Our rules, as the kernel has them.
    pub(crate) rules: Rules,
    /// Its rules can be read and written.
    pub(crate) firewall_works: bool,
    /// Open connections, by container; none where nothing is said.
    pub(crate) clients: BTreeMap<String, u64>,
    /// Services and ports of which clients expect answers.
    pub(crate) watched: Vec<(String, HostPort)>,
    /// Deeds of the agent after which such a client no longer got one.
    pub(crate) gaps: Vec<Gap>,
    /// The exit status of every command inside a container.
    pub(crate) says: i64,
    /// Room for images.
    pub(crate) disk: Option<Disk>,
    /// Containers that somebody else had signalled.
    pub(crate) signalled: BTreeSet<String>,
    /// The next calls fail so.
    pub(crate) troubles: Vec<Trouble>,
    /// What was done, for the story of a failing test and for order.
    pub(crate) story: Vec<String>,
    made: u64,
}

impl World {
    pub(crate) fn new() -> World {
        World {
            now: samples::at(0),
            up: true,
            registry_hangs: false,
            breaks: 0,
            containers: Vec::new(),
            foreign: vec!["foreign-database".to_owned()],
            images: BTreeSet::new(),
            behaviours: BTreeMap::new(),
            rules: Rules::default(),
            firewall_works: true,
            clients: BTreeMap::new(),
            watched: Vec::new(),
            gaps: Vec::new(),
            says: 0,
            disk: None,
            signalled: BTreeSet::new(),
            troubles: Vec::new(),
            story: Vec::new(),
            made: 0,
        }
    }

    pub(crate) fn behaviour(&self, digest: &str) -> Behaviour {
        self.behaviours.get(digest).copied().unwrap_or(Behaviour::Healthy)
    }

    /// Moves the clock, and lets containers end that end by themselves.
    pub(crate) fn advance(&mut self, to: Timestamp) {
        self.now = self.now.max(to);
        for container in &mut self.containers {
            let ContainerState::Running { started_at } = container.state else { continue };
            let Some(Behaviour::Ends { code, after }) = self.behaviours.get(&container.digest).copied()
            else {
                continue;
            };
            let at = started_at + Duration::from_secs(after);
            if at <= self.now {
                end(container, code, at);
                self.story.push(format!("{} {} ended", at, container.name));
            }
        }
    }

    /// When the next container ends by itself.
    pub(crate) fn next_end(&self) -> Option<Timestamp> {
        let ends = self.containers.iter().filter_map(|container| {
            let ContainerState::Running { started_at } = container.state else { return None };
            match self.behaviour(&container.digest) {
                Behaviour::Ends { after, .. } => Some(started_at + Duration::from_secs(after)),
                _ => None,
            }
        });
        ends.min()
    }

    pub(crate) fn verdicts(&self) -> BTreeMap<String, Verdict> {
        let running = self.containers.iter().filter_map(|container| match container.state {
            ContainerState::Running { started_at } => Some((container, started_at)),
            _ => None,
        });
        running
            .map(|(container, since)| {
                let state = match self.behaviour(&container.digest) {
                    Behaviour::Failing => HealthState::Failing,
                    Behaviour::Silent => HealthState::Unknown,
                    _ => HealthState::Passing,
                };
                (container.id.clone(), Verdict { state, since, detail: "GET /health".to_owned() })
            })
            .collect()
    }

    pub(crate) fn image(&self, pinned: &str) -> ImageState {
        match self.images.contains(pinned) {
            true => ImageState::Present(ImageFacts { has_healthcheck: false }),
            false => ImageState::Absent,
        }
    }

    /// The store, as the engine lists it.
    pub(crate) fn store(&self) -> Vec<LocalImage> {
        let images = self.images.iter().map(|pinned| LocalImage {
            id: format!("id of {pinned}"),
            names: vec![pinned.clone()],
            size_bytes: 1_000_000,
            created_at: samples::at(0),
            in_use: self.containers.iter().any(|container| pinned.ends_with(&container.digest)),
        });
        images.collect()
    }

    /// An image goes; whether somebody uses it, the engine knows itself.
    pub(crate) fn remove_image(&mut self, name: &str) -> Result<(), Trouble> {
        self.trouble(&format!("remove {name}"))?;
        if self.store().iter().any(|local| local.in_use && local.names.iter().any(|other| other == name)) {
            return Err(Trouble::Refused("image_in_use"));
        }
        self.images.remove(name);
        self.story.push(format!("{} remove {name}", self.now));
        Ok(())
    }

    fn trouble(&mut self, what: &str) -> Result<(), Trouble> {
        if !self.up {
            return Err(Trouble::Unreachable);
        }
        match self.troubles.pop() {
            None => Ok(()),
            Some(trouble) => {
                self.story.push(format!("{} {what}: {trouble:?}", self.now));
                Err(trouble)
            }
        }
    }

    pub(crate) fn pull(&mut self, pinned: &str) -> Result<(), Trouble> {
        self.trouble(&format!("pull {pinned}"))?;
        let digest = pinned.rsplit_once('@').map_or(pinned, |(_, digest)| digest).to_owned();
        self.story.push(format!("{} pull {digest}", self.now));
        if self.behaviour(&digest) == Behaviour::PullRefused {
            return Err(Trouble::Refused("pull_refused"));
        }
        self.images.insert(pinned.to_owned());
        Ok(())
    }

    /// Makes a container with these labels.
    pub(crate) fn create(&mut self, mut container: Container) -> Result<String, Trouble> {
        self.trouble(&format!("create {}", container.name))?;
        self.story.push(format!("{} create {} of {}", self.now, container.name, container.digest));
        if self.behaviour(&container.digest) == Behaviour::CreateRefused {
            return Err(Trouble::Refused("engine_refused"));
        }
        if let Some(same) = self.containers.iter().find(|other| other.name == container.name) {
            return Ok(same.id.clone());
        }
        self.made += 1;
        container.id = format!("id-{}-{}", self.made, container.name);
        container.state = ContainerState::Created;
        container.created_at = self.now;
        let id = container.id.clone();
        self.containers.push(container);
        Ok(id)
    }

    pub(crate) fn start(&mut self, id: &str) -> Result<(), Trouble> {
        self.trouble(&format!("start {id}"))?;
        self.signalled.remove(id);
        let now = self.now;
        let taken = self.published_by_another(id);
        let address = self.free_address();
        let digest = self.find(id)?.digest.clone();
        let refused = taken || self.behaviour(&digest) == Behaviour::StartRefused;
        let container = self.find(id)?;
        if matches!(container.state, ContainerState::Running { .. }) {
            return Ok(());
        }
        let story = format!("{now} start {} of {}", container.name, container.digest);
        if !refused {
            firewall::run(container, address, now);
        }
        self.story.push(story);
        self.advance(now);
        if refused { Err(Trouble::Refused("port_in_use")) } else { Ok(()) }
    }

    pub(crate) fn stop(&mut self, id: &str) -> Result<(), Trouble> {
        self.trouble(&format!("stop {id}"))?;
        let (now, before) = (self.now, self.answering());
        let container = self.find(id)?;
        let story = format!("{now} stop {}", container.name);
        if matches!(container.state, ContainerState::Running { .. }) {
            end(container, 143, now);
        }
        self.note_gaps(before, &story);
        self.story.push(story);
        Ok(())
    }

    pub(crate) fn remove(&mut self, id: &str) -> Result<(), Trouble> {
        self.trouble(&format!("remove {id}"))?;
        self.containers.retain(|container| container.id != id);
        self.story.push(format!("{} remove {id}", self.now));
        Ok(())
    }

    /// A container ends, whatever its image.
    pub(crate) fn crash(&mut self, service: &str, code: i64) {
        let now = self.now;
        let running = |container: &&mut Container| {
            container.service == service && matches!(container.state, ContainerState::Running { .. })
        };
        for container in self.containers.iter_mut().filter(running) {
            end(container, code, now);
        }
        self.story.push(format!("{now} {service} crashes"));
    }

    /// Somebody else stops its containers.
    pub(crate) fn signal(&mut self, service: &str) {
        let ids: Vec<_> = self.running(service).into_iter().map(|container| container.id.clone()).collect();
        self.signalled.extend(ids);
        self.crash(service, 0);
    }

    /// The node goes down hard and comes up again.
    pub(crate) fn reboot(&mut self) {
        let now = self.now;
        for container in &mut self.containers {
            if matches!(container.state, ContainerState::Running { .. }) {
                end(container, 255, now);
            }
        }
        self.rules = Rules::default();
        self.story.push(format!("{now} reboot"));
    }

    pub(crate) fn running(&self, service: &str) -> Vec<&Container> {
        let running = |container: &&Container| {
            container.service == service && matches!(container.state, ContainerState::Running { .. })
        };
        self.containers.iter().filter(running).collect()
    }

    fn find(&mut self, id: &str) -> Result<&mut Container, Trouble> {
        let found = self.containers.iter_mut().find(|container| container.id == id);
        found.ok_or(Trouble::Refused("engine_refused"))
    }
}
