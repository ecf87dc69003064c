//! Situations in which a service's own commands are asked about an update.

use super::policy::offered;
use super::situation::*;
use super::*;
use crate::history::memory::Consent;
use crate::outcome::{self, Outcome};

fn guarded() -> Situation {
    offered().sets(|update| update.before = vec!["may-stop".to_owned()])
}

fn ask_before() -> Option<Action> {
    Some(Action::AskBefore { container_id: "id-api-1".to_owned(), digest: NEW.to_owned() })
}

fn answered(situation: Situation, action: Option<Action>, code: i64, output: &str, when: i64) -> Situation {
    let mut situation = situation;
    let outcome = Outcome::Answered { code, output: output.to_owned() };
    let wanted = situation.service.clone();
    let service = ("api", Some(&wanted));
    outcome::done(&mut situation.history, service, &action.unwrap(), outcome, at(when));
    situation
}

#[test]
fn the_image_is_pulled_before_the_service_is_asked() {
    let updating = Expected { update: UpdateState::Updating, ..quiet() };
    guarded().expect(&Expected { pull: pull(NEW), ..updating });
    let waiting = Expected { update: UpdateState::Waiting, ..quiet() };
    guarded().pulled(NEW).expect(&Expected { step: ask_before(), ..waiting });
}

#[test]
fn a_service_that_says_no_is_asked_again_later_and_later() {
    let refused = answered(guarded().pulled(NEW), ask_before(), 3, "two tasks\nare under way\n", 999);
    let waiting = Expected { update: UpdateState::Waiting, ..quiet() };
    let planned = refused.expect(&Expected { wake: Some(1004), ..waiting.clone() });
    let reason = "its `before` command exited with 3: two tasks are under way";
    assert_eq!(planned.status.update.reason.as_deref(), Some(reason));
    let mut again = refused;
    again.now = 1004;
    again.expect(&Expected { step: ask_before(), ..waiting.clone() });
    for (when, next) in [(1004, 1014), (1014, 1034), (1034, 1074), (1074, 1154), (1154, 1314), (1314, 1614)] {
        again = answered(again, ask_before(), 3, "", when);
        again.now = when;
        again.expect(&Expected { wake: Some(next), ..waiting.clone() });
    }
    // Another digest is another question.
    let newer = again.names("sha256:newer").pulled("sha256:newer");
    let digest = "sha256:newer".to_owned();
    let step = Some(Action::AskBefore { container_id: "id-api-1".to_owned(), digest });
    newer.expect(&Expected { step, ..waiting });
}

#[test]
fn no_answer_is_no_yes() {
    let silent = guarded().pulled(NEW).failed(&ask_before().unwrap(), "exec_timeout", false, 1);
    let waiting = Expected { update: UpdateState::Waiting, wake: Some(1004), ..quiet() };
    let planned = silent.expect(&waiting);
    let reason = "its `before` command gave no answer: service api: exec_timeout";
    assert_eq!(planned.status.update.reason.as_deref(), Some(reason));
}

#[test]
fn a_yes_holds_for_that_digest_and_for_a_while() {
    let agreed = answered(guarded().pulled(NEW), ask_before(), 0, "", 990);
    let updating = Expected { update: UpdateState::Updating, ..quiet() };
    agreed.expect(&Expected { step: create(NEW, 2), ..updating });
    let mut late = agreed;
    late.now = 990 + 300;
    let waiting = Expected { update: UpdateState::Waiting, ..quiet() };
    late.expect(&Expected { step: ask_before(), ..waiting.clone() });
    let consent = Consent { digest: "sha256:other".to_owned(), at: at(990) };
    let other = guarded().pulled(NEW).remembers(|memory| memory.consent = Some(consent));
    other.expect(&Expected { step: ask_before(), ..waiting });
}

#[test]
fn nobody_is_asked_where_nothing_runs() {
    let down = situation().names(NEW).good(OLD).pulled(OLD).pulled(NEW).has(1, OLD, exited(1, 999));
    let down = down.sets(|update| update.before = vec!["may-stop".to_owned()]);
    let planned = down.plan().services[0].clone();
    assert_eq!(planned.step.map(|step| step.action), create(NEW, 2));
}

/// The new one is healthy for long enough.
fn passed(good: &str) -> Situation {
    let gate = match good {
        "" => situation().names(NEW),
        good => situation().names(NEW).good(good).pulled(good).has(1, good, exited(143, 900)),
    };
    let gate = gate.pulled(NEW).has(2, NEW, running(900)).says(2, HealthState::Passing, 985);
    gate.sets(|update| update.after = vec!["smoke-test".to_owned()])
}

fn ask_after() -> Option<Action> {
    let run = Run { container_id: "id-api-2".to_owned(), started_at: at(900) };
    Some(Action::AskAfter { run })
}

fn in_gate() -> Expected {
    Expected { state: ServiceState::Updating, update: UpdateState::Updating, ..quiet() }
}

#[test]
fn the_new_container_is_asked_before_it_counts_as_good() {
    passed(OLD).expect(&Expected { step: ask_after(), ..in_gate() });
    let record = Some(Action::RecordGood { version: version(NEW) });
    answered(passed(OLD), ask_after(), 0, "", 999).expect(&Expected { step: record, ..in_gate() });
    // A yes of an earlier run says nothing of this one.
    let mut earlier = ask_after();
    if let Some(Action::AskAfter { run }) = &mut earlier {
        run.started_at = at(800);
    }
    answered(passed(OLD), earlier, 0, "", 850).expect(&Expected { step: ask_after(), ..in_gate() });
}

#[test]
fn a_no_of_the_new_container_is_a_failed_gate() {
    let refused = answered(passed(OLD), ask_after(), 1, "500 for GET /orders", 999);
    let cause = "its `after` command exited with 1: 500 for GET /orders";
    let failed = Expected { step: quarantine(NEW, cause, Some(2)), ..in_gate() };
    refused.expect(&Expected { problems: problems(&["after_failed"]), ..failed });
}

#[test]
fn no_answer_of_the_new_container_is_asked_for_again_until_its_deadline() {
    let silent = || passed(OLD).failed(&ask_after().unwrap(), "exec_timeout", false, 0);
    let waiting = Expected { problems: problems(&["exec_timeout"]), ..in_gate() };
    silent().expect(&Expected { wake: Some(1001), ..waiting.clone() });
    let mut late = silent();
    late.now = 1001;
    late.expect(&Expected { step: ask_after(), ..waiting.clone() });
    late.now = 1200;
    let cause = "it was not good within 5m: its `after` command gave no answer: service api: exec_timeout";
    late.expect(&Expected { step: quarantine(NEW, cause, Some(2)), ..waiting });
}

#[test]
fn with_nothing_to_return_to_a_no_is_asked_again() {
    let refused = answered(passed(""), ask_after(), 1, "", 1000);
    let serves = Expected { problems: problems(&["after_failed"]), ..quiet() };
    refused.expect(&Expected { wake: Some(1001), ..serves.clone() });
    let mut again = refused;
    again.now = 1001;
    again.expect(&Expected { step: ask_after(), ..serves });
}
