//! Making one version the one that runs: pull, create, start, watch, each when its time has come.

use super::Action;
use super::beside;
use super::draft::Draft;
use super::gate::{Gate, judge};
use super::hooks::gate;
use super::restart::{ended, restart, unhealthy};
use super::view::{View, paused, run_of};
use super::words::short;
use crate::history::Version;
use crate::history::memory::{Run, StepKind, StopCause};
use crate::observed::{Container, ContainerState};
use crate::snapshot::ImageState;
use crate::status::{HealthState, ServiceState};
use jiff::Timestamp;

/// The engine was not asked about an image yet; the next pass asks.
const ASK_AGAIN: std::time::Duration = std::time::Duration::from_secs(1);

/// Moves `version` one step towards running.
pub(super) fn run(draft: &mut Draft, view: &View<'_>, version: &Version) {
    if refused(draft, view, version) {
        return;
    }
    match view.container_of(version) {
        None => make(draft, view, version),
        Some(container) => drive(draft, view, container, version),
    }
}

/// Moves a container that is there one step towards running well.
pub(super) fn drive(draft: &mut Draft, view: &View<'_>, container: &Container, version: &Version) {
    match &container.state {
        ContainerState::Created => {
            start(draft, view, (container, version), None, format!("{} is to run", container.name));
        }
        ContainerState::Exited { at, .. } => ended(draft, view, (container, version), *at),
        ContainerState::Running { started_at } => running(draft, view, (container, version), *started_at),
        ContainerState::Other(state) => {
            draft.idle(ServiceState::Waiting);
            draft.say(format!("{} is {state}; left alone until that is over", container.name));
        }
    }
}

/// The engine refused to make or start a version that can be gone back from.
fn refused(draft: &mut Draft, view: &View<'_>, version: &Version) -> bool {
    if view.way_back(version).is_none() {
        return false;
    }
    let failure =
        [StepKind::Create, StepKind::Start].into_iter().find_map(|kind| view.failure(kind, version));
    let Some(failure) = failure.filter(|failure| failure.version_to_blame) else { return false };
    fail(draft, view, version, failure.message.clone());
    true
}

fn make(draft: &mut Draft, view: &View<'_>, version: &Version) {
    match view.image(&version.digest) {
        None => {
            draft.idle(ServiceState::Waiting);
            if let Ok(soon) = view.now.checked_add(ASK_AGAIN) {
                draft.wait(format!("whether {} was pulled is not known yet", short(&version.digest)), soon);
            }
        }
        Some(ImageState::Absent) => {
            let reason = format!("{} is to be pulled", view.wanted.settings.image.pinned(&version.digest));
            draft.pull(view, Action::Pull { digest: version.digest.clone() }, reason);
            if view.predecessor(version).is_none() {
                draft.idle(ServiceState::Pulling);
            }
        }
        Some(ImageState::Present(_)) => create(draft, view, version),
    }
}

fn create(draft: &mut Draft, view: &View<'_>, version: &Version) {
    if let Some(obstacle) = view.obstacle() {
        draft.idle(ServiceState::Waiting);
        draft.say(format!("waits: {obstacle}"));
        return;
    }
    let highest = view.containers.iter().map(|container| container.generation).max().unwrap_or(0);
    let generation = highest.max(view.record.generation) + 1;
    let reason = format!("no container of {} is there", short(&version.digest));
    draft.step(view, Action::Create { version: version.clone(), generation }, reason);
    draft.idle(ServiceState::Starting);
}

/// Starts the container, once nothing is in its way: where it cannot run beside another one of the service, that one is
/// stopped first.
pub(super) fn start(
    draft: &mut Draft,
    view: &View<'_>,
    (container, version): (&Container, &Version),
    restart: Option<u32>,
    reason: String,
) {
    if let Some(obstacle) = view.start_obstacle() {
        draft.idle(ServiceState::Waiting);
        draft.say(format!("waits: {obstacle}"));
        return;
    }
    let failed_before = view.failure(StepKind::Start, version);
    let retry_at = failed_before.and_then(|failure| failure.retry_at(StepKind::Start, view.now));
    let in_the_way = if view.blue_green() { None } else { view.other_running(container) };
    if view.blue_green()
        && let Some(other) = beside::too_many(view, container)
    {
        draft.say(format!("{} waits until {} is gone", container.name, other.name));
        return;
    }
    match in_the_way {
        // The other one serves; it is not stopped for a start that has to wait.
        Some(other) if retry_at.is_none() => {
            let reason = format!("{} makes room for {}", other.name, container.name);
            stop(draft, view, other, StopCause::Replaced, reason);
        }
        _ => {
            let action =
                Action::Start { container_id: container.id.clone(), version: version.clone(), restart };
            draft.step(view, action, reason);
        }
    }
    let ended = matches!(container.state, ContainerState::Exited { .. });
    draft.idle(if ended { ServiceState::Restarting } else { ServiceState::Starting });
}

