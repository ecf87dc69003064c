//! The plan of one service: the version that should run, the switch to it, what is left over.

use super::beside;
use super::draft::Draft;
use super::policy;
use super::report;
use super::steps;
use super::view::{View, runs};
use super::wanted::{Named, Wanted, named, wanted};
use super::words::{megabytes, short};
use super::{Action, ServicePlan};
use crate::history::Version;
use crate::history::memory::{StepKind, StopCause};
use crate::observed::ContainerState;
use crate::snapshot::{EngineView, ImageState};
use crate::status::ServiceState;
use jiff::Timestamp;
use std::time::Duration;

/// How often the progress of a pull is shown anew.
const PROGRESS: Duration = Duration::from_secs(1);

/// Decides, and says when to decide again.
pub(super) fn plan(view: &View<'_>) -> (ServicePlan, Option<Timestamp>) {
    let mut draft = Draft::default();
    let target = match &view.observed.engine {
        EngineView::Down { .. } => {
            draft.say("the Docker engine does not answer; nothing is done until it does".to_owned());
            draft.draining.clone_from(&view.memory.draining);
            None
        }
        EngineView::Up { .. } => decide(&mut draft, view),
    };
    let wake_at = draft.wakes.iter().min().copied();
    (report::report(view, draft, target.as_ref()), wake_at)
}

fn decide(draft: &mut Draft, view: &View<'_>) -> Option<Version> {
    let wanted = wanted(view);
    if !matches!(wanted, Wanted::Stopped { .. }) {
        registry_problem(draft, view);
    }
    let target = match wanted {
        Wanted::Run { version, reason } => {
            reason.into_iter().for_each(|reason| draft.say(reason));
            version
        }
        Wanted::Stopped { since } => {
            rest(draft, view, since);
            return None;
        }
        Wanted::Nothing { reason, barred } => {
            draft.idle(if barred { ServiceState::Failed } else { ServiceState::Waiting });
            draft.say(reason);
            return None;
        }
    };
    work_under_way(draft, view, &target);
    if view.blue_green() {
        beside::run(draft, view, &target);
    } else {
        steps::run(draft, view, &target);
    }
    if let Some(good) = view.record.good.as_ref().filter(|good| **good != target) {
        keep_alive(draft, view, &target, good);
    }
    clear_away(draft, view, &target);
    policy::prepare(draft, view);
    failures(draft, view, Some(&target));
    one_at_a_time(draft, view);
    Some(target)
}

/// One step at a time; the next plan sees its result, and decides anew.
fn one_at_a_time(draft: &mut Draft, view: &View<'_>) {
    if view.in_flight().is_some_and(|in_flight| in_flight.step.is_some()) {
        draft.step = None;
    }
}

/// A person has stopped the service: nothing of it runs until a person starts it.
fn rest(draft: &mut Draft, view: &View<'_>, since: Timestamp) {
    let name = view.name();
    let reason = format!("stopped since {since:.0}; `agentctl start {name}` starts it");
    match view.containers.iter().find(|container| runs(container)) {
        Some(container) => steps::stop(draft, view, container, StopCause::Requested, reason),
        None => draft.say(reason),
    }
    draft.idle(ServiceState::Stopped);
    failures(draft, view, None);
    one_at_a_time(draft, view);
}

fn work_under_way(draft: &mut Draft, view: &View<'_>, target: &Version) {
    let Some(in_flight) = view.in_flight() else { return };
    if let Some(step) = &in_flight.step {
        draft.say(format!("{step} is under way"));
    }
    if let Some(pull) = &in_flight.pull {
        let (current, total) = (pull.progress.current_bytes, pull.progress.total_bytes);
        let done = format!("{} of {}", megabytes(current), megabytes(total));
        if pull.digest == target.digest && view.predecessor(target).is_none() {
            draft.idle(ServiceState::Pulling);
        }
        match view.now.checked_add(PROGRESS) {
            Ok(next) => {
                draft.say(format!("pulling {}: {done}", short(&pull.digest)));
                draft.wakes.push(next);
            }
            Err(_) => draft.say(format!("pulling {}", short(&pull.digest))),
        }
    }
}

/// Until the switch, the old version is kept running; after a pull that failed, also made anew.
fn keep_alive(draft: &mut Draft, view: &View<'_>, target: &Version, good: &Version) {
    let new = view.container_of(target);
    let switched = new.is_some_and(|container| !matches!(container.state, ContainerState::Created));
    if switched || draft.step.is_some() {
        return;
    }
    if let Some(old) = view.container_of(good) {
        // One that runs beside the new one was looked after already.
        if !view.blue_green() {
            steps::drive(draft, view, old, good);
        }
        return;
    }
    let local = matches!(view.image(&good.digest), Some(ImageState::Present(_)));
    if local && good.spec == view.wanted.spec_hash && view.pull_failure(&target.digest).is_some() {
        steps::run(draft, view, good);
    }
}

/// Removes what neither runs nor is needed: older generations, refused containers, versions that were given up.
fn clear_away(draft: &mut Draft, view: &View<'_>, target: &Version) {
    let kept = [view.container_of(target), view.predecessor(target)];
    let left_over = view.containers.iter().find(|container| {
        let ended = matches!(container.state, ContainerState::Created | ContainerState::Exited { .. });
        ended && !kept.iter().flatten().any(|kept| kept.id == container.id)
    });
    // While nothing runs, the last lines of what ran are worth more than the room.
    let restored =
        view.containers.iter().any(|container| runs(container)) || kept.iter().flatten().next().is_some();
    if let Some(container) =
        left_over.filter(|container| restored || view.memory.refused.contains(&container.id))
    {
        let reason = format!("{} is left over", container.name);
        draft.step(view, Action::Remove { container_id: container.id.clone() }, reason);
    }
}

fn registry_problem(draft: &mut Draft, view: &View<'_>) {
    let Some(failure) = view.candidate().and_then(|candidate| candidate.failure.as_ref()) else { return };
    if let Named::Digest(_) = named(view)
        && view.wanted.settings.update.every.is_none()
    {
        return;
    }
    let message = format!("service {}: {}", view.name(), failure.message);
    draft.problem(view, &failure.code, message, failure.hint.clone());
}

/// What failed and was not made good since, of the things that are still wanted.
fn failures(draft: &mut Draft, view: &View<'_>, target: Option<&Version>) {
    let delayed = policy::delayed(view).map(|(version, _)| version);
    let subjects = [target, view.record.good.as_ref(), delayed.as_ref()];
    let wanted: Vec<String> = subjects
        .into_iter()
        .flatten()
        .flat_map(|version| [version.digest.clone(), super::version_subject(version)])
        .chain(view.containers.iter().map(|container| container.id.clone()))
        .collect();
    for (key, failure) in &view.memory.failures {
        // A service that says "not now" is not in trouble.
        if wanted.contains(&key.subject) && key.kind != StepKind::Before {
            draft.problem(view, &failure.code, failure.message.clone(), failure.hint.clone());
        }
    }
}
