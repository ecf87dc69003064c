//! What the agent remembers until its process ends: attempts, failures, requests. Losing it costs at most one start too
//! many.
//!
//! Waits never outlast their length when the clock goes backwards: a moment in the future counts as long past.

use crate::status::ServiceState;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// From the first failed step to its second try.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// From the first failed pull to its second try: registries count requests. The same from a service that does not want
/// to be replaced now to the next question.
const FIRST_PULL_RETRY: Duration = Duration::from_secs(5);
/// Between tries, at most.
pub const LONGEST_RETRY: Duration = Duration::from_secs(300);
/// Between the end of a container and its next start, at most.
const LONGEST_RESTART: Duration = Duration::from_secs(60);
/// A container that was up this long ended for a new reason: counting starts again.
const STEADY: Duration = Duration::from_secs(60);

/// By service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    /// By `[services.NAME]`.
    pub services: BTreeMap<String, ServiceMemory>,
    /// Images of others that nobody needs, by id, and since when that is known.
    pub idle_images: BTreeMap<String, Timestamp>,
}

/// What is remembered of one service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServiceMemory {
    /// Restarts since the agent started.
    pub restarts: u32,
    /// Restarts without a minute up in between.
    pub attempts: u32,
    /// When the agent last started a container of it.
    pub last_start: Option<Timestamp>,
    /// Steps that failed and have not succeeded since.
    pub failures: BTreeMap<StepKey, Failure>,
    /// Containers that the agent stopped itself, and why; their end is no crash.
    pub stopped: BTreeMap<String, StopCause>,
    /// Containers that the engine refused to start; they are made anew.
    pub refused: BTreeSet<String>,
    /// The run (container and start) that passed its gate once.
    pub passed: Option<Run>,
    /// A person asked for a restart.
    pub restart: Option<RestartRequest>,
    /// The last yes of its `before` command.
    pub consent: Option<Consent>,
    /// The run of which its `after` command said yes.
    pub approved: Option<Run>,
    /// The state shown last, and since when.
    pub state: Option<(ServiceState, Timestamp)>,
    /// Containers to which no port leads any more, and since when; they run on until their clients are gone.
    pub draining: BTreeMap<String, Timestamp>,
}

/// One run of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The container.
    pub container_id: String,
    /// When it was started.
    pub started_at: Timestamp,
}

/// A yes of a service to be replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consent {
    /// By what.
    pub digest: String,
    /// When it was given.
    pub at: Timestamp,
}

/// `agentctl restart`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestartRequest {
    /// What ran when it was asked; nothing means: start now, whatever the backoff.
    pub instead_of: Option<Run>,
}

/// Why a container was stopped, so that its end is no crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopCause {
    /// Its gate said no.
    Unhealthy,
    /// A person asked.
    Requested,
    /// Another container of the service takes its place.
    Replaced,
    /// Its service is no longer wanted.
    Removed,
    /// Not the agent: somebody else had the engine signal it, or the engine itself goes down and ends what it runs.
    Others,
}

/// Which kind of step failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StepKind {
    /// Pull of an image.
    Pull,
    /// Creation of a container.
    Create,
    /// Its start.
    Start,
    /// Its stop.
    Stop,
    /// Its removal.
    Remove,
    /// The question to a service whether it may be replaced.
    Before,
    /// The question to a new container whether it may take over.
    After,
    /// The removal of an image.
    RemoveImage,
}

/// What failed: retries of the same thing wait, others do not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StepKey {
    /// The kind.
    pub kind: StepKind,
    /// The digest (and spec) for pull, create, start and the question before, so that it holds for the next container
    /// too; else the container.
    pub subject: String,
}

/// How a step failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// For `problems[]`.
    pub code: String,
    /// One line.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// The version is to blame: the engine gave a definite answer about it. A time-out, a full disk or a missing secret
    /// is not.
    pub version_to_blame: bool,
    /// The engine will say the same of this container for ever; another one may do better (its mounts may have moved).
    pub container_spent: bool,
    /// When it last failed.
    pub at: Timestamp,
    /// How often in a row.
    pub count: u32,
}

