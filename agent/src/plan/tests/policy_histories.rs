//! Random histories of one service with every rule about when another image is taken: none is broken, and what may be
//! taken is taken in the end. What is checked is counted here by a clock of its own, not read from the plan.

use super::situation::{SPEC, situation};
use super::*;
use crate::apply::ApplyError;
use crate::history::Durable;
use crate::history::memory::Memory;
use crate::outcome::{self, Outcome};
use crate::simulation::engine::engine_error;
use crate::simulation::{Behaviour, Trouble, World};
use node::config::settings::{Images, Update, Window};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

const CASES: u32 = 5000;
const SEED: u8 = 4;
/// The last one ends at once.
const DIGESTS: [&str; 4] = ["sha256:a", "sha256:b", "sha256:c", "sha256:bad"];
const WEEK: i64 = 7 * 24 * 60;
const ANSWER_COUNTS: u64 = 300;

#[derive(Debug, Clone)]
enum Event {
    Pass,
    Named {
        digest: usize,
        push_time_known: bool,
    },
    Asked,
    Hold(bool),
    Stop(bool),
    Later(u64),
    ClockSetBack(u64),
    Crash,
    Killed,
    Respecified(bool),
    /// What its `before` command says from now on.
    Says(i64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        10 => Just(Event::Pass),
        3 => (0..DIGESTS.len(), any::<bool>())
            .prop_map(|(digest, push_time_known)| Event::Named { digest, push_time_known }),
        1 => Just(Event::Asked),
        1 => any::<bool>().prop_map(Event::Hold),
        1 => any::<bool>().prop_map(Event::Stop),
        3 => (0_u64..600).prop_map(Event::Later),
        3 => (0_u64..200_000).prop_map(Event::Later),
        1 => (0_u64..100_000).prop_map(Event::ClockSetBack),
        1 => Just(Event::Crash),
        1 => Just(Event::Killed),
        1 => any::<bool>().prop_map(Event::Respecified),
        2 => (0_i64..2).prop_map(Event::Says),
    ]
}

fn rules() -> impl Strategy<Value = Update> {
    let window = (any::<[bool; 7]>(), 0_u16..1440, 1_u16..1440).prop_map(|(mut days, opens, open_for)| {
        days[usize::from(opens % 7)] = true;
        Window { days, opens_at_minute: opens, open_for_minutes: open_for }
    });
    let min_age = prop_oneof![2 => Just(0), 1 => Just(1800), 1 => 0_u64..300_000];
    (prop::collection::vec(window, 0..3), min_age, any::<bool>(), any::<bool>()).prop_map(
        |(windows, min_age, before, after)| {
            let command = |wanted: bool, name: &str| wanted.then(|| name.to_owned()).into_iter().collect();
            Update {
                windows,
                min_age: Duration::from_secs(min_age),
                before: command(before, "may-stop"),
                after: command(after, "smoke-test"),
                ..crate::simulation::samples::settings("api").update
            }
        },
    )
}

struct Node {
    world: World,
    history: History,
    on_disk: Durable,
    desired: Desired,
    observed: Observed,
    /// Seconds that really went by; the clock of the node may have been set back meanwhile.
    passed: u64,
    /// When each digest was named first, on that count.
    named_at: BTreeMap<String, u64>,
    /// The last yes of the `before` command, to which digest and when.
    agreed: Option<(String, u64)>,
    says: i64,
    taken: u32,
}

impl Node {
    fn new(rules: Update) -> Node {
        let mut world = World::new();
        world.behaviours.insert(DIGESTS[3].to_owned(), Behaviour::Ends { code: 1, after: 0 });
        let mut wanted = service("api", SPEC);
        wanted.settings.update = rules;
        Node {
            world,
            history: History::default(),
            on_disk: Durable::default(),
            desired: Desired { services: vec![wanted], images: Images::default() },
            observed: situation().observed,
            passed: 0,
            named_at: BTreeMap::new(),
            agreed: None,
            says: 0,
            taken: 0,
        }
    }

    fn rules(&self) -> &Update {
        &self.desired.services[0].settings.update
    }

    fn observe(&mut self) {
        let since = at(-1_000_000);
        self.observed.engine = EngineView::Up { since, containers: self.world.containers.clone() };
        self.observed.verdicts = self.world.verdicts();
        self.observed.store = Some(self.world.store());
        self.observed.images.clear();
        for (image, digest) in images_of_interest(&self.desired, &self.observed, &self.history) {
            let key = image_key(&image, &digest);
            self.observed.images.insert(key.clone(), self.world.image(&key));
        }
    }

