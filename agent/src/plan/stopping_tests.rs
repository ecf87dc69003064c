//! The way down: situations one by one, and random graphs on a model of containers that end early, late or never.

use super::*;
use crate::history::memory::StopCause;
use crate::observed::ContainerState;
use crate::simulation::samples::{at, container, exited, running, service};

const NOW: Duration = Duration::from_secs(100);

fn second(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Services with what they depend on, dependencies first.
fn wants(services: &[(&str, &[&str])]) -> Desired {
    let services = services.iter().map(|(name, depends_on)| {
        let mut wanted = service(name, "spec");
        wanted.settings.depends_on = depends_on.iter().map(|name| (*name).to_owned()).collect();
        wanted
    });
    Desired { services: services.collect(), ..Desired::default() }
}

fn up(service: &str, generation: u64) -> Container {
    container(service, generation, ("sha256:a", "spec"), running(0))
}

struct Situation {
    desired: Desired,
    history: History,
    containers: Vec<Container>,
    silent_for: Option<Duration>,
    asked: BTreeMap<String, Asked>,
    busy: BTreeSet<String>,
    elapsed: Duration,
}

fn situation(services: &[(&str, &[&str])], containers: &[Container]) -> Situation {
    Situation {
        desired: wants(services),
        history: History::default(),
        containers: containers.to_vec(),
        silent_for: None,
        asked: BTreeMap::new(),
        busy: BTreeSet::new(),
        elapsed: NOW,
    }
}

impl Situation {
    fn asked(mut self, name: &str, ago: u64, under_way: bool) -> Self {
        let when = NOW - second(ago);
        self.asked.insert(format!("id-{name}"), Asked { first: when, last: when, under_way });
        self
    }

    fn plan(&self) -> Stopping {
        plan(&Moment {
            desired: &self.desired,
            history: &self.history,
            containers: &self.containers,
            silent_for: self.silent_for,
            asked: &self.asked,
            busy: &self.busy,
            elapsed: self.elapsed,
        })
    }

    fn stops(&self) -> Vec<String> {
        self.plan().stop.into_iter().map(|stop| stop.name).collect()
    }
}

const CHAIN: [(&str, &[&str]); 3] = [("db", &[]), ("cache", &["db"]), ("api", &["cache"])];

#[test]
fn what_nobody_depends_on_goes_first_and_the_others_wait_for_it() {
    let all = situation(&CHAIN, &[up("db", 1), up("cache", 1), up("api", 1)]);
    assert_eq!(all.stops(), ["api-1"]);
    let waiting = all.plan().waiting;
    assert_eq!(waiting["db"], BTreeSet::from(["api".to_owned(), "cache".to_owned()]));
    assert_eq!(waiting["cache"], BTreeSet::from(["api".to_owned()]));
    let gone = container("api", 1, ("sha256:a", "spec"), exited(0, 5));
    assert_eq!(situation(&CHAIN, &[up("db", 1), up("cache", 1), gone]).stops(), ["cache-1"]);
    // Also by way of one that does not run.
    assert_eq!(situation(&CHAIN, &[up("db", 1), up("api", 1)]).stops(), ["api-1"]);
    assert_eq!(situation(&CHAIN, &[up("db", 1)]).stops(), ["db-1"]);
}

#[test]
fn all_that_nobody_depends_on_go_at_the_same_time_the_last_in_order_first() {
    let services: [(&str, &[&str]); 4] = [("db", &[]), ("api", &["db"]), ("web", &["db"]), ("worker", &[])];
    let containers = [up("db", 1), up("api", 1), up("web", 1), up("web", 2), up("worker", 1)];
    assert_eq!(situation(&services, &containers).stops(), ["worker-1", "web-2", "web-1", "api-1"]);
}

#[test]
fn who_was_asked_is_not_asked_again_while_the_engine_waits_for_it() {
    let chain = || situation(&CHAIN, &[up("db", 1), up("api", 1)]);
    assert!(chain().asked("api-1", 29, true).stops().is_empty());
    assert!(!chain().asked("api-1", 29, true).plan().over);
    // The engine did not do it: once more, with what is left of its time.
    let again = chain().asked("api-1", 10, false).plan();
    assert_eq!((again.stop[0].name.as_str(), again.stop[0].timeout), ("api-1", second(20)));
    assert!(chain().asked("api-1", 0, false).stops().is_empty(), "not in a circle");
}

#[test]
fn who_does_not_end_in_time_is_given_up_and_holds_up_nobody_any_more() {
    let late = situation(&CHAIN, &[up("db", 1), up("api", 1)]).asked("api-1", 45, true);
    let plan = late.plan();
    assert_eq!(plan.stop.iter().map(|stop| stop.name.as_str()).collect::<Vec<_>>(), ["db-1"]);
    assert_eq!(plan.given_up[0].name, "api-1");
    assert!(plan.given_up[0].reason.contains("stop_timeout of 30 s"), "{plan:?}");
    assert!(!plan.over);
    let last = situation(&CHAIN, &[up("api", 1)]).asked("api-1", 45, true);
    assert!(last.plan().over);
}

#[test]
fn what_left_the_configuration_goes_first_the_last_made_first_with_the_time_that_was_recorded() {
    let mut old = up("old", 1);
    old.created_at = at(-10);
    let mut older = up("older", 1);
    older.created_at = at(-20);
    let mut left = situation(&CHAIN, &[up("db", 1), older, old]);
    left.history.durable.record_mut("old").stop_timeout_seconds = Some(7);
    let plan = left.plan();
    assert_eq!(plan.stop.len(), 1);
    assert_eq!((plan.stop[0].name.as_str(), plan.stop[0].timeout), ("old-1", second(7)));
    assert!(plan.waiting["older"].contains("old") && plan.waiting["db"].contains("older"));
}

#[test]
fn a_step_that_is_under_way_is_waited_for_because_it_may_start_something() {
    let mut busy = situation(&CHAIN, &[up("db", 1)]);
    busy.busy.insert("api".to_owned());
    assert!(busy.stops().is_empty());
    assert!(!busy.plan().over);
}

#[test]
fn a_silent_engine_is_asked_nothing_and_given_up_after_a_minute() {
    let mut silent = situation(&CHAIN, &[up("db", 1), up("api", 1)]).asked("api-1", 5, true);
    silent.silent_for = Some(second(59));
    assert!(silent.stops().is_empty() && !silent.plan().over);
    silent.silent_for = Some(SILENCE);
    let plan = silent.plan();
    assert!(!plan.over, "api was asked, and has its time");
    assert_eq!(plan.given_up[0].name, "db-1");
    let mut never_answered = situation(&CHAIN, &[]);
    never_answered.silent_for = Some(second(59));
    assert!(!never_answered.plan().over);
    never_answered.silent_for = Some(SILENCE);
    assert!(never_answered.plan().over);
}

#[test]
fn paused_ones_are_stopped_and_nothing_waits_for_what_the_engine_is_removing() {
    let other =
        |state: &str| container("api", 1, ("sha256:a", "spec"), ContainerState::Other(state.to_owned()));
    assert_eq!(situation(&CHAIN, &[up("db", 1), other("paused")]).stops(), ["api-1"]);
    assert_eq!(situation(&CHAIN, &[up("db", 1), other("removing")]).stops(), ["db-1"]);
    let made = container("api", 1, ("sha256:a", "spec"), ContainerState::Created);
    assert!(situation(&CHAIN, &[made, other("dead")]).plan().over);
}

#[test]
fn members_of_a_cycle_do_not_wait_for_each_other() {
    let cycle: [(&str, &[&str]); 2] = [("a", &["b"]), ("b", &["a"])];
    assert_eq!(situation(&cycle, &[up("a", 1), up("b", 1)]).stops(), ["b-1", "a-1"]);
}

#[test]
fn who_was_stopped_for_another_reason_before_is_stopped_all_the_same() {
    let mut replaced = situation(&CHAIN, &[up("api", 1), up("api", 2)]);
    let memory = replaced.history.memory.service_mut("api");
    memory.stopped.insert("id-api-1".to_owned(), StopCause::Replaced);
    assert_eq!(replaced.stops(), ["api-2", "api-1"]);
}

/// Numerical Recipes' generator: the same cases at every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// A container of the model, and how long after its stop signal it ends by itself; `None`: not even SIGKILL ends it.
struct Modelled {
    seen: Container,
    ends_after: Option<u64>,
    ours: bool,
    signal: Option<u64>,
    kill: u64,
}

struct Model {
    desired: Desired,
    /// `reaches[a][b]`: service a depends on service b, also by way of others. Found without the planner.
    reaches: Vec<Vec<bool>>,
    containers: Vec<Modelled>,
    silences: Vec<(u64, u64)>,
    asked: BTreeMap<String, Asked>,
}

const CASES: u64 = 4000;
const SEED: u64 = 7;

fn model(chance: &mut Chance) -> Model {
    let count = usize::try_from(1 + chance.below(9)).unwrap();
    let mut desired = Desired::default();
    let mut reaches = vec![vec![false; count]; count];
    let mut containers = Vec::new();
    for number in 0..count {
        let mut wanted = service(&format!("s{number}"), "spec");
        wanted.settings.stop_timeout = second(chance.below(40));
        for earlier in (0..number).filter(|_| chance.below(3) == 0).collect::<Vec<_>>() {
            wanted.settings.depends_on.push(format!("s{earlier}"));
            reaches[number][earlier] = true;
            let through = reaches[earlier].clone();
            for (own, further) in reaches[number].iter_mut().zip(through) {
                *own |= further;
            }
        }
        desired.services.push(wanted);
        for generation in 0..chance.below(3) {
            containers.push(modelled(chance, up(&format!("s{number}"), generation)));
        }
    }
    for left in 0..chance.below(3) {
        let mut seen = up(&format!("left{left}"), 1);
        seen.created_at = at(i64::try_from(chance.below(50)).unwrap());
        containers.push(modelled(chance, seen));
    }
    let mut foreign = modelled(chance, up("s0", 99));
    foreign.ours = false;
    containers.push(foreign);
    let silences = (0..chance.below(3)).map(|_| (chance.below(60), chance.below(50))).collect();
    Model { desired, reaches, containers, silences, asked: BTreeMap::new() }
}

fn modelled(chance: &mut Chance, mut seen: Container) -> Modelled {
    if chance.below(6) == 0 {
        seen.state =
            [exited(0, 1), ContainerState::Created][usize::try_from(chance.below(2)).unwrap()].clone();
    }
    let ends_after = (chance.below(12) != 0).then(|| chance.below(60));
    Modelled { seen, ends_after, ours: true, signal: None, kill: 0 }
}

impl Model {
    fn silent_for(&self, now: u64) -> Option<Duration> {
        let now_in = |(from, length): &&(u64, u64)| (*from..from + length).contains(&now);
        let begun = self.silences.iter().filter(now_in).map(|(from, _)| *from).min()?;
        Some(second(now - begun))
    }

    /// Whoever was told to stop ends by itself or is killed, unless nothing ends it.
    fn pass(&mut self, now: u64) {
        for container in &mut self.containers {
            let Some((signal, ends_after)) = container.signal.zip(container.ends_after) else { continue };
            if now >= (signal + ends_after).min(container.kill) && runs(&container.seen) {
                container.seen.state = exited(143, 0);
                if let Some(asked) = self.asked.get_mut(&container.seen.id) {
                    asked.under_way = false;
                }
            }
        }
    }

    fn check(&self, stop: &Stop, plan: &Stopping) {
        let number = |name: &str| name.strip_prefix('s').and_then(|number| number.parse::<usize>().ok());
        for other in self.containers.iter().filter(|other| other.ours && runs(&other.seen)) {
            if plan.given_up.iter().any(|given_up| given_up.container_id == other.seen.id) {
                continue;
            }
            match (number(&other.seen.service), number(&stop.service)) {
                (Some(a), Some(b)) => {
                    assert!(!self.reaches[a][b], "{} is stopped before {}", stop.name, other.seen.name);
                }
                (None, Some(_)) => panic!("{} is stopped before {}", stop.name, other.seen.name),
                _ => {}
            }
        }
    }

    /// One second of the way down; whether it is over.
    fn turn(&mut self, now: u64) -> bool {
        self.pass(now);
        let ours: Vec<Container> =
            self.containers.iter().filter(|one| one.ours).map(|one| one.seen.clone()).collect();
        let plan = plan(&Moment {
            desired: &self.desired,
            history: &History::default(),
            containers: &ours,
            silent_for: self.silent_for(now),
            asked: &self.asked,
            busy: &BTreeSet::new(),
            elapsed: second(now),
        });
        for stop in &plan.stop {
            self.check(stop, &plan);
            let told = self.containers.iter_mut().find(|one| one.seen.id == stop.container_id).unwrap();
            assert!(told.ours && runs(&told.seen) && told.signal.is_none(), "{stop:?}");
            told.signal = Some(now);
            told.kill = now + stop.timeout.as_secs();
            let asked = Asked { first: second(now), last: second(now), under_way: true };
            self.asked.insert(stop.container_id.clone(), asked);
        }
        plan.over
    }
}

#[test]
fn on_random_graphs_nobody_stops_before_its_dependents_and_everything_stops() {
    let (mut chance, mut stopped, mut stuck) = (Chance(SEED), 0_u64, 0_u64);
    for case in 0..CASES {
        let mut model = model(&mut chance);
        let foreign = model.containers.iter().find(|one| !one.ours).unwrap().seen.clone();
        // Longer than any chain: 11 services, each with its time-out and what the engine gets beyond.
        let end = (0..1000).find(|now| model.turn(*now));
        assert!(end.is_some(), "case {case} of seed {SEED} never ends");
        for one in model.containers.iter().filter(|one| one.ours) {
            assert!(!runs(&one.seen) || one.ends_after.is_none(), "case {case}: {} runs on", one.seen.name);
            stuck += u64::from(runs(&one.seen));
            stopped += u64::from(one.signal.is_some());
        }
        assert_eq!(model.containers.iter().find(|one| !one.ours).unwrap().seen, foreign, "case {case}");
    }
    assert!(stuck > 100 && stopped > 10_000, "{stuck} {stopped}");
    harness::requirements::tried(&format!(
        "{CASES} random graphs, seed {SEED}: {stopped} containers stopped, {stuck} of them nothing could end"
    ));
}
