//! What the status says of the shipping of logs. Values only.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Shipping of logs, since the agent started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Logs {
    /// The log group; absent where nothing is shipped.
    #[serde(default)]
    pub group: Option<String>,
    /// Accepted by CloudWatch Logs.
    pub events_shipped: u64,
    /// Given up.
    pub events_dropped: u64,
    /// The same, by reason.
    #[serde(default)]
    pub dropped: Dropped,
    /// Message bytes accepted.
    pub bytes_shipped: u64,
    /// Read and not accepted yet.
    pub backlog_bytes: u64,
    /// Age of the oldest of these, 0 with no backlog.
    pub oldest_unshipped_seconds: u64,
    /// Streams that wait for longer than a batch does, the one that waits longest first; no more than ten.
    #[serde(default)]
    pub behind: Vec<Behind>,
    /// Of the services that have a budget for the day.
    #[serde(default)]
    pub budgets: Vec<Budget>,
}

/// Events that were given up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Dropped {
    /// More would have been kept than `[logs] queue` allows.
    pub over_the_queue: u64,
    /// A limit of node.toml: `max_rate`, `daily`.
    pub over_a_limit: u64,
    /// Older than the retention of the group.
    pub expired: u64,
    /// More than 14 days old.
    pub too_old: u64,
    /// More than two hours ahead.
    pub too_new: u64,
    /// CloudWatch Logs refused it alone, for a reason of its own.
    pub refused: u64,
}

impl Dropped {
    /// Of all reasons.
    pub fn sum(&self) -> u64 {
        self.by_reason().map(|(_, events)| events).iter().sum()
    }

    /// In words.
    pub fn by_reason(&self) -> [(&'static str, u64); 6] {
        [
            ("over the queue", self.over_the_queue),
            ("over a limit", self.over_a_limit),
            ("expired", self.expired),
            ("too old", self.too_old),
            ("too new", self.too_new),
            ("refused", self.refused),
        ]
    }
}

/// What is used up today (UTC) of `[services.NAME.logs] daily`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Budget {
    /// `[services.NAME]`
    pub service: String,
    /// The budget, in bytes as CloudWatch Logs charges them.
    pub daily_bytes: u64,
    /// Shipped of it.
    pub used_bytes: u64,
    /// Left out because it was used up.
    pub events_left_out: u64,
}

/// A stream whose lines wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Behind {
    /// Name of the stream.
    pub stream: String,
    /// Not accepted yet.
    pub backlog_bytes: u64,
    /// Age of the oldest of it.
    pub oldest_unshipped_seconds: u64,
    /// What the last call was answered, if that is why.
    pub error: Option<String>,
}
