//! What the rules collect while they look at one model.

use super::{Note, Step};
use crate::status::Reason;
use jiff::Timestamp;
use node::problem::Problem;

/// What comes first among the steps of all models. An operator wants service back before anything else; then the room
/// that pulls wait for; then new versions, and what is known of those that serve; what can wait comes last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    /// Brings back what a good model did.
    Service,
    /// Makes room for a pull, or a damaged file go.
    Room,
    /// Moves a model on.
    Move,
    /// Compares what serves with its names.
    Check,
    /// Removes what nobody needs.
    Clean,
}

/// What was collected.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// What could be done now.
    pub(super) steps: Vec<(Urgency, Step)>,
    /// What could be pulled now.
    pub(super) pull: Option<Step>,
    pub(super) reasons: Vec<Reason>,
    pub(super) problems: Vec<Problem>,
    pub(super) notes: Vec<Note>,
    /// When to look again.
    pub(super) wake: Vec<Timestamp>,
    /// It should be there, or in memory, and that failed.
    pub(super) failed: bool,
    /// The version has to be asked whether it answers prompts.
    pub(super) asks_kind: bool,
    /// The registry is to be asked now, whatever the interval.
    pub(super) asks_registry: bool,
    /// Bytes that its pull still needs, and may have.
    pub(super) promised_bytes: u64,
}

impl Draft {
    pub(super) fn because(&mut self, text: String) {
        self.reasons.push(Reason { text, until: None });
    }

    /// A reason that ends by itself.
    pub(super) fn until(&mut self, text: String, until: Timestamp) {
        self.reasons.push(Reason { text, until: Some(until) });
        self.wake.push(until);
    }

    pub(super) fn problem(&mut self, code: &str, message: String, hint: &str, since: Timestamp) {
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        self.problems.push(Problem { code: code.to_owned(), message, hint, since });
    }
}
