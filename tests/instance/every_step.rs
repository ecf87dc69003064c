//! `kill -9` of the agent at every step of an update, one update for each step: blue-green and recreate, to a good image
//! and to a bad one. What counts as a step is said in `scene/steps.rs`.
//!
//! After each kill the next agent comes to the right version, nothing is left over, what is not ours is untouched, and in
//! blue-green a client that never stops asking has not met a failure.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]
#![expect(clippy::print_stdout, reason = "a suite prints what it measured")]
#![expect(clippy::disallowed_methods, reason = "a suite measures")]

mod scene;

use harness::instance::INSTANCE_ADDRESS;
use harness::load::{ALL_PORTS, Load, Plan, Report};
use harness::requirements::tried;
use harness::wait::wait_for;
use scene::engine::Container;
use scene::foreign::Foreign;
use scene::steps::{Seen, Step, Steps};
use scene::web::{BLUE_GREEN, RECREATE, Web};
use scene::{PATIENCE, Scene};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// An update has far fewer; more would be one that never ends.
const STEPS_LIMIT: usize = 100;
/// Light: it is there to see a gap, not to make one.
const QUESTIONS_PER_SECOND: u32 = 25;

/// How the service is moved, and to what.
struct Case {
    update: &'static str,
    mode: &'static str,
}

impl Case {
    fn is_good(&self) -> bool {
        self.mode == "healthy"
    }
}

/// A node whose steps are seen, with a foreign container and a client that asks all the time.
struct Watched {
    steps: Steps,
    foreign: Foreign,
    questions: Load,
    // Last: the steps and the client need it.
    scene: Scene,
}

fn watched(case: &Case) -> Option<Watched> {
    let mut scene = Scene::beside()?;
    scene.push("one", "healthy");
    // Quick in everything: what takes time here is the many updates.
    let web = Web { update: case.update, asked_every: "500ms", min_healthy: "500ms", ..Web::default() };
    let node_toml = web.node_toml(&scene.stage);
    let steps = Steps::boot(&mut scene, &node_toml);
    scene.serves("one");
    scene.settled(&scene.only().digest.unwrap(), &["current"]);
    let foreign = Foreign::plant(&scene);
    let plan = Plan {
        address: format!("{INSTANCE_ADDRESS}:80").parse().unwrap(),
        per_second: QUESTIONS_PER_SECOND,
        ports: ALL_PORTS,
        keep_alive: 0,
        limit: Duration::from_secs(1200),
    };
    Some(Watched { steps, foreign, questions: Load::start(plan).unwrap(), scene })
}

/// The update of that number, with a kill at the first step that is wished for, if it has such a one.
fn strike(
    watched: &Watched,
    case: &Case,
    number: usize,
    wish: impl FnMut(&Step) -> bool + Send + 'static,
) -> Seen {
    let Watched { steps, scene, .. } = watched;
    let (old, pid) = (scene.only(), scene.agent_pid());
    steps.watch(wish);
    let new = scene.push(&format!("step-{number}"), case.mode);
    settled(scene, case, &old, &new);
    if steps.struck().is_some() {
        scene.agent_answers(pid);
        settled(scene, case, &old, &new);
    }
    let seen = steps.end();
    nothing_is_left(watched, case);
    seen
}

#[track_caller]
fn settled(scene: &Scene, case: &Case, old: &Container, new: &str) {
    if case.is_good() {
        scene.settled(new, &["current"]);
        scene.only();
        return;
    }
    let barred = wait_for("the bad image to be barred", PATIENCE, || {
        let quarantined = scene.quarantined();
        if quarantined.iter().any(|(digest, _)| digest == new) {
            Ok(())
        } else {
            Err(format!("{quarantined:?}"))
        }
    });
    barred.unwrap_or_else(|error| panic!("{error}\n{}", scene.story()));
    scene.settled(old.digest.as_deref().unwrap(), &["rolled_back", "quarantined"]);
    assert_eq!(scene.only().id, old.id, "the old container serves on, or comes back itself");
    scene.never_again(new);
}

#[track_caller]
fn nothing_is_left(watched: &Watched, case: &Case) {
    let scene = &watched.scene;
    scene.only();
    scene.rules_are_of_what_runs(case.update == BLUE_GREEN);
    watched.foreign.untouched(scene);
}

