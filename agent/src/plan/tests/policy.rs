//! Situations in which another image is there and not to be taken yet, and those in which it is all the same.

use super::situation::*;
use super::*;
use crate::history::{Note, Seen, Target, Update, UpdateEnd};
use node::config::settings::Window;

const NEWER: &str = "sha256:newer";
/// The day of the stories, a Tuesday, begins so many seconds before them.
const MIDNIGHT: i64 = -(22 * 3600 + 13 * 60 + 20);

/// The good one runs well, and the reference names another one that was not pulled.
pub(super) fn offered() -> Situation {
    let runs = situation().names(NEW).good(OLD).pulled(OLD).not_pulled(NEW).has(1, OLD, running(10));
    runs.says(1, HealthState::Passing, 20)
}

pub(super) fn taken() -> Expected {
    Expected { pull: pull(NEW), update: UpdateState::Updating, ..quiet() }
}

fn waiting(until: i64) -> Expected {
    Expected { update: UpdateState::Waiting, wake: Some(until), ..quiet() }
}

impl Situation {
    fn answer(mut self, change: impl FnOnce(&mut crate::snapshot::Answer)) -> Self {
        change(self.observed.candidates.get_mut("api").unwrap().answer.as_mut().unwrap());
        self
    }

    pub(super) fn records(mut self, change: impl FnOnce(&mut crate::history::Record)) -> Self {
        change(self.history.durable.record_mut("api"));
        self
    }

    pub(super) fn sets(mut self, change: impl FnOnce(&mut node::config::settings::Update)) -> Self {
        change(&mut self.service.settings.update);
        self
    }

    fn held(self) -> Self {
        self.records(|record| record.held_since = Some(at(400)))
    }

    fn min_age(self, seconds: u64) -> Self {
        self.sets(|update| update.min_age = Duration::from_secs(seconds))
    }

    /// Open every day from then, for so many minutes.
    fn window(self, hour: u16, minutes: u16) -> Self {
        let window = Window { days: [true; 7], opens_at_minute: hour * 60, open_for_minutes: minutes };
        self.sets(|update| update.windows = vec![window])
    }

    /// A person wants another digest, while node.toml names that reference.
    fn target(self, digest: &str, instead_of: &str) -> Self {
        let (digest, instead_of) = (digest.to_owned(), instead_of.to_owned());
        let target = Target { digest, named: "v1".to_owned(), instead_of, at: at(900) };
        self.records(|record| record.target = Some(target))
    }

    fn reason(&self) -> String {
        self.plan().services[0].status.update.reason.clone().unwrap_or_default()
    }
}

const REFERENCE: &str = "registry.example/api:latest";

#[test]
fn a_held_service_takes_no_other_image_and_says_so() {
    let held = offered().held();
    held.expect(&Expected { update: UpdateState::Held, ..quiet() });
    let reason = "held since 2023-11-14T22:20:00Z; `agentctl release api` lets it take other images";
    assert_eq!(held.reason(), reason);
    assert_eq!(held.plan().services[0].status.update.candidate.as_deref(), Some(NEW));
    let asked = held.answer(|answer| answer.requested = true);
    asked.expect(&Expected { update: UpdateState::Held, ..quiet() });
    asked.records(|record| record.held_since = None).expect(&taken());
}

#[test]
fn a_held_service_with_nothing_new_is_shown_as_held() {
    let held = offered().names(OLD).held();
    held.expect(&Expected { update: UpdateState::Held, ..quiet() });
    assert_eq!(held.plan().services[0].status.update.candidate, None);
}

#[test]
fn a_held_service_still_follows_its_specification_and_its_crashes() {
    let mut respecified = offered().held();
    respecified.service.spec_hash = "other".to_owned();
    let version = Version { digest: OLD.to_owned(), spec: "other".to_owned() };
    let made = Some(Action::Create { version, generation: 2 });
    respecified.expect(&Expected { step: made, update: UpdateState::Held, ..quiet() });
    let crashed = situation().names(NEW).good(OLD).pulled(OLD).has(1, OLD, exited(3, 999)).held();
    let restarting = idle(ServiceState::Restarting, UpdateState::Held);
    crashed.expect(&Expected { step: start(1, OLD, Some(1)), ..restarting });
}

#[test]
fn outside_its_windows_it_waits_for_the_next_one() {
    // It is 22:30; the window opens at 2:00.
    let opens = MIDNIGHT + (24 + 2) * 3600;
    let closed = offered().window(2, 120);
    closed.expect(&waiting(opens));
    assert_eq!(closed.reason(), "sha256:new waits for the next window of updates");
    let mut open = closed;
    open.now = opens - 1;
    open.expect(&waiting(opens));
    open.now = opens;
    open.expect(&taken());
    open.now = opens + 2 * 3600;
    open.expect(&waiting(opens + 24 * 3600));
}

