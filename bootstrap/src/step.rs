//! One step as bootstrap records it: how it ended, why, and what is wrong because of it; and one step as `plan` prints
//! it. Values only.

use jiff::Timestamp;
use node::fault::{Hint, one_line};
use node::handoff::{Outcome, Step};
use node::problem::Problem;
use serde::Serialize;

/// What is wrong, before it is known since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Fault {
    pub(crate) fn new(code: &str, message: impl Into<String>, hint: Option<&str>) -> Fault {
        Fault { code: code.to_owned(), message: message.into(), hint: hint.map(str::to_owned) }
    }

    pub(crate) fn from_error(code: &str, error: &dyn Hint) -> Fault {
        Fault { code: code.to_owned(), message: one_line(error), hint: error.hint() }
    }

    pub(crate) fn problem(&self, since: Timestamp) -> Problem {
        Problem { code: self.code.clone(), message: self.message.clone(), hint: self.hint.clone(), since }
    }

    /// As one line of the log.
    pub(crate) fn line(&self) -> String {
        match &self.hint {
            Some(hint) => format!("{} (hint: {hint})", self.message),
            None => self.message.clone(),
        }
    }
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) outcome: Outcome,
    pub(crate) reason: String,
    /// What is wrong from now on; a step may have done its work and still have found something.
    pub(crate) fault: Option<Fault>,
}

impl Ending {
    pub(crate) fn done(reason: impl Into<String>) -> Ending {
        Ending { outcome: Outcome::Done, reason: reason.into(), fault: None }
    }

    pub(crate) fn unchanged(reason: impl Into<String>) -> Ending {
        Ending { outcome: Outcome::Unchanged, reason: reason.into(), fault: None }
    }

    pub(crate) fn skipped(reason: impl Into<String>) -> Ending {
        Ending { outcome: Outcome::Skipped, reason: reason.into(), fault: None }
    }

    pub(crate) fn failed(fault: Fault) -> Ending {
        Ending { outcome: Outcome::Failed, reason: fault.message.clone(), fault: Some(fault) }
    }

    pub(crate) fn with_fault(mut self, fault: Option<Fault>) -> Ending {
        self.fault = fault;
        self
    }
}

/// What `run` would do in one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct PlannedStep {
    /// As in the report.
    pub(crate) name: String,
    pub(crate) intent: Intent,
    /// What would be done, and why.
    pub(crate) reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
}

/// Whether a step would change something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Intent {
    /// All is as wanted.
    Unchanged,
    /// Something would be changed.
    Change,
    /// It would fail.
    Refuse,
    /// It would not be tried.
    Skip,
}

impl PlannedStep {
    pub(crate) fn new(name: impl Into<String>, intent: Intent, reason: impl Into<String>) -> PlannedStep {
        PlannedStep { name: name.into(), intent, reason: reason.into(), hint: None }
    }

    pub(crate) fn refuse(name: impl Into<String>, fault: &Fault) -> PlannedStep {
        let reason = fault.message.clone();
        PlannedStep { name: name.into(), intent: Intent::Refuse, reason, hint: fault.hint.clone() }
    }
}

fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Unchanged => "unchanged",
        Outcome::Skipped => "skipped",
        Outcome::Failed => "FAILED",
    }
}

/// The report as a person reads it, one line a step, headings first; the steps of the longest chain carry a star.
pub(crate) fn table(steps: &[Step], chain: &[&Step]) -> Vec<String> {
    let width = steps.iter().map(|step| step.name.len()).max().unwrap_or(0).max("step".len());
    let heading = format!("  {:width$}  {:9}  {:>9}  {:>9}  reason", "step", "outcome", "start", "duration");
    let rows = steps.iter().map(|step| {
        let Step { name, outcome, reason, started_ms, duration_ms, .. } = step;
        let outcome = outcome_word(*outcome);
        let star = if chain.contains(&step) { '*' } else { ' ' };
        format!("{star} {name:width$}  {outcome:9}  {started_ms:>6} ms  {duration_ms:>6} ms  {reason}")
    });
    std::iter::once(heading).chain(rows).collect()
}

/// The plan as a person reads it.
pub(crate) fn plan_table(steps: &[PlannedStep]) -> Vec<String> {
    let width = steps.iter().map(|step| step.name.len()).max().unwrap_or(0);
    let rows = steps.iter().map(|step| {
        let intent = match step.intent {
            Intent::Unchanged => "unchanged",
            Intent::Change => "change",
            Intent::Refuse => "REFUSE",
            Intent::Skip => "skip",
        };
        let hint = step.hint.as_ref().map(|hint| format!(" (hint: {hint})")).unwrap_or_default();
        format!("{:width$}  {intent:9}  {}{hint}", step.name, step.reason)
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_lines_up_and_names_failures() {
        let step = |name: &str, outcome, reason: &str| Step {
            name: name.to_owned(),
            outcome,
            reason: reason.to_owned(),
            started_ms: 3,
            duration_ms: 1200,
            after: Vec::new(),
        };
        let steps = [
            step("docker", Outcome::Unchanged, "answers"),
            step("volume models", Outcome::Failed, "not attached"),
        ];
        assert_eq!(
            table(&steps, &[&steps[1]]).join("\n"),
            "  step           outcome        start   duration  reason\n\
             \x20 docker         unchanged       3 ms    1200 ms  answers\n\
             * volume models  FAILED          3 ms    1200 ms  not attached"
        );
    }
}
