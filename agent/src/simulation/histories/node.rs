//! A node to which things happen, with an agent that plans and applies step by step, and the checks of every step.

use super::{DIGESTS, SERVICES, SPECS};
use crate::apply::ApplyError;
use crate::desired::Desired;
use crate::history::memory::{Memory, RestartRequest, Run};
use crate::history::{Durable, History};
use crate::observed::ContainerState;
use crate::outcome::{self, Outcome};
use crate::plan::{Action, NODE, Plan, Step, images_of_interest, plan};
use crate::rules::Rules;
use crate::simulation::engine::engine_error;
use crate::simulation::samples::{answered, container, image, service};
use crate::simulation::{Behaviour, Trouble, World};
use crate::snapshot::{AskFailure, Candidate, EngineView, Observed, RulesView};
use jiff::Timestamp;
use std::collections::BTreeMap;
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
}

/// A node under test.
pub(super) struct Node {
    pub(super) world: World,
    pub(super) history: History,
    on_disk: Durable,
    disk_full: bool,
    specs: BTreeMap<&'static str, &'static str>,
    unwanted: Vec<&'static str>,
    pub(super) candidates: BTreeMap<String, Candidate>,
    watched_since: Timestamp,
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
            unwanted: Vec::new(),
            candidates: BTreeMap::new(),
        }
    }

    /// `worker` depends on `api`, which depends on `ollama`.
    pub(super) fn desired(&self) -> Desired {
        let mut services = Vec::new();
        for (index, name) in SERVICES.iter().enumerate().filter(|(_, name)| !self.unwanted.contains(name)) {
            let mut wanted = service(name, self.specs[name]);
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
            rules: RulesView::InForce(Rules::default()),
            connections: BTreeMap::new(),
            disk: None,
            store: Some(self.world.store()),
        };
        for (image, digest) in images_of_interest(&self.desired(), &observed, &self.history) {
            let key = image.pinned(&digest);
            observed.images.insert(key.clone(), self.world.image(&key));
        }
        observed
    }

    fn save(&mut self) {
        if !self.disk_full {
            self.on_disk = self.history.durable.clone();
        }
    }

    fn kill(&mut self) {
        self.history = History { durable: self.on_disk.clone(), memory: Memory::default() };
        self.watched_since = self.world.now;
    }

    /// Plans and applies. Returns the plan.
    pub(super) fn pass(&mut self, killed_after: Option<u8>) -> Plan {
        self.world.advance(self.world.now);
        let (desired, observed) = (self.desired(), self.observed());
        let plan = plan(&desired, &observed, &self.history, self.world.now);
        if outcome::remember(&mut self.history, &plan, &observed) {
            self.save();
        }
        let mut boundaries = killed_after;
        let steps: Vec<(String, Step)> = steps(&plan);
        assert!(self.world.up || steps.is_empty(), "steps while the engine is silent\n{}", self.story());
        for (name, step) in steps {
            if !self.take(&desired, &name, &step.action, &mut boundaries) {
                self.world.story.push(format!("{} killed", self.world.now));
                self.kill();
                break;
            }
        }
        plan
    }

    /// Carries one step out; `false` when the agent is killed on the way.
    fn take(&mut self, desired: &Desired, name: &str, action: &Action, boundaries: &mut Option<u8>) -> bool {
        if reached(boundaries) {
            return false;
        }
        self.check(name, action);
        let wanted = desired.service(name);
        if outcome::begun(&mut self.history, (name, wanted), action, self.world.now) {
            self.save();
        }
        if reached(boundaries) {
            return false;
        }
        let result = self.perform(name, action);
        if reached(boundaries) {
            return false;
        }
        match result {
            Ok(outcome) => {
                if outcome::done(&mut self.history, (name, wanted), action, outcome, self.world.now) {
                    self.save();
                }
            }
            Err(trouble) => {
                let source = engine_error(&trouble, name);
                let failure = ApplyError::Engine { service: name.to_owned(), source }.failure(self.world.now);
                outcome::failed(&mut self.history, name, action, failure);
            }
        }
        !reached(boundaries)
    }

    fn perform(&mut self, name: &str, action: &Action) -> Result<Outcome, Trouble> {
        match action {
            Action::Pull { digest } => self.world.pull(&image(name).pinned(digest))?,
            Action::Create { version, generation } => {
                let labels = (version.digest.as_str(), version.spec.as_str());
                self.world.create(container(name, *generation, labels, ContainerState::Created))?;
            }
            Action::Start { container_id, .. } => self.world.start(container_id)?,
            Action::Stop { container_id, .. } => self.world.stop(container_id)?,
            Action::Remove { container_id } => self.world.remove(container_id)?,
            Action::RemoveImage { name } => self.world.remove_image(name)?,
            Action::AskBefore { .. } | Action::AskAfter { .. } => {}
            Action::RecordGood { version } => {
                self.world.story.push(format!("{} {name} good {version:?}", self.world.now));
            }
            Action::Quarantine { version, cause, .. } => {
                self.world.story.push(format!("{} {name} bars {version:?}: {cause}", self.world.now));
            }
        }
        Ok(Outcome::Done)
    }

    /// What must hold of every single step.
    fn check(&self, name: &str, action: &Action) {
        let record = self.history.durable.record(name);
        let story = || format!("{action:?}\n{}", self.story());
        match action {
            Action::Start { container_id, version, .. } => {
                assert!(record.barred(version).is_none(), "a barred version is started: {}", story());
                let others =
                    self.world.running(name).iter().filter(|other| other.id != *container_id).count();
                assert_eq!(others, 0, "two run at once: {}", story());
            }
            Action::Create { version, generation } => {
                assert!(record.barred(version).is_none(), "a barred version is made: {}", story());
                let mut ours = self.world.containers.iter().filter(|container| container.service == name);
                assert!(
                    ours.all(|container| container.generation < *generation),
                    "old generation: {}",
                    story()
                );
                assert!(record.generation < *generation, "old generation: {}", story());
            }
            Action::Remove { container_id } => {
                let runs = self.world.running(name).iter().any(|container| container.id == *container_id);
                assert!(!runs, "a running container is removed: {}", story());
            }
            Action::Quarantine { version, .. } => {
                assert_ne!(record.good.as_ref(), Some(version), "the good version is barred: {}", story());
                assert!(record.good.is_some(), "barred with nothing to return to: {}", story());
            }
            _ => {}
        }
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
        }
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
        self.unwanted.clear();
        for name in SERVICES {
            self.candidates.entry(name.to_owned()).or_insert_with(|| answered(name, DIGESTS[0]));
        }
        for candidate in self.candidates.values_mut() {
            candidate.failure = None;
            let name = candidate.reference.repository.clone();
            candidate.answer = candidate.answer.take().or_else(|| answered(&name, DIGESTS[0]).answer);
        }
    }

    /// Passes until a plan is empty.
    pub(super) fn settle(&mut self) -> Plan {
        for _ in 0..400 {
            let plan = self.pass(None);
            if !steps(&plan).is_empty() {
                continue;
            }
            let next = [plan.wake_at, self.world.next_end()].into_iter().flatten().min();
            match next {
                None => return plan,
                Some(next) => self.world.advance(next),
            }
        }
        panic!("it never came to rest\n{}", self.story());
    }
}

fn reached(boundaries: &mut Option<u8>) -> bool {
    match boundaries {
        Some(0) => true,
        Some(left) => {
            *left -= 1;
            false
        }
        None => false,
    }
}

pub(super) fn steps(plan: &Plan) -> Vec<(String, Step)> {
    let services = plan.services.iter().flat_map(|planned| {
        planned.step.iter().chain(&planned.pull).map(|step| (planned.name.clone(), step.clone()))
    });
    let removals = plan.removals.iter();
    let images = plan.reclaim.step.iter().map(|step| (NODE.to_owned(), step.clone()));
    services
        .chain(images)
        .chain(
            removals
                .flat_map(|removal| removal.step.iter().map(|step| (removal.service.clone(), step.clone()))),
        )
        .collect()
}
