//! node.toml, validated: every value has its unit and its type, every default is filled in, every reference points at
//! something that exists. Made only by [`super::Draft::settings`].

mod models;

pub use super::window::{Opening, opening};
pub use models::{
    DEFAULT_MODEL_HOST, DEFAULT_NAMESPACE, Model, ModelReference, ModelServer, Models, Prewarm, Smoke,
};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// The whole configuration of one node.
#[derive(Debug, Clone, PartialEq, Serialize)]
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
    /// `[registries."HOST"]`
    pub registries: BTreeMap<String, RegistryAuth>,
}

/// `[docker]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Docker {
    /// Bootstrap installs the engine where it is missing.
    pub install: bool,
}

/// `[images]`: what becomes of images that no service needs. Those that are needed (the current, the previous and what a
/// person asked for) are never removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Images {
    /// Which ones are removed.
    pub reclaim: Reclaim,
    /// An image that no service needs is kept this long.
    pub unused_for: Duration,
    /// With less of the engine's file system free than so many percent, images go before their time, and none is
    /// pulled that would not fit.
    pub min_free_percent: u8,
}

impl Default for Images {
    fn default() -> Images {
        Images {
            reclaim: Reclaim::Ours,
            unused_for: Duration::from_secs(7 * 24 * 3600),
            min_free_percent: 10,
        }
    }
}

/// Which images that no service needs are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reclaim {
    /// None.
    Never,
    /// Those that the agent pulled.
    Ours,
    /// All that no container uses.
    All,
}

/// `[agent]`: a release tarball of the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AgentArtifact {
    /// `https://` or `http://`; what was fetched is trusted for its checksum, not for its origin.
    pub url: String,
    /// 64 lower-case hexadecimal digits.
    pub sha256: String,
}

/// How a volume is found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VolumeIdentity {
    /// The name it was attached under, normalised to `sdf` (never `/dev/…`, never `xvdf`).
    AttachName(String),
    /// `vol-` and hexadecimal digits.
    VolumeId(String),
}

/// A file system that bootstrap can make, mount and grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Filesystem {
    /// XFS
    Xfs,
    /// ext4
    Ext4,
}

impl Filesystem {
    /// The kernel's name for it, as in mount(8).
    pub fn name(self) -> &'static str {
        match self {
            Filesystem::Xfs => "xfs",
            Filesystem::Ext4 => "ext4",
        }
    }
}

/// `[volumes.NAME]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Volume {
    /// `device` or `volume_id`
    pub identity: VolumeIdentity,
    /// Absolute mount point.
    pub mount: String,
    /// The file system that it has or gets.
    pub filesystem: Filesystem,
    /// A blank device may be formatted (`if-blank`).
    pub format_if_blank: bool,
    /// How long to wait for the attachment.
    pub wait: Duration,
    /// The node can do without it.
    pub optional: bool,
    /// Who its root folder belongs to; absent: as it is.
    pub owner: Option<Owner>,
    /// Permission bits of its root folder, at most `0o7777`; absent: as they are.
    pub mode: Option<u32>,
}

/// Who a folder belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Owner {
    /// Number of the user.
    pub uid: u32,
    /// Number of the group; absent: as it is.
    pub gid: Option<u32>,
}

impl std::fmt::Display for Owner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}", self.uid)?;
        self.gid.iter().try_for_each(|gid| write!(formatter, ":{gid}"))
    }
}

/// `[secrets.NAME]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Secret {
    /// Name or ARN.
    pub id: String,
    /// Keys without which the secret counts as failed.
    pub require: Vec<String>,
    /// Services that use it are restarted when it changes (`on_change = "restart"`).
    pub restart_on_change: bool,
}

/// A reference to an image, taken apart. `docker.io/library/…` is filled in for short names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ImageReference {
    /// Host and optional port, e.g. `123456789012.dkr.ecr.eu-north-1.amazonaws.com` or `localhost:5000`.
    pub registry: String,
    /// Path inside the registry.
    pub repository: String,
    /// What is followed. Exactly one of the two.
    pub version: ImageVersion,
}

/// What an image reference follows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageVersion {
    /// A tag, `latest` where none is written.
    Tag(String),
    /// `sha256:…`: pinned, never polled.
    Digest(String),
}

impl ImageReference {
    /// `registry/repository`, without a version.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// `registry/repository@digest`, what is pulled and run.
    pub fn pinned(&self, digest: &str) -> String {
        format!("{}/{}@{digest}", self.registry, self.repository)
    }
}

impl std::fmt::Display for ImageReference {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.version {
            ImageVersion::Tag(tag) => write!(formatter, "{}:{tag}", self.name()),
            ImageVersion::Digest(digest) => write!(formatter, "{}@{digest}", self.name()),
        }
    }
}

/// A value in `environment`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum EnvironmentValue {
    /// As written.
    Literal(String),
    /// One key of a secret, resolved when the container is made.
    FromSecret {
        /// `[secrets.NAME]`
        secret: String,
        /// Key inside it.
        key: String,
    },
}

