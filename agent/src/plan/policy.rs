//! Whether another digest is taken now: held by a person, outside its windows, too young, or refused by the service
//! itself, it waits, and the good one goes on.
//!
//! In: the view of a service and the version that is named. Out: what it waits for and until when, or nothing. Pure.
//! What always holds: only another digest than the good one that comes by itself is delayed (and by a hold every other
//! one but what a person asked for); a first deployment and a switch under way are not.
//! Not its job: which version is named, and whether it is barred.

use super::Action;
use super::draft::Draft;
use super::hooks;
use super::view::{View, runs};
use super::wanted::{Named, asked_for, named};
use super::words::{short, span};
use crate::history::memory::pending;
use crate::history::{Note, Seen, UpdateEnd, Version};
use crate::observed::ContainerState;
use crate::snapshot::{Answer, EngineView, ImageState};
use crate::status::UpdateState;
use jiff::Timestamp;
use node::config::window::{Opening, opening};
use std::time::Duration;

/// What the `before` command said counts this long for a switch that has not begun.
const CONSENT: Duration = Duration::from_secs(300);
/// The engine was not asked about an image yet; the next pass asks.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Why another digest is not taken yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Delay {
    pub(super) state: UpdateState,
    pub(super) reason: String,
    /// Until when, where that is known.
    pub(super) until: Option<Timestamp>,
    /// What is done meanwhile.
    pub(super) next: Option<Preparation>,
}

/// What is done for a version before it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Preparation {
    /// The `before` command is asked when nothing is left but the switch.
    Pull,
    /// Its `before` command is asked in the container that is to be replaced.
    AskBefore { container_id: String },
}

/// Why `version`, which is named and not barred, is not taken yet.
pub(super) fn delay(view: &View<'_>, version: &Version) -> Option<Delay> {
    let good = view.record.good.as_ref()?;
    if good.digest == version.digest || asked_for(view).is_some() || under_way(view, version) {
        return None;
    }
    if let Some(since) = view.record.held_since {
        let name = view.name();
        let reason = format!("held since {since:.0}; `agentctl release {name}` lets it take other images");
        return Some(Delay { state: UpdateState::Held, reason, until: None, next: None });
    }
    let answer = by_itself(view, &version.digest)?;
    too_early(view, answer).or_else(|| not_asked(view, version))
}

/// The answer that brought the digest, unless a person wants it: one who asks for an update, or who names another
/// reference in node.toml.
fn by_itself<'a>(view: &View<'a>, digest: &str) -> Option<&'a Answer> {
    let answer = view.candidate()?.answer.as_ref()?;
    let followed = view.record.reference.as_ref() == Some(&view.wanted.settings.image.to_string());
    (answer.digest == digest && followed && !answer.requested).then_some(answer)
}

/// Its container was started, and neither passed nor failed: what is begun is brought to its end.
fn under_way(view: &View<'_>, version: &Version) -> bool {
    let open = view.record.open_update().is_some_and(|open| open.version == *version);
    let started = |state: &ContainerState| !matches!(state, ContainerState::Created);
    open && view.container_of(version).is_some_and(|container| started(&container.state))
}

/// Too young, or outside the windows; until both allow it.
fn too_early(view: &View<'_>, answer: &Answer) -> Option<Delay> {
    let update = &view.wanted.settings.update;
    let (since, what) = known_since(view, answer);
    let old_enough_at = pending(since, update.min_age, view.now);
    let from = old_enough_at.unwrap_or(view.now);
    let digest = short(&answer.digest);
    let young = format!("{digest} was {what} {since:.0} and is taken after {}", span(update.min_age));
    let (reason, until) = match (opening(&update.windows, from), old_enough_at) {
        (Opening::Always | Opening::OpenUntil(_), None) => return None,
        (Opening::Always | Opening::OpenUntil(_), Some(_)) => (young, from),
        (Opening::ClosedUntil(opens), None) => {
            (format!("{digest} waits for the next window of updates"), opens)
        }
        (Opening::ClosedUntil(opens), Some(_)) => {
            (format!("{young}, in the next window of updates after that"), opens)
        }
    };
    Some(Delay { state: UpdateState::Waiting, reason, until: Some(until), next: None })
}

