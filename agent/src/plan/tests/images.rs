//! Situations in which images pile up, and in which a pull does not fit.

use super::policy::{offered, taken};
use super::situation::*;
use super::*;
use crate::engine::LocalImage;
use crate::history::memory::Failure;
use crate::history::{ImageNote, Target};
use crate::observed::Disk;
use node::config::settings::Images;

const PREVIOUS: &str = "sha256:previous";
const SPARE: &str = "sha256:spare";
const OLDER: &str = "sha256:older";
const MEGABYTE: u64 = 1_000_000;
const DAY: i64 = 24 * 3600;

/// A node on which `api` runs well, and its settings of images.
struct Store {
    situation: Situation,
    images: Images,
}

fn name(digest: &str) -> String {
    image("api").pinned(digest)
}

fn local(digest: &str) -> LocalImage {
    LocalImage {
        id: format!("id of {digest}"),
        names: vec![name(digest)],
        size_bytes: 100 * MEGABYTE,
        created_at: at(0),
        in_use: false,
    }
}

/// `digests` were pulled, each needed last so many seconds before now, and are in the store.
fn pulled(digests: &[(&str, i64)]) -> Store {
    let mut situation = situation().names(OLD).good(PREVIOUS).good(OLD).pulled(OLD).has(1, OLD, running(10));
    situation = situation.says(1, HealthState::Passing, 20);
    for (digest, ago) in digests {
        situation.history.durable.images.insert(name(digest), at(situation.now - ago));
    }
    situation.observed.store = Some(digests.iter().map(|(digest, _)| local(digest)).collect());
    Store { situation, images: Images::default() }
}

impl Store {
    fn change(mut self, change: impl FnOnce(&mut Situation)) -> Store {
        change(&mut self.situation);
        self
    }

    fn reclaims(mut self, whose: node::config::settings::Reclaim) -> Store {
        self.images.reclaim = whose;
        self
    }

    /// Of a disk of 10,000 MB, of which 1,000 stay free.
    fn free(self, megabytes: u64) -> Store {
        let disk = Disk { free_bytes: megabytes * MEGABYTE, total_bytes: 10_000 * MEGABYTE };
        self.change(|situation| situation.observed.disk = Some(disk))
    }

    fn plan(&self) -> Plan {
        let services = vec![self.situation.service.clone()];
        let desired = Desired { services, images: self.images.clone() };
        plan(&desired, &self.situation.observed, &self.situation.history, at(self.situation.now))
    }

    /// The digest that is removed, and why.
    fn removed(&self) -> Option<(String, String)> {
        let step = self.plan().reclaim.step?;
        let Action::RemoveImage { name } = step.action else { panic!("{step:?}") };
        Some((name, step.reason))
    }

    fn removes(&self, digest: &str) {
        assert_eq!(self.removed().map(|(name, _)| name), Some(name(digest)));
    }
}

#[test]
fn an_image_that_no_service_needed_for_a_week_is_removed_the_oldest_first() {
    let store = pulled(&[(OLD, 0), (PREVIOUS, 0), (SPARE, 8 * DAY), (OLDER, 9 * DAY)]);
    store.removes(OLDER);
    let reason = "no service has needed registry.example/api@sha256:older since 2023-11-05T22:30:00Z";
    assert_eq!(store.removed().unwrap().1, reason);
    let young = pulled(&[(OLD, 0), (PREVIOUS, 0), (SPARE, 7 * DAY - 1)]);
    assert_eq!(young.removed(), None);
    assert_eq!(store.reclaims(node::config::settings::Reclaim::Never).removed(), None);
}

#[test]
fn what_is_needed_is_never_removed_however_old_and_however_full_the_disk() {
    let old = 100 * DAY;
    let candidate = || pulled(&[(OLD, old), (PREVIOUS, old), (NEW, old), (SPARE, old)]).free(0);
    candidate()
        .change(|situation| {
            situation.observed.candidates.insert("api".to_owned(), answered("api", NEW));
        })
        .removes(SPARE);
    let wished = |situation: &mut Situation| {
        let (digest, named) = (NEW.to_owned(), "v1".to_owned());
        let target =
            Target { digest, named, instead_of: "registry.example/api:latest".to_owned(), at: at(0) };
        situation.history.durable.record_mut("api").target = Some(target);
    };
    candidate().change(wished).removes(SPARE);
    // Of a service that left node.toml, a container is still there.
    let left = pulled(&[(OLD, old), (PREVIOUS, old), (SPARE, old)]).free(0).change(|situation| {
        if let EngineView::Up { containers, .. } = &mut situation.observed.engine {
            containers.push(container("gone", 1, (SPARE, SPEC), ContainerState::Created));
        }
    });
    assert_eq!(left.removed(), None);
}

