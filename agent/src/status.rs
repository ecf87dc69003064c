//! The one value that `agentctl`, metrics, systemd's status line and the journal are made from.
//!
//! Names and values are the contract of `agentctl status --json`. Times are RFC 3339 in UTC, sizes are bytes.

mod logs;
mod models;

use jiff::Timestamp;
pub use logs::{Behind, Budget, Dropped, Logs};
pub use models::{
    Model, ModelExplanation, ModelServer, ModelServerState, ModelState, Models, Prewarm, are_ready,
};
use node::problem::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `agentctl status --json`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// The node as a whole.
    pub node: Node,
    /// In the order of their names.
    pub services: Vec<Service>,
    /// In the order of their names.
    pub models: Vec<Model>,
    /// Who serves them; absent where node.toml has no `[models]`.
    #[serde(default)]
    pub model_server: Option<ModelServer>,
    /// As bootstrap left them, with what is used now.
    pub volumes: Vec<Volume>,
    /// Shipping of logs.
    pub logs: Logs,
    /// Names and versions, never values.
    pub secrets: Vec<Secret>,
    /// The worst first.
    pub problems: Vec<Problem>,
}

/// The node as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Node {
    /// `[node] name`, or what stands for it.
    pub name: String,
    /// `i-…`; empty while unknown.
    pub instance_id: String,
    /// Empty while unknown.
    pub instance_type: String,
    /// Empty while unknown.
    pub region: String,
    /// Empty while unknown.
    pub availability_zone: String,
    /// Derived from the rest.
    pub state: NodeState,
    /// Since when it is in that state.
    pub since: Timestamp,
    /// The agent's version.
    pub version: String,
    /// The kernel's boot id.
    pub boot: String,
}

/// Whether the node does its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// Some service has not passed its health gate since the agent started, and nothing has failed.
    Starting,
    /// Every service runs and passes, no problem stands.
    Ready,
    /// Something that should work does not.
    Degraded,
    /// The node is being emptied.
    Draining,
}

/// One service of node.toml.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Service {
    /// `[services.NAME]`
    pub name: String,
    /// What it is doing.
    pub state: ServiceState,
    /// What its gate says.
    pub health: HealthState,
    /// The reference of node.toml.
    pub image: String,
    /// The digest that runs, as the registry gave it for the reference.
    pub digest: Option<String>,
    /// The container that serves.
    pub container_id: Option<String>,
    /// Since when it is in `state`.
    pub since: Timestamp,
    /// Restarts by the agent since the agent started.
    pub restarts: u32,
    /// Where it stands with updates.
    pub update: UpdateStatus,
}

/// What a service is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServiceState {
    /// For another service, a volume, a secret, the engine or the registry.
    Waiting,
    /// The image is on its way.
    Pulling,
    /// The container runs and has not passed its gate yet.
    Starting,
    /// It runs and its gate does not object.
    Running,
    /// It runs and its gate says no.
    Unhealthy,
    /// It ended and will be started again.
    Restarting,
    /// A new image or specification takes its place.
    Updating,
    /// Stopped on purpose.
    Stopped,
    /// Nothing runs and the next try is far off.
    Failed,
}

/// What the gate of a service says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// Yes.
    Passing,
    /// No.
    Failing,
    /// It could not be asked, or not often enough yet.
    Unknown,
    /// Nothing runs that could be asked.
    None,
}

/// Where a service stands with updates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UpdateStatus {
    /// The state.
    pub state: UpdateState,
    /// Digest that would replace the running one.
    pub candidate: Option<String>,
    /// Why it is in this state, one line.
    pub reason: Option<String>,
    /// When the registry last answered.
    pub checked_at: Option<Timestamp>,
}

/// States of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UpdateState {
    /// What runs is what the reference names.
    Current,
    /// Something newer is there and not taken yet.
    Available,
    /// Something newer is there and a rule says later.
    Waiting,
    /// The switch is under way.
    Updating,
    /// The last switch failed and the old image runs again.
    RolledBack,
    /// What the reference names is known to be bad.
    Quarantined,
    /// Held by an operator.
    Held,
}

/// One volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Volume {
    /// `[volumes.NAME]`
    pub name: String,
    /// `vol-…`
    pub volume_id: Option<String>,
    /// Block device.
    pub device: Option<String>,
    /// Mount point.
    pub mount: String,
    /// What is on it.
    pub filesystem: Option<String>,
    /// Size of the file system while mounted.
    pub size_bytes: Option<u64>,
    /// Bytes in use while mounted.
    pub used_bytes: Option<u64>,
}

