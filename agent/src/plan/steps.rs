//! Making one version the one that runs: pull, create, start, watch, restart, each when its time has come.

use super::Action;
use super::draft::Draft;
use super::gate::{Gate, Judgement, judge};
use super::hooks::gate;
use super::view::{View, paused, run_of};
use super::words::{short, span};
use crate::history::Version;
use crate::history::memory::{Run, StepKind, StopCause, pending};
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

/// Starts the container, once nothing is in its way and no other one of the service runs.
fn start(
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
    match view.other_running(container) {
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
    draft.step(view, Action::Stop { container_id: container.id.clone(), timeout, cause }, reason);
}

fn ended(draft: &mut Draft, view: &View<'_>, target: (&Container, &Version), at: Timestamp) {
    let (container, version) = target;
    let count = view.memory.attempts_before(at).saturating_add(1);
    let end = end_of(container);
    if view.memory.restart.is_some() {
        return start(
            draft,
            view,
            target,
            Some(0),
            format!("{} {end}; a restart was asked for", container.name),
        );
    }
    match view.memory.stopped.get(&container.id) {
        Some(StopCause::Unhealthy) => {
            return start(
                draft,
                view,
                target,
                Some(count),
                format!("{} was stopped as unhealthy", container.name),
            );
        }
        Some(StopCause::Requested | StopCause::Replaced | StopCause::Removed) => {
            return start(draft, view, target, None, format!("{} was stopped and is to run", container.name));
        }
        None if at < view.watched_since => {
            return start(
                draft,
                view,
                target,
                None,
                format!("{} {end} while nobody watched", container.name),
            );
        }
        None => {}
    }
    if view.way_back(version).is_some() {
        return fail(draft, view, version, format!("it {end}"));
    }
    if count > 1 {
        crash_problem(draft, view, container, &end);
    }
    let reason = format!("{} {end}", container.name);
    match view.memory.restart_at(at, view.now) {
        None => start(draft, view, target, Some(count), reason),
        Some(until) => {
            draft.idle_until(view, ServiceState::Restarting, until);
            draft.wait(format!("{reason}; {count} times in a row, so the next start waits"), until);
        }
    }
}

fn end_of(container: &Container) -> String {
    match &container.state {
        ContainerState::Exited { out_of_memory: true, code, .. } => {
            format!("ran out of memory (exit code {code})")
        }
        ContainerState::Exited { error: Some(error), code, .. } => {
            format!("exited with code {code}: {error}")
        }
        ContainerState::Exited { code, .. } => format!("exited with code {code}"),
        _ => "ended".to_owned(),
    }
}

fn crash_problem(draft: &mut Draft, view: &View<'_>, container: &Container, end: &str) {
    let name = view.name();
    let message = format!("service {name} ends again and again: {end}");
    let out_of_memory = matches!(container.state, ContainerState::Exited { out_of_memory: true, .. });
    let (code, hint) = match out_of_memory {
        true => ("out_of_memory", format!("give [services.{name}] more `memory`, or a larger instance")),
        false => ("service_crashing", format!("look at `agentctl logs {name}`")),
    };
    draft.problem(view, code, message, Some(hint));
}

fn running(draft: &mut Draft, view: &View<'_>, target: (&Container, &Version), started_at: Timestamp) {
    let (container, version) = target;
    if let Some(other) = view.other_running(container) {
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
            unhealthy(draft, view, container, &judged);
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
            unhealthy(draft, view, container, &judged)
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

/// Its gate says no: restarted if it worked before, or had the time to.
fn unhealthy(draft: &mut Draft, view: &View<'_>, container: &Container, judged: &Judgement) {
    let name = view.name();
    let message = format!("service {name} is unhealthy: {}", judged.detail);
    let hint = format!("look at `agentctl logs {name}` and `agentctl explain {name}`");
    draft.problem(view, "service_unhealthy", message, Some(hint));
    let ContainerState::Running { started_at } = container.state else { return };
    let deadline = view.wanted.settings.update.deadline;
    if !view.passed_before(container)
        && let Some(until) = pending(started_at, deadline, view.now)
    {
        let text =
            format!("unhealthy since its start: {}; it has {} to get well", judged.detail, span(deadline));
        return draft.wait(text, until);
    }
    match view.memory.restart_at(judged.since, view.now) {
        Some(until) => draft.wait(format!("unhealthy: {}; the next restart waits", judged.detail), until),
        None => {
            restart(draft, view, container, StopCause::Unhealthy, &format!("unhealthy: {}", judged.detail))
        }
    }
}

/// Stops what runs, unless it could not be started again.
fn restart(draft: &mut Draft, view: &View<'_>, container: &Container, cause: StopCause, why: &str) {
    match view.start_obstacle() {
        Some(obstacle) => draft.say(format!("{why}; not restarted, because {obstacle}")),
        None => stop(draft, view, container, cause, format!("{} is restarted: {why}", container.name)),
    }
}

/// Bars the version. The way back follows from that at the next plan.
fn fail(draft: &mut Draft, view: &View<'_>, version: &Version, cause: String) {
    let reason = format!("{} failed: {cause}", short(&version.digest));
    let container_id = view.any_container_of(version).map(|container| container.id.clone());
    let action = Action::Quarantine { version: version.clone(), cause, container_id };
    draft.step(view, action, reason);
    draft.idle(ServiceState::Updating);
}
