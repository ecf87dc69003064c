//! One prober per running container, and what they found.
//!
//! A prober belongs to one start of one container and one question: anything else that is asked of it, or another start,
//! is a new prober with an empty record. It asks at once, then quickly until the first pass, then every `interval`.

use super::Verdict;
use super::probe::{Question, ask};
use super::record::{Answer, Record, Reply, of_image};
use crate::bell::Bell;
use crate::clock::Clock;
use crate::engine::Engine;
use crate::observed::{Container, ContainerState, ImageHealth};
use jiff::Timestamp;
use node::config::settings;
use node::config::settings::{Network, Probe};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// How often a container is asked that never passed yet.
const HURRIED_INTERVAL: Duration = Duration::from_secs(1);

/// The probers of all containers that are watched. Dropping it ends them.
pub struct Health<E> {
    engine: Arc<E>,
    clock: Clock,
    probers: Mutex<BTreeMap<String, Prober>>,
    board: Board,
}

/// Which start of which container is asked what.
#[derive(Debug, Clone, PartialEq)]
struct Subject {
    container_id: String,
    started_at: Timestamp,
    question: Question,
    health: settings::Health,
}

struct Prober {
    subject: Subject,
    _task: AbortOnDropHandle<()>,
}

/// What the probers found, shared with them.
#[derive(Clone, Default)]
struct Board {
    verdicts: Arc<Mutex<BTreeMap<String, Entry>>>,
    bell: Bell,
}

struct Entry {
    /// Whose verdict it is: a prober that was replaced no longer writes.
    started_at: Timestamp,
    question: Option<Question>,
    verdict: Verdict,
}

impl Board {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, container_id: &str, entry: Entry) {
        let verdict = entry.verdict.clone();
        let before = self.entries().insert(container_id.to_owned(), entry);
        if before.is_none_or(|before| before.verdict != verdict) {
            self.bell.ring();
        }
    }

    fn publish(&self, subject: &Subject, verdict: &Verdict) {
        let mut entries = self.entries();
        let Some(entry) = entries.get_mut(&subject.container_id) else { return };
        let own =
            entry.started_at == subject.started_at && entry.question.as_ref() == Some(&subject.question);
        if own && entry.verdict != *verdict {
            entry.verdict = verdict.clone();
            self.bell.ring();
        }
    }
}

impl<E: Engine> Health<E> {
    /// No container is watched yet. `engine` runs the commands of `exec` probes.
    #[expect(clippy::disallowed_methods, reason = "the probers are a loop of their own and read the clock")]
    pub fn new(engine: Arc<E>) -> Health<E> {
        Health::with_clock(engine, Arc::new(Timestamp::now))
    }

    /// The same with a clock of the caller's.
    pub fn with_clock(engine: Arc<E>, clock: Clock) -> Health<E> {
        Health { engine, clock, probers: Mutex::default(), board: Board::default() }
    }

    /// Watches these containers and no others; those that do not run have no verdict.
    pub fn watch(&self, containers: &[(Container, settings::Health, Network)]) {
        let mut probers = self.probers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *probers);
        let mut watched = Vec::new();
        for (container, health, network) in containers {
            let ContainerState::Running { started_at } = container.state else { continue };
            watched.push(container.id.as_str());
            if let (Probe::ImageOrStayedUp, Some(image_health)) = (&health.probe, container.image_health) {
                self.take_over(container, started_at, image_health);
                continue;
            }
            let question = Question::of(container, &health.probe, *network);
            let subject =
                Subject { container_id: container.id.clone(), started_at, question, health: health.clone() };
            let prober = before.remove(&container.id).filter(|prober| prober.subject == subject);
            probers.insert(container.id.clone(), prober.unwrap_or_else(|| self.start(subject)));
        }
        self.board.entries().retain(|id, _| watched.contains(&id.as_str()));
    }

    /// The verdict that the engine reached itself.
    fn take_over(&self, container: &Container, started_at: Timestamp, health: ImageHealth) {
        let verdict = {
            let entries = self.board.entries();
            let before = entries.get(&container.id).filter(|entry| entry.started_at == started_at);
            of_image(before.map(|entry| &entry.verdict), health, (self.clock)())
        };
        self.board.put(&container.id, Entry { started_at, question: None, verdict });
    }

    fn start(&self, subject: Subject) -> Prober {
        let record = Record::new(subject.started_at);
        let entry = Entry {
            started_at: subject.started_at,
            question: Some(subject.question.clone()),
            verdict: record.verdict().clone(),
        };
        self.board.put(&subject.container_id, entry);
        let (engine, clock, board) = (Arc::clone(&self.engine), Arc::clone(&self.clock), self.board.clone());
        let probe = probe(engine, clock, board, subject.clone(), record);
        Prober { subject, _task: AbortOnDropHandle::new(tokio::spawn(probe)) }
    }

    /// What each watched container's gate says, by container id.
    pub fn verdicts(&self) -> BTreeMap<String, Verdict> {
        let entries = self.board.entries();
        entries.iter().map(|(id, entry)| (id.clone(), entry.verdict.clone())).collect()
    }

    /// Returns when a verdict changed since the last return. Cancel safe.
    pub async fn changed(&self) {
        self.board.bell.heard().await;
    }
}

/// Asks for ever. Ends when the prober is dropped, or when there is nothing more to find out.
async fn probe<E: Engine>(engine: Arc<E>, clock: Clock, board: Board, subject: Subject, mut record: Record) {
    let Subject { question, health, .. } = &subject;
    if *question == Question::StayedUp {
        let up = clock().duration_since(subject.started_at);
        let up = Duration::try_from(up).unwrap_or_default();
        tokio::time::sleep(health.interval.saturating_sub(up)).await;
        let detail = format!("stayed up for {} s", health.interval.as_secs_f64());
        record.note(Reply { answer: Answer::Passed, detail }, clock(), health);
        board.publish(&subject, record.verdict());
        return;
    }
    loop {
        let asked = Instant::now();
        let reply = ask(engine.as_ref(), question, health.timeout).await;
        record.note(reply, clock(), health);
        board.publish(&subject, record.verdict());
        let pause = if record.passed() { health.interval } else { health.interval.min(HURRIED_INTERVAL) };
        tokio::time::sleep_until(asked + pause).await;
    }
}

#[cfg(test)]
#[path = "set_tests.rs"]
mod tests;
