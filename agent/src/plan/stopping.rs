//! Which containers to stop now, when the machine goes down.
//!
//! In: what is wanted, our containers, which of them were asked to stop and when. Out: whom to ask now, who waits for
//! whom, who was given up, and whether this is the end. Asked again after whatever happened, until it is over.
//!
//! What always holds: nobody is asked while a service that depends on it, also by way of others, still runs; each gets
//! its own stop time-out; whoever does not end in time holds up those that it depends on no longer, and nobody else
//! ever. With the engine silent nothing is asked. Nothing is made or started.
//! Not its job: I/O, the clock, letting go of ports: nobody connects to a machine that goes down.

use super::removed::STOP_TIMEOUT;
use super::view::{paused, runs};
use crate::desired::Desired;
use crate::history::History;
use crate::observed::Container;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What the engine gets beyond a stop time-out: it kills at its end, and then has to notice.
pub const GRACE: Duration = Duration::from_secs(15);
/// How long an engine may be silent before all that was not asked yet is given up. An engine that was stopped by hand
/// must not hold up the machine for long, and one that is busy at shutdown answers within this.
pub const SILENCE: Duration = Duration::from_secs(60);
/// Between two requests to stop the same container, the first of which failed.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// All that is known at one moment of the way down. Times are counted from its beginning by a clock that cannot be set.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// What should run, and who depends on whom.
    pub desired: &'a Desired,
    /// For the stop time-outs of services that left node.toml.
    pub history: &'a History,
    /// Ours, in any state; as last known while the engine is silent.
    pub containers: &'a [Container],
    /// How long the engine has not been answering; `None` while it does.
    pub silent_for: Option<Duration>,
    /// Who was asked to stop, by container id.
    pub asked: &'a BTreeMap<String, Asked>,
    /// Services with a step under way that began before: it may start what is then to be stopped.
    pub busy: &'a BTreeSet<String>,
    /// How long it has been.
    pub elapsed: Duration,
}

/// What was asked of one container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// When first.
    pub first: Duration,
    /// When last.
    pub last: Duration,
    /// The engine has not answered that yet.
    pub under_way: bool,
}

/// What to do now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stopping {
    /// Whom to ask, all at the same time; those that others depend on last.
    pub stop: Vec<Stop>,
    /// Services that run and wait, and for whom.
    pub waiting: BTreeMap<String, BTreeSet<String>>,
    /// Containers that were not stopped in time, and why. They are waited for no longer.
    pub given_up: Vec<GivenUp>,
    /// Nothing is left to be done or to be waited for.
    pub over: bool,
}

/// One container to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// Which.
    pub container_id: String,
    /// Its name.
    pub name: String,
    /// Of which service.
    pub service: String,
    /// From the stop signal to SIGKILL.
    pub timeout: Duration,
}

/// One container that may still run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenUp {
    /// Which.
    pub container_id: String,
    /// Its name.
    pub name: String,
    /// Of which service.
    pub service: String,
    /// Why, one line.
    pub reason: String,
}

/// Decides. Pure.
pub fn plan(moment: &Moment<'_>) -> Stopping {
    let (given_up, up): (Vec<_>, Vec<_>) = moment
        .containers
        .iter()
        .filter(|container| runs(container) || paused(container))
        .partition(|container| gives_up(moment, container).is_some());
    let mut alive: BTreeSet<&str> = up.iter().map(|container| container.service.as_str()).collect();
    alive.extend(moment.busy.iter().map(String::as_str));
    let mut waiting = BTreeMap::new();
    for service in &alive {
        let dependents = dependents(moment, service);
        let holding: BTreeSet<String> =
            dependents.intersection(&alive).map(|name| (*name).to_owned()).collect();
        if !holding.is_empty() {
            waiting.insert((*service).to_owned(), holding);
        }
    }
    // The configuration refuses cycles; should one get here all the same, its members do not wait for each other.
    if !alive.is_empty() && waiting.len() == alive.len() {
        waiting.clear();
    }
    let free = |container: &&&Container| !waiting.contains_key(&container.service);
    let mut stop: Vec<Stop> = up
        .iter()
        .filter(free)
        .filter(|container| may_ask(moment, container))
        .map(|c| ask(moment, c))
        .collect();
    stop.sort_by_key(|stop| std::cmp::Reverse((position(moment.desired, &stop.service), stop.name.clone())));
    let over = alive.is_empty() && !may_run_unseen(moment);
    Stopping { stop, waiting, given_up: given_up.into_iter().map(|c| give_up(moment, c)).collect(), over }
}

