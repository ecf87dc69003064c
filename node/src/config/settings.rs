//! node.toml, validated: every value has its unit and its type, every default is filled in, every reference points at
//! something that exists. Made only by [`super::Draft::settings`]. One file for each large section.

mod image;
mod logs;
mod models;
mod service;
mod update;
mod volume;

pub use super::window::{Opening, opening};
pub use image::{ImageReference, ImageVersion, Images, Reclaim};
pub(in crate::config) use logs::PLACEHOLDERS;
pub use logs::{
    EVENT_OVERHEAD_BYTES, Field, LogFile, Logs, Multiline, Sample, Shaping, StreamName, StreamParts, Units,
};
pub use models::{
    DEFAULT_MODEL_HOST, DEFAULT_NAMESPACE, KEPT, Model, ModelReference, ModelServer, Models, Prewarm, Smoke,
};
use schemars::JsonSchema;
use serde::Serialize;
pub use service::{EnvironmentValue, Gpus, Health, Mount, Network, Port, Probe, Protocol, Service};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
pub use update::{Strategy, Update, Window};
pub use volume::{Filesystem, Owner, Volume, VolumeIdentity};

/// The whole configuration of one node.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Settings {
    /// `[node] name`, else the `Name` tag, else the instance id.
    pub node_name: String,
    /// `[docker]`
    pub docker: Docker,
    /// `[images]`
    pub images: Images,
    /// `[agent]`: where bootstrap gets the agent from; absent when the AMI has it.
    pub agent: Option<AgentArtifact>,
    /// `[volumes.NAME]`
    pub volumes: BTreeMap<String, Volume>,
    /// `[secrets.NAME]`
    pub secrets: BTreeMap<String, Secret>,
    /// `[services.NAME]`
    pub services: BTreeMap<String, Service>,
    /// `[models]`; absent where the agent looks after none.
    pub models: Option<Models>,
    /// `[logs]`; absent when nothing is shipped.
    pub logs: Option<Logs>,
    /// `[metrics]`; absent when nobody is to see any.
    pub metrics: Option<Metrics>,
    /// `[registries."HOST"]`
    pub registries: BTreeMap<String, RegistryAuth>,
}

/// `[docker]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Docker {
    /// Bootstrap installs the engine where it is missing.
    pub install: bool,
}

/// `[agent]`: a release tarball of the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AgentArtifact {
    /// `https://` or `http://`; what was fetched is trusted for its checksum, not for its origin.
    pub url: String,
    /// 64 lower-case hexadecimal digits.
    pub sha256: String,
}

/// `[secrets.NAME]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Secret {
    /// Name or ARN.
    pub id: String,
    /// Keys without which the secret counts as failed.
    pub require: Vec<String>,
    /// Services that use it are restarted when it changes (`on_change = "restart"`).
    pub restart_on_change: bool,
}

/// `[metrics]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Metrics {
    /// Where Prometheus text is served.
    pub listen: SocketAddr,
    /// They go to CloudWatch with the logs; there is a `[logs]` then.
    pub cloudwatch: bool,
    /// From one look for CloudWatch to the next.
    pub every: Duration,
    /// Of CloudWatch.
    pub namespace: String,
}

/// `[registries."HOST"] auth`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RegistryAuth {
    /// An ECR token of the node's own account and region.
    Ecr,
    /// Anonymous.
    None,
    /// A secret with the keys `username` and `password`.
    Secret(String),
}
