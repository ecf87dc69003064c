//! When a command that was given is done: read from one look at the agent after the other. Pure.

pub mod models;

use super::render::text::moment;
use crate::status::{
    Explanation, HealthState, Quarantined, Service, ServiceState, Status, Target, UpdateState,
};
use jiff::Timestamp;

/// One look.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The status.
    pub status: Status,
    /// The explanations of all services.
    pub explanations: Vec<Explanation>,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Not yet, and what it is doing.
    Pending(String),
    /// Done, in words.
    Done(String),
    /// It will not happen.
    Failed {
        /// Why.
        text: String,
        /// The image that failed, if that is why.
        failed: Option<Quarantined>,
    },
}

impl Progress {
    fn failed(text: String) -> Progress {
        Progress::Failed { text, failed: None }
    }
}

impl Seen {
    fn service(&self, name: &str) -> Option<&Service> {
        self.status.services.iter().find(|service| service.name == name)
    }

    fn explanation(&self, name: &str) -> Option<&Explanation> {
        self.explanations.iter().find(|explanation| explanation.service == name)
    }
}

/// What a person wished a service to run, while it is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// `[services.NAME]`
    pub service: String,
    /// `sha256:…`
    pub digest: String,
    /// When the agent took it; tells it from any other wish.
    pub at: Timestamp,
    /// The agent has shown it since.
    pub seen: bool,
}

impl Wish {
    /// Done when exactly that digest runs, passes and is what a failed update would return to. What the agent showed
    /// before it took the wish says nothing.
    pub fn progress(&mut self, seen: &Seen) -> Progress {
        let name = &self.service;
        let (Some(service), Some(explanation)) = (seen.service(name), seen.explanation(name)) else {
            return gone(name);
        };
        match &explanation.target {
            Some(target) if target.at == self.at => self.seen = true,
            Some(target) if self.seen || target.at > self.at => return self.overtaken(Some(target)),
            None if self.seen => return self.overtaken(None),
            _ => return Progress::Pending(format!("{name} has not begun yet")),
        }
        self.in_force(service, explanation)
    }

    fn overtaken(&self, by: Option<&Target>) -> Progress {
        let now = by.map_or_else(
            || "it follows node.toml again".to_owned(),
            |target| format!("{} was asked for at {}", target.named, moment(target.at)),
        );
        Progress::failed(format!("{} was not updated to {}: {now}", self.service, self.digest))
    }

    fn in_force(&self, service: &Service, explanation: &Explanation) -> Progress {
        let Wish { service: name, digest, at, .. } = self;
        let failed = explanation.quarantined.iter().rev();
        if let Some(failed) = failed.into_iter().find(|entry| entry.digest == *digest && entry.at >= *at) {
            let now = match &service.digest {
                Some(other) if other != digest => format!("; it runs {other}"),
                _ => String::new(),
            };
            let text = format!("{name} was not updated to {digest}: {}{now}", failed.cause);
            return Progress::Failed { text, failed: Some(failed.clone()) };
        }
        let there = service.digest.as_ref() == Some(digest);
        let passes = (service.state, service.health) == (ServiceState::Running, HealthState::Passing);
        if there && passes && explanation.good.as_ref() == Some(digest) {
            return Progress::Done(format!("{name} runs {digest} and passes"));
        }
        if explanation.stopped_since.is_some() {
            let hint = format!("`agentctl start {name}` starts it");
            return Progress::failed(format!("{name} is stopped, and takes {digest} later (hint: {hint})"));
        }
        if explanation.held_since.is_some() && !there {
            let hint = format!("`agentctl release {name}`");
            return Progress::failed(format!("{name} is held, and does not take {digest} (hint: {hint})"));
        }
        let what = match (there, service.state) {
            (true, ServiceState::Running) => "runs it, and its health gate has to pass for a while",
            (true, _) => "runs it, and it does not pass its health gate yet",
            (false, ServiceState::Pulling) => "is pulling it",
            (false, _) => "does not run it yet",
        };
        let reason = explanation.reasons.first().map(|reason| format!(": {}", reason.text));
        Progress::Pending(format!("{name} {what}{}", reason.unwrap_or_default()))
    }
}

/// An update of all services to what node.toml names. Those that are held or stopped on purpose are not meant.
pub fn update_all(seen: &Seen, asked_at: Timestamp) -> Progress {
    if seen.status.services.is_empty() {
        // An agent that has just started has published nothing yet.
        return Progress::Pending("the agent says nothing of any service yet".to_owned());
    }
    let on_purpose = |service: &&Service| {
        service.update.state == UpdateState::Held || service.state == ServiceState::Stopped
    };
    let meant = seen.status.services.iter().filter(|service| !on_purpose(service));
    let parts: Vec<_> = meant.map(|service| update(seen, &service.name, asked_at, false)).collect();
    if parts.is_empty() {
        return Progress::Done("every service is held or stopped on purpose".to_owned());
    }
    together(parts)
}

