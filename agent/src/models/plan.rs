//! What to do next with the models, and why: `plan(settings, serving, observed, durable, now) -> Plan`. Pure.
//!
//! Two lanes, so that a pull of hours keeps no model from being loaded: one pull, and one other step. Among the steps come
//! first those that bring service back (a good version takes its name again, a good model is loaded), then room that a
//! pull waits for, then moves to other versions (kept, named, compared, read ahead, loaded, asked), then the comparison of
//! what serves already, and cleaning last: an operator wants service before progress, and progress before order. Within
//! one urgency the models that the node is not ready without come first. Nothing that is not done is without a reason.
//!
//! Rules are split by kind: `wanted` (which version), `pulls` and `disk`, `stages` (from name to good), `memory`, `gpu`,
//! `clean`, `lookups`, `whole` (server, folder, volume); `compose` puts them together and `report` shows them.
//! Invariant: a note that bars a version, or begins a move, is in a plan before the step that follows from it.
//! Not its job: when a state began (`since`), which the loop sees by comparing plans.

mod clean;
mod compose;
mod disk;
mod draft;
mod gpu;
#[cfg(test)]
mod gpu_tests;
#[cfg(test)]
mod kept_tests;
mod lookups;
mod memory;
#[cfg(test)]
mod moves_tests;
mod pulls;
mod report;
#[cfg(test)]
mod simulation;
mod stages;
#[cfg(test)]
mod tests;
mod view;
mod wanted;
mod whole;
mod words;

use super::observed::{Observed, Serving, StepKind};
use super::record::Durable;
use super::server::Kind;
use crate::status::{Model as ModelStatus, ModelExplanation, ModelServer as ServerStatus};
use jiff::Timestamp;
pub use node::config::settings::KEPT;
use node::config::settings::{self, ModelReference, Prewarm, Smoke};
use node::problem::Problem;
use std::collections::BTreeSet;
use std::time::Duration;
use view::View;

/// What to do next. At most one pull and one other step: a pull of hours keeps no loaded model from being loaded again.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// A pull.
    pub pull: Option<Step>,
    /// Anything else.
    pub step: Option<Step>,
    /// A pull that is under way and is no longer wanted, or makes no sense any more: it is to be dropped.
    pub drop_pull: Option<String>,
    /// Another step that is under way, takes long, and keeps service from being brought back: it is to be dropped, and is
    /// begun again later.
    pub drop_step: Option<String>,
    /// Have the server's container restarted, and why.
    pub restart_server: Option<String>,
    /// Whether its GPUs are lost, where that can be told.
    pub gpu_is_lost: Option<bool>,
    /// Models whose registry is to be asked now.
    pub lookups: Vec<ModelReference>,
    /// Models of whose version it is to be asked now whether they answer prompts.
    pub kinds: Vec<ModelReference>,
    /// To be remembered, on disk before any step of this plan begins.
    pub notes: Vec<Note>,
    /// Every wanted model, in the order of their names, with what is explained of it.
    pub models: Vec<(ModelStatus, ModelExplanation)>,
    /// The server.
    pub server: ServerStatus,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// When to plan again even if nothing happens.
    pub wake_at: Option<Timestamp>,
}

/// What to do next, and why.
pub fn plan(
    settings: &settings::Models,
    serving: &Serving,
    observed: &Observed,
    durable: &Durable,
    now: Timestamp,
) -> Plan {
    compose::compose(&View::new(settings, serving, observed, durable, now))
}

/// One step, with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Full name of the model.
    pub model: String,
    /// What to do.
    pub action: Action,
    /// Why, one line.
    pub reason: String,
}

/// What can be done. Each is safe to do twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Pull what the tag names.
    Pull {
        /// The model.
        name: ModelReference,
        /// What the tag named when it was asked last.
        digest: String,
    },
    /// Make `to` another name of what `from` names, which has that digest.
    Copy {
        /// A name that the server has.
        from: ModelReference,
        /// The name that is to have the same.
        to: ModelReference,
        /// `sha256:…`
        digest: String,
    },
    /// Read layers and compare them with their names.
    Verify {
        /// The version.
        digest: String,
        /// Layers and their bytes.
        layers: Vec<(String, u64)>,
    },
    /// Read layers ahead.
    Warm {
        /// The version.
        digest: String,
        /// In this order.
        layers: Vec<String>,
        /// How fast at most.
        rate: Prewarm,
    },
    /// Bring it into memory for good.
    Load {
        /// The model.
        name: ModelReference,
        /// The version that its name means now.
        digest: String,
        /// How.
        kind: Kind,
        /// Within which time.
        deadline: Duration,
    },
    /// Ask it something and judge the answer.
    Smoke {
        /// The model.
        name: ModelReference,
        /// The version that its name means now.
        digest: String,
        /// What, and what has to come back.
        smoke: Smoke,
    },
    /// Let go of memory.
    Unload {
        /// The name that the server has it under.
        name: ModelReference,
        /// How it was loaded.
        kind: Kind,
    },
    /// Remove a name, with the layers that nothing else needs.
    Delete {
        /// The name.
        name: ModelReference,
    },
    /// Remove what is left of pulls, and layers that no name needs.
    Clean {
        /// Layers on their way.
        partials: Vec<String>,
        /// Whole layers.
        blobs: Vec<String>,
    },
}

impl Action {
    /// Its kind.
    pub fn kind(&self) -> StepKind {
        match self {
            Action::Pull { .. } => StepKind::Pull,
            Action::Copy { .. } => StepKind::Name,
            Action::Verify { .. } => StepKind::Verify,
            Action::Warm { .. } => StepKind::Warm,
            Action::Load { .. } => StepKind::Load,
            Action::Smoke { .. } => StepKind::Smoke,
            Action::Unload { .. } => StepKind::Unload,
            Action::Delete { .. } | Action::Clean { .. } => StepKind::Remove,
        }
    }
}

/// What a plan has found out, for the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// node.toml asks for these, by full name.
    Needed(BTreeSet<String>),
    /// The agent begins to pull it: it is ours from now on.
    Ours(String),
    /// A move begins.
    Begun {
        /// Full name.
        model: String,
        /// From what.
        from: Option<String>,
        /// To what.
        to: String,
    },
    /// What the move under way goes to is called so by the server.
    Called {
        /// Full name.
        model: String,
        /// `sha256:…`
        digest: String,
    },
    /// The version passed; a move to it is over.
    Good {
        /// Full name.
        model: String,
        /// `sha256:…`
        digest: String,
    },
    /// A version that is kept, where the record has none to go back to.
    Previous {
        /// Full name.
        model: String,
        /// `sha256:…`
        digest: String,
    },
    /// The version failed; a move to it is over.
    Bad {
        /// Full name.
        model: String,
        /// `sha256:…`
        digest: String,
        /// One line.
        cause: String,
    },
    /// A person's pin has nothing to say any more.
    PinOver(String),
    /// Layers are what their names say, with their bytes.
    Verified(Vec<(String, u64)>),
    /// A layer is not what its name says, or is gone.
    Unverified(String),
}

/// The name under which a version is kept: the model's own with the beginning of the digest at its tag, so that no two
/// versions share one and a name says what it should mean.
pub fn kept_name(model: &ModelReference, digest: &str) -> ModelReference {
    let digits: String = digest.trim_start_matches("sha256:").chars().take(12).collect();
    model.tagged(format!("{}{KEPT}{digits}", model.tag))
}
