//! Situations on the way from one version to the next, and back.

use super::situation::*;
use super::*;

#[test]
fn a_new_image_is_pulled_while_the_old_one_runs() {
    let found = || {
        situation().names(NEW).good(OLD).pulled(OLD).has(1, OLD, running(10)).says(
            1,
            HealthState::Passing,
            20,
        )
    };
    let updating = Expected { update: UpdateState::Updating, ..quiet() };
    found().not_pulled(NEW).expect(&Expected { pull: pull(NEW), ..updating.clone() });
    let mut pulling = found().not_pulled(NEW);
    let progress = PullProgress { current_bytes: 12_300_000, total_bytes: 45_600_000 };
    let in_flight = InFlight { pull: Some(PullInFlight { digest: NEW.to_owned(), progress }), step: None };
    pulling.observed.in_flight.insert("api".to_owned(), in_flight);
    let planned = pulling.expect(&Expected { wake: Some(1001), ..updating.clone() });
    assert_eq!(planned.status.update.reason.as_deref(), Some("pulling sha256:new: 12.3 MB of 45.6 MB"));
    found().pulled(NEW).expect(&Expected { step: create(NEW, 2), ..updating });
}

#[test]
fn the_old_container_crashes_during_the_pull_and_is_started_again() {
    let mut crashed =
        situation().names(NEW).good(OLD).pulled(OLD).not_pulled(NEW).has(1, OLD, exited(1, 999));
    let pull = PullInFlight { digest: NEW.to_owned(), progress: PullProgress::default() };
    crashed.observed.in_flight.insert("api".to_owned(), InFlight { pull: Some(pull), step: None });
    let restarting = idle(ServiceState::Restarting, UpdateState::Updating);
    crashed.expect(&Expected { step: start(1, OLD, Some(1)), wake: Some(1001), ..restarting });
}

#[test]
fn the_switch_stops_the_old_starts_the_new_and_watches_it() {
    let switch = || situation().names(NEW).good(OLD).pulled(OLD).pulled(NEW);
    let updating = Expected { update: UpdateState::Updating, ..quiet() };
    let both = switch().has(1, OLD, running(10)).has(2, NEW, ContainerState::Created);
    let both = both.says(1, HealthState::Passing, 20);
    both.expect(&Expected { step: stop(1, StopCause::Replaced), ..updating.clone() });
    let stopped = switch().has(1, OLD, exited(143, 999)).has(2, NEW, ContainerState::Created);
    let state = Expected { state: ServiceState::Updating, health: HealthState::None, ..updating.clone() };
    stopped.expect(&Expected { step: start(2, NEW, None), ..state.clone() });
    let gate =
        switch().has(1, OLD, exited(143, 900)).has(2, NEW, running(900)).says(2, HealthState::Unknown, 900);
    gate.expect(&Expected { health: HealthState::Unknown, wake: Some(1200), ..state.clone() });
    let passing =
        switch().has(1, OLD, exited(143, 900)).has(2, NEW, running(900)).says(2, HealthState::Passing, 995);
    passing.expect(&Expected { health: HealthState::Passing, wake: Some(1005), ..state.clone() });
    let passed =
        switch().has(1, OLD, exited(143, 900)).has(2, NEW, running(900)).says(2, HealthState::Passing, 985);
    let record = Some(Action::RecordGood { version: version(NEW) });
    passed.expect(&Expected { step: record, health: HealthState::Passing, ..state });
}

#[test]
fn after_the_gate_the_old_container_is_removed() {
    let passed = situation().names(NEW).good(OLD).good(NEW).pulled(NEW).pulled(OLD);
    let passed =
        passed.has(1, OLD, exited(143, 900)).has(2, NEW, running(900)).says(2, HealthState::Passing, 950);
    passed.expect(&Expected { step: remove(1), ..quiet() });
}

#[test]
fn a_failed_gate_bars_the_version_whatever_the_failure() {
    let gate = |state: ContainerState| {
        let gate = situation().names(NEW).good(OLD).pulled(OLD).pulled(NEW);
        gate.has(1, OLD, exited(143, 600)).has(2, NEW, state)
    };
    let expect = |situation: Situation, cause: &str, generation: Option<u64>| {
        let planned = situation.plan().services[0].clone();
        let action = planned.step.as_ref().map(|step| step.action.clone());
        assert_eq!(action, quarantine(NEW, cause, generation), "{planned:#?}");
        assert_eq!(planned.status.state, ServiceState::Updating, "{planned:#?}");
    };
    expect(gate(exited(1, 999)), "it exited with code 1", Some(2));
    let out_of_memory = ContainerState::Exited { code: 137, at: at(999), out_of_memory: true, error: None };
    expect(gate(out_of_memory), "it ran out of memory (exit code 137)", Some(2));
    let failing = gate(running(900)).says(2, HealthState::Failing, 990);
    expect(failing, "its health check fails: GET /health: 200", Some(2));
    let mut deaf = gate(running(900)).says(2, HealthState::Failing, 990);
    if let Some(verdict) = deaf.observed.verdicts.get_mut("id-api-2") {
        verdict.detail = "connect 172.30.0.2:8000: connection refused".to_owned();
    }
    let cause = "its health check fails: connect 172.30.0.2:8000: connection refused; \
                 nothing listens on port 8000 in the container";
    expect(deaf, cause, Some(2));
    let slow = gate(running(700)).says(2, HealthState::Unknown, 700);
    expect(slow, "it was not healthy within 5m: GET /health: 200", Some(2));
    let refused = Action::Start { container_id: "id-api-2".to_owned(), version: version(NEW), restart: None };
    let refused = gate(ContainerState::Created).failed(&refused, "port_in_use", true, 1);
    expect(refused, "service api: port_in_use", Some(2));
}

