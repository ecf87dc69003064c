//! Situations of a blue-green update, and of what comes after it.

use super::situation::*;
use super::*;
use crate::snapshot::RulesView;

fn switch() -> Situation {
    situation().beside().names(NEW).good(OLD).pulled(OLD).pulled(NEW)
}

fn updating() -> Expected {
    Expected { state: ServiceState::Updating, update: UpdateState::Updating, ..quiet() }
}

/// The new container is good; both run.
fn switched() -> Situation {
    let both = switch().good(NEW).has_routed(1, OLD, 10).has_routed(2, NEW, 900);
    both.says(1, HealthState::Passing, 20).says(2, HealthState::Passing, 901)
}

fn reasons(planned: &ServicePlan) -> Vec<&str> {
    planned.explanation.reasons.iter().map(|reason| reason.text.as_str()).collect()
}

#[test]
fn the_new_container_starts_beside_the_old_one_which_keeps_the_port() {
    let made = switch().has_routed(1, OLD, 10).has(2, NEW, ContainerState::Created).leads_to(1);
    let made = made.says(1, HealthState::Passing, 20);
    made.expect(&Expected { step: start(2, NEW, None), state: ServiceState::Running, ..updating() });
    let gate = switch().has_routed(1, OLD, 10).has_routed(2, NEW, 900).leads_to(1);
    let gate = gate.says(1, HealthState::Passing, 20).says(2, HealthState::Unknown, 900);
    let planned = gate.expect(&Expected { wake: Some(1200), ..updating() });
    assert_eq!(planned.status.digest.as_deref(), Some(OLD), "the old one serves");
    assert!(planned.serves);
    assert_eq!(gate.led(), Some(1));
    let passed = gate.says(2, HealthState::Passing, 985);
    passed.expect(&Expected { step: Some(Action::RecordGood { version: version(NEW) }), ..updating() });
    assert_eq!(passed.led(), Some(1), "not before that is noted");
}

#[test]
fn a_first_deployment_has_the_port_at_once() {
    let first = situation().beside().names(NEW).pulled(NEW).has_routed(1, NEW, 990);
    assert_eq!(first.says(1, HealthState::Unknown, 990).led(), Some(1));
}

#[test]
fn the_old_container_runs_on_until_the_ports_lead_to_the_new_one() {
    let before = switched().leads_to(1);
    let planned = before.expect(&updating());
    assert_eq!(reasons(&planned)[0], "api-1 runs on until its ports lead to api-2");
    assert_eq!(before.led(), Some(2));
    let mut unknown = switched();
    unknown.observed.rules = RulesView::Unknown;
    unknown.expect(&updating());
    assert_eq!(unknown.plan().rules, None);
}

#[test]
fn the_old_container_drains_and_is_stopped() {
    let began = switched().leads_to(2);
    let planned = began.expect(&Expected { wake: Some(1001), ..updating() });
    assert_eq!(planned.draining.get("id-api-1"), Some(&at(1000)));
    let drains = |since: i64, connections: Option<u64>| {
        let mut situation = switched().leads_to(2).remembers(|memory| {
            memory.draining.insert("id-api-1".to_owned(), at(since));
        });
        situation.observed.connections.extend(connections.map(|count| ("id-api-1".to_owned(), count)));
        situation
    };
    let open = drains(990, Some(4)).expect(&Expected { wake: Some(1001), ..updating() });
    assert_eq!(reasons(&open)[0], "draining api-1: 4 connections, at most");
    assert_eq!(open.explanation.reasons[0].until, Some(at(1020)));
    let stopped = Expected { step: stop(1, StopCause::Replaced), ..updating() };
    drains(999, Some(0)).expect(&stopped);
    drains(1000, Some(0)).expect(&Expected { wake: Some(1001), ..updating() });
    drains(970, Some(4)).expect(&stopped);
    drains(970, None).expect(&stopped);
    drains(971, None).expect(&Expected { wake: Some(1001), ..updating() });
    // The clock was set back: it drains anew rather than being cut.
    let back = drains(5000, Some(4)).expect(&Expected { wake: Some(1001), ..updating() });
    assert_eq!(back.draining.get("id-api-1"), Some(&at(1000)));
}

#[test]
fn a_failed_gate_bars_the_new_one_and_leaves_the_old_one_alone() {
    let failing = switch().has_routed(1, OLD, 10).has_routed(2, NEW, 900).leads_to(1);
    let failing = failing.says(1, HealthState::Passing, 20).says(2, HealthState::Failing, 950);
    let cause = "its health check fails: GET /health: 200";
    failing.expect(&Expected { step: quarantine(NEW, cause, Some(2)), ..updating() });
    let barred = failing.bad(NEW, cause);
    let planned = barred.plan().services.remove(0);
    assert_eq!(planned.step.map(|step| step.action), stop(2, StopCause::Replaced));
    assert_eq!(barred.led(), Some(1));
    assert_eq!(planned.status.state, ServiceState::Running);
}

#[test]
fn an_image_that_overtakes_waits_until_the_overtaken_one_is_gone() {
    let later = "sha256:later";
    let overtaken = switch().names(later).pulled(later).has_routed(1, OLD, 10).has_routed(2, NEW, 900);
    let overtaken = overtaken.has(3, later, ContainerState::Created).leads_to(1);
    let planned = overtaken.says(1, HealthState::Passing, 20).plan().services.remove(0);
    assert_eq!(planned.step.map(|step| step.action), stop(2, StopCause::Replaced));
}

