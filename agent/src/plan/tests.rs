//! One service in one situation each: the whole plan.

mod beside;
mod hooks;
mod images;
mod policy;
mod policy_histories;
mod rules;
mod situation;
mod updates;

use super::*;
use crate::desired::Obstacle;
use crate::engine::{ImageFacts, PullProgress};
use crate::history::Version;
use crate::history::memory::{RestartRequest, ServiceMemory};
use crate::observed::{Container, ContainerState};
use crate::simulation::samples::{answered, at, container, exited, image, running, service};
use crate::snapshot::{AskFailure, ImageState, InFlight, PullInFlight};
use crate::status::{HealthState, ServiceState, UpdateState};
use situation::*;

#[test]
fn nothing_is_known_yet_so_it_waits_for_the_registry() {
    situation().expect(&idle(ServiceState::Waiting, UpdateState::Current));
}

#[test]
fn the_registry_fails_and_there_is_nothing_else_to_run() {
    let mut situation = situation();
    let failure = AskFailure {
        code: "registry_unreachable".to_owned(),
        message: "registry.example does not answer".to_owned(),
        hint: None,
        since: at(990),
    };
    let candidate =
        crate::snapshot::Candidate { reference: image("api"), answer: None, failure: Some(failure) };
    situation.observed.candidates.insert("api".to_owned(), candidate);
    let waiting = idle(ServiceState::Waiting, UpdateState::Current);
    situation.expect(&Expected { problems: problems(&["registry_unreachable"]), ..waiting.clone() });

    let with_history = situation.good(OLD).pulled(OLD);
    let created = Expected { step: create(OLD, 2), state: ServiceState::Starting, ..waiting };
    with_history.expect(&Expected { problems: problems(&["registry_unreachable"]), ..created });
}

#[test]
fn a_first_deployment_pulls_creates_and_starts() {
    let first = situation().names(NEW);
    let updating = idle(ServiceState::Waiting, UpdateState::Updating);
    let pulling = Expected { pull: pull(NEW), state: ServiceState::Pulling, ..updating.clone() };
    first.not_pulled(NEW).expect(&pulling);
    let starting = Expected { state: ServiceState::Starting, ..updating };
    let pulled = situation().names(NEW).pulled(NEW);
    pulled.expect(&Expected { step: create(NEW, 1), ..starting.clone() });
    let created = situation().names(NEW).pulled(NEW).has(1, NEW, ContainerState::Created);
    created.expect(&Expected { step: start(1, NEW, None), ..starting });
}

#[test]
fn whether_the_image_is_there_is_not_known_so_nothing_is_pulled() {
    let expected = idle(ServiceState::Waiting, UpdateState::Waiting);
    situation().names(NEW).expect(&Expected { wake: Some(1001), ..expected });
}

#[test]
fn a_first_deployment_is_recorded_once_it_was_healthy_for_long_enough() {
    let young =
        situation().names(NEW).pulled(NEW).has(1, NEW, running(990)).says(1, HealthState::Passing, 995);
    young.expect(&Expected { wake: Some(1005), ..quiet() });
    let old = situation().names(NEW).pulled(NEW).has(1, NEW, running(980)).says(1, HealthState::Passing, 990);
    old.expect(&Expected { step: Some(Action::RecordGood { version: version(NEW) }), ..quiet() });
}

#[test]
fn all_is_well_so_nothing_is_done() {
    let well = situation().names(OLD).good(OLD).pulled(OLD).has(1, OLD, running(10));
    let planned = well.says(1, HealthState::Passing, 20).expect(&quiet());
    assert!(planned.serves);
    assert_eq!(
        planned.explanation.gate,
        "http GET /health on port 8000 every 10s, failing after 3 failures in a row, 30s to start"
    );
}

#[test]
fn the_engine_is_silent_so_nothing_is_done() {
    let mut away = situation().names(NEW).good(OLD);
    away.observed.engine = EngineView::Down {
        since: at(900),
        message: "the Docker engine does not answer".to_owned(),
        hint: None,
        last_known: vec![container("api", 1, (OLD, SPEC), exited(1, 890))],
    };
    let away = away.remembers(|memory| memory.state = Some((ServiceState::Running, at(10))));
    away.expect(&Expected {
        state: ServiceState::Running,
        ..idle(ServiceState::Running, UpdateState::Available)
    });
    let codes: Vec<_> = away.plan().problems.into_iter().map(|problem| problem.code).collect();
    assert_eq!(codes, ["docker_unresponsive"]);
}

