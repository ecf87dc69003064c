//! All that is known of the models at one moment, as the plan sees it. Values only; what could not be asked is *unknown*.

use super::files::{Files, WarmProgress};
use super::registry::Manifest;
use super::server::{Endpoint, Installed, Kind, Loaded, PullProgress};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// What the plan has to know of the settings of the service that serves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Serving {
    /// Its container asks for GPUs.
    pub wants_gpus: bool,
}

/// One moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// The server.
    pub server: ServerView,
    /// Its folder; `None` where it is not known or cannot be read now (`files_problem` says why).
    pub files: Option<Files>,
    /// When the look at it began.
    pub files_seen_at: Option<Timestamp>,
    /// Partials that are broken: by digest, when the first look began since which every look saw that.
    pub broken_since: BTreeMap<String, Timestamp>,
    /// Why the folder cannot be read, one line.
    pub files_problem: Option<String>,
    /// What the registry said last, by full name; absent: not asked yet.
    pub lookups: BTreeMap<String, Lookup>,
    /// Whether models answer prompts, by digest; absent: not asked yet.
    pub kinds: BTreeMap<String, Kind>,
    /// GPUs as the serving container sees them.
    pub gpu: GpuView,
    /// Bytes of memory that the server may use: the container's limit, else the node's; `None` while unknown.
    pub memory_bytes: Option<u64>,
    /// The pull that is under way.
    pub pulling: Option<PullUnderWay>,
    /// The other step that is under way.
    pub step: Option<StepUnderWay>,
    /// Steps that failed, or were done, since the agent started: by full name and kind of step.
    pub attempts: BTreeMap<(String, StepKind), Attempt>,
    /// Digests whose layers were read ahead since boot.
    pub warmed: BTreeMap<String, WarmedView>,
    /// Layers that were read and are not what their names say, and that were not removed since.
    pub damaged: BTreeSet<String>,
    /// Models that were in memory and then were not any more: by full name, when that was seen first. Gone from here
    /// when they are in memory again.
    pub vanished: BTreeMap<String, Timestamp>,
    /// Versions in memory that are wholly on the CPU: by digest, when that was seen first.
    pub on_cpu: BTreeMap<String, Timestamp>,
    /// Something was on a GPU of the server since the agent started.
    pub has_gpu: bool,
    /// Restarts of the server for its GPU since the agent started, and when the last one was asked for.
    pub gpu_restarts: u32,
    /// Of these, for the loss that is now, or was last.
    pub gpu_restarts_of_loss: u32,
    /// See above.
    pub gpu_restarted_at: Option<Timestamp>,
}

/// The server, as far as it answers.
#[derive(Debug, Clone, PartialEq)]
pub enum ServerView {
    /// It answers.
    Up {
        /// Where.
        endpoint: Endpoint,
        /// Its version.
        version: String,
        /// Changes with each start of its container; empty for a server at a URL.
        run: String,
        /// Since when it has been answering without a break.
        since: Timestamp,
        /// What it has.
        installed: Vec<Installed>,
        /// What it has in memory.
        loaded: Vec<Loaded>,
    },
    /// Its service does not run: why, as the service's plan has it.
    NotRunning {
        /// One line.
        reason: String,
    },
    /// It should answer and does not.
    Silent {
        /// Where it was asked.
        endpoint: Endpoint,
        /// One line.
        reason: String,
        /// Since when.
        since: Timestamp,
    },
}

/// An answer of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// When it was asked.
    pub at: Timestamp,
    /// What it said, or why it did not, with its code and its hint.
    pub answer: Result<Manifest, crate::registry::RegistryError>,
    /// The last good answer; the same as `answer` where that is one.
    pub known: Option<Manifest>,
}

/// GPUs, as the serving container sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GpuView {
    /// Its service asks for none.
    NotWanted,
    /// They are there; how many.
    Present(u32),
    /// They are gone, although its service asks for some.
    Lost {
        /// What the container said, one line.
        reason: String,
        /// Since when.
        since: Timestamp,
    },
    /// It could not be asked, or has no `nvidia-smi`.
    Unknown,
}

/// The pull that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullUnderWay {
    /// Full name.
    pub model: String,
    /// What the tag named when it began, as in [`super::plan::Action::Pull`].
    pub digest: String,
    /// Since when.
    pub since: Timestamp,
    /// How far.
    pub progress: PullProgress,
    /// When the last byte came.
    pub moved_at: Timestamp,
}

/// A step that is under way.
#[derive(Debug, Clone, PartialEq)]
pub struct StepUnderWay {
    /// Full name.
    pub model: String,
    /// What kind.
    pub kind: StepKind,
    /// Since when.
    pub since: Timestamp,
    /// How far, for reading ahead.
    pub warming: Option<WarmProgress>,
}

/// Kinds of steps, for what is remembered of their failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StepKind {
    /// Pull.
    Pull,
    /// Give a version a name of its own, or its model's name back.
    Name,
    /// Compare files with their names.
    Verify,
    /// Read ahead.
    Warm,
    /// Load into memory.
    Load,
    /// Ask the smoke prompt.
    Smoke,
    /// Let go of memory.
    Unload,
    /// Remove a name, or files.
    Remove,
}

/// What became of a kind of step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Failures in a row.
    pub failures: u32,
    /// Of these, how often the server was only busy, which says nothing of what it was asked for.
    pub busy: u32,
    /// When the last one ended.
    pub at: Timestamp,
    /// On which digest, where the step has one.
    pub digest: Option<String>,
    /// Code, message and hint of the last failure; `None` after a success.
    pub failure: Option<Failure>,
}

impl Attempt {
    /// Failures in a row that count against a version.
    pub fn tries(&self) -> u32 {
        self.failures.saturating_sub(self.busy)
    }
}

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// `problems[].code`
    pub code: &'static str,
    /// One line.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// The version itself is to blame (it cannot be loaded, or answered wrongly), not the server, the disk or the net.
    pub blames_version: bool,
}

/// How the reading ahead of a version went.
#[derive(Debug, Clone, PartialEq)]
pub struct WarmedView {
    /// How far and how fast.
    pub progress: WarmProgress,
    /// Why what was read is not in memory, if it is not.
    pub not_kept: Option<String>,
}
