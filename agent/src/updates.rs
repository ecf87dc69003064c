//! Asks the registries what the references of node.toml name now, and publishes the answers as candidates.
//!
//! In: what is wanted, requests to ask at once, a registry. Out: one [`Candidate`] per service, on a channel. Each
//! service is asked at the start, then every `update.every`, moved a little so that a fleet does not ask at once; after
//! a failure sooner. Services that follow the same reference share its answers, and two questions for it are at least a
//! second apart. References to a digest are never asked for.
//! Not its job: whether an answer is taken, which the plan decides.

use crate::clock::Clock;
use crate::desired::{Desired, Service};
use crate::history::memory::LONGEST_RETRY;
use crate::registry::{Registry, RegistryError, Resolved};
use crate::snapshot::{Answer, AskFailure, Candidate};
use jiff::Timestamp;
use node::config::settings::{ImageReference, ImageVersion};
use node::fault::one_line;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Candidates by service.
pub type Candidates = BTreeMap<String, Candidate>;

/// From the first failed question to the second.
const FIRST_RETRY: Duration = Duration::from_secs(5);
/// For one answer; the registry has deadlines of its own, and this one holds whatever they are.
const DEADLINE: Duration = Duration::from_secs(60);
/// From one question for a reference to the next, at least: whoever wants to know meanwhile shares the next answer.
const APART: Duration = Duration::from_secs(1);
/// Without a next question: the loop still looks at its other inputs.
const IDLE: Duration = Duration::from_secs(3600);

/// A request to ask at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// `[services.NAME]`; every service where absent.
    pub service: Option<String>,
}

/// What the task is given.
#[derive(Debug)]
pub struct Inputs {
    /// What should run; the newest counts.
    pub desired: watch::Receiver<Desired>,
    /// Requests to ask at once.
    pub asks: mpsc::Receiver<Ask>,
    /// Where candidates are published.
    pub candidates: watch::Sender<Candidates>,
    /// Differs from node to node (the instance id), and moves the questions.
    pub seed: String,
    /// Ends the task.
    pub shutdown: CancellationToken,
}

/// Asks until shutdown.
pub async fn run<R: Registry>(registry: Arc<R>, clock: Clock, inputs: Inputs) {
    let Inputs { desired, asks, candidates, seed, shutdown } = inputs;
    let poller = Poller {
        registry,
        clock,
        candidates,
        seed,
        schedule: BTreeMap::new(),
        asked_at: BTreeMap::new(),
        asking: BTreeSet::new(),
        questions: JoinSet::new(),
    };
    poller.run(desired, asks, shutdown).await;
}

/// When a service is asked next.
#[derive(Debug, Clone)]
struct Turn {
    reference: ImageReference,
    every: Option<Duration>,
    due: Option<Instant>,
    requested: bool,
    /// Answers so far, to move each question by another amount.
    asked: u64,
    failures: u32,
}

struct Reply {
    reference: ImageReference,
    /// The services for which a person asked.
    requested: BTreeSet<String>,
    result: Result<Resolved, RegistryError>,
}

struct Poller<R> {
    registry: Arc<R>,
    clock: Clock,
    candidates: watch::Sender<Candidates>,
    seed: String,
    schedule: BTreeMap<String, Turn>,
    /// When each reference was asked for last.
    asked_at: BTreeMap<ImageReference, Instant>,
    /// References that are being asked for.
    asking: BTreeSet<ImageReference>,
    questions: JoinSet<Reply>,
}

impl<R: Registry> Poller<R> {
    async fn run(
        mut self,
        mut desired: watch::Receiver<Desired>,
        mut asks: mpsc::Receiver<Ask>,
        shutdown: CancellationToken,
    ) {
        let wanted = desired.borrow_and_update().clone();
        self.follow(&wanted);
        loop {
            self.ask_due();
            let next = self.schedule.values().filter_map(|turn| self.due(turn)).min();
            let next = next.unwrap_or_else(|| Instant::now() + IDLE);
            tokio::select! {
                // Nothing is consumed by a wait that is given up.
                () = shutdown.cancelled() => return,
                // The moment is computed anew.
                () = tokio::time::sleep_until(next) => {}
                // Marks as seen only what it returns for.
                Ok(()) = desired.changed() => {
                    let wanted = desired.borrow_and_update().clone();
                    self.follow(&wanted);
                }
                // Takes a message only by returning it.
                Some(ask) = asks.recv() => self.ask_now(ask.service.as_deref()),
                // Takes a finished task only by returning it.
                Some(reply) = self.questions.join_next(), if !self.questions.is_empty() => {
                    match reply {
                        Ok(reply) => self.publish(reply),
                        Err(error) => tracing::error!("a question to a registry broke off: {error}"),
                    }
                }
            }
        }
    }

    /// Takes over what is wanted; a reference that is new is asked for at once.
    fn follow(&mut self, desired: &Desired) {
        let mut before = std::mem::take(&mut self.schedule);
        for service in desired.services.iter().filter(|service| follows_tag(service)) {
            let (reference, every) = (service.settings.image.clone(), service.settings.update.every);
            let turn = match before.remove(&service.name) {
                Some(turn) if turn.reference == reference => Turn { every, ..turn },
                _ => Turn {
                    reference,
                    every,
                    due: Some(Instant::now()),
                    requested: false,
                    asked: 0,
                    failures: 0,
                },
            };
            self.schedule.insert(service.name.clone(), turn);
        }
        let schedule = &self.schedule;
        self.asked_at.retain(|reference, _| schedule.values().any(|turn| turn.reference == *reference));
        self.candidates.send_if_modified(|candidates| {
            let count = candidates.len();
            candidates.retain(|name, candidate| {
                schedule.get(name).is_some_and(|turn| turn.reference == candidate.reference)
            });
            candidates.len() != count
        });
    }

