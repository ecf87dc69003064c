//! The handoff document: what bootstrap found and did on this boot, `/run/node-agent/handoff.json`.
//!
//! Written once by bootstrap, atomically; read by the agent at its start and by `agentctl`. It holds no secret value.
//! It lies in `/run`, so that a document from an earlier boot cannot be taken for this one's; `boot_id` says it again.

use crate::identity::Facts;
use crate::paths::Paths;
use crate::problem::Problem;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::io;

/// Version of the document's shape; a reader refuses what is newer than it knows.
pub const SCHEMA: u32 = 1;

/// The kernel's random id of this boot.
pub fn boot_id(paths: &Paths) -> io::Result<String> {
    let text = std::fs::read_to_string(paths.at("/proc/sys/kernel/random/boot_id"))?;
    Ok(text.trim().to_owned())
}

/// What bootstrap hands over to the agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Handoff {
    /// [`SCHEMA`] of the writer.
    pub schema: u32,
    /// `/proc/sys/kernel/random/boot_id` at the time of writing.
    pub boot_id: String,
    /// Version of the bootstrap that wrote it.
    pub bootstrap_version: String,
    /// When bootstrap started.
    pub started_at: Timestamp,
    /// When this document was written.
    pub finished_at: Timestamp,
    /// Who the instance is; absent when the instance metadata service could not be read.
    pub identity: Option<Facts>,
    /// Every volume of node.toml, also those that failed.
    pub volumes: Vec<Volume>,
    /// Every secret of node.toml, also those that failed. Names and versions only.
    pub secrets: Vec<Secret>,
    /// Every step in the order in which they started.
    pub steps: Vec<Step>,
    /// Names of the steps whose durations made the run as long as it was, first to last.
    #[serde(default)]
    pub longest_chain: Vec<String>,
    /// What went wrong and still stands.
    pub problems: Vec<Problem>,
}

/// A volume of node.toml as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Its name in node.toml, `[volumes.NAME]`.
    pub name: String,
    /// EBS volume id with its dash, where it could be found out.
    pub volume_id: Option<String>,
    /// The block device, e.g. `/dev/nvme1n1`; the partition that is mounted, if it is one.
    pub device: Option<String>,
    /// Mount point.
    pub mount: String,
    /// Whether it is mounted and usable.
    pub mounted: bool,
    /// `xfs` or `ext4`, as found on the device.
    pub filesystem: Option<String>,
    /// UUID of the file system.
    pub uuid: Option<String>,
    /// Label of the file system.
    #[serde(default)]
    pub label: Option<String>,
    /// Size of the block device.
    pub size_bytes: Option<u64>,
    /// The node can do without it.
    pub optional: bool,
    /// What was decided and why, one line.
    pub reason: String,
}

/// A secret of node.toml as it was fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// Its name in node.toml, `[secrets.NAME]`.
    pub name: String,
    /// Version that was fetched, absent when it failed.
    pub version_id: Option<String>,
    /// When it was fetched.
    pub fetched_at: Option<Timestamp>,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Something was changed.
    Done,
    /// All was already as wanted.
    Unchanged,
    /// It could not be tried because something before it failed.
    Skipped,
    /// It was tried and failed; the reason is also among the problems.
    Failed,
}

/// One step of bootstrap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// E.g. `volume models`, `secret app`, `docker`.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// One line: what was done, or why not.
    pub reason: String,
    /// Milliseconds after the start of bootstrap at which the step began.
    pub started_ms: u64,
    /// Its duration in milliseconds.
    pub duration_ms: u64,
    /// Names of the steps that it waited for.
    #[serde(default)]
    pub after: Vec<String>,
}
