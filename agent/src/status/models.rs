//! Models in the status: names and values are part of the contract of `agentctl status --json` and `agentctl models`.

use super::{PastUpdate, Quarantined, Reason, UpdateStatus};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One model of node.toml.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Model {
    /// Name and tag, as the server lists it.
    pub name: String,
    /// Digest of the version that the server has, `sha256:…` of its manifest.
    pub digest: Option<String>,
    /// Bytes of its layers.
    pub size_bytes: Option<u64>,
    /// Where it is.
    pub state: ModelState,
    /// Of the pull, the reading ahead or the load that is under way: 0 to 1.
    pub progress: Option<f64>,
    /// Whether it is wholly on the GPU; absent while it is not in memory.
    pub on_gpu: Option<bool>,
    /// Bytes that it takes in memory, those on GPUs included; absent while it is not in memory.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// Bytes of these on GPUs.
    #[serde(default)]
    pub gpu_memory_bytes: Option<u64>,
    /// The node is not ready without it.
    #[serde(default)]
    pub required: bool,
    /// It is to stay in memory.
    #[serde(default)]
    pub keep_loaded: bool,
    /// Why it is in this state and what happens next, one line.
    #[serde(default)]
    pub reason: Option<String>,
    /// Since when it is in `state`.
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// The digest that it is pinned to, by node.toml or by a person.
    #[serde(default)]
    pub pinned: Option<String>,
    /// The good version before this one, kept on the volume.
    #[serde(default)]
    pub previous: Option<String>,
    /// Where it stands with updates.
    #[serde(default = "no_update")]
    pub update: UpdateStatus,
}

impl Model {
    /// Whether it is where node.toml wants it: in memory where it is kept loaded, else on the volume.
    pub fn is_in_place(&self) -> bool {
        match self.state {
            ModelState::Loaded => true,
            ModelState::Present => !self.keep_loaded,
            ModelState::Absent | ModelState::Pulling | ModelState::Failed => false,
        }
    }
}

fn no_update() -> UpdateStatus {
    UpdateStatus { state: super::UpdateState::Current, candidate: None, reason: None, checked_at: None }
}

/// Where a model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ModelState {
    /// The server does not have it, or could not be asked yet.
    Absent,
    /// It is on its way.
    Pulling,
    /// It is on the volume.
    Present,
    /// It is in the server's memory.
    Loaded,
    /// It should be there, or in memory, and that failed.
    Failed,
}

/// The server of the models.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelServer {
    /// `[services.NAME]`; absent for one at a URL.
    pub service: Option<String>,
    /// `http://HOST:PORT`; absent while its service has no address.
    pub endpoint: Option<String>,
    /// Its version; absent while it does not answer.
    pub version: Option<String>,
    /// Whether it answers.
    pub state: ModelServerState,
    /// Why it does not, one line.
    pub reason: Option<String>,
    /// GPUs that its container sees; absent where it wants none, or could not be asked.
    pub gpus: Option<u32>,
    /// Restarts of its container because its GPU was gone, since the agent started.
    pub gpu_restarts: u32,
    /// Folder of the models on the host.
    pub directory: Option<String>,
    /// Bytes free on the file system of that folder.
    pub free_bytes: Option<u64>,
    /// The last reading ahead.
    pub prewarm: Option<Prewarm>,
}

/// Whether a server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ModelServerState {
    /// It does.
    Up,
    /// Its service does not run.
    Down,
    /// It should and does not.
    Silent,
}

/// Reading the files of a model before its first load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Prewarm {
    /// Which model.
    pub model: String,
    /// Bytes read so far.
    pub read_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
    /// Mean so far.
    pub mebibytes_per_second: f64,
    /// Why what was read is not in memory, if it is not.
    pub not_kept: Option<String>,
}

/// `GET /v1/models`, and `agentctl models --json`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Models {
    /// Absent where node.toml has no `[models]`.
    pub server: Option<ModelServer>,
    /// In the order of their names.
    pub models: Vec<Model>,
    /// One for each of these.
    pub explanations: Vec<ModelExplanation>,
}

/// Why a model is not where one might expect it, for `agentctl explain` and `agentctl models`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModelExplanation {
    /// As in [`Model`].
    pub model: String,
    /// The reasons of the plan that is in force.
    pub reasons: Vec<Reason>,
    /// Versions that are never taken again by themselves.
    pub quarantined: Vec<Quarantined>,
    /// The version that passed last.
    pub good: Option<String>,
    /// The one before that, one step away.
    pub previous: Option<String>,
    /// Its last moves, the oldest first.
    pub updates: Vec<PastUpdate>,
}

/// What the models alone say of the node: none while a model that is required is not where it has to be.
pub fn are_ready(models: &[Model]) -> bool {
    models.iter().filter(|model| model.required).all(Model::is_in_place)
}
