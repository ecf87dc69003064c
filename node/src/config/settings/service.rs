//! `[services.NAME]`, validated, without how it is updated.

use super::{ImageReference, Shaping, Update};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// `[services.NAME]`
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
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
    /// `[services.NAME.logs]`
    pub logs: Shaping,
}

/// A value in `environment`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// TCP
    Tcp,
    /// UDP
    Udp,
}

/// `ports = ["80:8000"]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Port {
    /// On the host, all addresses.
    pub host: u16,
    /// In the container.
    pub container: u16,
    /// `/udp`, else TCP.
    pub protocol: Protocol,
}

/// `mounts = ["/host:/container[:ro]"]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Mount {
    /// Absolute, on the host.
    pub host: String,
    /// Absolute, in the container.
    pub container: String,
    /// `:ro`
    pub read_only: bool,
}

/// `network`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// The node's bridge, on which services reach each other by name.
    Node,
    /// The host's own network.
    Host,
}

/// `gpus`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Gpus {
    /// All that the node has.
    All,
    /// So many.
    Count(u32),
}

/// What is asked to know whether a service works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
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