#[test]
fn an_image_that_is_too_young_waits_until_it_is_old_enough() {
    let young = offered().min_age(3600).answer(|answer| answer.pushed_at = Some(at(500)));
    young.expect(&waiting(4100));
    assert_eq!(young.reason(), "sha256:new was pushed at 2023-11-14T22:21:40Z and is taken after 1h");
    let mut old = young;
    old.now = 4100;
    old.expect(&taken());
}

#[test]
fn the_age_counts_from_when_it_was_first_seen_where_the_registry_is_silent() {
    let young = offered().min_age(3600);
    young.expect(&waiting(1000 + 3600));
    let seen = |at| Seen { digest: NEW.to_owned(), at };
    assert_eq!(young.plan().services[0].notes, [Note::Seen(seen(at(1000)))]);
    let mut later = young.records(|record| record.seen = Some(seen(at(1000))));
    later.now = 2000;
    later.expect(&waiting(4600));
    assert_eq!(later.plan().services[0].notes, []);
    // A newer one while it waits: its own age counts.
    let newer = later.names(NEWER).not_pulled(NEWER);
    newer.expect(&waiting(2000 + 3600));
    let noted = Seen { digest: NEWER.to_owned(), at: at(2000) };
    assert_eq!(newer.plan().services[0].notes, [Note::Seen(noted)]);
}

#[test]
fn a_clock_that_was_set_back_does_not_make_it_wait_for_ever_and_does_not_end_the_wait_at_once() {
    let ahead = offered().min_age(3600).answer(|answer| answer.pushed_at = Some(at(90_000)));
    let ahead = ahead.records(|record| {
        record.seen = Some(Seen { digest: NEW.to_owned(), at: at(80_000) });
    });
    ahead.expect(&waiting(1000 + 3600));
    let now = Seen { digest: NEW.to_owned(), at: at(1000) };
    assert_eq!(ahead.plan().services[0].notes, [Note::Seen(now)], "counted by the clock of now");
}

#[test]
fn young_and_outside_the_window_it_waits_until_both_allow_it() {
    // Old enough at 4:30, when the window from 2:00 to 4:00 has closed again.
    let both = offered().window(2, 120).min_age(6 * 3600).answer(|answer| answer.pushed_at = Some(at(1000)));
    both.expect(&waiting(MIDNIGHT + (48 + 2) * 3600));
    let reason = "sha256:new was pushed at 2023-11-14T22:30:00Z and is taken after 6h, in the next window of updates \
                  after that";
    assert_eq!(both.reason(), reason);
    // Old enough at 2:30, inside it.
    let inside = both.min_age(4 * 3600);
    inside.expect(&waiting(1000 + 4 * 3600));
}

#[test]
fn a_first_deployment_waits_for_no_window_and_no_age() {
    let first = situation().names(NEW).not_pulled(NEW).window(2, 120).min_age(3600).held();
    let pulling = idle(ServiceState::Pulling, UpdateState::Updating);
    first.expect(&Expected { pull: pull(NEW), ..pulling });
}

#[test]
fn a_person_who_asks_and_a_new_reference_are_not_delayed() {
    let closed = || offered().window(2, 120).min_age(3600);
    closed().answer(|answer| answer.requested = true).expect(&taken());
    let renamed = closed().records(|record| record.reference = Some("registry.example/api:v1".to_owned()));
    renamed.expect(&taken());
    let mut pinned = closed();
    pinned.service.settings.image.version = ImageVersion::Digest(NEW.to_owned());
    pinned.expect(&taken());
}

#[test]
fn what_a_person_asked_for_runs_instead_of_what_is_named() {
    let wished = offered().window(2, 120).target(NEWER, REFERENCE).not_pulled(NEWER);
    wished.expect(&Expected { pull: pull(NEWER), ..taken() });
    let arrived = offered().target(OLD, REFERENCE);
    arrived.expect(&quiet());
    let reason = "v1 was asked for at 2023-11-14T22:28:20Z instead of registry.example/api:latest";
    assert_eq!(arrived.reason(), reason);
    assert!(images_of_interest_of(&wished).contains(&NEWER.to_owned()));
}

fn images_of_interest_of(situation: &Situation) -> Vec<String> {
    let desired = Desired { services: vec![situation.service.clone()], ..Desired::default() };
    let images = images_of_interest(&desired, &situation.observed, &situation.history);
    images.into_iter().map(|(_, digest)| digest).collect()
}

#[test]
fn another_reference_in_node_toml_ends_what_a_person_asked_for() {
    let over = offered().target(NEWER, "registry.example/api:v1");
    let planned = over.expect(&taken());
    assert!(planned.notes.contains(&Note::TargetOver), "{:?}", planned.notes);
}

