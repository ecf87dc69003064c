//! Which image is removed from the engine's store, and whether a pull fits.
//!
//! In: the settings of images, what every service needs, the store and the disk as far as they are known, and which
//! images we pulled. Out: at most one removal, what has to be asked first, what is to be remembered. Pure.
//! What always holds: an image of which the digest is that of a container, of a good or previous version, or of what is
//! to run next is never removed; with the engine silent nothing is.

use super::{Action, NODE, ServicePlan, Step};
use crate::desired::{self, Desired};
use crate::history::memory::{StepKey, StepKind, pending};
use crate::history::{History, ImageNote};
use crate::observed::Disk;
use crate::snapshot::{EngineView, LocalImage, Observed};
use crate::status::{Reason, ServiceState, UpdateState};
use jiff::Timestamp;
use node::config::settings::{ImageVersion, Images, Reclaim as Whose};
use node::problem::Problem;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::words::megabytes;

/// Layers are compressed in the registry; unpacked, and with both copies there for a moment, they take so many times
/// the room.
const UNPACKED: u64 = 3;
/// How exactly it is remembered when an image was needed last, at most.
const NEEDED_STEP: Duration = Duration::from_secs(6 * 3600);

/// What becomes of the images in the engine's store.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reclaim {
    /// One removal, with its reason.
    pub step: Option<Step>,
    /// It depends on what is in the store, which is not known.
    pub asks_store: bool,
    /// A pull depends on the room that there is.
    pub asks_disk: bool,
    /// To be remembered for good.
    pub notes: Vec<ImageNote>,
    /// Images of others that nobody needs, by id, and since when that is so; `None` while the store is not known.
    pub idle: Option<BTreeMap<String, Timestamp>>,
}

/// A pull that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lack {
    needed_bytes: u64,
    message: String,
}

/// Takes a pull out of the plan of a service if it does not fit.
pub(super) fn admit(
    (desired, observed): (&Desired, &Observed),
    wanted: &desired::Service,
    planned: &mut ServicePlan,
    now: Timestamp,
) -> Option<Lack> {
    let step = planned.pull.as_ref()?;
    let Action::Pull { digest } = &step.action else { return None };
    let lack = lack((desired, observed), wanted, digest)?;
    let says_pull = |reason: &&mut Reason| reason.text == step.reason;
    match planned.explanation.reasons.iter_mut().find(says_pull) {
        Some(reason) => reason.text.clone_from(&lack.message),
        None => planned.explanation.reasons.push(Reason { text: lack.message.clone(), until: None }),
    }
    planned.pull = None;
    if planned.status.state == ServiceState::Pulling {
        planned.status.state = ServiceState::Waiting;
        planned.status.since = now;
    }
    let update = &mut planned.status.update;
    if matches!(update.state, UpdateState::Updating | UpdateState::Waiting) {
        update.state = UpdateState::Waiting;
        update.reason = Some(lack.message.clone());
    }
    Some(lack)
}

fn lack((desired, observed): (&Desired, &Observed), wanted: &desired::Service, digest: &str) -> Option<Lack> {
    let disk = observed.disk.as_ref()?;
    let reserve = reserve(&desired.images, disk);
    let candidate = observed.candidates.get(&wanted.name);
    let answer = candidate.and_then(|candidate| candidate.answer.as_ref());
    let size = answer.filter(|answer| answer.digest == digest).and_then(|answer| answer.size_bytes);
    let needed_bytes = size.unwrap_or(0).saturating_mul(UNPACKED).saturating_add(reserve);
    if disk.free_bytes >= needed_bytes {
        return None;
    }
    let percent = desired.images.min_free_percent;
    let what = match size {
        Some(size) => {
            format!("{UNPACKED} times its {}, and {percent} % of the disk stay free", megabytes(size))
        }
        None => format!("{percent} % of the disk stay free"),
    };
    let image = wanted.settings.image.pinned(digest);
    let message = format!(
        "{image} is not pulled: it needs {} ({what}), and {} are free",
        megabytes(needed_bytes),
        megabytes(disk.free_bytes)
    );
    Some(Lack { needed_bytes, message })
}

/// What stays free on the disk whatever is pulled.
fn reserve(images: &Images, disk: &Disk) -> u64 {
    disk.total_bytes / 100 * u64::from(images.min_free_percent.min(100))
}

/// Says what does not fit, once there is nothing left to be removed for it.
pub(super) fn problem(service: &str, lack: &Lack, since: Timestamp) -> Problem {
    let hint = "make room on the engine's file system or enlarge it; `min_free` of [images] says how much \
                stays free";
    Problem {
        code: "disk_full".to_owned(),
        message: format!("service {service}: {}", lack.message),
        hint: Some(hint.to_owned()),
        since,
    }
}

/// An image that could be removed.
struct Spare {
    name: String,
    /// When it was needed last.
    since: Timestamp,
}