/// Nothing is known of an engine that has not said anything yet; containers of an earlier agent may run in it.
fn may_run_unseen(moment: &Moment<'_>) -> bool {
    moment.containers.is_empty() && moment.silent_for.is_some_and(|silence| silence < SILENCE)
}

fn may_ask(moment: &Moment<'_>, container: &Container) -> bool {
    if moment.silent_for.is_some() || moment.busy.contains(&container.service) {
        return false;
    }
    let asked = moment.asked.get(&container.id);
    asked.is_none_or(|asked| !asked.under_way && moment.elapsed >= asked.last.saturating_add(ASK_AGAIN))
}

fn ask(moment: &Moment<'_>, container: &Container) -> Stop {
    let full = timeout(moment, &container.service);
    // Asked once more it gets what is left, so that the end does not move away.
    let spent = moment.asked.get(&container.id).map(|asked| moment.elapsed.saturating_sub(asked.first));
    Stop {
        container_id: container.id.clone(),
        name: container.name.clone(),
        service: container.service.clone(),
        timeout: full.saturating_sub(spent.unwrap_or_default()),
    }
}

fn timeout(moment: &Moment<'_>, service: &str) -> Duration {
    if let Some(wanted) = moment.desired.service(service) {
        return wanted.settings.stop_timeout;
    }
    let recorded = moment.history.durable.record(service).stop_timeout_seconds;
    recorded.map_or(STOP_TIMEOUT, Duration::from_secs)
}

fn give_up(moment: &Moment<'_>, container: &Container) -> GivenUp {
    GivenUp {
        container_id: container.id.clone(),
        name: container.name.clone(),
        service: container.service.clone(),
        reason: gives_up(moment, container).unwrap_or_default(),
    }
}

/// Why the container is waited for no longer, if it is not.
fn gives_up(moment: &Moment<'_>, container: &Container) -> Option<String> {
    let Some(asked) = moment.asked.get(&container.id) else {
        let silence = moment.silent_for.filter(|silence| *silence >= SILENCE)?;
        return Some(format!("the Docker engine has not answered for {} s", silence.as_secs()));
    };
    let timeout = timeout(moment, &container.service);
    let late = moment.elapsed >= asked.first.saturating_add(timeout).saturating_add(GRACE);
    late.then(|| {
        format!(
            "it has not ended {} s after it was asked to, with a stop_timeout of {} s",
            { moment.elapsed.saturating_sub(asked.first).as_secs() },
            timeout.as_secs()
        )
    })
}

/// Services that must have ended before this one is stopped: those that depend on it, also by way of others. Of one
/// that left node.toml nobody knows what it depends on, so every wanted service waits for it; among themselves, what
/// depends on a service was made after it.
fn dependents<'a>(moment: &Moment<'a>, service: &str) -> BTreeSet<&'a str> {
    let left = |name: &str| moment.desired.service(name).is_none();
    let others = moment.containers.iter().map(|container| container.service.as_str());
    let mut found: BTreeSet<&str> = others.filter(|name| left(name)).collect();
    if left(service) {
        found.retain(|name| made_last(moment, name) > made_last(moment, service));
        return found;
    }
    let mut next = vec![service];
    while let Some(name) = next.pop() {
        for wanted in &moment.desired.services {
            let depends = wanted.settings.depends_on.iter().any(|dependency| dependency == name);
            if depends && found.insert(&wanted.name) {
                next.push(&wanted.name);
            }
        }
    }
    found
}

/// When the newest container of the service was made.
fn made_last<'a>(moment: &Moment<'a>, service: &str) -> Option<(jiff::Timestamp, &'a str)> {
    let of_it = moment.containers.iter().filter(|container| container.service == service);
    of_it.map(|container| (container.created_at, container.service.as_str())).max()
}

/// In the order of dependencies; services that left come after all others.
fn position(desired: &Desired, service: &str) -> usize {
    let wanted = desired.services.iter().position(|wanted| wanted.name == service);
    wanted.unwrap_or(desired.services.len())
}

#[cfg(test)]
#[path = "stopping_tests.rs"]
mod tests;
