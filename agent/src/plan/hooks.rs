//! What the commands of a service say of its update: `before` in the container that is to be replaced, `after` in the
//! new one. Pure; asking them is a step like others.
//!
//! An exit with 0 is a yes, another one a no. No answer is neither: it is asked again, later and later.

use super::gate::{Gate, Judgement, gate as health_gate};
use super::view::{View, run_of};
use super::words::span;
use crate::history::memory::{Failure, StepKey, StepKind, pending};
use crate::observed::Container;
use jiff::Timestamp;

/// Why the switch to `digest` was not allowed when it was asked last, and until when it is not asked again.
pub(super) fn refusal(view: &View<'_>, digest: &str) -> Option<(String, Option<Timestamp>)> {
    let key = StepKey { kind: StepKind::Before, subject: digest.to_owned() };
    let failure = view.memory.failures.get(&key)?;
    Some((said("before", failure), failure.retry_at(key.kind, view.now)))
}

/// The gate of a new version, which ends with its `after` command, where it has one.
pub(super) fn gate(
    view: &View<'_>,
    container: &Container,
    judged: &Judgement,
    started_at: Timestamp,
) -> Gate {
    match health_gate(view, judged, started_at) {
        Gate::Passed => after(view, container, started_at),
        other => other,
    }
}

fn after(view: &View<'_>, container: &Container, started_at: Timestamp) -> Gate {
    let update = &view.wanted.settings.update;
    if update.after.is_empty() || view.memory.approved.is_some() && view.memory.approved == run_of(container)
    {
        return Gate::Passed;
    }
    let key = StepKey { kind: StepKind::After, subject: container.id.clone() };
    let Some(failure) = view.memory.failures.get(&key) else { return Gate::Ask };
    let cause = said("after", failure);
    let goes_back = view.record.good.is_some();
    if failure.version_to_blame && goes_back {
        return Gate::Failed { cause };
    }
    // With nothing to return to, a service that says no is asked until it says yes.
    let begin = if started_at > view.now { view.watched_since } else { started_at.max(view.watched_since) };
    let deadline = pending(begin, update.deadline, view.now);
    if goes_back && deadline.is_none() {
        return Gate::Failed { cause: format!("it was not good within {}: {cause}", span(update.deadline)) };
    }
    match failure.retry_at(key.kind, view.now) {
        Some(until) => Gate::Open { until, detail: cause },
        None => Gate::Ask,
    }
}

fn said(which: &str, failure: &Failure) -> String {
    match failure.version_to_blame {
        true => failure.message.clone(),
        false => format!("its `{which}` command gave no answer: {}", failure.message),
    }
}