/// An update of the service `name` to what node.toml names, that was asked for at `asked_at`; with `retry` also to what
/// had failed before.
pub fn update(seen: &Seen, name: &str, asked_at: Timestamp, retry: bool) -> Progress {
    let Some(service) = seen.service(name) else { return gone(name) };
    let update = &service.update;
    let because = update.reason.as_deref().map_or_else(String::new, |reason| format!(": {reason}"));
    let pinned = service.image.split_once('@').map(|(_, digest)| digest);
    if let Some(digest) = pinned
        && service.digest.as_deref().is_some_and(|runs| runs != digest)
        && update.state == UpdateState::Current
    {
        return Progress::Pending(format!("{name} has not gone back to {digest} yet"));
    }
    // An older answer of the registry knows nothing of what was just pushed.
    if pinned.is_none() && update.checked_at.is_none_or(|at| at < asked_at) {
        return Progress::Pending(format!("{name} waits for the registry{because}"));
    }
    let last = seen
        .explanation(name)
        .and_then(|explanation| explanation.quarantined.iter().max_by_key(|entry| entry.at).cloned());
    let failed = matches!(update.state, UpdateState::RolledBack | UpdateState::Quarantined);
    if failed && retry && last.as_ref().is_none_or(|last| last.at < asked_at) {
        return Progress::Pending(format!("{name} has not tried again yet"));
    }
    match update.state {
        UpdateState::Current => match service.state {
            ServiceState::Running => {
                let digest = service.digest.as_deref().unwrap_or("unknown digest");
                Progress::Done(format!("{name} is current ({digest})"))
            }
            ServiceState::Stopped => Progress::Done(format!("{name} is current and stopped")),
            ServiceState::Failed => Progress::failed(format!("{name} has failed{because}")),
            _ => Progress::Pending(format!("{name} is not running yet")),
        },
        UpdateState::Available | UpdateState::Waiting | UpdateState::Updating
            if service.state == ServiceState::Stopped =>
        {
            let hint = format!("`agentctl start {name}` starts it");
            Progress::failed(format!("{name} is stopped, and takes the new image later (hint: {hint})"))
        }
        UpdateState::Available | UpdateState::Waiting => {
            Progress::Pending(format!("{name} has not taken the new image yet{because}"))
        }
        UpdateState::Updating => Progress::Pending(format!("{name} is updating{because}")),
        UpdateState::RolledBack => {
            Progress::Failed { text: format!("{name} was rolled back{because}"), failed: last }
        }
        UpdateState::Quarantined => {
            let hint = format!("push a fixed image, or try it again with `agentctl update {name} --retry`");
            let text = format!("{name}: the new image is quarantined{because} (hint: {hint})");
            Progress::Failed { text, failed: last }
        }
        UpdateState::Held => Progress::failed(format!("{name} is held{because}")),
    }
}

/// A restart of the service that was in the state `before` at `asked_at`.
pub fn restart(status: &Status, before: &Service, asked_at: Timestamp) -> Progress {
    let name = &before.name;
    let service = status.services.iter().find(|service| service.name == *name);
    let Some(service) = service else { return gone(name) };
    let changed = service.since >= asked_at
        || service.container_id != before.container_id
        || service.restarts != before.restarts;
    if changed {
        until_passing(service)
    } else {
        Progress::Pending(format!("{name} has not been stopped yet"))
    }
}

/// A stop of the service `name`.
pub fn stop(seen: &Seen, name: &str) -> Progress {
    let Some(service) = seen.service(name) else { return gone(name) };
    match service.state {
        ServiceState::Stopped => Progress::Done(format!("{name} is stopped")),
        _ => Progress::Pending(format!("{name} is stopping")),
    }
}

/// A start of the service `name`, asked for at `asked_at`.
pub fn start(seen: &Seen, name: &str, asked_at: Timestamp) -> Progress {
    let (Some(service), Some(explanation)) = (seen.service(name), seen.explanation(name)) else {
        return gone(name);
    };
    // A failure from before it was asked says nothing of this start.
    let failed_before = service.state == ServiceState::Failed && service.since < asked_at;
    match service.state {
        ServiceState::Stopped => Progress::Pending(format!("{name} has not been started yet")),
        _ if explanation.stopped_since.is_some() || failed_before => {
            Progress::Pending(format!("{name} has not been started yet"))
        }
        _ => until_passing(service),
    }
}

fn until_passing(service: &Service) -> Progress {
    let name = &service.name;
    match (service.state, service.health) {
        (ServiceState::Running, HealthState::Passing) => Progress::Done(format!("{name} runs and passes")),
        (ServiceState::Failed, _) => Progress::failed(format!("{name} has failed")),
        (ServiceState::Unhealthy, _) | (_, HealthState::Failing) => {
            Progress::Pending(format!("{name} runs and does not pass its health gate"))
        }
        _ => Progress::Pending(format!("{name} is not running and passing yet")),
    }
}

/// What several say together: the first failure, else what is pending, else that all are done.
fn together(parts: Vec<Progress>) -> Progress {
    let (mut pending, mut done) = (Vec::new(), Vec::new());
    for part in parts {
        match part {
            failed @ Progress::Failed { .. } => return failed,
            Progress::Pending(text) => pending.push(text),
            Progress::Done(text) => done.push(text),
        }
    }
    if pending.is_empty() { Progress::Done(done.join("\n")) } else { Progress::Pending(pending.join("; ")) }
}

/// `text` without its numbers: a pull that goes on is not told at every megabyte.
pub fn gist(text: &str) -> String {
    text.chars().filter(|character| !character.is_ascii_digit() && *character != '.').collect()
}

fn gone(name: &str) -> Progress {
    // An agent that has just started has published nothing yet.
    Progress::Pending(format!("the agent says nothing of {name} yet"))
}

#[cfg(test)]
#[path = "wait_tests.rs"]
mod tests;
