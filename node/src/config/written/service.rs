//! `[services.NAME]` as typed.

use super::ServiceLogs;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A container to run.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["image"]))]
pub(in crate::config) struct Service {
    /// `[HOST[:PORT]/]REPOSITORY[:TAG|@sha256:DIGEST]`. A tag is followed, a digest is a pin; both: the digest counts.
    pub(in crate::config) image: Option<String>,
    /// Replaces the image's command. Empty keeps it.
    pub(in crate::config) command: Vec<String>,
    /// Published on all addresses of the host: `HOST:CONTAINER` or `HOST:CONTAINER/udp`.
    pub(in crate::config) ports: Vec<String>,
    /// Environment variables: a text, or one key of a secret as `{ secret = "NAME", key = "KEY" }`.
    pub(in crate::config) environment: BTreeMap<String, EnvironmentValue>,
    /// Secrets of which every key becomes an environment variable.
    pub(in crate::config) environment_from: Vec<String>,
    /// Secrets that are mounted as files `/run/secrets/NAME/KEY`, in memory. Preferred: environment shows in `docker inspect`.
    pub(in crate::config) secret_files: Vec<String>,
    /// Bind mounts: `/HOST/PATH:/CONTAINER/PATH` or with `:ro` at the end.
    pub(in crate::config) mounts: Vec<String>,
    /// Services that are healthy before this one starts.
    pub(in crate::config) depends_on: Vec<String>,
    /// Limit such as `512m` or `2g`, in binary multiples as with Docker. Without it there is no limit.
    pub(in crate::config) memory: Option<String>,
    /// Limit in cores. Without it there is no limit.
    pub(in crate::config) cpus: Option<f64>,
    /// GPUs of the container: `"all"`, or how many from 1 to 64. Without it none.
    pub(in crate::config) gpus: Option<Gpus>,
    /// `UID[:GID]`, or names that the image knows. Without it the image's user.
    pub(in crate::config) user: Option<String>,
    /// Read-only root file system.
    pub(in crate::config) read_only: bool,
    /// Linux capabilities to keep; all others are dropped.
    pub(in crate::config) capabilities: Vec<String>,
    /// The container may reach the instance metadata, and with it the instance's role. It is one hop further from there
    /// than the node: with `true` the instance needs a hop limit of 2. On the host's network every container may, whatever
    /// the default says; `false` cannot be kept there and is refused when written.
    pub(in crate::config) imds: bool,
    /// From the stop signal to the kill.
    pub(in crate::config) stop_timeout: String,
    /// The network it is on.
    pub(in crate::config) network: Network,
    /// How to know whether it works.
    pub(in crate::config) health: Health,
    /// How new images are taken. `window`, `min_age` and `before` hold up only what the agent does by itself, not the command
    /// of a person: they may be written beside `every = "never"`, and hold up nothing then.
    pub(in crate::config) update: Update,
    /// What is shipped of what it writes, where there is `[logs]`. Patterns are regular expressions of Rust's `regex`, found
    /// anywhere in a line, in which `\d`, `\w`, `\s` and `\b` are about ASCII. The rules are asked in the order `include`, `exclude`, `sample`, `repeat`, `max_rate`, `daily`; what they
    /// leave out is counted by rule.
    pub(in crate::config) logs: ServiceLogs,
}

impl Default for Service {
    fn default() -> Service {
        Service {
            image: None,
            command: Vec::new(),
            ports: Vec::new(),
            environment: BTreeMap::new(),
            environment_from: Vec::new(),
            secret_files: Vec::new(),
            mounts: Vec::new(),
            depends_on: Vec::new(),
            memory: None,
            cpus: None,
            gpus: None,
            user: None,
            read_only: false,
            capabilities: Vec::new(),
            imds: false,
            stop_timeout: "30s".to_owned(),
            network: Network::Node,
            health: Health::default(),
            update: Update::default(),
            logs: ServiceLogs::default(),
        }
    }
}

/// GPUs of a container.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(in crate::config) enum Gpus {
    /// So many.
    Count(#[schemars(range(min = 1, max = 64))] i64),
    /// `all`, or a number as a text, for the sake of `${…}`.
    Text(String),
}

/// What a change of a secret does to the services that use it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(in crate::config) enum OnChange {
    /// Restarts them.
    #[default]
    Restart,
    /// Nothing; they see it at their next start.
    Ignore,
}