#[test]
fn a_crash_is_answered_at_once_and_the_next_ones_later_and_later() {
    let crashed = || situation().names(OLD).good(OLD).pulled(OLD).has(1, OLD, exited(3, 999));
    let restarting = idle(ServiceState::Restarting, UpdateState::Current);
    crashed().expect(&Expected { step: start(1, OLD, Some(1)), ..restarting.clone() });
    let third = crashed().remembers(|memory| (memory.attempts, memory.last_start) = (2, Some(at(990))));
    let waiting =
        Expected { wake: Some(1001), problems: problems(&["service_crashing"]), ..restarting.clone() };
    third.expect(&waiting);
    let tenth = crashed().remembers(|memory| (memory.attempts, memory.last_start) = (10, Some(at(990))));
    let far = Expected { wake: Some(1059), ..restarting.clone() };
    tenth.expect(&Expected { problems: problems(&["service_crashing"]), ..far });
    let steady = crashed().remembers(|memory| (memory.attempts, memory.last_start) = (10, Some(at(300))));
    steady.expect(&Expected { step: start(1, OLD, Some(1)), ..restarting });
}

#[test]
fn an_end_that_nobody_watched_is_no_crash() {
    let mut rebooted = situation().names(OLD).good(OLD).pulled(OLD).has(1, OLD, exited(255, 100));
    if let EngineView::Up { since, .. } = &mut rebooted.observed.engine {
        *since = at(999);
    }
    let restarting = idle(ServiceState::Restarting, UpdateState::Current);
    rebooted.expect(&Expected { step: start(1, OLD, None), ..restarting });
}

#[test]
fn unhealthy_after_having_passed_it_is_restarted() {
    let passed = Run { container_id: "id-api-1".to_owned(), started_at: at(900) };
    let sick = situation().names(OLD).good(OLD).pulled(OLD).has(1, OLD, running(900));
    let sick = sick.says(1, HealthState::Failing, 995).remembers(|memory| memory.passed = Some(passed));
    let unhealthy = Expected {
        state: ServiceState::Unhealthy,
        health: HealthState::Failing,
        problems: problems(&["service_unhealthy"]),
        ..quiet()
    };
    sick.expect(&Expected { step: stop(1, StopCause::Unhealthy), ..unhealthy.clone() });
    let again = sick.remembers(|memory| (memory.attempts, memory.last_start) = (4, Some(at(950))));
    again.expect(&Expected { wake: Some(1003), ..unhealthy.clone() });
    // Never passed since its start: it has the deadline to get well.
    let young = situation().names(OLD).good(OLD).pulled(OLD).has(1, OLD, running(900));
    young.says(1, HealthState::Failing, 995).expect(&Expected { wake: Some(1200), ..unhealthy });
}

#[test]
fn an_unknown_verdict_is_no_reason_to_act() {
    let unknown = situation().names(OLD).good(OLD).pulled(OLD).has(1, OLD, running(0));
    let unknown = unknown.says(1, HealthState::Unknown, 500);
    unknown.expect(&Expected { state: ServiceState::Starting, health: HealthState::Unknown, ..quiet() });
}

#[test]
fn a_first_deployment_that_crashes_is_tried_again_with_nothing_barred() {
    let crashed = situation().names(NEW).pulled(NEW).has(1, NEW, exited(1, 999));
    let crashed = crashed.remembers(|memory| (memory.attempts, memory.last_start) = (3, Some(at(998))));
    let restarting = idle(ServiceState::Restarting, UpdateState::Waiting);
    crashed.expect(&Expected { wake: Some(1003), problems: problems(&["service_crashing"]), ..restarting });
}

#[test]
fn an_obstacle_keeps_it_from_starting_and_not_from_running() {
    let blocked = |mut situation: Situation| {
        situation.service.obstacles.push(Obstacle::Secret { name: "app".to_owned() });
        situation
    };
    let waiting = idle(ServiceState::Waiting, UpdateState::Waiting);
    let planned = blocked(situation().names(NEW).pulled(NEW)).expect(&waiting);
    assert_eq!(planned.explanation.reasons[0].text, "waits: secret app is not there yet");
    let runs = situation().names(OLD).good(OLD).pulled(OLD).has(1, OLD, running(10));
    blocked(runs.says(1, HealthState::Passing, 20)).expect(&quiet());
}