#[test]
fn what_a_person_asked_for_is_not_run_when_it_is_barred() {
    let barred = offered().target(NEWER, REFERENCE).bad(NEWER, "it exited with code 1");
    let rolled_back = Expected { update: UpdateState::RolledBack, ..quiet() };
    barred.expect(&Expected { problems: problems(&["update_rolled_back"]), ..rolled_back });
}

#[test]
fn a_digest_that_failed_is_barred_under_another_tag_too() {
    let mut renamed = offered().bad(NEW, "it exited with code 1");
    let tag = ImageVersion::Tag("v2".to_owned());
    renamed.service.settings.image.version = tag.clone();
    renamed.observed.candidates.get_mut("api").unwrap().reference.version = tag;
    let rolled_back = Expected { update: UpdateState::RolledBack, ..quiet() };
    renamed.expect(&Expected { problems: problems(&["update_rolled_back"]), ..rolled_back });
    let lifted = renamed.records(|record| assert!(record.lift(NEW)));
    lifted.expect(&taken());
}

#[test]
fn a_switch_under_way_is_brought_to_its_end() {
    let begun = Update { version: version(NEW), from: None, began: at(950), ended: None, end: None };
    let switching = |state: ContainerState| {
        let switch = situation().names(NEW).good(OLD).pulled(OLD).pulled(NEW).window(2, 120).held();
        let switch = switch.records(|record| record.updates.push(begun.clone()));
        switch.has(1, OLD, exited(143, 960)).has(2, NEW, state)
    };
    let gate = switching(running(960)).says(2, HealthState::Passing, 995);
    let updating = Expected { state: ServiceState::Updating, update: UpdateState::Updating, ..quiet() };
    gate.expect(&Expected { wake: Some(1005), ..updating });
    // Made and never started: nothing is begun, and the good one goes on.
    let made = switching(ContainerState::Created).remembers(|memory| {
        memory.stopped.insert("id-api-1".to_owned(), StopCause::Replaced);
    });
    let planned = made.plan().services[0].clone();
    assert_eq!(planned.step.map(|step| step.action), start(1, OLD, None), "not begun");
    assert_eq!(planned.status.update.state, UpdateState::Held);
    let over = Note::UpdateOver { version: version(NEW), end: UpdateEnd::Overtaken, at: at(1000) };
    assert!(planned.notes.contains(&over), "{:?}", planned.notes);
}

#[test]
fn an_update_that_a_kill_left_open_is_closed_by_what_is_found() {
    let open = |situation: Situation| {
        let update = Update { version: version(NEW), from: None, began: at(950), ended: None, end: None };
        let notes = situation.records(|record| record.updates.push(update)).plan().services[0].notes.clone();
        notes.into_iter().find_map(|note| match note {
            Note::UpdateOver { end, .. } => Some(end),
            _ => None,
        })
    };
    let failed = UpdateEnd::Failed("it exited with code 1".to_owned());
    assert_eq!(open(offered()), None, "it goes on");
    assert_eq!(open(offered().bad(NEW, "it exited with code 1")), Some(failed));
    assert_eq!(open(offered().names(OLD)), Some(UpdateEnd::Overtaken));
    assert_eq!(open(offered().good(NEW)), Some(UpdateEnd::Passed));
}

#[test]
fn a_person_stops_a_service_and_nothing_of_it_is_started() {
    let stopped = |situation: Situation| situation.records(|record| record.stopped_since = Some(at(900)));
    let runs = stopped(offered());
    let available = Expected { update: UpdateState::Available, ..quiet() };
    runs.expect(&Expected { step: stop(1, StopCause::Requested), ..available });
    let rests = stopped(situation().names(OLD).good(OLD).pulled(OLD).has(1, OLD, exited(0, 950)));
    let planned = rests.expect(&idle(ServiceState::Stopped, UpdateState::Current));
    let reason = "stopped since 2023-11-14T22:28:20Z; `agentctl start api` starts it";
    assert_eq!(planned.explanation.reasons[0].text, reason);
    stopped(situation().names(NEW).not_pulled(NEW))
        .expect(&idle(ServiceState::Stopped, UpdateState::Available));
    let node = crate::status::state_of(&[planned.status]);
    assert_eq!(node, crate::status::NodeState::Ready, "a stop on purpose is no trouble");
    // Started again: by the next plan, as it was.
    let started = rests.records(|record| record.stopped_since = None);
    let started = started.remembers(|memory| {
        memory.stopped.insert("id-api-1".to_owned(), StopCause::Requested);
    });
    let restarting = idle(ServiceState::Restarting, UpdateState::Current);
    started.expect(&Expected { step: start(1, OLD, None), ..restarting });
}
