//! node.toml as typed: the keys, their kinds and their defaults, and nothing else. The one source of the JSON Schema,
//! of the structural check that runs on it, and of the values that [`super::validate`] makes settings of.
//!
//! The doc comments are the descriptions that editors show. Numbers are wide and texts are unparsed on purpose: ranges
//! and formats are checked later, with the position of each. A key without effect in this version carries
//! `x-not-supported-in` and is refused where it is written. Required keys are `Option` so that one that was refused does
//! not take the rest of its table with it.

mod logs;
mod models;
mod service;

pub(super) use logs::{Field, LogFile, LogFileTable, Logs, Multiline, MultilineKind, Sample, ServiceLogs};
pub(super) use models::{Model, Models, Smoke};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
pub(super) use service::{
    EnvironmentValue, Gpus, Health, Network, OnChange, PortNumber, SecretKey, Service, Strategy, Update,
};
use std::collections::BTreeMap;

/// Marks keys and values that the contract has and this version does not do yet.
pub(super) const NOT_SUPPORTED: &str = "x-not-supported-in";

/// Configuration of one node. Strings may use `${node.name}`, `${instance_id}`, `${instance_type}`, `${region}`,
/// `${availability_zone}`, `${account}`, `${tag:KEY}` and `${var.KEY}`; `$${` stands for `${`.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "node.toml")]
pub(super) struct Written {
    /// The node itself.
    pub(super) node: Node,
    /// Values of your own, used as `${var.KEY}`. They may use facts of the instance and tags, not other variables.
    pub(super) var: BTreeMap<String, String>,
    /// The container engine.
    pub(super) docker: Docker,
    /// What becomes of images that no service needs. Needed are, for every service, the one that runs, the one before, the
    /// one that is being taken and the one that was asked for by hand; these stay, and so does what any container uses.
    pub(super) images: Images,
    /// A release of the agent that bootstrap fetches and installs. Without it the agent is part of the AMI.
    pub(super) agent: Option<Agent>,
    /// EBS volumes to wait for, format when blank, grow and mount, by name.
    pub(super) volumes: BTreeMap<String, Volume>,
    /// Secrets from AWS Secrets Manager, by name.
    pub(super) secrets: BTreeMap<String, Secret>,
    /// Containers to run, by name. Services on the node's network reach each other by it.
    pub(super) services: BTreeMap<String, Service>,
    /// Models that a model server (Ollama) has to have, and how they come, go and are kept ready. Without `pull` the node
    /// only shows what the server has.
    pub(super) models: Option<Models>,
    /// Shipping of logs to CloudWatch Logs: those of every service, and of what is named here. Without it nothing is shipped.
    pub(super) logs: Option<Logs>,
    /// Metrics of the node, its volumes, services and models, for Prometheus and for CloudWatch. Without it there are none.
    pub(super) metrics: Option<Metrics>,
    /// How to log in to registries, by `HOST` or `HOST:PORT`. ECR's own hosts need no entry.
    pub(super) registries: BTreeMap<String, Registry>,
}

/// The node itself.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Node {
    /// Its name in status and logs. Without it the `Name` tag, else the instance id. May not use itself.
    pub(super) name: Option<String>,
}

/// The container engine.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Docker {
    /// Bootstrap installs the engine where it is missing (dnf, yum or apt-get).
    pub(super) install: bool,
}

impl Default for Docker {
    fn default() -> Docker {
        Docker { install: true }
    }
}

/// What becomes of images that no service needs.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Images {
    /// Which of them are removed.
    pub(super) reclaim: Reclaim,
    /// For how long an image stays after it was needed last, from `0s` to `8760h`.
    pub(super) unused_for: String,
    /// How much of the engine's file system is kept free, from `1%` to `90%`: with less, images go before their time, and
    /// one that would leave less is not pulled.
    pub(super) min_free: String,
}

impl Default for Images {
    fn default() -> Images {
        Images { reclaim: Reclaim::Ours, unused_for: "168h".to_owned(), min_free: "10%".to_owned() }
    }
}