/// The value of an environment variable.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(in crate::config) enum EnvironmentValue {
    /// As written.
    Literal(String),
    /// One key of a secret.
    FromSecret(SecretKey),
}

/// One key of a secret.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["secret", "key"]))]
pub(in crate::config) struct SecretKey {
    /// `[secrets.NAME]`
    pub(in crate::config) secret: Option<String>,
    /// Key inside it.
    pub(in crate::config) key: Option<String>,
}

/// A network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(in crate::config) enum Network {
    /// One bridge on which services reach each other by name.
    Node,
    /// The host's own; ports are then not published, they are just open.
    Host,
}

/// How to know whether a service works: one of `http`, `tcp` and `exec`, else the image's HEALTHCHECK, else that it
/// stayed up for `min_healthy`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Health {
    /// `/PATH` on the container's first port, or `PORT/PATH`. Answers 200 to 399 pass.
    pub(in crate::config) http: Option<String>,
    /// A port of the container that accepts a connection.
    pub(in crate::config) tcp: Option<PortNumber>,
    /// A command inside the container that exits with 0.
    pub(in crate::config) exec: Option<Vec<String>>,
    /// From one check to the next.
    pub(in crate::config) interval: String,
    /// For one answer.
    pub(in crate::config) timeout: String,
    /// Failures in a row after which it counts as failing.
    #[schemars(range(min = 1, max = 100))]
    pub(in crate::config) retries: i64,
    /// From the start of the container, failures do not count.
    pub(in crate::config) start_period: String,
}

impl Default for Health {
    fn default() -> Health {
        Health {
            http: None,
            tcp: None,
            exec: None,
            interval: "10s".to_owned(),
            timeout: "5s".to_owned(),
            retries: 3,
            start_period: "30s".to_owned(),
        }
    }
}

/// The number of a port.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(in crate::config) enum PortNumber {
    /// As a number.
    Number(i64),
    /// As a text, for the sake of `${…}`.
    Text(String),
}

/// How new images are taken.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Update {
    /// How often the registry is asked what the tag points at, from `1s` to `720h`, or `never`.
    pub(in crate::config) every: String,
    /// How the new container takes over. Without it `blue-green` where the service publishes `ports`, has a health check
    /// (`http`, `tcp` or `exec`), no `gpus` and no mount that it can write to, and `recreate` elsewhere. With `blue-green`
    /// two containers run for a while: what must be alone with its files, such as a database, wants `recreate`.
    pub(in crate::config) strategy: Option<Strategy>,
    /// From container start to healthy, without the pull, from `1s` to `24h`. A later one is rolled back.
    pub(in crate::config) deadline: String,
    /// How long it has to be healthy before the update counts as done, from `0s` to `24h`, and less than `deadline`.
    pub(in crate::config) min_healthy: String,
    /// How old an image has to be before it is taken, from `0s` to `8760h`: since it was pushed, or since it was seen first
    /// where the registry does not say when that was.
    pub(in crate::config) min_age: String,
    /// When images are taken: days and times of every week in UTC, such as `Mon-Fri 02:00-04:00 UTC`, `Sat,Sun 22:00-06:00 UTC`
    /// or `02:00-04:00 UTC` for every day. An update that has begun is finished after the end. Empty means always.
    pub(in crate::config) window: Vec<String>,
    /// How long connections to the old container may live on after a `blue-green` update, from `0s` to `24h`. It stops as
    /// soon as there are none.
    pub(in crate::config) drain: String,
    /// A command inside the container that is to be replaced, which exits with 0 when that may happen now; else it is asked
    /// again later. Empty asks nobody.
    pub(in crate::config) before: Vec<String>,
    /// A command inside the new container once it is healthy, which exits with 0 when it may take over; else it is rolled
    /// back. Empty asks nobody.
    pub(in crate::config) after: Vec<String>,
}

impl Default for Update {
    fn default() -> Update {
        Update {
            every: "60s".to_owned(),
            strategy: None,
            deadline: "5m".to_owned(),
            min_healthy: "10s".to_owned(),
            min_age: "0s".to_owned(),
            window: Vec::new(),
            drain: "30s".to_owned(),
            before: Vec::new(),
            after: Vec::new(),
        }
    }
}

/// How the new container takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(in crate::config) enum Strategy {
    /// The new container runs beside the old one until it is healthy; then new connections go to it, and the old one drains.
    BlueGreen,
    /// The old container stops before the new one starts, and is started again if that one fails.
    Recreate,
}
