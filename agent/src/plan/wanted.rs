//! Which version of a service should run: none when a person has stopped it, else what a person asked for, else what its
//! reference names; unless that is barred, unknown, or not to be taken yet.

use super::gate::judge;
use super::policy;
use super::view::{View, runs, version_of};
use super::words::short;
use crate::history::{Target, Version};
use crate::status::HealthState;
use jiff::Timestamp;
use node::config::settings::ImageVersion;

/// What should run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// This version; with the reason, where it is not what the reference names.
    Run { version: Version, reason: Option<String> },
    /// A person has stopped the service.
    Stopped { since: Timestamp },
    /// Nothing can be; `barred` where that is for good, until another image or specification comes.
    Nothing { reason: String, barred: bool },
}

/// What the reference of a service names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Named {
    Digest(String),
    /// The registry fails and never answered.
    Unknown(String),
    NotAsked,
}

/// What a person asked for, until node.toml names something else.
pub(super) fn asked_for<'a>(view: &View<'a>) -> Option<&'a Target> {
    let target = view.record.target.as_ref()?;
    (target.instead_of == view.wanted.settings.image.to_string()).then_some(target)
}

pub(super) fn named(view: &View<'_>) -> Named {
    let settings = &view.wanted.settings;
    if let Some(target) = asked_for(view) {
        return Named::Digest(target.digest.clone());
    }
    if let ImageVersion::Digest(digest) = &settings.image.version {
        return Named::Digest(digest.clone());
    }
    let candidate = view.candidate();
    let answer = candidate.and_then(|candidate| candidate.answer.as_ref());
    // `every = "never"`: what was taken once stays until a person asks or names another reference.
    if settings.update.every.is_none()
        && !answer.is_some_and(|answer| answer.requested)
        && view.record.reference.as_ref() == Some(&settings.image.to_string())
        && let Some(good) = &view.record.good
    {
        return Named::Digest(good.digest.clone());
    }
    match (answer, candidate.and_then(|candidate| candidate.failure.as_ref())) {
        (Some(answer), _) => Named::Digest(answer.digest.clone()),
        (None, Some(failure)) => Named::Unknown(failure.message.clone()),
        (None, None) => Named::NotAsked,
    }
}

pub(super) fn wanted(view: &View<'_>) -> Wanted {
    if let Some(since) = view.record.stopped_since {
        return Wanted::Stopped { since };
    }
    match named(view) {
        Named::Digest(digest) => with_answer(view, &digest),
        Named::Unknown(why) => without_answer(view, &why, false),
        Named::NotAsked => without_answer(view, "the registry has not been asked yet", true),
    }
}

fn with_answer(view: &View<'_>, digest: &str) -> Wanted {
    let version = view.wanted_version(digest);
    if let Some(first) = first_still_in_its_gate(view, &version) {
        let reason =
            format!("{} passes its gate first, to have something to return to", short(&first.digest));
        return Wanted::Run { version: first, reason: Some(reason) };
    }
    let Some(entry) = view.record.barred(&version) else {
        return match policy::delay(view, &version) {
            Some(delay) => meanwhile(view, delay.reason),
            None => Wanted::Run { version, reason: None },
        };
    };
    let barred = format!("{} failed before and is not tried again: {}", short(digest), entry.cause);
    match fallback(view) {
        Some(version) => Wanted::Run { version, reason: Some(barred) },
        None => Wanted::Nothing { reason: format!("{barred}; there is nothing to return to"), barred: true },
    }
}

/// A container that works, of a service of which no version is known to be good: after a first deployment that was
/// overtaken by the next image, or when the history was lost. Replacing it at once would leave nothing to return to.
fn first_still_in_its_gate(view: &View<'_>, version: &Version) -> Option<Version> {
    if view.record.good.is_some() || view.container_of(version).is_some() {
        return None;
    }
    let running = view.containers.iter().find(|container| runs(container))?;
    let passing = judge(view, running).is_some_and(|judged| judged.state == HealthState::Passing);
    let first = version_of(running);
    (passing && view.record.barred(&first).is_none()).then_some(first)
}

/// The good version; where its container and its settings are gone, its image with the settings of now.
fn fallback(view: &View<'_>) -> Option<Version> {
    let good = view.record.good.as_ref()?;
    if view.can_run(good) {
        return Some(good.clone());
    }
    let version = view.wanted_version(&good.digest);
    view.record.barred(&version).is_none().then_some(version)
}

/// While another digest is not taken yet: the good one, with the settings of now. The delay itself is told where it is
/// known until when it lasts.
fn meanwhile(view: &View<'_>, reason: String) -> Wanted {
    let version = view.record.good.as_ref().map(|good| view.wanted_version(&good.digest));
    let version = version.filter(|version| view.record.barred(version).is_none()).or_else(|| fallback(view));
    match version {
        Some(version) => Wanted::Run { version, reason: None },
        None => Wanted::Nothing { reason, barred: false },
    }
}

fn without_answer(view: &View<'_>, why: &str, soon: bool) -> Wanted {
    let reason = format!("what {} names is not known: {why}", view.wanted.settings.image);
    let Some(good) = &view.record.good else {
        return match adoptable(view) {
            Some(version) => Wanted::Run { version, reason: Some(reason) },
            None => Wanted::Nothing { reason, barred: false },
        };
    };
    let version = view.wanted_version(&good.digest);
    // The answer is a moment away: one switch to the new spec and the new image, not two.
    let hold = soon && view.container_of(good).is_some_and(runs);
    if !hold && view.record.barred(&version).is_none() {
        return Wanted::Run { version, reason: Some(reason) };
    }
    match fallback(view) {
        Some(version) => Wanted::Run { version, reason: Some(reason) },
        None => Wanted::Nothing { reason, barred: false },
    }
}

/// With neither history nor registry: what runs, else what ran last.
fn adoptable(view: &View<'_>) -> Option<Version> {
    let allowed =
        |version: &Version| view.record.barred(version).is_none() && view.container_of(version).is_some();
    let running = view.containers.iter().filter(|container| runs(container));
    running.chain(&view.containers).map(|container| version_of(container)).find(allowed)
}
