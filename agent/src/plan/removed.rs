//! Services that left node.toml: their containers are stopped and removed, the last made first, for what depends on a
//! service is made after it.

use super::rules::leads_to;
use super::view::runs;
use super::{Action, Removal, Step};
use crate::desired::Desired;
use crate::history::History;
use crate::history::memory::StopCause;
use crate::observed::{Container, ContainerState};
use crate::snapshot::{EngineView, Observed, RulesView};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::time::Duration;

/// For a service of which no stop time-out was ever recorded: the default of node.toml.
pub(super) const STOP_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) fn plan(
    desired: &Desired,
    observed: &Observed,
    history: &History,
    now: Timestamp,
) -> (Vec<Removal>, Option<Timestamp>) {
    let EngineView::Up { containers, .. } = &observed.engine else { return (Vec::new(), None) };
    let mut unwanted: Vec<&Container> =
        containers.iter().filter(|container| desired.service(&container.service).is_none()).collect();
    unwanted.sort_by_key(|container| std::cmp::Reverse((container.created_at, container.id.clone())));
    let mut wake_at: Option<Timestamp> = None;
    let mut removals = Vec::new();
    let mut seen = BTreeSet::new();
    // One that runs holds back the stop of all that were made before it, unless its own stop failed just now.
    let mut held_back = false;
    for container in unwanted {
        if !seen.insert(container.service.as_str()) {
            continue;
        }
        let Some(action) = action(container, history) else { continue };
        let retry_at = retry_at(&action, &container.service, history, now);
        wake_at = [wake_at, retry_at].into_iter().flatten().min();
        let waits = retry_at.is_some() || (held_back && runs(container));
        held_back |= runs(container) && retry_at.is_none();
        let busy =
            observed.in_flight.get(&container.service).is_some_and(|in_flight| in_flight.step.is_some());
        let reason = format!("service {} is no longer in node.toml", container.service);
        let unrouted = match &observed.rules {
            RulesView::InForce(rules) => !leads_to(rules, container),
            RulesView::Unknown => container.routed_ports.is_empty(),
        };
        let step = (!waits && !busy && (unrouted || !runs(container))).then_some(Step { action, reason });
        // Whoever waits for its turn serves until then.
        let routed = (waits && !busy && retry_at.is_none()).then(|| container.id.clone());
        removals.push(Removal { service: container.service.clone(), step, routed });
    }
    (removals, wake_at)
}

fn action(container: &Container, history: &History) -> Option<Action> {
    let container_id = container.id.clone();
    match &container.state {
        ContainerState::Running { .. } => {
            let recorded = history.durable.record(&container.service).stop_timeout_seconds;
            let timeout = recorded.map_or(STOP_TIMEOUT, Duration::from_secs);
            Some(Action::Stop { container_id, timeout, cause: StopCause::Removed })
        }
        ContainerState::Created | ContainerState::Exited { .. } => Some(Action::Remove { container_id }),
        ContainerState::Other(_) => None,
    }
}

fn retry_at(action: &Action, service: &str, history: &History, now: Timestamp) -> Option<Timestamp> {
    let key = action.key()?;
    history.memory.service(service).failures.get(&key)?.retry_at(key.kind, now)
}
