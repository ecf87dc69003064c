//! What the health gate of a container says, and whether a new version has passed it.

use super::view::View;
use super::words::span;
use crate::history::memory::pending;
use crate::observed::{Container, ContainerState};
use crate::status::HealthState;
use jiff::Timestamp;
use node::config::settings::Probe;

/// What the gate says of a running container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Judgement {
    pub(super) state: HealthState,
    pub(super) since: Timestamp,
    pub(super) detail: String,
    /// When the same input would be judged differently.
    pub(super) until: Option<Timestamp>,
}

/// Whether a version that is new to the service is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Gate {
    Passed,
    Open {
        until: Timestamp,
        detail: String,
    },
    /// Healthy for long enough; its `after` command is to be asked.
    Ask,
    Failed {
        cause: String,
    },
}

/// `None` while it does not run.
pub(super) fn judge(view: &View<'_>, container: &Container) -> Option<Judgement> {
    let ContainerState::Running { started_at } = container.state else { return None };
    if view.wanted.settings.health.probe == Probe::ImageOrStayedUp && container.image_health.is_none() {
        return Some(stayed_up(view, started_at));
    }
    let verdict = view.observed.verdicts.get(&container.id);
    // What was said of an earlier run of the same container says nothing of this one.
    let verdict = verdict.filter(|verdict| started_at > view.now || verdict.since >= started_at);
    Some(match verdict {
        Some(verdict) => Judgement {
            state: verdict.state,
            since: verdict.since,
            detail: verdict.detail.clone(),
            until: None,
        },
        None => Judgement {
            state: HealthState::Unknown,
            since: started_at,
            detail: "not asked yet".to_owned(),
            until: None,
        },
    })
}

fn stayed_up(view: &View<'_>, started_at: Timestamp) -> Judgement {
    let min_healthy = view.wanted.settings.update.min_healthy;
    let until = pending(started_at, min_healthy, view.now);
    let (state, detail) = match until {
        Some(_) => (HealthState::Unknown, format!("up for less than {}", span(min_healthy))),
        None => (HealthState::Passing, format!("stayed up for {}", span(min_healthy))),
    };
    Judgement { state, since: started_at, detail, until }
}

/// Passed: passing without a break for `min_healthy`. Failed: failing (the prober counts neither the start period nor
/// fewer failures than `retries`), or not passed within the deadline. A time in which the engine was not watched is not
/// counted, for nobody asked.
pub(super) fn gate(view: &View<'_>, judged: &Judgement, started_at: Timestamp) -> Gate {
    let update = &view.wanted.settings.update;
    let begin = if started_at > view.now { view.watched_since } else { started_at.max(view.watched_since) };
    let deadline = pending(begin, update.deadline, view.now);
    let healthy_at = match (judged.state, judged.until) {
        (HealthState::Failing, _) => {
            return Gate::Failed { cause: format!("its health check fails: {}", judged.detail) };
        }
        (HealthState::Passing, _) => match pending(judged.since, update.min_healthy, view.now) {
            None => return Gate::Passed,
            some => some,
        },
        // Staying up takes as long as it takes; no deadline can end it sooner.
        (_, Some(until)) => return Gate::Open { until, detail: judged.detail.clone() },
        (HealthState::Unknown | HealthState::None, None) => None,
    };
    match deadline {
        None => {
            let cause = format!("it was not healthy within {}: {}", span(update.deadline), judged.detail);
            Gate::Failed { cause }
        }
        Some(deadline) => Gate::Open {
            until: healthy_at.map_or(deadline, |healthy_at| healthy_at.min(deadline)),
            detail: judged.detail.clone(),
        },
    }
}