/// One secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Secret {
    /// `[secrets.NAME]`
    pub name: String,
    /// Version in use.
    pub version_id: Option<String>,
    /// When it was fetched.
    pub fetched_at: Option<Timestamp>,
}

/// Why a service does not do what one might expect of it, for `agentctl explain`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// `[services.NAME]`
    pub service: String,
    /// Which health gate is in force, in words.
    pub gate: String,
    /// The reasons of the plan that is in force.
    pub reasons: Vec<Reason>,
    /// Digests that are never tried again, with their causes.
    pub quarantined: Vec<Quarantined>,
    /// The digest that passed its gate last; what a failed update returns to.
    #[serde(default)]
    pub good: Option<String>,
    /// The good one before that; what `agentctl rollback` goes to.
    #[serde(default)]
    pub previous: Option<String>,
    /// What a person asked for instead of what node.toml names, while that is in force.
    #[serde(default)]
    pub target: Option<Target>,
    /// Since when a person holds it: no other image is taken.
    #[serde(default)]
    pub held_since: Option<Timestamp>,
    /// Since when a person has stopped it.
    #[serde(default)]
    pub stopped_since: Option<Timestamp>,
    /// Its last updates, the oldest first.
    #[serde(default)]
    pub updates: Vec<PastUpdate>,
}

/// What a person asked a service to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Target {
    /// `sha256:…`
    pub digest: String,
    /// As it was written: a tag, a digest or a whole reference.
    pub named: String,
    /// When.
    pub at: Timestamp,
}

/// One update, or the attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PastUpdate {
    /// To what.
    pub digest: String,
    /// From what; the same digest where only the settings changed, absent for the first one of a service.
    pub from: Option<String>,
    /// When it began.
    pub began: Timestamp,
    /// When it was decided.
    pub ended: Option<Timestamp>,
    /// How it went.
    pub state: PastUpdateState,
    /// Why it failed, one line.
    pub cause: Option<String>,
}

/// How an update went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PastUpdateState {
    /// Not decided yet.
    UnderWay,
    /// It passed its gate.
    Passed,
    /// It did not.
    Failed,
    /// Something newer was wanted before.
    Overtaken,
}

/// One reason of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reason {
    /// One line: what is (not) done and why.
    pub text: String,
    /// Until when, where that is known.
    pub until: Option<Timestamp>,
}

/// A digest that failed its gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Quarantined {
    /// The digest.
    pub digest: String,
    /// When it failed.
    pub at: Timestamp,
    /// What failed, one line.
    pub cause: String,
    /// The last lines that the container wrote.
    pub last_log_lines: Vec<String>,
}

/// What the services alone say of the node: degraded when one fails, starting while one is on its way, else ready.
pub fn state_of(services: &[Service]) -> NodeState {
    let any = |states: &[ServiceState]| services.iter().any(|service| states.contains(&service.state));
    if any(&[ServiceState::Failed, ServiceState::Unhealthy, ServiceState::Restarting]) {
        NodeState::Degraded
    } else if any(&[ServiceState::Waiting, ServiceState::Pulling, ServiceState::Starting]) {
        NodeState::Starting
    } else {
        NodeState::Ready
    }
}

/// The code of a problem that leaves a node ready: an update was rolled back, and the old image serves.
pub const ROLLED_BACK: &str = "update_rolled_back";
/// Another one: units changed while containers ran, and systemd reads them at the next boot (bootstrap's code).
pub const RELOAD_PUT_OFF: &str = "daemon_reload_put_off";

/// Code of the problem that limits of node.toml leave out log events, as they were told to.
pub const LOGS_LEFT_OUT: &str = "logs_left_out";

/// Another one: metrics cannot be asked for. What serves serves on.
pub const METRICS_LISTEN: &str = "metrics_listen";

/// Another one: a section of node.toml applies when bootstrap runs again.
pub const BOOTSTRAP_AWAITED: &str = "bootstrap_awaited";

/// Of models: the version before serves, a part is on the CPU, or a volume was slow. The node does its job.
pub const MODEL_HINTS: [&str; 3] = ["model_rolled_back", "model_partly_on_cpu", "model_volume_cold"];

/// Whether a node with this problem is degraded. After a roll-back it does its job, only not with the newest image.
pub fn degrades(problem: &Problem) -> bool {
    let code = problem.code.as_str();
    !matches!(code, ROLLED_BACK | RELOAD_PUT_OFF | LOGS_LEFT_OUT | METRICS_LISTEN | BOOTSTRAP_AWAITED)
        && !MODEL_HINTS.contains(&code)
}
