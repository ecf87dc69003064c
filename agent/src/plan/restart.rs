//! What becomes of a container that ended or is unhealthy: started again, later and later, or its version given up.

use super::draft::Draft;
use super::gate::Judgement;
use super::steps::{fail, start, stop};
use super::view::View;
use super::words::span;
use crate::history::Version;
use crate::history::memory::{StopCause, pending};
use crate::observed::{Container, ContainerState};
use crate::status::ServiceState;
use jiff::Timestamp;
use std::time::Duration;

/// How long a version that passed its gate is still held to account.
const PROBATION: Duration = Duration::from_secs(600);
/// Ends in a row, within that time, after which it is given up.
const ENDS_ON_PROBATION: u32 = 3;
/// From the end of the first container to the silence of an engine that goes down.
const ENGINE_GOES: Duration = Duration::from_millis(500);

pub(super) fn ended(draft: &mut Draft, view: &View<'_>, target: (&Container, &Version), at: Timestamp) {
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
        Some(StopCause::Others) => return ended_by_others(draft, view, target, at),
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
    if count >= ENDS_ON_PROBATION && on_probation(view, version) {
        let cause = format!("it passed its gate and then ended {count} times: it {end}");
        return fail(draft, view, version, cause);
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

/// An engine that goes down ends its containers first, and does not answer a moment later. Its end is no evidence
/// against the version.
fn ended_by_others(draft: &mut Draft, view: &View<'_>, target: (&Container, &Version), at: Timestamp) {
    let reason = format!("{} was ended by somebody else", target.0.name);
    match pending(at, ENGINE_GOES, view.now) {
        None => start(draft, view, target, None, reason),
        Some(until) => {
            draft.idle_until(view, ServiceState::Restarting, until);
            draft.wait(reason, until);
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
        ContainerState::Exited { code, .. } => match meaning(*code) {
            Some(meaning) => format!("exited with code {code} ({meaning})"),
            None => format!("exited with code {code}"),
        },
        _ => "ended".to_owned(),
    }
}

/// What shells and the kernel mean by a code, where that is known.
fn meaning(code: i64) -> Option<&'static str> {
    match code {
        126 => Some("its command cannot be executed"),
        127 => Some("its command was not found"),
        132 => Some("illegal instruction: built for another processor"),
        134 => Some("it aborted"),
        137 => Some("killed with SIGKILL"),
        139 => Some("segmentation fault"),
        143 => Some("ended by SIGTERM"),
        _ => None,
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

/// Its gate says no: restarted if it worked before, or had the time to.
pub(super) fn unhealthy(
    draft: &mut Draft,
    view: &View<'_>,
    (container, version): (&Container, &Version),
    judged: &Judgement,
) {
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
    let count = view.memory.attempts_before(judged.since).saturating_add(1);
    if count >= ENDS_ON_PROBATION && on_probation(view, version) {
        let cause = format!("it passed its gate and then was unhealthy {count} times: {}", judged.detail);
        return fail(draft, view, version, cause);
    }
    match view.memory.restart_at(judged.since, view.now) {
        Some(until) => draft.wait(format!("unhealthy: {}; the next restart waits", judged.detail), until),
        None => {
            restart(draft, view, container, StopCause::Unhealthy, &format!("unhealthy: {}", judged.detail))
        }
    }
}

/// Stops what runs, unless it could not be started again.
pub(super) fn restart(
    draft: &mut Draft,
    view: &View<'_>,
    container: &Container,
    cause: StopCause,
    why: &str,
) {
    match view.start_obstacle() {
        Some(obstacle) => draft.say(format!("{why}; not restarted, because {obstacle}")),
        None => stop(draft, view, container, cause, format!("{} is restarted: {why}", container.name)),
    }
}

/// The version was recorded good a short while ago, and there is another one to return to.
fn on_probation(view: &View<'_>, version: &Version) -> bool {
    let good = view.record.good.as_ref() == Some(version);
    let since = view.record.good_since.filter(|_| good);
    let young = since.is_some_and(|since| pending(since, PROBATION, view.now).is_some());
    let previous = view.record.previous.as_ref().filter(|previous| *previous != version);
    young && previous.is_some_and(|previous| view.can_run(previous) && view.record.barred(previous).is_none())
}