/// Since when there is an image of that digest, as far as can be told: a moment in the future is one of another clock.
fn known_since(view: &View<'_>, answer: &Answer) -> (Timestamp, &'static str) {
    let past = |at: &Timestamp| *at <= view.now;
    if let Some(pushed_at) = answer.pushed_at.filter(past) {
        return (pushed_at, "pushed at");
    }
    let seen = view.record.seen.as_ref().filter(|seen| seen.digest == answer.digest);
    (seen.map(|seen| seen.at).filter(past).unwrap_or(view.now), "first seen at")
}

/// The service itself has to agree, and is asked once nothing is left but the switch.
fn not_asked(view: &View<'_>, version: &Version) -> Option<Delay> {
    if view.wanted.settings.update.before.is_empty() {
        return None;
    }
    let digest = &version.digest;
    let waiting = |reason: String, until: Option<Timestamp>, next: Option<Preparation>| {
        Some(Delay { state: UpdateState::Waiting, reason, until, next })
    };
    match view.image(digest) {
        None => {
            let reason = format!("whether {} was pulled is not known yet", short(digest));
            return waiting(reason, view.now.checked_add(ASK_AGAIN).ok(), None);
        }
        Some(ImageState::Absent) => {
            let reason = format!("{} is to be pulled", view.wanted.settings.image.pinned(digest));
            return waiting(reason, None, Some(Preparation::Pull));
        }
        Some(ImageState::Present(_)) => {}
    }
    let consent = view.memory.consent.as_ref().filter(|consent| consent.digest == *digest);
    if consent.is_some_and(|consent| pending(consent.at, CONSENT, view.now).is_some()) {
        return None;
    }
    // What does not run has nothing under way that an update could break.
    let asked = view.containers.iter().find(|container| runs(container))?;
    match hooks::refusal(view, digest) {
        Some((reason, until @ Some(_))) => waiting(reason, until, None),
        _ => {
            let reason = format!("{} is asked whether {} may take its place", asked.name, short(digest));
            waiting(reason, None, Some(Preparation::AskBefore { container_id: asked.id.clone() }))
        }
    }
}

/// What is named and delayed now.
pub(super) fn delayed(view: &View<'_>) -> Option<(Version, Delay)> {
    let Named::Digest(digest) = named(view) else { return None };
    let version = view.wanted_version(&digest);
    if view.record.barred(&version).is_some() {
        return None;
    }
    let delay = delay(view, &version)?;
    Some((version, delay))
}

/// Says what an update waits for, and does what can be done for it meanwhile.
pub(super) fn prepare(draft: &mut Draft, view: &View<'_>) {
    let Some((Version { digest, .. }, Delay { reason, until, next, .. })) = delayed(view) else { return };
    match (next, until) {
        (Some(Preparation::Pull), _) => draft.pull(view, Action::Pull { digest }, reason),
        (Some(Preparation::AskBefore { container_id }), _) => {
            draft.step(view, Action::AskBefore { container_id, digest }, reason);
        }
        (None, Some(until)) => draft.wait(reason, until),
        (None, None) => draft.say(reason),
    }
}

/// What is to be remembered for good of what is found now. `target` is what should run.
pub(super) fn notes(view: &View<'_>, target: Option<&Version>) -> Vec<Note> {
    let target_over = view.record.target.is_some() && asked_for(view).is_none();
    let target_over = target_over.then_some(Note::TargetOver);
    target_over.into_iter().chain(seen(view)).chain(update_over(view, target)).collect()
}

/// A digest that was not seen before, or by a clock that was ahead.
fn seen(view: &View<'_>) -> Option<Note> {
    let digest = &view.candidate()?.answer.as_ref()?.digest;
    let known = view.record.seen.as_ref().is_some_and(|seen| seen.digest == *digest && seen.at <= view.now);
    (!known).then(|| Note::Seen(Seen { digest: digest.clone(), at: view.now }))
}

/// An update that is open on disk, and over by all that is found.
fn update_over(view: &View<'_>, target: Option<&Version>) -> Option<Note> {
    let version = &view.record.open_update()?.version;
    let busy = view.in_flight().is_some_and(|in_flight| in_flight.step.is_some());
    if busy || matches!(view.observed.engine, EngineView::Down { .. }) {
        return None;
    }
    let end = if view.record.good.as_ref() == Some(version) {
        UpdateEnd::Passed
    } else if let Some(entry) = view.record.barred(version) {
        UpdateEnd::Failed(entry.cause.clone())
    } else if target.is_some_and(|target| target != version) {
        UpdateEnd::Overtaken
    } else {
        return None;
    };
    Some(Note::UpdateOver { version: version.clone(), end, at: view.now })
}