#[test]
fn the_old_container_crashes_while_the_new_one_is_in_its_gate_and_is_started_again() {
    let crashed = switch().has(1, OLD, exited(1, 999)).has_routed(2, NEW, 900);
    let crashed = crashed.says(2, HealthState::Passing, 995);
    let planned = crashed.plan().services.remove(0);
    assert_eq!(planned.step.map(|step| step.action), start(1, OLD, Some(1)));
    assert_eq!(crashed.led(), None, "what has not passed its gate has no port");
}

#[test]
fn a_restart_takes_the_port_away_first() {
    let run = Run { container_id: "id-api-1".to_owned(), started_at: at(10) };
    let asked = situation().beside().names(OLD).good(OLD).pulled(OLD).has_routed(1, OLD, 10);
    let asked = asked.says(1, HealthState::Passing, 20);
    let asked = asked.remembers(|memory| memory.restart = Some(RestartRequest { instead_of: Some(run) }));
    let led = asked.leads_to(1);
    led.expect(&quiet());
    assert_eq!(led.led(), None);
    let mut bare = led;
    bare.observed.rules = RulesView::InForce(Rules::default());
    bare.expect(&Expected { step: stop(1, StopCause::Requested), ..quiet() });
    assert_eq!(bare.led(), None);
    // While the stop is under way the port stays away, whatever else is wanted by then.
    let mut stopping = bare.remembers(|memory| {
        memory.restart = None;
        memory.stopped.insert("id-api-1".to_owned(), StopCause::Requested);
    });
    let step = Some("the stop of a container".to_owned());
    stopping.observed.in_flight.insert("api".to_owned(), InFlight { pull: None, step });
    assert_eq!(stopping.led(), None);
}

#[test]
fn what_a_person_stopped_is_stopped_and_stays_so() {
    let stopped = |situation: Situation| {
        let mut situation = situation;
        situation.history.durable.record_mut("api").stopped_since = Some(at(950));
        situation
    };
    let running = situation().beside().names(NEW).good(OLD).pulled(OLD).has_routed(1, OLD, 10);
    let running = stopped(running.says(1, HealthState::Passing, 20));
    let planned = running.plan().services.remove(0);
    assert_eq!((planned.step.map(|step| step.action), planned.pull), (stop(1, StopCause::Requested), None));
    let gone = stopped(situation().beside().names(NEW).good(OLD).pulled(OLD).has(1, OLD, exited(143, 960)));
    gone.expect(&idle(ServiceState::Stopped, UpdateState::Available));
}

#[test]
fn three_ends_in_a_row_soon_after_the_gate_give_a_version_up() {
    let crashed = |attempts: u32, good_since: i64| {
        let mut situation = situation().names(NEW).good(OLD).good(NEW).pulled(OLD).pulled(NEW);
        situation.history.durable.record_mut("api").good_since = Some(at(good_since));
        let situation = situation.has(2, NEW, exited(139, 999));
        situation.remembers(|memory| (memory.attempts, memory.last_start) = (attempts, Some(at(990))))
    };
    let step = |situation: Situation| situation.plan().services.remove(0).step.map(|step| step.action);
    let cause = "it passed its gate and then ended 3 times: it exited with code 139 (segmentation fault)";
    assert_eq!(step(crashed(2, 500)), quarantine(NEW, cause, Some(2)));
    assert_eq!(step(crashed(1, 500)), start(2, NEW, Some(2)), "twice is no pattern");
    assert_eq!(step(crashed(2, 400)), None, "ten minutes are over; it is started again later");
    let mut alone = crashed(2, 500);
    alone.history.durable.record_mut("api").previous = None;
    assert_eq!(step(alone), None, "there is nothing to return to");
    let barred = crashed(2, 500).bad(OLD, "it exited with code 1");
    assert_eq!(step(barred), None, "what was before is known to be bad");
}

#[test]
fn a_version_that_is_given_up_makes_the_one_before_it_good_again() {
    let mut history = situation().good(OLD).good(NEW).history;
    let action =
        Action::Quarantine { version: version(NEW), cause: "it ends".to_owned(), container_id: None };
    let done = crate::outcome::Outcome::Done;
    assert!(crate::outcome::done(&mut history, ("api", None), &action, done, at(1000)));
    let record = history.durable.record("api");
    assert_eq!((record.good.clone(), record.previous.clone()), (Some(version(OLD)), None));
    assert!(record.barred(&version(NEW)).is_some() && record.barred(&version(OLD)).is_none());
}

#[test]
fn an_image_is_pulled_once_for_all_services_that_want_it() {
    let api = situation().names(NEW).not_pulled(NEW);
    let mut second = service("second", SPEC);
    second.settings.image = image("api");
    let mut observed = api.observed.clone();
    observed.candidates.insert("second".to_owned(), answered("api", NEW));
    let desired = Desired { services: vec![api.service.clone(), second], ..Desired::default() };
    let pulls = |observed: &Observed| -> Vec<Option<Action>> {
        let plan = plan(&desired, observed, &api.history, at(1000));
        plan.services.into_iter().map(|planned| planned.pull.map(|step| step.action)).collect()
    };
    assert_eq!(pulls(&observed), [pull(NEW), None]);
    let under_way = PullInFlight { digest: NEW.to_owned(), progress: PullProgress::default() };
    observed.in_flight.insert("second".to_owned(), InFlight { pull: Some(under_way), step: None });
    assert_eq!(pulls(&observed), [None, None]);
}