#[test]
fn left_over_generations_are_removed_and_duplicates_stopped() {
    let three = situation().names(OLD).good(OLD).pulled(OLD).has(1, OLD, exited(0, 1)).has(
        2,
        "sha256:x",
        exited(0, 2),
    );
    let three = three.has(3, OLD, running(10)).says(3, HealthState::Passing, 20);
    three.expect(&Expected { step: remove(2), ..quiet() });
    let two = situation().names(OLD).good(OLD).pulled(OLD).has(1, OLD, running(5)).has(2, OLD, running(10));
    let two = two.says(2, HealthState::Passing, 20);
    two.expect(&Expected { step: stop(1, StopCause::Replaced), ..quiet() });
}

#[test]
fn a_restart_that_was_asked_for_is_done_once() {
    let run = Run { container_id: "id-api-1".to_owned(), started_at: at(10) };
    let request = RestartRequest { instead_of: Some(run) };
    let asked = situation().names(OLD).good(OLD).pulled(OLD).has(1, OLD, running(10));
    let asked =
        asked.says(1, HealthState::Passing, 20).remembers(|memory| memory.restart = Some(request.clone()));
    asked.expect(&Expected { step: stop(1, StopCause::Requested), ..quiet() });
    let restarted = situation().names(OLD).good(OLD).pulled(OLD).has(1, OLD, running(990));
    let restarted =
        restarted.says(1, HealthState::Passing, 991).remembers(|memory| memory.restart = Some(request));
    restarted.expect(&quiet());
}

#[test]
fn lost_history_adopts_what_runs_before_it_moves_on() {
    let lost = situation().names(NEW).pulled(OLD).not_pulled(NEW).has(7, OLD, running(10));
    let lost = lost.says(7, HealthState::Passing, 20);
    let adopted = Expected { update: UpdateState::Available, ..quiet() };
    lost.expect(&Expected { step: Some(Action::RecordGood { version: version(OLD) }), ..adopted });
}

#[test]
fn without_a_healthcheck_staying_up_is_the_gate() {
    let mut plain = situation().names(NEW).pulled(NEW).has(1, NEW, running(995));
    plain.service.settings.health.probe = node::config::settings::Probe::ImageOrStayedUp;
    let starting = Expected { state: ServiceState::Starting, health: HealthState::Unknown, ..quiet() };
    let planned = plain.expect(&Expected { wake: Some(1005), ..starting });
    assert_eq!(planned.explanation.gate, "stayed up for 10s (the image has no HEALTHCHECK)");
    plain.now = 1005;
    plain.expect(&Expected { step: Some(Action::RecordGood { version: version(NEW) }), ..quiet() });
}

#[test]
fn a_dependent_service_waits_until_the_other_one_is_healthy() {
    let mut worker = service("worker", SPEC);
    worker.settings.depends_on = vec!["api".to_owned()];
    let mut situation = situation().names(OLD).good(OLD).pulled(OLD).has(1, OLD, running(990));
    situation.observed.candidates.insert("worker".to_owned(), answered("worker", NEW));
    let facts = ImageFacts { has_healthcheck: false };
    situation.observed.images.insert(image("worker").pinned(NEW), ImageState::Present(facts));
    if let EngineView::Up { containers, .. } = &mut situation.observed.engine {
        containers.push(container("worker", 1, (NEW, SPEC), ContainerState::Created));
    }
    let desired = Desired { services: vec![situation.service.clone(), worker], ..Desired::default() };
    let waiting = plan(&desired, &situation.observed, &situation.history, at(1000)).services.remove(1);
    assert_eq!((waiting.step, waiting.status.state), (None, ServiceState::Waiting));
    assert_eq!(
        waiting.explanation.reasons[0].text,
        "waits: service api, on which it depends, is not healthy"
    );
    let healthy = situation.says(1, HealthState::Passing, 995);
    let starts = plan(&desired, &healthy.observed, &healthy.history, at(1000)).services.remove(1);
    let start =
        Action::Start { container_id: "id-worker-1".to_owned(), version: version(NEW), restart: None };
    assert_eq!(starts.step.map(|step| step.action), Some(start));
}

#[test]
fn services_that_left_node_toml_are_stopped_the_last_made_first() {
    let mut observed = situation().observed;
    let made = |name: &str, when: i64| Container {
        created_at: at(when),
        ..container(name, 1, (OLD, SPEC), running(when))
    };
    let containers = vec![made("database", 1), made("app", 2)];
    observed.engine = EngineView::Up { since: at(0), containers };
    let plan = plan(&Desired::default(), &observed, &History::default(), at(1000));
    let steps: Vec<_> =
        plan.removals.iter().map(|removal| (removal.service.as_str(), removal.step.is_some())).collect();
    assert_eq!(steps, [("app", true), ("database", false)]);
}
