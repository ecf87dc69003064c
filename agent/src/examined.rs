//! What the doctor looks at, as values: each area's facts are gathered by `host` and `cloud`, and judged by
//! [`crate::doctor::judge`]. Pure.

use crate::status::Status;
use jiff::{SignedDuration, Timestamp};
use node::config::settings::{Protocol, Settings};
use node::fault::{Hint, one_line};
use std::collections::BTreeMap;
use std::time::Duration;

/// Something that could not be learned, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// One line.
    pub message: String,
    /// What to do, where something is known.
    pub remedy: Option<String>,
}

impl Unknown {
    /// Without a word on what to do: whoever judges it has one.
    pub fn because(message: impl Into<String>) -> Unknown {
        Unknown { message: message.into(), remedy: None }
    }

    /// In an error's words.
    pub fn of(error: &dyn Hint) -> Unknown {
        Unknown { message: one_line(error), remedy: error.hint() }
    }
}

/// The instance metadata service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// How long an answer took.
    pub answer: Result<Duration, Unknown>,
    /// Whether version 1, without a token, is answered as well.
    pub version_1: Option<bool>,
    /// Over how many hops an answer travels; absent where it could not be seen.
    pub hop_limit: Option<u8>,
    /// The role, and when its credentials end.
    pub role: Result<(String, Option<Timestamp>), Unknown>,
    /// Services on the node's bridge that are to reach it (`imds = true`).
    pub needed_by: Vec<String>,
    /// The address of the endpoint, where it is not the standard one.
    pub elsewhere: Option<String>,
}

/// Something that was tried at AWS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// What for: `pull api`, `secret app`, `logs /aws/…`.
    pub check: String,
    /// How it went.
    pub outcome: Outcome,
}

/// How a try went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It may be done; what was seen.
    Allowed(String),
    /// It may be done, and what it is done with is not there or not as it should be.
    Amiss(Unknown),
    /// It may not be done, or nobody answered.
    Refused(Unknown),
    /// It was not tried; why.
    NotTried(String),
}

/// An endpoint of AWS that this node needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `ecr`, `secretsmanager`, `logs`.
    pub service: String,
    /// Name and port, as they are looked up.
    pub host: String,
    /// How many addresses the name has.
    pub addresses: Result<usize, String>,
    /// How long a connection took.
    pub connected: Option<Result<Duration, String>>,
    /// What its clock says less what ours does, where it answered.
    pub ahead: Option<SignedDuration>,
}

/// What the kernel thinks of its clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelClock {
    /// Somebody (chrony, timesyncd) keeps it right.
    pub synchronised: bool,
    /// By how much it may be wrong, as the kernel estimates.
    pub maximum_error: Duration,
}

/// The engine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EngineFacts {
    /// E.g. `20.10.24`.
    pub version: String,
    /// `overlay2` and others.
    pub storage_driver: String,
    /// `systemd` or `cgroupfs`.
    pub cgroup_driver: String,
    /// `1` or `2`.
    pub cgroup_version: String,
    /// `json-file` and others.
    pub log_driver: String,
    /// Names of its runtimes.
    pub runtimes: Vec<String>,
    /// Containers run on while it is restarted.
    pub live_restore: bool,
    /// Words of its own.
    pub warnings: Vec<String>,
    /// Folders that hold images and containers.
    pub folders: Vec<String>,
}

/// A file system that this node needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSystem {
    /// `volume models`, `root`, `docker`.
    pub name: String,
    /// Where it is mounted, or a folder on it.
    pub mount: String,
    /// What was seen.
    pub state: Result<Space, String>,
}

/// How full a file system is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that it can hold.
    pub size_bytes: u64,
    /// Bytes that programs can still use.
    pub available_bytes: u64,
    /// Files that it can hold; 0 where it has no limit.
    pub inodes: u64,
    /// Files that can still be made.
    pub inodes_free: u64,
    /// It was mounted so, or the kernel made it so after an error.
    pub read_only: bool,
}

/// A volume of node.toml, or of the handoff.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeFacts {
    /// `[volumes.NAME]`
    pub name: String,
    /// Its mount point.
    pub mount: String,
    /// The node can do without it.
    pub optional: bool,
    /// Something is mounted there.
    pub mounted: bool,
    /// Bootstrap's words, where it has any of this boot.
    pub reason: Option<String>,
}

/// Disks and what the kernel says of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disks {
    /// Of node.toml.
    pub volumes: Vec<VolumeFacts>,
    /// Mounted volumes, the root, and the engine's.
    pub file_systems: Vec<FileSystem>,
    /// Lines of the kernel about errors of disks and file systems, the oldest first.
    pub errors: Result<Vec<String>, String>,
    /// Seconds after which the kernel gives up on an NVMe disk, by the name of the disk.
    pub nvme_timeouts: BTreeMap<String, u64>,
}

/// Who listens on a port of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Of the host.
    pub port: u16,
    /// Name and number of its process, where that can be seen.
    pub process: Option<(String, u32)>,
    /// The process belongs to the engine or to a container.
    pub of_containers: bool,
}

/// Ports and the firewall.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Who listens on the host.
    pub listeners: Vec<Listener>,
    /// Ports that our rules lead to containers; absent where nobody may look.
    pub led: Result<Vec<(Protocol, u16)>, Unknown>,
}

/// A unit, as `systemctl show` tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unit {
    /// `node-agent.service`
    pub name: String,
    /// `loaded`, `not-found`, `masked`.
    pub load: String,
    /// `active`, `failed`, …
    pub active: String,
    /// Why it ended: `success`, `exit-code`, `timeout`, …
    pub result: String,
    /// Of its main process.
    pub exit_status: i64,
    /// How often systemd started it again by itself.
    pub restarts: u64,
    /// `enabled`, `disabled`, `static`.
    pub enabled: String,
    /// Its file was changed and systemd has not read it.
    pub needs_reload: bool,
}

/// The agent, as its control API tells; why it does not, and what it wrote last.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentFacts {
    /// Its answer.
    pub status: Result<Status, Unknown>,
    /// Names of services of node.toml whose registry is asked, and how often.
    pub polled: BTreeMap<String, Duration>,
}

/// What node.toml says, where it is valid and the instance is known.
pub type Wanted<'a> = Option<&'a Settings>;
