//! What is on the node now: values, filled in by `host/docker` and read by `plan` and the tasks.

use jiff::Timestamp;
use node::config::settings::{Port, Protocol};
use std::net::IpAddr;

/// Labels on our containers; what carries none of them is never touched.
pub mod labels {
    /// `[services.NAME]`
    pub const SERVICE: &str = "node-agent.service";
    /// Hash of the wanted spec.
    pub const SPEC: &str = "node-agent.spec";
    /// Digest that the registry gave for the reference.
    pub const DIGEST: &str = "node-agent.digest";
    /// Counts up with each container made for a service.
    pub const GENERATION: &str = "node-agent.generation";
    /// Ports of the host that our own rules lead to it, as `HOST:CONTAINER[/udp]` with commas between; only on
    /// containers whose ports the engine does not publish on all addresses.
    pub const PORTS: &str = "node-agent.ports";
}

/// One of our containers, as the engine and its labels describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Without the leading slash.
    pub name: String,
    /// [`labels::SERVICE`]
    pub service: String,
    /// [`labels::SPEC`]
    pub spec: String,
    /// [`labels::DIGEST`]
    pub digest: String,
    /// [`labels::GENERATION`]
    pub generation: u64,
    /// What it is doing.
    pub state: ContainerState,
    /// When it was made.
    pub created_at: Timestamp,
    /// On the node's bridge; `None` on the host's network or while it does not run.
    pub address: Option<IpAddr>,
    /// Verdict of the image's HEALTHCHECK; `None` where it has none.
    pub image_health: Option<ImageHealth>,
    /// Its first process while it runs, as the host numbers it.
    pub pid: Option<u32>,
    /// [`labels::PORTS`]; empty where the engine publishes its ports, or there are none.
    pub routed_ports: Vec<Port>,
    /// Where the engine's own proxy takes IPv6 connections for it while it runs.
    pub ipv6_ports: Vec<ProxyPort>,
}

/// A port of the host, on all its IPv6 addresses, behind which the engine's proxy passes on to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProxyPort {
    /// In the container.
    pub container: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// On the host, chosen by the engine.
    pub host: u16,
}

/// What a container is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerState {
    /// Made, never started.
    Created,
    /// Runs.
    Running {
        /// Since when.
        started_at: Timestamp,
    },
    /// Ended.
    Exited {
        /// Exit status.
        code: i64,
        /// When.
        at: Timestamp,
        /// The kernel ended it for want of memory.
        out_of_memory: bool,
        /// What the engine says went wrong at start, if anything.
        error: Option<String>,
    },
    /// Paused, being removed, dead: left alone until it is one of the others.
    Other(String),
}

/// Verdict of the image's HEALTHCHECK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageHealth {
    /// No verdict yet.
    Starting,
    /// Yes.
    Healthy,
    /// No.
    Unhealthy,
}

/// Room on a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// For us to use.
    pub free_bytes: u64,
    /// In all.
    pub total_bytes: u64,
}
