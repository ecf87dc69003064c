//! A node to which things happen: what is wanted, what is seen, and the events.

use super::{DIGESTS, SERVICES, SPECS};
use crate::desired::Desired;
use crate::history::memory::{Memory, RestartRequest, Run};
use crate::history::{Durable, History};
use crate::observed::ContainerState;
use crate::plan::images_of_interest;
use crate::rules::{HostPort, Rules};
use crate::simulation::firewall::BRIDGE;
use crate::simulation::samples::{answered, image, service};
use crate::simulation::{Behaviour, Trouble, World};
use crate::snapshot::{AskFailure, Candidate, EngineView, Observed, RulesView};
use jiff::Timestamp;
use node::config::settings::{Port, Protocol, Strategy};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Something that happens.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// A pass, cut off after so many boundaries (before, between and after a step's note, deed and result) by a kill.
    Pass {
        killed_after: Option<u8>,
    },
    Named(usize, usize),
    RegistryDown(usize),
    Respecified(usize, usize),
    Crash(usize),
    EngineDown,
    EngineUp,
    Killed,
    Reboot,
    Trouble(Option<&'static str>),
    Later(u64),
    ClockSetBack(u64),
    Unwanted(usize),
    Wanted(usize),
    RestartAsked(usize),
    ImagesPruned,
    ContainerRemovedByHand(usize),
    HistoryLost,
    DiskFull(bool),
    Strategy(usize, bool),
    ClockSetForward(u64),
    FirewallFails(bool),
    FirewallFlushed,
    Clients(usize, u64),
    Stopped(usize, bool),
}

/// A node under test.
pub(super) struct Node {
    pub(super) world: World,
    pub(super) history: History,
    on_disk: Durable,
    disk_full: bool,
    specs: BTreeMap<&'static str, &'static str>,
    /// Services that are updated blue-green.
    beside: BTreeSet<&'static str>,
    unwanted: Vec<&'static str>,
    pub(super) candidates: BTreeMap<String, Candidate>,
    watched_since: Timestamp,
    /// The rules were replaced in the last pass.
    pub(super) rerouted: bool,
}

impl Node {
    pub(super) fn new(behaviours: &[Behaviour]) -> Node {
        let mut world = World::new();
        let behaviours = DIGESTS.iter().zip(behaviours);
        world.behaviours = behaviours.map(|(digest, behaviour)| ((*digest).to_owned(), *behaviour)).collect();
        Node {
            watched_since: world.now,
            world,
            history: History::default(),
            on_disk: Durable::default(),
            disk_full: false,
            specs: SERVICES.iter().map(|name| (*name, "s1")).collect(),
            beside: BTreeSet::new(),
            rerouted: false,
            unwanted: Vec::new(),
            candidates: BTreeMap::new(),
        }
    }

    /// `worker` depends on `api`, which depends on `ollama`.
    pub(super) fn desired(&self) -> Desired {
        let mut services = Vec::new();
        for (index, name) in SERVICES.iter().enumerate().filter(|(_, name)| !self.unwanted.contains(name)) {
            let beside = self.beside.contains(name);
            let mut wanted = service(name, &spec_of(self.specs[name], beside));
            wanted.settings.ports = vec![port_of(index)];
            wanted.settings.update.drain = Duration::from_secs(5);
            if beside {
                wanted.settings.update.strategy = Strategy::BlueGreen;
            }
            wanted.settings.depends_on = SERVICES[..index]
                .last()
                .filter(|dependency| !self.unwanted.contains(dependency))
                .map(|dependency| (*dependency).to_owned())
                .into_iter()
                .collect();
            services.push(wanted);
        }
        Desired { services, ..Desired::default() }
    }

    pub(super) fn observed(&self) -> Observed {
        let containers = self.world.containers.clone();
        let engine = match self.world.up {
            true => EngineView::Up { since: self.watched_since, containers },
            false => EngineView::Down {
                since: self.world.now,
                message: "the engine does not answer".to_owned(),
                hint: None,
                last_known: containers,
            },
        };
        let mut observed = Observed {
            engine,
            candidates: self.candidates.clone(),
            verdicts: self.world.verdicts(),
            images: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            bridges: BTreeSet::from([BRIDGE]),
            rules: match self.world.firewall_works {
                true => RulesView::InForce(self.world.rules.clone()),
                false => RulesView::Unknown,
            },
            connections: self.connections(),
            disk: None,
            store: Some(self.world.store()),
        };
        for (image, digest) in images_of_interest(&self.desired(), &observed, &self.history) {
            let key = image.pinned(&digest);
            observed.images.insert(key.clone(), self.world.image(&key));
        }
        observed
    }

    /// Of the containers that drain.
    fn connections(&self) -> BTreeMap<String, u64> {
        let draining = self.history.memory.services.values().flat_map(|memory| memory.draining.keys());
        draining.map(|id| (id.clone(), self.world.clients.get(id).copied().unwrap_or(0))).collect()
    }

    pub(super) fn save(&mut self) {
        if !self.disk_full {
            self.on_disk = self.history.durable.clone();
        }
    }

    pub(super) fn kill(&mut self) {
        self.history = History { durable: self.on_disk.clone(), memory: Memory::default() };
        self.watched_since = self.world.now;
    }

