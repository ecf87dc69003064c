//! Our rules of the firewall, as values: which port of the host leads to which container, and which containers may
//! reach the instance metadata. The planner says what they should be; [`crate::firewall`] makes them so.

use node::config::settings::Protocol;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// All of them. Replaced as a whole, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// Where new connections to a port of the host go. Those that are established stay where they are.
    pub routes: BTreeMap<HostPort, Target>,
    /// Addresses of containers that must not reach the instance metadata, and are told so at once.
    pub without_metadata: BTreeSet<Ipv4Addr>,
    /// Addresses of containers that may. Whoever else is on one of `bridges` gets no answer until it is known which.
    pub with_metadata: BTreeSet<Ipv4Addr>,
    /// Networks of containers, each as address and length of its prefix.
    pub bridges: BTreeSet<(Ipv4Addr, u8)>,
}

/// A port of the host, on all its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Its number.
    pub number: u16,
}

/// Where a port of the host leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Of the container on its bridge.
    pub address: Ipv4Addr,
    /// In the container.
    pub port: u16,
    /// Port of the host behind which the engine's proxy takes IPv6 connections for it; `None` where there is none.
    pub ipv6_proxy: Option<u16>,
}
