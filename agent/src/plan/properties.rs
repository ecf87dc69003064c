//! Random histories of a node, planned and applied step by step on the model: whatever happened, it converges.

use super::{Action, Plan, Step, images_of_interest, plan};
use crate::apply::ApplyError;
use crate::desired::Desired;
use crate::history::memory::{Memory, RestartRequest};
use crate::history::{Durable, History, Version};
use crate::observed::snapshot::{AskFailure, Candidate, EngineView, Observed};
use crate::observed::{Container, ContainerState};
use crate::outcome::{self, Outcome};
use crate::simulation::engine::engine_error;
use crate::simulation::samples::{answered, at, container, exited, image, service};
use crate::simulation::{Behaviour, Trouble, World};
use jiff::Timestamp;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use std::collections::BTreeMap;
use std::time::Duration;

const CASES: u32 = 3000;
const SEED: u8 = 1;
const SERVICES: [&str; 3] = ["ollama", "api", "worker"];
const DIGESTS: [&str; 5] = ["sha256:a", "sha256:b", "sha256:c", "sha256:d", "sha256:e"];
const SPECS: [&str; 3] = ["s1", "s2", "s3"];

/// Something that happens.
#[derive(Debug, Clone)]
enum Event {
    /// A pass, cut off after so many boundaries (before, between and after a step's note, deed and result) by a kill.
    Pass { killed_after: Option<u8> },
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
struct Node {
    world: World,
    history: History,
    on_disk: Durable,
    disk_full: bool,
    specs: BTreeMap<&'static str, &'static str>,
    unwanted: Vec<&'static str>,
    candidates: BTreeMap<String, Candidate>,
    watched_since: Timestamp,
}

impl Node {
    fn new(behaviours: &[Behaviour]) -> Node {
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
    fn desired(&self) -> Desired {
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
        Desired { services }
    }

    fn observed(&self) -> Observed {
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
    fn pass(&mut self, killed_after: Option<u8>) -> Plan {
        self.world.advance(self.world.now);
        let (desired, observed) = (self.desired(), self.observed());
        let plan = plan(&desired, &observed, &self.history, self.world.now);
        outcome::remember(&mut self.history, &plan, &observed);
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
        if outcome::begun(&mut self.history, name, wanted, action) {
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
                let source = engine_error(trouble, name);
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
                let others = self.world.running(name).iter().filter(|other| other.id != *container_id).count();
                assert_eq!(others, 0, "two run at once: {}", story());
            }
            Action::Create { version, generation } => {
                assert!(record.barred(version).is_none(), "a barred version is made: {}", story());
                let mut ours = self.world.containers.iter().filter(|container| container.service == name);
                assert!(ours.all(|container| container.generation < *generation), "old generation: {}", story());
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

    fn story(&self) -> String {
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

    fn happen(&mut self, event: &Event) {
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
        let running = self.world.running(name).first().copied().and_then(super::view::run_of);
        self.history.memory.service_mut(name).restart = Some(RestartRequest { instead_of: running });
    }

    /// Everything works from now on.
    fn heal(&mut self) {
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
    fn settle(&mut self) -> Plan {
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

fn steps(plan: &Plan) -> Vec<(String, Step)> {
    let services = plan.services.iter().flat_map(|planned| {
        planned.step.iter().chain(&planned.pull).map(|step| (planned.name.clone(), step.clone()))
    });
    let removals = plan.removals.iter();
    services.chain(removals.flat_map(|removal| removal.step.iter().map(|step| (removal.service.clone(), step.clone())))).collect()
}

fn behaviours() -> impl Strategy<Value = Vec<Behaviour>> {
    let any = prop_oneof![
        3 => Just(Behaviour::Healthy),
        1 => Just(Behaviour::Failing),
        1 => Just(Behaviour::Silent),
        1 => Just(Behaviour::Ends { code: 1, after: 0 }),
        1 => Just(Behaviour::Ends { code: 137, after: 15 }),
        1 => Just(Behaviour::CreateRefused),
        1 => Just(Behaviour::StartRefused),
        1 => Just(Behaviour::PullRefused),
    ];
    prop::collection::vec(any, DIGESTS.len())
}

fn event() -> impl Strategy<Value = Event> {
    let which = || 0..SERVICES.len();
    prop_oneof![
        12 => prop::option::weighted(0.3, 0_u8..12).prop_map(|killed_after| Event::Pass { killed_after }),
        3 => (which(), 0..DIGESTS.len()).prop_map(|(which, digest)| Event::Named(which, digest)),
        1 => which().prop_map(Event::RegistryDown),
        1 => (which(), 0..SPECS.len()).prop_map(|(which, spec)| Event::Respecified(which, spec)),
        1 => which().prop_map(Event::Crash),
        1 => Just(Event::EngineDown),
        2 => Just(Event::EngineUp),
        1 => Just(Event::Killed),
        1 => Just(Event::Reboot),
        1 => Just(Event::Trouble(None)),
        1 => prop_oneof![Just("engine_refused"), Just("disk_full"), Just("port_in_use")]
            .prop_map(|code| Event::Trouble(Some(code))),
        5 => (0_u64..700).prop_map(Event::Later),
        1 => (0_u64..5000).prop_map(Event::ClockSetBack),
        1 => which().prop_map(Event::Unwanted),
        1 => which().prop_map(Event::Wanted),
        1 => which().prop_map(Event::RestartAsked),
        1 => Just(Event::ImagesPruned),
        1 => (0_usize..8).prop_map(Event::ContainerRemovedByHand),
        1 => Just(Event::HistoryLost),
        1 => any::<bool>().prop_map(Event::DiskFull),
    ]
}

/// Containers that some earlier agent may have left, in any state.
fn left_behind() -> impl Strategy<Value = Vec<Container>> {
    let state = prop_oneof![
        Just(ContainerState::Created),
        (0_i64..100).prop_map(|since| ContainerState::Running { started_at: at(-since) }),
        (0_i64..2, 0_i64..100).prop_map(|(code, when)| exited(code, -when)),
        Just(ContainerState::Other("dead".to_owned())),
    ];
    let one = (0..SERVICES.len(), 0..DIGESTS.len(), 0..SPECS.len(), state);
    prop::collection::vec(one, 0..6).prop_map(|all| {
        let numbered = all.into_iter().zip(1_u64..);
        let made = numbered.map(|((which, digest, spec, state), generation)| {
            container(SERVICES[which], generation, (DIGESTS[digest], SPECS[spec]), state)
        });
        made.collect()
    })
}

/// The node at rest: one container per service, the one that should run, running, and nothing left over.
fn check_rest(node: &Node, plan: &Plan) {
    assert!(plan.removals.is_empty(), "removals at rest\n{}", node.story());
    for wanted in node.desired().services {
        let name = wanted.name.as_str();
        let going = |container: &&Container| matches!(container.state, ContainerState::Other(_));
        let ours = node.world.containers.iter().filter(|container| container.service == name);
        let ours: Vec<_> = ours.filter(|container| !going(container)).collect();
        let planned = plan.services.iter().find(|planned| planned.name == name).unwrap();
        if planned.problems.iter().any(|problem| problem.code == "update_failed") {
            // What failed is never tried again, even where the way back was lost: only by hand, or with its spec.
            // Each service depends on the one before it, so that those after it wait.
            assert_eq!(node.world.running(name).len(), 0, "{name} runs what failed\n{}", node.story());
            return;
        }
        assert_eq!(ours.len(), 1, "{name} has containers left over\n{}", node.story());
        assert_eq!(node.world.running(name).len(), 1, "{name} does not run\n{}", node.story());
        let record = node.history.durable.record(name);
        let named = node.candidates[name].answer.as_ref().map(|answer| answer.digest.clone()).unwrap();
        let version = Version { digest: named, spec: wanted.spec_hash.clone() };
        let runs = super::view::version_of(ours[0]);
        let expected = record.barred(&version).is_none();
        assert_eq!(record.good.as_ref(), Some(&runs), "{name} runs what is not good\n{}", node.story());
        assert_eq!(runs == version, expected, "{name} runs {runs:?}\n{}", node.story());
    }
    assert_eq!(node.world.foreign, World::new().foreign, "foreign containers were touched");
}

#[test]
fn any_history_converges_once_all_is_well_and_the_next_plan_is_empty() {
    println!("{CASES} random histories of up to 60 events, seed {SEED}");
    let config = ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() };
    let histories = (behaviours(), left_behind(), prop::collection::vec(event(), 0..60));
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[SEED; 32]));
    let result = runner.run(&histories, |(behaviours, left_behind, events)| {
        let mut node = Node::new(&behaviours);
        node.world.containers = left_behind;
        for event in &events {
            node.happen(event);
        }
        node.heal();
        let rest = node.settle();
        check_rest(&node, &rest);
        prop_assert!(rest.wake_at.is_none());
        let again = node.pass(None);
        prop_assert!(steps(&again).is_empty(), "the plan after rest is not empty");
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

#[test]
fn killed_at_every_boundary_of_an_update_it_goes_on_and_ends_the_same() {
    let mut cases = 0;
    for bad in [Behaviour::Healthy, Behaviour::Failing, Behaviour::Ends { code: 1, after: 3 }, Behaviour::StartRefused] {
        for boundary in 0..60 {
            cases += 1;
            killed_in_an_update(bad, boundary);
        }
    }
    println!("{cases} kills");
}

/// From `sha256:a` to `sha256:b`, killed once after so many boundaries.
fn killed_in_an_update(behaviour: Behaviour, boundary: u32) {
    let mut node = Node::new(&[Behaviour::Healthy, behaviour]);
    for which in 0..SERVICES.len() {
        node.happen(&Event::Named(which, 0));
    }
    let _ = node.settle();
    node.happen(&Event::Named(1, 1));
    let mut left = boundary;
    for _ in 0..40 {
        let desired = node.desired();
        let observed = node.observed();
        let plan = plan(&desired, &observed, &node.history, node.world.now);
        let count = u32::try_from(steps(&plan).len()).unwrap() * 4;
        if count > left {
            node.happen(&Event::Pass { killed_after: Some(u8::try_from(left).unwrap()) });
            break;
        }
        left -= count;
        node.happen(&Event::Pass { killed_after: None });
        if count == 0 {
            let next = [plan.wake_at, node.world.next_end()].into_iter().flatten().min();
            next.into_iter().for_each(|next| node.world.advance(next));
        }
    }
    let _ = node.settle();
    let expected = if behaviour == Behaviour::Healthy { DIGESTS[1] } else { DIGESTS[0] };
    let running = node.world.running("api");
    assert_eq!(running.len(), 1, "after a kill at boundary {boundary}\n{}", node.story());
    assert_eq!(running[0].digest, expected, "after a kill at boundary {boundary}\n{}", node.story());
    let ours = node.world.containers.iter().filter(|container| container.service == "api").count();
    assert_eq!(ours, 1, "left over after a kill at boundary {boundary}\n{}", node.story());
}