/// Which of those that nobody needs are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Reclaim {
    /// Those that the agent pulled.
    Ours,
    /// Whoever pulled them.
    All,
    /// None.
    Never,
}

/// A release of the agent that bootstrap fetches and installs.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["url", "sha256"]))]
pub(super) struct Agent {
    /// `https://` or `http://` address of the release tarball.
    pub(super) url: Option<String>,
    /// SHA-256 of the tarball, 64 hexadecimal digits.
    pub(super) sha256: Option<String>,
}

/// An EBS volume. Exactly one of `device` and `volume_id` says which.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["mount"]))]
pub(super) struct Volume {
    /// The name it is attached under, such as `/dev/sdf`; never `/dev/nvme1n1`, which changes from boot to boot.
    pub(super) device: Option<String>,
    /// Its id, such as `vol-0123456789abcdef0`.
    pub(super) volume_id: Option<String>,
    /// Absolute path of the mount point.
    pub(super) mount: Option<String>,
    /// The file system that it has or gets.
    pub(super) filesystem: Filesystem,
    /// Whether a volume that is proven blank may be formatted. One that holds anything never is.
    pub(super) format: Format,
    /// How long to wait for the attachment, which may come after boot.
    pub(super) wait: String,
    /// The node can do without it.
    pub(super) optional: bool,
    /// Who its root folder belongs to, `UID[:GID]` in numbers; what lies in it is left alone. Without it nothing is
    /// changed.
    pub(super) owner: Option<String>,
    /// Permissions of its root folder, octal, such as `"0750"`. Without it nothing is changed.
    pub(super) mode: Option<String>,
}

impl Default for Volume {
    fn default() -> Volume {
        Volume {
            device: None,
            volume_id: None,
            mount: None,
            filesystem: Filesystem::Xfs,
            format: Format::IfBlank,
            wait: "5m".to_owned(),
            optional: false,
            owner: None,
            mode: None,
        }
    }
}

/// The file system of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Filesystem {
    /// XFS
    Xfs,
    /// ext4
    Ext4,
}

/// Whether a volume may be formatted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Format {
    /// When it is proven blank.
    IfBlank,
    /// Never.
    Never,
}

/// A secret from AWS Secrets Manager: a JSON object of keys and values.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["id"]))]
pub(super) struct Secret {
    /// Its name or ARN.
    pub(super) id: Option<String>,
    /// Keys without which it counts as failed.
    pub(super) require: Vec<String>,
    /// What a change does to the services that use it.
    pub(super) on_change: OnChange,
}

/// Metrics of the node, its volumes, services and models.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Metrics {
    /// `IP:PORT` on which Prometheus text is served at `/metrics`, to everybody who gets there.
    pub(super) listen: String,
    /// They also go to CloudWatch, as lines of the embedded metric format in the log group of `[logs]`. CloudWatch bills
    /// each metric of each volume and service.
    pub(super) cloudwatch: bool,
    /// How often they go there, from `10s` to `1h`.
    pub(super) every: String,
    /// The CloudWatch namespace that they stand in.
    pub(super) namespace: String,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            listen: "127.0.0.1:9464".to_owned(),
            cloudwatch: false,
            every: "60s".to_owned(),
            namespace: "NodeAgent".to_owned(),
        }
    }
}

/// How to log in to a registry.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["auth"]))]
pub(super) struct Registry {
    /// `"ecr"`, `"none"` or `{ secret = "NAME" }`.
    pub(super) auth: Option<RegistryAuth>,
}

/// How to log in to a registry.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum RegistryAuth {
    /// A kind that needs nothing else.
    Kind(RegistryAuthKind),
    /// User name and password from a secret.
    Secret(RegistrySecret),
}

/// A kind of login that needs nothing else.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum RegistryAuthKind {
    /// An ECR token of the node's own account and region: private endpoints and mirrors.
    Ecr,
    /// Anonymous.
    None,
}

/// User name and password from a secret.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["secret"]))]
pub(super) struct RegistrySecret {
    /// `[secrets.NAME]` with the keys `username` and `password`.
    pub(super) secret: Option<String>,
}