/// Kills at the first step, the second, … until an update goes through without.
fn at_every_step(case: &Case) {
    let Some(watched) = watched(case) else { return };
    let started = Instant::now();
    let mut kills = Vec::new();
    let whole = loop {
        let number = kills.len() + 1;
        let seen = strike(&watched, case, number, move |step| step.number == number);
        let Some(step) = seen.struck.clone() else { break seen.steps };
        let failures = watched.questions.so_far().failures();
        let over = if was_over(&seen.steps, step.number) { "; it had been, by then" } else { "" };
        println!("killed at step {}: {}{over} ({failures} failures so far)", step.number, step.name);
        kills.push(step.name);
        assert!(kills.len() < STEPS_LIMIT, "an update has no end: {kills:#?}");
    };
    // Steps that run beside each other change places from one update to the next, and one may slip past the numbers.
    for name in missed(case, &kills) {
        let wanted = name.clone();
        let seen = strike(&watched, case, STEPS_LIMIT + kills.len(), move |step| step.name == wanted);
        println!("killed {name}: {}", seen.struck.is_some());
        kills.extend(seen.struck.map(|step| step.name));
    }
    let took = started.elapsed().as_secs();
    let Watched { foreign, questions, scene, steps } = watched;
    let report = questions.finish();
    println!("an update without a kill: {whole:#?}\n{report}");
    let how = if case.update == BLUE_GREEN { "blue-green" } else { "recreate" };
    let (count, asked) = (kills.len(), report.new_connections.sent);
    tried(&format!(
        "{how} to a {} image: {count} kills at {count} steps in {took} s, {asked} requests, {} failed",
        case.mode,
        report.failures()
    ));
    complete(case, &kills, &report);
    foreign.untouched(&scene);
    drop(steps);
}

/// A kill that was to come while the history is replaced came after that: no other replacement began before one ended.
fn was_over(steps: &[String], number: usize) -> bool {
    let (at, after) = steps.split_at(number);
    let history =
        |step: &&String| step.ends_with("the history is replaced") || step.ends_with("history was replaced");
    let is_replacing = at.last().is_some_and(|step| step.starts_with("while"));
    is_replacing && after.iter().find(history).is_some_and(|step| step.starts_with("after"))
}

/// Steps that an update cannot do without, and at which no kill was.
fn missed(case: &Case, kills: &[String]) -> Vec<String> {
    let engine = ["POST /containers/create", "POST /containers/ID/start", "POST /containers/ID/kill"];
    let needed = engine.iter().chain(&["POST /containers/ID/wait", "DELETE /containers/ID"]);
    let mut needed: Vec<String> =
        needed.flat_map(|call| [format!("before {call}"), format!("after {call}")]).collect();
    needed.push("after the history was replaced".to_owned());
    if case.update == BLUE_GREEN {
        needed.extend(["before-rules".to_owned(), "after-rules".to_owned()]);
    }
    needed.retain(|name| !kills.contains(name));
    needed
}

/// No such step is left, and a service that is moved blue-green was always there.
fn complete(case: &Case, kills: &[String], report: &Report) {
    let mut met: BTreeMap<&str, usize> = BTreeMap::new();
    for name in kills {
        *met.entry(name).or_default() += 1;
    }
    if case.update == BLUE_GREEN {
        assert_eq!(report.failures(), 0, "the service was not always there:\n{report}");
    }
    let missed = missed(case, kills);
    assert!(missed.is_empty(), "no kill at {missed:?}; there was one at {met:#?}");
}

#[test]
fn killed_at_every_step_of_an_update_beside_the_old_container() {
    at_every_step(&Case { update: BLUE_GREEN, mode: "healthy" });
}

#[test]
fn killed_at_every_step_of_an_update_beside_the_old_container_that_is_taken_back() {
    at_every_step(&Case { update: BLUE_GREEN, mode: "unhealthy" });
}

#[test]
fn killed_at_every_step_of_an_update_in_place_of_the_old_container() {
    at_every_step(&Case { update: RECREATE, mode: "healthy" });
}

#[test]
fn killed_at_every_step_of_an_update_in_place_of_the_old_container_that_is_taken_back() {
    at_every_step(&Case { update: RECREATE, mode: "unhealthy" });
}