    fn pass(&mut self) -> Plan {
        self.world.advance(self.world.now);
        self.observe();
        let plan = plan(&self.desired, &self.observed, &self.history, self.world.now);
        if outcome::remember(&mut self.history, &plan, &self.observed) {
            self.on_disk = self.history.durable.clone();
        }
        let planned = &plan.services[0];
        let steps = planned.step.iter().chain(&planned.pull).map(|step| ("api", step.action.clone()));
        let images = plan.reclaim.step.iter().map(|step| (NODE, step.action.clone()));
        for (name, action) in steps.chain(images).collect::<Vec<_>>() {
            self.take(name, &action);
        }
        plan
    }

    fn take(&mut self, name: &str, action: &Action) {
        self.check(action);
        let now = self.world.now;
        let service = (name, Some(&self.desired.services[0]));
        let mut changed = outcome::begun(&mut self.history, service, action, now);
        match perform(&mut self.world, self.says, action) {
            Ok(outcome) => {
                if let (Action::AskBefore { digest, .. }, 0) = (action, self.says) {
                    self.agreed = Some((digest.clone(), self.passed));
                }
                changed |= outcome::done(&mut self.history, service, action, outcome, now);
            }
            Err(trouble) => {
                let source = engine_error(&trouble, name);
                let failure = ApplyError::Engine { service: name.to_owned(), source }.failure(now);
                outcome::failed(&mut self.history, name, action, failure);
            }
        }
        if changed {
            self.on_disk = self.history.durable.clone();
        }
    }

    /// What must hold of every single step.
    fn check(&mut self, action: &Action) {
        let record = self.history.durable.record("api").clone();
        match action {
            Action::Create { version, .. } => self.may_take(&record, version, action),
            Action::Start { container_id, version, .. } => {
                assert!(record.barred(version).is_none(), "a barred version is started\n{}", self.story());
                assert!(record.stopped_since.is_none(), "a stopped service is started\n{}", self.story());
                let started = self.world.containers.iter().find(|container| container.id == *container_id);
                if started.is_some_and(|container| container.state == ContainerState::Created) {
                    self.may_take(&record, version, action);
                }
            }
            Action::RemoveImage { name } => {
                let good = record.good.is_some_and(|good| name.ends_with(&good.digest));
                assert!(!good, "the good image is removed\n{}", self.story());
            }
            Action::Quarantine { version, .. } => {
                assert_ne!(record.good.as_ref(), Some(version), "the good one is barred\n{}", self.story());
            }
            _ => {}
        }
    }

    fn may_take(&mut self, record: &crate::history::Record, version: &Version, action: &Action) {
        let story = |what: &str| format!("{what}: {action:?}\n{}", self.story());
        let Some(good) = &record.good else { return };
        if good.digest == version.digest {
            return;
        }
        assert!(record.held_since.is_none(), "{}", story("taken while held"));
        let answer = self.observed.candidates["api"].answer.as_ref().unwrap();
        assert_eq!(answer.digest, version.digest, "{}", story("what is taken is not named"));
        if answer.requested {
            return;
        }
        let rules = self.rules();
        assert!(open(&rules.windows, self.world.now), "{}", story("taken outside its windows"));
        let age = self.passed - self.named_at[&version.digest];
        assert!(age >= rules.min_age.as_secs(), "{}", story("taken too young"));
        let agreed = self
            .agreed
            .as_ref()
            .is_some_and(|(digest, when)| *digest == version.digest && self.passed - when <= ANSWER_COUNTS);
        let running = !self.world.running("api").is_empty();
        let another = self.world.running("api").iter().all(|container| container.digest != version.digest);
        let asked = rules.before.is_empty() || agreed || !(running && another);
        assert!(asked, "{}", story("taken without being asked for"));
        self.taken += 1;
    }

    fn later(&mut self, seconds: u64) {
        self.passed += seconds;
        self.world.advance(self.world.now + Duration::from_secs(seconds));
    }

    fn happen(&mut self, event: &Event) {
        self.world.story.push(format!("{} -- {event:?}", self.world.now));
        let now = self.world.now;
        let record = self.history.durable.record_mut("api");
        match event {
            Event::Pass => drop(self.pass()),
            Event::Named { digest, push_time_known } => {
                let digest = DIGESTS[*digest];
                let named = self.observed.candidates.get("api").and_then(|known| known.answer.as_ref());
                if named.is_none_or(|answer| answer.digest != digest) {
                    let mut candidate = answered("api", digest);
                    let answer = candidate.answer.as_mut().unwrap();
                    answer.pushed_at = push_time_known.then_some(now);
                    self.observed.candidates.insert("api".to_owned(), candidate);
                    self.named_at.entry(digest.to_owned()).or_insert(self.passed);
                }
            }
            Event::Asked => {
                let answer = self.observed.candidates.get_mut("api").and_then(|known| known.answer.as_mut());
                answer.into_iter().for_each(|answer| answer.requested = true);
            }
            Event::Hold(held) => record.held_since = held.then_some(now),
            Event::Stop(stopped) => record.stopped_since = stopped.then_some(now),
            Event::Later(seconds) => self.later(*seconds),
            Event::ClockSetBack(seconds) => self.world.now -= Duration::from_secs(*seconds),
            Event::Crash => self.world.crash("api", 1),
            Event::Killed => {
                self.history = History { durable: self.on_disk.clone(), memory: Memory::default() };
            }
            Event::Respecified(other) => {
                self.desired.services[0].spec_hash = if *other { "other" } else { SPEC }.to_owned();
            }
            Event::Says(code) => self.says = *code,
        }
        self.on_disk.services.clone_from(&self.history.durable.services);
    }

