//! All that is known of the node at one moment, as the plan sees it: the engine's containers and images, what the
//! registries and health gates said last, what the agent is doing already. Values only.
//!
//! What could not be asked is *unknown* here, never *gone*.

pub use crate::engine::LocalImage;
use crate::engine::{ImageFacts, PullProgress};
use crate::health::Verdict;
use crate::observed::{Container, Disk};
use crate::rules::Rules;
use jiff::Timestamp;
use node::config::settings::ImageReference;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// One moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// The engine and our containers.
    pub engine: EngineView,
    /// What the registry said, by service.
    pub candidates: BTreeMap<String, Candidate>,
    /// What the gates say, by container id.
    pub verdicts: BTreeMap<String, Verdict>,
    /// By `registry/repository@digest`; absent from the map means not asked.
    pub images: BTreeMap<String, ImageState>,
    /// Work that is under way, by service.
    pub in_flight: BTreeMap<String, InFlight>,
    /// Our rules of the firewall.
    pub rules: RulesView,
    /// Networks of containers, each as address and length of its prefix.
    pub bridges: BTreeSet<(Ipv4Addr, u8)>,
    /// Connections of clients that are open to a container that is to be drained, by container id; absent: not known.
    pub connections: BTreeMap<String, u64>,
    /// Room on the engine's file system; `None` while that is unknown.
    pub disk: Option<Disk>,
    /// All images in the engine's store; `None` while that was not asked, which it is only when the plan depends on it.
    pub store: Option<Vec<LocalImage>>,
}

/// Our rules of the firewall, as the kernel has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RulesView {
    /// These are in force; none are where our table is missing.
    InForce(Rules),
    /// They cannot be read or written.
    Unknown,
}

/// The engine, as far as it answers.
#[derive(Debug, Clone, PartialEq)]
pub enum EngineView {
    /// It answers.
    Up {
        /// Since when it has been answering without a break. What ended before that ended unwatched: with the node, the
        /// engine or while the agent was away, and is no evidence against an image.
        since: Timestamp,
        /// Ours, in any state.
        containers: Vec<Container>,
    },
    /// It does not answer; nothing is known and nothing is done.
    Down {
        /// Since when.
        since: Timestamp,
        /// One line.
        message: String,
        /// What to do.
        hint: Option<String>,
        /// As they were when it last answered.
        last_known: Vec<Container>,
    },
}

/// Whether a pinned image is in the engine's store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageState {
    /// It is.
    Present(ImageFacts),
    /// It is not.
    Absent,
}

/// What a registry said of the reference that a service follows. Neither answer nor failure: not asked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The reference that was asked for; an answer for another one counts as not asked.
    pub reference: ImageReference,
    /// The last answer.
    pub answer: Option<Answer>,
    /// Why the registry does not answer now; an older answer still stands beside it.
    pub failure: Option<AskFailure>,
}

/// An answer of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// `sha256:…`
    pub digest: String,
    /// When it was given.
    pub checked_at: Timestamp,
    /// A person asked (`agentctl update`), so a service that is never updated by itself takes it all the same.
    pub requested: bool,
    /// When it was pushed, where the registry says so.
    pub pushed_at: Option<Timestamp>,
    /// Compressed size in bytes, where the registry says so.
    pub size_bytes: Option<u64>,
}

/// Why there was no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskFailure {
    /// For `problems[]`.
    pub code: String,
    /// One line naming the image.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// Since when it fails without a break.
    pub since: Timestamp,
}

/// What is under way for a service: at most one pull, and at most one step on its containers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InFlight {
    /// The pull.
    pub pull: Option<PullInFlight>,
    /// The step, in words, e.g. `stopping api-3`.
    pub step: Option<String>,
}

/// A pull that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullInFlight {
    /// What is pulled.
    pub digest: String,
    /// How far it is.
    pub progress: PullProgress,
}