/// A protocol of a published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// TCP
    Tcp,
    /// UDP
    Udp,
}

/// `ports = ["80:8000"]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Port {
    /// On the host, all addresses.
    pub host: u16,
    /// In the container.
    pub container: u16,
    /// `/udp`, else TCP.
    pub protocol: Protocol,
}

/// `mounts = ["/host:/container[:ro]"]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// Absolute, on the host.
    pub host: String,
    /// Absolute, in the container.
    pub container: String,
    /// `:ro`
    pub read_only: bool,
}

/// `network`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// The node's bridge, on which services reach each other by name.
    Node,
    /// The host's own network.
    Host,
}

/// `gpus`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Gpus {
    /// All that the node has.
    All,
    /// So many.
    Count(u32),
}

/// `[services.NAME]`
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Service {
    /// What it runs.
    pub image: ImageReference,
    /// Replaces the image's command; empty keeps it.
    pub command: Vec<String>,
    /// Published ports.
    pub ports: Vec<Port>,
    /// Environment, by name.
    pub environment: BTreeMap<String, EnvironmentValue>,
    /// Secrets of which every key becomes an environment variable.
    pub environment_from: Vec<String>,
    /// Secrets mounted as files under `/run/secrets/NAME/KEY`.
    pub secret_files: Vec<String>,
    /// Bind mounts.
    pub mounts: Vec<Mount>,
    /// Services that are healthy before this one starts.
    pub depends_on: Vec<String>,
    /// Bytes.
    pub memory_bytes: Option<u64>,
    /// Cores, in billionths (Docker's NanoCpus).
    pub nano_cpus: Option<i64>,
    /// GPUs of the container.
    pub gpus: Option<Gpus>,
    /// `UID[:GID]` or names inside the image.
    pub user: Option<String>,
    /// Read-only root file system.
    pub read_only: bool,
    /// Kept, all others are dropped; without the `CAP_` prefix.
    pub capabilities: Vec<String>,
    /// It may reach the instance metadata; always true on the host's network.
    pub imds: bool,
    /// From the stop signal to SIGKILL.
    pub stop_timeout: Duration,
    /// Which network it is on.
    pub network: Network,
    /// `[services.NAME.health]`
    pub health: Health,
    /// `[services.NAME.update]`
    pub update: Update,
}

/// What is asked to know whether a service works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// GET; 200 to 399 passes.
    Http {
        /// Port inside the container.
        port: u16,
        /// Path with its leading slash, and query.
        path: String,
    },
    /// A connection is accepted.
    Tcp {
        /// Port inside the container.
        port: u16,
    },
    /// A command inside the container exits with 0.
    Exec(Vec<String>),
    /// The image's HEALTHCHECK where it has one, else "stayed up for `min_healthy` without a restart".
    ImageOrStayedUp,
}

/// `[services.NAME.health]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Health {
    /// What is asked.
    pub probe: Probe,
    /// From one question to the next.
    pub interval: Duration,
    /// For one answer.
    pub timeout: Duration,
    /// Failures in a row after which it counts as failing.
    pub retries: u32,
    /// From container start, failures do not count.
    pub start_period: Duration,
}

/// `[services.NAME.update]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Update {
    /// How often the registry is asked; absent means never.
    pub every: Option<Duration>,
    /// From container start to a passed gate.
    pub deadline: Duration,
    /// How long it must have been healthy to pass the gate.
    pub min_healthy: Duration,
    /// How the new container takes over.
    pub strategy: Strategy,
    /// How old an image has to be, by the registry's word or since it was first seen, before it is taken by itself.
    pub min_age: Duration,
    /// When images are taken by themselves; empty means always.
    pub windows: Vec<Window>,
    /// How long connections to the old container may live on.
    pub drain: Duration,
    /// Run inside the container that is to be replaced; exits with 0 when that may happen now. Empty: nobody is asked.
    pub before: Vec<String>,
    /// Run inside the new container once it is healthy; exits with 0 when it may take over. Empty: nobody is asked.
    pub after: Vec<String>,
}

/// How a new container takes over from the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// It runs beside the old one until it is healthy; then new connections go to it.
    BlueGreen,
    /// The old one stops before it starts.
    Recreate,
}

/// A window of every week, in UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Window {
    /// On which days it opens, Monday first.
    pub days: [bool; 7],
    /// When it opens, in minutes after midnight.
    pub opens_at_minute: u16,
    /// How long it is open, in minutes; it may reach into the next day.
    pub open_for_minutes: u16,
}

/// `[logs]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Logs {
    /// Log group.
    pub group: String,
    /// Set on a group that we create; absent keeps for ever.
    pub retention_days: Option<i32>,
}

/// `[registries."HOST"] auth`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RegistryAuth {
    /// An ECR token of the node's own account and region.
    Ecr,
    /// Anonymous.
    None,
    /// A secret with the keys `username` and `password`.
    Secret(String),
}