pub(super) fn stop(
    draft: &mut Draft,
    view: &View<'_>,
    container: &Container,
    cause: StopCause,
    reason: String,
) {
    if paused(container) {
        draft.idle(ServiceState::Waiting);
        draft.say(format!("{} is paused; left alone until that is over", container.name));
        return;
    }
    let timeout = view.wanted.settings.stop_timeout;
    let action = Action::Stop { container_id: container.id.clone(), timeout, cause };
    draft.stop(view, container, action, reason);
}

fn running(draft: &mut Draft, view: &View<'_>, target: (&Container, &Version), started_at: Timestamp) {
    let (container, version) = target;
    if let Some(other) = view.other_running(container).filter(|_| !view.blue_green()) {
        let reason = format!("{} runs beside {}", other.name, container.name);
        return stop(draft, view, other, StopCause::Replaced, reason);
    }
    let Some(judged) = judge(view, container) else { return };
    let in_gate = view.record.good.as_ref() != Some(version);
    let way_back = view.way_back(version).is_some();
    if restart_requested(view, container) {
        if !way_back {
            return restart(draft, view, container, StopCause::Requested, "a restart was asked for");
        }
        draft.say("a restart was asked for and waits for the end of the update".to_owned());
    }
    if !in_gate {
        draft.wakes.extend(judged.until);
        if judged.state == HealthState::Failing {
            unhealthy(draft, view, target, &judged);
        } else if judged.state == HealthState::Passing {
            follow_reference(draft, view, version);
        }
        return;
    }
    match gate(view, container, &judged, started_at) {
        Gate::Passed => {
            let reason = format!("{} passed its gate", short(&version.digest));
            draft.step(view, Action::RecordGood { version: version.clone() }, reason);
        }
        Gate::Ask => {
            let reason = format!("{} is asked whether {} may stay", container.name, short(&version.digest));
            let run = Run { container_id: container.id.clone(), started_at };
            draft.step(view, Action::AskAfter { run }, reason);
        }
        Gate::Open { until, detail } => {
            draft.wait(format!("{} has not passed its gate yet: {detail}", short(&version.digest)), until);
        }
        Gate::Failed { cause } if way_back => fail(draft, view, version, cause),
        Gate::Failed { .. } if judged.state == HealthState::Failing => {
            unhealthy(draft, view, target, &judged)
        }
        Gate::Failed { cause } => {
            draft.say(format!(
                "{} is not healthy, with nothing to return to: {cause}",
                short(&version.digest)
            ));
        }
    }
}

fn restart_requested(view: &View<'_>, container: &Container) -> bool {
    let request = view.memory.restart.as_ref().and_then(|request| request.instead_of.as_ref());
    request.is_some() && request == run_of(container).as_ref()
}

/// The good version runs under a new reference: from now on that is the one it was taken from.
fn follow_reference(draft: &mut Draft, view: &View<'_>, version: &Version) {
    let reference = view.wanted.settings.image.to_string();
    let named = view.candidate().and_then(|candidate| candidate.answer.as_ref());
    let same = named.is_some_and(|answer| answer.digest == version.digest);
    if same && view.record.reference.as_ref() != Some(&reference) {
        let reason = format!("{reference} names what runs");
        draft.step(view, Action::RecordGood { version: version.clone() }, reason);
    }
}

/// Bars the version. The way back follows from that at the next plan.
pub(super) fn fail(draft: &mut Draft, view: &View<'_>, version: &Version, cause: String) {
    let reason = format!("{} failed: {cause}", short(&version.digest));
    let container_id = view.any_container_of(version).map(|container| container.id.clone());
    let action = Action::Quarantine { version: version.clone(), cause, container_id };
    draft.step(view, action, reason);
    draft.idle(ServiceState::Updating);
}
