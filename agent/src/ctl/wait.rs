//! When a command that was given is done: read from one status after the other. Pure.

use crate::status::{HealthState, Service, ServiceState, Status, UpdateState};
use jiff::Timestamp;

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Not yet, and what it is doing.
    Pending(String),
    /// Done, in words.
    Done(String),
    /// It will not happen, and why.
    Failed(String),
}

/// An update of the service `name` that was asked for at `asked_at`.
pub fn update(status: &Status, name: &str, asked_at: Timestamp) -> Progress {
    let Some(service) = find(status, name) else { return gone(name) };
    let update = &service.update;
    let because = update.reason.as_deref().map_or_else(String::new, |reason| format!(": {reason}"));
    if service.image.contains("@sha256:") && service.state == ServiceState::Running {
        return Progress::Done(format!("{name} is pinned to a digest"));
    }
    // An older answer of the registry knows nothing of what was just pushed.
    if update.checked_at.is_none_or(|at| at < asked_at) {
        return Progress::Pending(format!("{name} waits for the registry{because}"));
    }
    match update.state {
        UpdateState::Current => match service.state {
            ServiceState::Running => {
                let digest = service.digest.as_deref().unwrap_or("unknown digest");
                Progress::Done(format!("{name} is current ({digest})"))
            }
            ServiceState::Stopped => Progress::Done(format!("{name} is current and stopped")),
            ServiceState::Failed => Progress::Failed(format!("{name} has failed{because}")),
            _ => Progress::Pending(format!("{name} is not running yet")),
        },
        UpdateState::Available | UpdateState::Waiting => {
            Progress::Pending(format!("{name} has not taken the new image yet{because}"))
        }
        UpdateState::Updating => Progress::Pending(format!("{name} is updating{because}")),
        UpdateState::RolledBack => Progress::Failed(format!("{name} was rolled back{because}")),
        UpdateState::Quarantined => {
            Progress::Failed(format!("{name}: the new image is quarantined{because}"))
        }
        UpdateState::Held => Progress::Failed(format!("{name} is held{because}")),
    }
}

/// A restart of the service that was in the state `before` at `asked_at`.
pub fn restart(status: &Status, before: &Service, asked_at: Timestamp) -> Progress {
    let name = &before.name;
    let Some(service) = find(status, name) else { return gone(name) };
    let changed = service.since >= asked_at
        || service.container_id != before.container_id
        || service.restarts != before.restarts;
    match (service.state, service.health) {
        _ if !changed => Progress::Pending(format!("{name} has not been stopped yet")),
        (ServiceState::Running, HealthState::Passing) => Progress::Done(format!("{name} runs and passes")),
        (ServiceState::Failed, _) => Progress::Failed(format!("{name} has failed")),
        (ServiceState::Unhealthy, _) | (_, HealthState::Failing) => {
            Progress::Pending(format!("{name} runs and does not pass its health gate"))
        }
        _ => Progress::Pending(format!("{name} is not running and passing yet")),
    }
}

/// What several say together: the first failure, else what is pending, else that all are done.
pub fn together(parts: Vec<Progress>) -> Progress {
    let (mut pending, mut done) = (Vec::new(), Vec::new());
    for part in parts {
        match part {
            failed @ Progress::Failed(_) => return failed,
            Progress::Pending(text) => pending.push(text),
            Progress::Done(text) => done.push(text),
        }
    }
    if pending.is_empty() { Progress::Done(done.join("\n")) } else { Progress::Pending(pending.join("; ")) }
}

fn find<'a>(status: &'a Status, name: &str) -> Option<&'a Service> {
    status.services.iter().find(|service| service.name == name)
}

fn gone(name: &str) -> Progress {
    // An agent that has just started has published nothing yet.
    Progress::Pending(format!("the agent says nothing of {name} yet"))
}

#[cfg(test)]
#[path = "wait_tests.rs"]
mod tests;
