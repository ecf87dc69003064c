//! Health of containers: what the gate of each one says.
//!
//! In: the containers that run, and what node.toml wants asked of them. Out: one [`Verdict`] each, and a wake-up when
//! one changes. [`record`] folds answers to a verdict (pure), [`probe`] asks, [`Health`] keeps one prober per container.
//! Not its job: what follows from a verdict, and how long a pass must hold (`min_healthy`); that is the planner's.

#[cfg(test)]
mod commands;
pub mod probe;
pub mod record;
mod set;

pub use set::Health;

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