impl Failure {
    /// When it may be tried again; `None` when that is now.
    pub fn retry_at(&self, kind: StepKind, now: Timestamp) -> Option<Timestamp> {
        let first = match kind {
            StepKind::Pull | StepKind::Before | StepKind::RemoveImage => FIRST_PULL_RETRY,
            _ => FIRST_RETRY,
        };
        pending(self.at, doubled(first, self.count), now)
    }
}

impl ServiceMemory {
    /// Nothing.
    pub const NEW: ServiceMemory = ServiceMemory {
        restarts: 0,
        attempts: 0,
        last_start: None,
        failures: BTreeMap::new(),
        stopped: BTreeMap::new(),
        refused: BTreeSet::new(),
        passed: None,
        restart: None,
        consent: None,
        approved: None,
        state: None,
        draining: BTreeMap::new(),
    };

    /// Restarts in a row that count for a run that ended at `end`.
    pub fn attempts_before(&self, end: Timestamp) -> u32 {
        let steady =
            self.last_start.is_some_and(|start| pending(start, STEADY, end).is_none() && start <= end);
        if steady { 0 } else { self.attempts }
    }

    /// When a run that ended (or went bad) at `end` may be followed by the next; `None` when that is now.
    pub fn restart_at(&self, end: Timestamp, now: Timestamp) -> Option<Timestamp> {
        pending(end, doubled(FIRST_RETRY, self.attempts_before(end)).min(LONGEST_RESTART), now)
    }

    /// A step failed.
    pub fn note_failure(&mut self, key: StepKey, mut failure: Failure) {
        failure.count = self.failures.get(&key).map_or(0, |before| before.count).saturating_add(1);
        self.failures.insert(key, failure);
    }
}

static NEW_SERVICE: ServiceMemory = ServiceMemory::NEW;

impl Memory {
    /// What is remembered of the service.
    pub fn service(&self, name: &str) -> &ServiceMemory {
        self.services.get(name).unwrap_or(&NEW_SERVICE)
    }

    /// To change what is remembered of the service.
    pub fn service_mut(&mut self, name: &str) -> &mut ServiceMemory {
        self.services.entry(name.to_owned()).or_default()
    }
}

/// `first`, doubled with each of `count` tries after the first, [`LONGEST_RETRY`] at most; zero before any.
fn doubled(first: Duration, count: u32) -> Duration {
    match count {
        0 => Duration::ZERO,
        _ => first.saturating_mul(2_u32.saturating_pow(count - 1)).min(LONGEST_RETRY),
    }
}

/// The end of a wait of `length` that began at `from`, unless it is over. A beginning in the future means that the
/// clock was set back: the wait is over, for nobody can say how long it lasted.
pub fn pending(from: Timestamp, length: Duration, now: Timestamp) -> Option<Timestamp> {
    let end = from.checked_add(length).unwrap_or(Timestamp::MAX);
    (from <= now && now < end).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn restarts_come_at_once_then_double_to_a_minute() {
        let waits = (0..10).map(|attempts| {
            let memory = ServiceMemory { attempts, ..ServiceMemory::NEW };
            memory.restart_at(at(0), at(0)).map_or(0, |end| end.as_second())
        });
        assert_eq!(waits.collect::<Vec<_>>(), [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn a_minute_up_makes_the_next_restart_come_at_once() {
        let memory = ServiceMemory { attempts: 9, last_start: Some(at(0)), ..ServiceMemory::NEW };
        assert_eq!(memory.restart_at(at(60), at(60)), None);
        assert_eq!(memory.restart_at(at(59), at(59)), Some(at(59 + 60)));
    }

    #[test]
    fn a_clock_that_was_set_back_ends_a_wait() {
        assert_eq!(pending(at(1000), Duration::from_secs(60), at(10)), None);
        assert_eq!(pending(at(1000), Duration::from_secs(60), at(1030)), Some(at(1060)));
        assert_eq!(pending(at(1000), Duration::from_secs(60), at(1060)), None);
    }
}
