//! A problem as `agentctl status` and the bootstrap report show it: the same value in the handoff, in the control API
//! and in the journal.

use crate::fault::{Hint, one_line};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Something that is wrong with the node right now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// Stable, `snake_case`, for scripts and alarms, e.g. `secret_missing`.
    pub code: String,
    /// One line: what failed, on which thing, why.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Since when it has been so.
    pub since: Timestamp,
}

impl Problem {
    /// A problem from an error, with its whole chain and its hint.
    pub fn from_error(code: &str, error: &dyn Hint, since: Timestamp) -> Problem {
        Problem { code: code.to_owned(), message: one_line(error), hint: error.hint(), since }
    }
}