#[test]
fn an_image_that_failed_is_not_needed() {
    let store = pulled(&[(OLD, 0), (PREVIOUS, 0), (NEW, 8 * DAY)]).change(|situation| {
        situation.observed.candidates.insert("api".to_owned(), answered("api", NEW));
        let record = situation.history.durable.record_mut("api");
        record.record_bad(&version(NEW), "it exited with code 1".to_owned(), Vec::new(), at(0));
    });
    store.removes(NEW);
}

#[test]
fn a_disk_that_fills_makes_the_oldest_go_at_once() {
    let store = || pulled(&[(OLD, 0), (PREVIOUS, 0), (SPARE, 60), (OLDER, 120)]);
    store().free(999).removes(OLDER);
    assert_eq!(store().free(1000).removed(), None);
    // One at a time, and one that cannot be removed holds up no other.
    let busy = store().free(999).change(|situation| {
        situation.observed.in_flight.insert(NODE.to_owned(), InFlight::default());
    });
    assert_eq!(busy.removed(), None);
    let refused = store().free(999).change(|situation| {
        let action = Action::RemoveImage { name: name(OLDER) };
        let failure = Failure {
            code: "image_in_use".to_owned(),
            message: String::new(),
            hint: None,
            version_to_blame: false,
            container_spent: false,
            at: at(990),
            count: 3,
        };
        situation.history.memory.service_mut(NODE).failures.insert(action.key().unwrap(), failure);
    });
    refused.removes(SPARE);
    let nothing_spare = pulled(&[(OLD, 0), (PREVIOUS, 0)]).free(10);
    assert_eq!(nothing_spare.removed(), None);
    assert!(nothing_spare.plan().reclaim.asks_store, "something may have become spare since");
}

#[test]
fn the_store_is_asked_for_only_when_something_may_go() {
    let unknown = |store: Store| store.change(|situation| situation.observed.store = None).plan().reclaim;
    let quiet = unknown(pulled(&[(OLD, 0), (PREVIOUS, 0), (SPARE, DAY)]));
    assert!(!quiet.asks_store && quiet.step.is_none());
    let due = unknown(pulled(&[(OLD, 0), (SPARE, 8 * DAY)]));
    assert!(due.asks_store && due.step.is_none());
    assert!(unknown(pulled(&[(OLD, 0)]).free(1)).asks_store);
    assert!(unknown(pulled(&[]).reclaims(node::config::settings::Reclaim::All)).asks_store);
}

#[test]
fn images_of_others_go_only_where_that_is_asked_for_and_age_from_when_they_were_seen() {
    let foreign = LocalImage { names: vec!["busybox:latest".to_owned()], ..local("sha256:busybox") };
    let used = LocalImage { in_use: true, ..local("sha256:used") };
    let store = || {
        pulled(&[(OLD, 0), (PREVIOUS, 0)]).change(|situation| {
            situation.observed.store.as_mut().unwrap().extend([foreign.clone(), used.clone()]);
        })
    };
    assert_eq!(store().free(1).removed(), None);
    let all = || store().reclaims(node::config::settings::Reclaim::All);
    assert_eq!(all().free(1).removed().unwrap().0, "busybox:latest");
    let fresh = all();
    assert_eq!(fresh.removed(), None);
    let seen: Vec<_> = fresh.plan().reclaim.idle.unwrap().into_iter().collect();
    assert_eq!(seen, [(foreign.id.clone(), at(1000))]);
    let aged = all().change(|situation| {
        situation.history.memory.idle_images.insert(foreign.id.clone(), at(1000 - 7 * DAY));
    });
    assert_eq!(aged.removed().unwrap().0, "busybox:latest");
}