    fn ask_now(&mut self, service: Option<&str>) {
        for (name, turn) in &mut self.schedule {
            if service.is_none_or(|service| service == name) {
                turn.due = Some(Instant::now());
                turn.requested = true;
            }
        }
    }

    /// When a service is to be asked for; never while its reference is being asked for.
    fn due(&self, turn: &Turn) -> Option<Instant> {
        let due = turn.due.filter(|_| !self.asking.contains(&turn.reference))?;
        Some(self.asked_at.get(&turn.reference).map_or(due, |asked| due.max(*asked + APART)))
    }

    fn ask_due(&mut self) {
        let now = Instant::now();
        let due = self.schedule.values().filter(|turn| self.due(turn).is_some_and(|due| due <= now));
        let due: BTreeSet<_> = due.map(|turn| turn.reference.clone()).collect();
        for reference in due {
            let mut requested = BTreeSet::new();
            for (name, turn) in self.schedule.iter_mut().filter(|(_, turn)| turn.reference == reference) {
                turn.due = None;
                if std::mem::take(&mut turn.requested) {
                    requested.insert(name.clone());
                }
            }
            self.asked_at.insert(reference.clone(), now);
            self.asking.insert(reference.clone());
            let registry = Arc::clone(&self.registry);
            self.questions.spawn(async move {
                let answer = tokio::time::timeout(DEADLINE, registry.resolve(&reference)).await;
                let result = answer.unwrap_or_else(|_| Err(no_answer(&reference)));
                Reply { reference, requested, result }
            });
        }
    }

    /// Gives the answer to every service that follows the reference.
    fn publish(&mut self, reply: Reply) {
        let Reply { reference, requested, result } = reply;
        self.asking.remove(&reference);
        let now = (self.clock)();
        let seed = &self.seed;
        let mut followers = Vec::new();
        for (service, turn) in self.schedule.iter_mut().filter(|(_, turn)| turn.reference == reference) {
            turn.asked += 1;
            turn.failures = if result.is_ok() { 0 } else { turn.failures.saturating_add(1) };
            let wait = match &result {
                Ok(_) => turn.every.map(|every| jittered(every, seed, service, turn.asked)),
                Err(_) => Some(retry(turn.failures, turn.every)),
            };
            // A request that came while the answer was on its way is not postponed by it.
            turn.due = if turn.requested { turn.due } else { wait.map(|wait| Instant::now() + wait) };
            if let Err(error) = &result {
                tracing::warn!("service {service}: {}", one_line(error));
            }
            followers.push(service.clone());
        }
        if followers.is_empty() {
            return;
        }
        self.candidates.send_modify(|candidates| {
            for service in followers {
                let before = candidates.remove(&service);
                let asked = requested.contains(&service);
                let candidate = candidate(before, &reference, (&result, asked), now);
                candidates.insert(service, candidate);
            }
        });
    }
}

/// What is known of a service's reference after a registry's word on it; `asked` when a person wanted that word.
fn candidate(
    before: Option<Candidate>,
    reference: &ImageReference,
    (result, asked): (&Result<Resolved, RegistryError>, bool),
    now: Timestamp,
) -> Candidate {
    let (answer, failing) = before.map_or((None, None), |before| (before.answer, before.failure));
    let reference = reference.clone();
    match result {
        Ok(resolved) => {
            let was_asked = answer.is_some_and(|answer| answer.requested && answer.digest == resolved.digest);
            let answer = Answer {
                digest: resolved.digest.clone(),
                checked_at: now,
                requested: asked || was_asked,
                pushed_at: resolved.pushed_at,
                size_bytes: resolved.size_bytes,
            };
            Candidate { reference, answer: Some(answer), failure: None }
        }
        Err(error) => {
            let failure = AskFailure {
                code: error.code.to_owned(),
                message: one_line(error),
                hint: error.hint.clone(),
                since: failing.map_or(now, |failing| failing.since),
            };
            Candidate { reference, answer, failure: Some(failure) }
        }
    }
}

fn follows_tag(service: &Service) -> bool {
    matches!(service.settings.image.version, ImageVersion::Tag(_))
}

fn no_answer(reference: &ImageReference) -> RegistryError {
    RegistryError {
        code: "registry_unreachable",
        message: format!("no answer for {reference} within {} s", DEADLINE.as_secs()),
        hint: Some("check the route to the registry, DNS and the security groups".to_owned()),
    }
}

/// Doubles with each failure, and is never later than the regular turn.
fn retry(failures: u32, every: Option<Duration>) -> Duration {
    let doubled = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    doubled.min(every.unwrap_or(LONGEST_RETRY)).min(LONGEST_RETRY)
}

/// `every`, made up to a tenth shorter or longer by what is hashed from the node, the service and the count: the same
/// node asks at the same moments in every replay, and a fleet spreads.
fn jittered(every: Duration, seed: &str, service: &str, count: u64) -> Duration {
    let hash = Sha256::digest(format!("{seed}\0{service}\0{count}"));
    let parts = hash.iter().take(2).fold(0_u32, |parts, byte| parts << 8 | u32::from(*byte));
    every.mul_f64(0.9 + 0.2 * f64::from(parts) / f64::from(u16::MAX))
}

#[cfg(test)]
#[path = "updates_tests.rs"]
mod tests;
