//! From single answers to a verdict. Pure.
//!
//! - Passing with the first pass, and again with the first pass after failures.
//! - Failing after `retries` failures in a row. Failures within `start_period` do not count, unless it passed before.
//! - Until the first pass it is asked more often than every `interval`, so that a pass is seen soon; failures then count
//!   once per interval, so that it has as long to get ready as node.toml says.
//! - Unknown until then, and while the *engine* does not answer: its silence says nothing about the container, and what
//!   was known before holds again with the next answer.

use super::Verdict;
use crate::observed::ImageHealth;
use crate::status::HealthState;
use jiff::{SignedDuration, Timestamp};
use node::config::settings::Health;

/// What came back from one question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Yes.
    Passed,
    /// No, or no answer from the container in time.
    Failed,
    /// The engine, through which it was asked, did not answer.
    Unanswered,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// What it was.
    pub answer: Answer,
    /// What was asked and what came back, one line.
    pub detail: String,
}

/// What is remembered of the answers of one container since it started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    started_at: Timestamp,
    /// What the container's own answers amount to.
    settled: HealthState,
    passed: bool,
    failures: u32,
    counted_at: Option<Timestamp>,
    verdict: Verdict,
}

impl Record {
    /// Nothing was asked yet.
    pub fn new(started_at: Timestamp) -> Record {
        let state = HealthState::Unknown;
        let verdict = Verdict { state, since: started_at, detail: "not asked yet".to_owned() };
        Record { started_at, settled: state, passed: false, failures: 0, counted_at: None, verdict }
    }

    /// What it says now.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// Whether it ever passed since it started.
    pub fn passed(&self) -> bool {
        self.passed
    }

    /// Takes in the reply that came at `now`.
    pub fn note(&mut self, reply: Reply, now: Timestamp, health: &Health) {
        match reply.answer {
            Answer::Passed => {
                (self.passed, self.failures) = (true, 0);
                self.settled = HealthState::Passing;
            }
            Answer::Failed if self.counts(now, health) => {
                (self.counted_at, self.failures) = (Some(now), self.failures.saturating_add(1));
                if self.failures >= health.retries.max(1) {
                    self.settled = HealthState::Failing;
                }
            }
            Answer::Failed | Answer::Unanswered => {}
        }
        let state = match reply.answer {
            Answer::Unanswered => HealthState::Unknown,
            Answer::Passed | Answer::Failed => self.settled,
        };
        self.verdict = next(Some(&self.verdict), state, reply.detail, now);
    }

    fn counts(&self, now: Timestamp, health: &Health) -> bool {
        let reached = |since: Timestamp, duration: std::time::Duration| {
            now.duration_since(since) >= SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
        };
        self.passed
            || (reached(self.started_at, health.start_period)
                && self.counted_at.is_none_or(|counted| reached(counted, health.interval)))
    }
}

/// The verdict of the image's own HEALTHCHECK, which the engine has already judged with the image's own retries.
pub fn of_image(before: Option<&Verdict>, health: ImageHealth, now: Timestamp) -> Verdict {
    let (state, word) = match health {
        ImageHealth::Starting => (HealthState::Unknown, "starting"),
        ImageHealth::Healthy => (HealthState::Passing, "healthy"),
        ImageHealth::Unhealthy => (HealthState::Failing, "unhealthy"),
    };
    next(before, state, format!("HEALTHCHECK of the image: {word}"), now)
}

/// `since` moves only with the state.
fn next(before: Option<&Verdict>, state: HealthState, detail: String, now: Timestamp) -> Verdict {
    let since = before.filter(|before| before.state == state).map_or(now, |before| before.since);
    Verdict { state, since, detail }
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
