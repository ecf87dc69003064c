//! What is remembered of models, in `/var/lib/node-agent/models.json`: what passed, what failed, what a person asked for.
//! Everything else is read from the server and its folder. Values only.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// As much of a model's past as is shown.
pub const PAST_LIMIT: usize = 20;

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Durable {
    /// By `ModelReference::full`.
    #[serde(default)]
    pub models: BTreeMap<String, Record>,
    /// Layers that were read once and were what their names say, with their length: `sha256:…` to bytes.
    #[serde(default)]
    pub verified: BTreeMap<String, u64>,
}

/// What is remembered of one model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The version that passed last: verified, loaded where it is to be, its smoke prompt answered.
    #[serde(default)]
    pub good: Option<String>,
    /// The good one before that, kept under a name of its own.
    #[serde(default)]
    pub previous: Option<String>,
    /// What a person asked for instead of what the tag names.
    #[serde(default)]
    pub pin: Option<Pin>,
    /// Versions that failed, never taken again by themselves.
    #[serde(default)]
    pub quarantine: Vec<Quarantine>,
    /// The agent pulled it; models that others put there are not ours to remove.
    #[serde(default)]
    pub ours: bool,
    /// When node.toml last asked for it.
    #[serde(default)]
    pub needed_at: Option<Timestamp>,
    /// Its moves, the oldest first; the last one may be under way.
    #[serde(default)]
    pub past: Vec<Move>,
}

/// What a person asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// `sha256:…`
    pub digest: String,
    /// When.
    pub at: Timestamp,
}

/// A version that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// `sha256:…`
    pub digest: String,
    /// What failed, one line.
    pub cause: String,
    /// When.
    pub at: Timestamp,
}

/// One move to a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// To what.
    pub to: String,
    /// From what; absent for the first one.
    #[serde(default)]
    pub from: Option<String>,
    /// When it began.
    pub began: Timestamp,
    /// When and how it ended; absent while it is under way.
    #[serde(default)]
    pub end: Option<MoveEnd>,
}

/// How a move ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveEnd {
    /// When.
    pub at: Timestamp,
    /// Why it failed; absent when it did not.
    #[serde(default)]
    pub cause: Option<String>,
}

impl Durable {
    /// The record of the model, by its full name.
    pub fn record(&self, model: &str) -> Option<&Record> {
        self.models.get(model)
    }
}

impl Record {
    /// Why the version is barred, if it is.
    pub fn barred(&self, digest: &str) -> Option<&Quarantine> {
        self.quarantine.iter().rev().find(|entry| entry.digest == digest)
    }
}
