//! What this run has found and done so far: each step is timed, logged and kept for the report.

use crate::clock::Clock;
use crate::handoff::Findings;
use crate::step::Ending;
use node::handoff::{Outcome, Step};

/// A step that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) step: Step,
    pub(crate) ending: Ending,
    /// Its failure makes the whole run a failure.
    pub(crate) required: bool,
}

/// Runs a step and measures it; `after` names the steps that it had to wait for.
pub(crate) async fn timed<T>(
    clock: Clock,
    name: impl Into<String>,
    after: &[&str],
    work: impl Future<Output = (Ending, T)>,
) -> (Ended, T) {
    let started_ms = clock.elapsed_ms();
    let (ending, found) = work.await;
    let duration_ms = clock.elapsed_ms().saturating_sub(started_ms);
    let name = name.into();
    // A problem names its object; beside the step's name that would be said twice.
    let reason = ending.reason.strip_prefix(&format!("{name}: ")).unwrap_or(&ending.reason).to_owned();
    let after = after.iter().map(|name| (*name).to_owned()).collect();
    let step = Step { name, outcome: ending.outcome, reason, started_ms, duration_ms, after };
    (Ended { step, ending, required: true }, found)
}

/// The steps so far.
#[derive(Debug)]
pub(crate) struct Record {
    clock: Clock,
    pub(crate) findings: Findings,
    failed: bool,
}

impl Record {
    pub(crate) fn new(clock: Clock) -> Record {
        Record { clock, findings: Findings::default(), failed: false }
    }

    /// Keeps a step, and its problem if it has one.
    pub(crate) fn add(&mut self, ended: Ended) {
        let Ended { step, ending, required } = ended;
        match ending.outcome {
            Outcome::Failed => complain(&step.name, &with_hint(&step.reason, &ending), required),
            Outcome::Skipped => tracing::warn!("{}: skipped, {}", step.name, step.reason),
            Outcome::Done | Outcome::Unchanged => tracing::info!("{}: {}", step.name, step.reason),
        }
        let is_missing = matches!(ending.outcome, Outcome::Failed | Outcome::Skipped);
        self.failed |= required && is_missing;
        if let Some(fault) = &ending.fault {
            if ending.outcome != Outcome::Failed {
                complain(&step.name, &fault.line(), false);
            }
            self.findings.problems.push(fault.problem(self.clock.now()));
        }
        self.findings.steps.push(step);
    }

    /// Runs a step that yields nothing but its ending, and keeps it.
    pub(crate) async fn step(
        &mut self,
        name: &str,
        after: &[&str],
        work: impl Future<Output = Ending>,
    ) -> Outcome {
        let (ended, ()) = timed(self.clock, name, after, async { (work.await, ()) }).await;
        let outcome = ended.step.outcome;
        self.add(ended);
        outcome
    }

    /// Names of the steps so far: what comes next may have had to wait for all of them.
    pub(crate) fn names(&self) -> Vec<String> {
        self.findings.steps.iter().map(|step| step.name.clone()).collect()
    }

    /// Something required is missing.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }
}

/// One line, under the step's name where it does not begin with that anyway.
fn complain(step: &str, line: &str, required: bool) {
    let line = if line.starts_with(step) { line.to_owned() } else { format!("{step}: {line}") };
    if required {
        tracing::error!("{line}");
    } else {
        tracing::warn!("{line}");
    }
}

fn with_hint(reason: &str, ending: &Ending) -> String {
    match ending.fault.as_ref().and_then(|fault| fault.hint.as_ref()) {
        Some(hint) => format!("{reason} (hint: {hint})"),
        None => reason.to_owned(),
    }
}
