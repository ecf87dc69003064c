//! Health of a container: what its gate says, folded from single answers.

use crate::status::HealthState;
use jiff::Timestamp;

/// What the gate of one container says now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// `Passing`, `Failing` or `Unknown`.
    pub state: HealthState,
    /// Since when it has been saying that.
    pub since: Timestamp,
    /// The last answer in one line: what was asked, what came back.
    pub detail: String,
}