    /// Passes until nothing is left to wait for.
    fn settle(&mut self) -> Plan {
        for _ in 0..300 {
            let plan = self.pass();
            let planned = &plan.services[0];
            if planned.step.is_some() || planned.pull.is_some() || plan.reclaim.step.is_some() {
                continue;
            }
            match [plan.wake_at, self.world.next_end()].into_iter().flatten().min() {
                None => return plan,
                Some(next) => {
                    let wait = next.duration_since(self.world.now).as_secs() + 1;
                    self.later(u64::try_from(wait).unwrap_or(1));
                }
            }
        }
        panic!("it never came to rest\n{}", self.story());
    }

    fn story(&self) -> String {
        format!("{}\n{:#?}\n{:#?}", self.world.story.join("\n"), self.history, self.rules())
    }
}

fn perform(world: &mut World, says: i64, action: &Action) -> Result<Outcome, Trouble> {
    match action {
        Action::Pull { digest } => world.pull(&image("api").pinned(digest))?,
        Action::Create { version, generation } => {
            let labels = (version.digest.as_str(), version.spec.as_str());
            world.create(container("api", *generation, labels, ContainerState::Created))?;
        }
        Action::Start { container_id, .. } => world.start(container_id)?,
        Action::Stop { container_id, .. } => world.stop(container_id)?,
        Action::Remove { container_id } => world.remove(container_id)?,
        Action::RemoveImage { name } => world.remove_image(name)?,
        Action::AskBefore { .. } => return Ok(Outcome::Answered { code: says, output: String::new() }),
        Action::AskAfter { .. } => return Ok(Outcome::Answered { code: 0, output: String::new() }),
        Action::RecordGood { .. } | Action::Quarantine { .. } => {}
    }
    Ok(Outcome::Done)
}

/// Minute by minute of the week, and by nothing else.
fn open(windows: &[Window], now: Timestamp) -> bool {
    // The first of January 1970 was a Thursday.
    let minute = (now.as_second().div_euclid(60) + 3 * 24 * 60).rem_euclid(WEEK);
    let inside = |window: &Window| {
        (0_i64..7).zip(window.days).filter(|(_, opens)| *opens).any(|(day, _)| {
            let from = day * 24 * 60 + i64::from(window.opens_at_minute);
            (minute - from).rem_euclid(WEEK) < i64::from(window.open_for_minutes)
        })
    };
    windows.is_empty() || windows.iter().any(inside)
}

#[test]
fn no_rule_about_another_image_is_broken_and_what_may_be_taken_is_taken() {
    let mut runner = TestRunner::new_with_rng(
        ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() },
        TestRng::from_seed(RngAlgorithm::ChaCha, &[SEED; 32]),
    );
    let taken = std::cell::Cell::new(0);
    let histories = (rules(), prop::collection::vec(event(), 0..60));
    let result = runner.run(&histories, |(rules, events)| {
        let mut node = Node::new(rules);
        node.happen(&Event::Named { digest: 0, push_time_known: false });
        node.settle();
        for event in &events {
            node.happen(event);
            let good = node.history.durable.record("api").good.clone().expect("a good version for ever");
            assert!(node.world.images.contains(&image("api").pinned(&good.digest)), "{}", node.story());
        }
        for event in [Event::Hold(false), Event::Stop(false), Event::Says(0), Event::Killed] {
            node.happen(&event);
        }
        node.settle();
        let named = node.observed.candidates["api"].answer.as_ref().unwrap().digest.clone();
        let running: Vec<_> = node.world.running("api").iter().map(|found| found.digest.clone()).collect();
        let record = node.history.durable.record("api");
        let version = Version { digest: named.clone(), spec: node.desired.services[0].spec_hash.clone() };
        let failed = named == DIGESTS[3] || record.barred(&version).is_some();
        let expected = if failed { record.good.clone().unwrap().digest } else { named };
        assert_eq!(running, [expected], "{}", node.story());
        assert!(node.history.durable.record("api").open_update().is_none(), "{}", node.story());
        taken.set(taken.get() + node.taken);
        Ok(())
    });
    if let Err(failure) = result {
        panic!("seed {SEED}: {failure}");
    }
    println!(
        "{CASES} random histories of up to 60 events, seed {SEED}; {} times another image was taken",
        taken.get()
    );
    assert!(taken.get() > CASES, "the histories say too little: {}", taken.get());
}