#[test]
fn a_creation_that_the_engine_refuses_bars_the_version_while_the_old_one_runs() {
    let refused = situation().names(NEW).good(OLD).pulled(OLD).pulled(NEW).has(1, OLD, running(10));
    let refused = refused.says(1, HealthState::Passing, 20);
    let refused = refused.failed(&create(NEW, 2).unwrap(), "engine_refused", true, 1);
    let updating =
        Expected { update: UpdateState::Updating, problems: problems(&["engine_refused"]), ..quiet() };
    refused.expect(&Expected { step: quarantine(NEW, "service api: engine_refused", None), ..updating });
}

#[test]
fn a_full_disk_is_not_the_fault_of_the_image() {
    let full = situation().names(NEW).good(OLD).pulled(OLD).pulled(NEW).has(1, OLD, running(10));
    let full = full.says(1, HealthState::Passing, 20).failed(&create(NEW, 2).unwrap(), "disk_full", false, 0);
    let waiting = Expected { update: UpdateState::Waiting, problems: problems(&["disk_full"]), ..quiet() };
    full.expect(&Expected { wake: Some(1001), ..waiting });
}

#[test]
fn a_barred_version_makes_room_for_the_good_one_which_then_stays() {
    let barred =
        || situation().names(NEW).good(OLD).bad(NEW, "it exited with code 1").pulled(OLD).pulled(NEW);
    let rolled_back = |expected: Expected| Expected {
        update: UpdateState::RolledBack,
        problems: problems(&["update_rolled_back"]),
        ..expected
    };
    let failing =
        barred().has(1, OLD, exited(143, 900)).has(2, NEW, running(900)).says(2, HealthState::Failing, 950);
    let unhealthy = Expected { state: ServiceState::Unhealthy, health: HealthState::Failing, ..quiet() };
    let stopping = Expected { step: stop(2, StopCause::Replaced), ..unhealthy };
    let by_us = |memory: &mut ServiceMemory| {
        memory.stopped.insert("id-api-1".to_owned(), StopCause::Replaced);
    };
    failing.remembers(by_us).expect(&rolled_back(stopping));
    let ended = barred().has(1, OLD, exited(143, 900)).has(2, NEW, exited(1, 950)).remembers(by_us);
    let restarting = idle(ServiceState::Restarting, UpdateState::RolledBack);
    ended.expect(&rolled_back(Expected { step: start(1, OLD, None), ..restarting }));
    let back =
        barred().has(1, OLD, running(960)).has(2, NEW, exited(1, 950)).says(1, HealthState::Passing, 961);
    back.expect(&rolled_back(Expected { step: remove(2), ..quiet() }));
    let stays = barred().has(1, OLD, running(960)).says(1, HealthState::Passing, 961);
    let planned = stays.expect(&rolled_back(quiet()));
    let message = "service api stays on sha256:old: the update to sha256:new failed: it exited with code 1";
    assert_eq!(planned.problems[0].message, message);
    assert_eq!(planned.explanation.quarantined[0].last_log_lines, ["last words"]);
}

#[test]
fn another_image_or_another_spec_ends_the_bar() {
    let barred = situation().good(OLD).bad(NEW, "it exited with code 1").pulled(OLD);
    let barred = barred.has(1, OLD, running(10)).says(1, HealthState::Passing, 20);
    let updating = Expected { update: UpdateState::Updating, ..quiet() };
    let fixed = barred.names("sha256:fixed").not_pulled("sha256:fixed");
    fixed.expect(&Expected { pull: pull("sha256:fixed"), ..updating.clone() });
    let mut respecified = fixed.names(NEW).pulled(NEW);
    respecified.service.spec_hash = "other".to_owned();
    let version = Version { digest: NEW.to_owned(), spec: "other".to_owned() };
    respecified.expect(&Expected { step: Some(Action::Create { version, generation: 2 }), ..updating });
}

#[test]
fn a_refused_pull_waits_and_names_the_image_while_the_old_one_runs() {
    let refused = situation().names(NEW).good(OLD).pulled(OLD).not_pulled(NEW).has(1, OLD, running(10));
    let refused =
        refused.says(1, HealthState::Passing, 20).failed(&pull(NEW).unwrap(), "pull_refused", false, 2);
    let waiting = Expected { update: UpdateState::Waiting, problems: problems(&["pull_refused"]), ..quiet() };
    refused.expect(&Expected { wake: Some(1003), ..waiting });
}

#[test]
fn a_refused_pull_with_nothing_running_falls_back_to_the_good_image() {
    let refused = situation().names(NEW).good(OLD).pulled(OLD).not_pulled(NEW);
    let refused = refused.failed(&pull(NEW).unwrap(), "pull_refused", false, 2);
    let waiting = idle(ServiceState::Waiting, UpdateState::Updating);
    let created = Expected { step: create(OLD, 2), wake: Some(1003), ..waiting };
    refused.expect(&Expected { problems: problems(&["pull_refused"]), ..created });
}

#[test]
fn an_image_that_is_never_updated_stays_until_a_person_asks() {
    let mut pinned = situation().names(NEW).good(OLD).pulled(OLD).not_pulled(NEW).has(1, OLD, running(10));
    pinned.service.settings.update.every = None;
    let pinned = pinned.says(1, HealthState::Passing, 20);
    pinned.expect(&quiet());
    let mut asked = pinned;
    if let Some(answer) = asked.observed.candidates.get_mut("api").and_then(|known| known.answer.as_mut()) {
        answer.requested = true;
    }
    asked.expect(&Expected { pull: pull(NEW), update: UpdateState::Updating, ..quiet() });
}