    pub(super) fn story(&self) -> String {
        let containers = self.world.containers.iter().map(|container| {
            format!("{} {} {} {:?}", container.name, container.digest, container.spec, container.state)
        });
        let containers = containers.collect::<Vec<_>>().join("\n");
        format!(
            "story:\n{}\ncontainers:\n{containers}\nhistory: {:#?}\nbehaviours: {:?}\ncandidates: {:#?}",
            self.world.story.join("\n"),
            self.history,
            self.world.behaviours,
            self.candidates
        )
    }

    pub(super) fn happen(&mut self, event: &Event) {
        self.world.story.push(format!("{} -- {event:?}", self.world.now));
        match event {
            Event::Pass { killed_after } => drop(self.pass(*killed_after)),
            Event::Named(which, digest) => {
                let name = SERVICES[*which];
                self.candidates.insert(name.to_owned(), answered(name, DIGESTS[*digest]));
            }
            Event::RegistryDown(which) => self.registry_down(SERVICES[*which]),
            Event::Respecified(which, spec) => drop(self.specs.insert(SERVICES[*which], SPECS[*spec])),
            Event::Crash(which) => self.world.crash(SERVICES[*which], 1),
            Event::EngineDown => self.world.up = false,
            Event::EngineUp => self.engine_up(),
            Event::Killed => self.kill(),
            Event::Reboot => {
                self.world.reboot();
                self.kill();
            }
            Event::Trouble(code) => {
                self.world.troubles.push(code.map_or(Trouble::Unreachable, Trouble::Refused));
            }
            Event::Later(seconds) => self.world.advance(self.world.now + Duration::from_secs(*seconds)),
            Event::ClockSetBack(seconds) => {
                self.world.now -= Duration::from_secs(*seconds);
                self.watched_since = self.world.now;
            }
            Event::Unwanted(which) => self.unwanted.push(SERVICES[*which]),
            Event::Wanted(which) => self.unwanted.retain(|name| *name != SERVICES[*which]),
            Event::RestartAsked(which) => self.ask_restart(SERVICES[*which]),
            Event::ImagesPruned => self.world.images.clear(),
            Event::ContainerRemovedByHand(which) => {
                if !self.world.containers.is_empty() {
                    self.world.containers.remove(which % self.world.containers.len());
                }
            }
            Event::HistoryLost => {
                self.on_disk = Durable::default();
                self.kill();
            }
            Event::DiskFull(full) => self.disk_full = *full,
            Event::Strategy(which, beside) => {
                self.beside.remove(SERVICES[*which]);
                self.beside.extend(beside.then_some(SERVICES[*which]));
            }
            Event::ClockSetForward(seconds) => self.world.now += Duration::from_secs(*seconds),
            Event::FirewallFails(fails) => self.world.firewall_works = !fails,
            Event::FirewallFlushed => self.world.rules = Rules::default(),
            Event::Clients(which, count) => self.connect(SERVICES[*which], *count),
            Event::Stopped(which, stopped) => self.stopped(SERVICES[*which], *stopped),
        }
    }

    fn stopped(&mut self, name: &str, stopped: bool) {
        let now = self.world.now;
        self.history.durable.record_mut(name).stopped_since = stopped.then_some(now);
        self.save();
    }

    fn connect(&mut self, name: &str, count: u64) {
        let running: Vec<_> = self.world.running(name).iter().map(|container| container.id.clone()).collect();
        self.world.clients.extend(running.into_iter().map(|id| (id, count)));
    }

    fn registry_down(&mut self, name: &str) {
        let failure = AskFailure {
            code: "registry_unreachable".to_owned(),
            message: "no answer".to_owned(),
            hint: None,
            since: self.world.now,
        };
        let before = self.candidates.remove(name);
        let answer = before.and_then(|before| before.answer);
        let candidate = Candidate { reference: image(name), answer, failure: Some(failure) };
        self.candidates.insert(name.to_owned(), candidate);
    }

    fn engine_up(&mut self) {
        if !self.world.up {
            self.world.up = true;
            self.watched_since = self.world.now;
        }
    }

    fn ask_restart(&mut self, name: &str) {
        let running = self.world.running(name).first().and_then(|container| match container.state {
            ContainerState::Running { started_at } => {
                Some(Run { container_id: container.id.clone(), started_at })
            }
            _ => None,
        });
        self.history.memory.service_mut(name).restart = Some(RestartRequest { instead_of: running });
    }

    /// Everything works from now on.
    pub(super) fn heal(&mut self) {
        self.world.story.push(format!("{} -- all is well from here", self.world.now));
        self.engine_up();
        self.world.troubles.clear();
        self.world.behaviours.clear();
        self.disk_full = false;
        self.world.firewall_works = true;
        self.unwanted.clear();
        for name in SERVICES {
            self.stopped(name, false);
            self.candidates.entry(name.to_owned()).or_insert_with(|| answered(name, DIGESTS[0]));
        }
        for candidate in self.candidates.values_mut() {
            candidate.failure = None;
            let name = candidate.reference.repository.clone();
            candidate.answer = candidate.answer.take().or_else(|| answered(&name, DIGESTS[0]).answer);
        }
    }
}

/// The strategy is part of what a container is made of.
pub(super) fn spec_of(spec: &str, beside: bool) -> String {
    format!("{spec}{}", if beside { "-beside" } else { "" })
}

/// Each service has a port of its own.
pub(super) fn port_of(index: usize) -> Port {
    Port { host: host_port(index).number, container: 8000, protocol: Protocol::Tcp }
}

pub(super) fn host_port(index: usize) -> HostPort {
    HostPort { protocol: Protocol::Tcp, number: 80 + u16::try_from(index).unwrap() }
}