/// Decides. `services` is what is planned for them, `lacks` what does not fit.
pub(super) fn plan(
    (desired, observed): (&Desired, &Observed),
    services: &[ServicePlan],
    lacks: &[(String, Lack)],
    history: &History,
    now: Timestamp,
) -> Reclaim {
    let EngineView::Up { .. } = &observed.engine else { return Reclaim::default() };
    let images = &desired.images;
    let needed = needed(desired, observed, history);
    let mut reclaim = Reclaim {
        asks_disk: !lacks.is_empty() || services.iter().any(|planned| planned.pull.is_some()),
        notes: notes(observed, history, &needed, (images, now)),
        ..Reclaim::default()
    };
    if images.reclaim == Whose::Never {
        return reclaim;
    }
    let room = lacks.iter().map(|(_, lack)| lack.needed_bytes).max().unwrap_or(0);
    let short = observed.disk.as_ref().is_some_and(|disk| disk.free_bytes < room.max(reserve(images, disk)));
    let mut spare = ours(history, &needed);
    match &observed.store {
        Some(store) => {
            spare.retain(|image| store.iter().any(|local| is_of(local, &image.name) && !local.in_use));
            if images.reclaim == Whose::All {
                let (others, idle) = others(store, history, &needed, now);
                spare.extend(others);
                reclaim.idle = Some(idle);
            }
        }
        None => {
            let due = spare.iter().any(|image| due(image, images, now));
            reclaim.asks_store = due || short || images.reclaim == Whose::All;
            return reclaim;
        }
    }
    spare.sort_by(|a, b| (a.since, &a.name).cmp(&(b.since, &b.name)));
    let busy = observed.in_flight.contains_key(NODE);
    let next = spare.into_iter().find(|image| {
        (short || due(image, images, now)) && !failed_just_now(history, &image.name, now) && !busy
    });
    // Containers were removed since the store was looked at, perhaps, and with them the last use of an image.
    reclaim.asks_store = short && next.is_none() && !busy;
    reclaim.step = next.map(|image| removal(image, short));
    reclaim
}

fn removal(Spare { name, since }: Spare, short: bool) -> Step {
    let reason = match short {
        true => format!("{name} makes room: no service needs it"),
        false => format!("no service has needed {name} since {since:.0}"),
    };
    Step { action: Action::RemoveImage { name }, reason }
}

fn due(image: &Spare, images: &Images, now: Timestamp) -> bool {
    image.since <= now && pending(image.since, images.unused_for, now).is_none()
}

fn failed_just_now(history: &History, name: &str, now: Timestamp) -> bool {
    let key = StepKey { kind: StepKind::RemoveImage, subject: name.to_owned() };
    let failure = history.memory.service(NODE).failures.get(&key);
    failure.is_some_and(|failure| failure.retry_at(key.kind, now).is_some())
}

/// Digests of images that must not go. A version that is barred is not needed, unless a container was made of it.
fn needed(desired: &Desired, observed: &Observed, history: &History) -> BTreeSet<String> {
    let EngineView::Up { containers, .. } = &observed.engine else { return BTreeSet::new() };
    let mut needed: BTreeSet<String> = containers.iter().map(|container| container.digest.clone()).collect();
    let pulls = observed.in_flight.values().filter_map(|in_flight| in_flight.pull.as_ref());
    needed.extend(pulls.map(|pull| pull.digest.clone()));
    for service in &desired.services {
        let record = history.durable.record(&service.name);
        let candidate = observed.candidates.get(&service.name);
        let named = candidate.and_then(|candidate| candidate.answer.as_ref()).map(|answer| &answer.digest);
        let pinned = match &service.settings.image.version {
            ImageVersion::Digest(digest) => Some(digest),
            ImageVersion::Tag(_) => None,
        };
        let target = record.target.as_ref().map(|target| &target.digest);
        let digests = [named, pinned, target].into_iter().flatten();
        let next = digests.map(|digest| crate::history::Version {
            digest: digest.clone(),
            spec: service.spec_hash.clone(),
        });
        let next = next.chain(record.previous.clone()).filter(|version| record.barred(version).is_none());
        needed.extend(next.chain(record.good.clone()).map(|version| version.digest));
    }
    needed
}

/// What is to be remembered of the images that we pulled: which are needed now, and which are gone.
fn notes(
    observed: &Observed,
    history: &History,
    needed: &BTreeSet<String>,
    (images, now): (&Images, Timestamp),
) -> Vec<ImageNote> {
    let step = NEEDED_STEP.min(images.unused_for / 4);
    let mut notes = Vec::new();
    for (name, since) in &history.durable.images {
        let gone = observed.store.as_ref().is_some_and(|store| !store.iter().any(|local| is_of(local, name)));
        let stale = pending(*since, step, now).is_none();
        if gone {
            notes.push(ImageNote::Gone(name.clone()));
        } else if *since > now || (stale && needed.contains(digest_of(name))) {
            notes.push(ImageNote::Needed { name: name.clone(), at: now });
        }
    }
    notes
}

/// Those that we pulled and nobody needs.
fn ours(history: &History, needed: &BTreeSet<String>) -> Vec<Spare> {
    let unneeded = history.durable.images.iter().filter(|(name, _)| !needed.contains(digest_of(name)));
    unneeded.map(|(name, since)| Spare { name: name.clone(), since: *since }).collect()
}

/// Those that others brought and nobody needs, and since when that is known.
fn others(
    store: &[LocalImage],
    history: &History,
    needed: &BTreeSet<String>,
    now: Timestamp,
) -> (Vec<Spare>, BTreeMap<String, Timestamp>) {
    let free = store.iter().filter(|local| {
        let mut names = local.names.iter();
        let of_us = history.durable.images.keys().any(|name| is_of(local, name));
        !local.in_use && !of_us && names.all(|name| !needed.contains(digest_of(name)))
    });
    let mut idle = BTreeMap::new();
    let spare = free.map(|local| {
        let known = history.memory.idle_images.get(&local.id).copied();
        let since = known.filter(|since| *since <= now).unwrap_or(now);
        idle.insert(local.id.clone(), since);
        let name = local.names.first().unwrap_or(&local.id);
        Spare { name: name.clone(), since }
    });
    (spare.collect(), idle)
}

/// The engine writes names of Docker Hub shorter than we do; a digest is the same everywhere.
fn is_of(local: &LocalImage, name: &str) -> bool {
    local.names.iter().any(|other| other == name || digest_of(other) == digest_of(name))
}

fn digest_of(name: &str) -> &str {
    name.rsplit_once('@').map_or(name, |(_, digest)| digest)
}