#[test]
fn when_an_image_was_needed_last_is_remembered_by_the_way() {
    let store = pulled(&[(OLD, 7 * 3600), (PREVIOUS, 3600), (SPARE, 7 * 3600), (OLDER, -50)]);
    let gone = store.change(|situation| {
        situation.observed.store.as_mut().unwrap().retain(|local| local.names != [name(SPARE)]);
    });
    let needed = |digest| ImageNote::Needed { name: name(digest), at: at(1000) };
    // The last one was noted by a clock that was ahead.
    let expected = [needed(OLD), needed(OLDER), ImageNote::Gone(name(SPARE))];
    assert_eq!(gone.plan().reclaim.notes, expected);
}

#[test]
fn with_the_engine_silent_nothing_is_removed() {
    let silent = pulled(&[(OLD, 0), (SPARE, 8 * DAY)]).free(1).change(|situation| {
        situation.observed.engine =
            EngineView::Down { since: at(990), message: String::new(), hint: None, last_known: Vec::new() };
    });
    assert_eq!(silent.plan().reclaim, Reclaim::default());
}

/// A new image of so many megabytes is offered.
fn offers(megabytes: Option<u64>) -> Store {
    let mut situation = offered();
    let candidate = situation.observed.candidates.get_mut("api").unwrap();
    candidate.answer.as_mut().unwrap().size_bytes = megabytes.map(|size| size * MEGABYTE);
    situation.observed.store = Some(Vec::new());
    Store { situation, images: Images::default() }
}

fn pulls(store: &Store) -> bool {
    store.plan().services[0].pull.is_some()
}

#[test]
fn a_pull_that_does_not_fit_is_not_begun_and_says_what_it_needs() {
    let plan = offers(Some(500)).free(2499).plan();
    assert_eq!(plan.services[0].pull, None);
    let update = &plan.services[0].status.update;
    let reason = "registry.example/api@sha256:new is not pulled: it needs 2500.0 MB (3 times its 500.0 MB, and 10 % \
                  of the disk stay free), and 2499.0 MB are free";
    assert_eq!((update.state, update.reason.as_deref()), (UpdateState::Waiting, Some(reason)));
    assert_eq!(plan.services[0].explanation.reasons[0].text, reason);
    let problems: Vec<_> = plan.problems.iter().map(|problem| problem.code.as_str()).collect();
    assert_eq!(problems, ["disk_full"]);
    assert!(plan.problems[0].message.ends_with(reason), "{}", plan.problems[0].message);
    assert!(plan.reclaim.asks_disk);
    // Room appears.
    let fits = offers(Some(500)).free(2500);
    assert!(pulls(&fits));
    fits.situation.expect(&taken());
}

#[test]
fn room_is_made_for_a_pull_before_anybody_is_told() {
    let full = offers(Some(500)).free(2499).change(|situation| {
        situation.history.durable.images.insert(name(SPARE), at(990));
        situation.observed.store = Some(vec![local(SPARE)]);
    });
    full.removes(SPARE);
    assert_eq!((pulls(&full), full.plan().problems), (false, Vec::new()));
    let removing = full.change(|situation| {
        situation.observed.in_flight.insert(NODE.to_owned(), InFlight::default());
    });
    assert_eq!(removing.plan().problems, Vec::new());
    let kept = removing.change(|situation| situation.observed.in_flight.clear());
    let kept = kept.reclaims(node::config::settings::Reclaim::Never);
    assert_eq!((kept.removed(), kept.plan().problems.len()), (None, 1));
}

#[test]
fn what_is_not_known_does_not_hold_up_a_pull_unless_the_disk_is_nearly_full() {
    assert!(pulls(&offers(Some(500))), "the disk is not known");
    assert!(pulls(&offers(None).free(1000)), "the size is not known");
    assert!(!pulls(&offers(None).free(999)));
}

#[test]
fn a_first_deployment_that_does_not_fit_waits() {
    let mut first = offers(Some(5000)).free(2000);
    first.situation.history = History::default();
    first.situation.observed.engine = EngineView::Up { since: at(0), containers: Vec::new() };
    let plan = first.plan();
    let status = &plan.services[0].status;
    assert_eq!((status.state, status.update.state), (ServiceState::Waiting, UpdateState::Waiting));
}
