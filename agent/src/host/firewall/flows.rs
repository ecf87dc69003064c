//! Flows of UDP that connection tracking still leads to where a port led before.
//!
//! Rules of nat are asked for the first packet of a flow only. A client that goes on sending from one port, as one of
//! syslog or statsd does, would be led to a stopped container for ever; so flows that lead elsewhere than the rules say
//! are forgotten, and their next packet is a first one. Connections of TCP are left where they are: they drain, and
//! what remains of them is the business of `closed`.
//!
//! In: the rules before and now. Out: entries of connection tracking are gone, each by its own id, asked for by netlink
//! (<linux/netfilter/nfnetlink_conntrack.h>). A flow that is not led by rules, to an address that is not of this host,
//! is nobody's business of ours.

use super::conversation::Conversation;
use super::netlink::{self, Message, NESTED};
use crate::rules::{HostPort, Rules, Target};
use nix::sys::socket::SockProtocol;
use node::config::settings::Protocol;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET`, and `IPCTNL_MSG_CT_DELETE`.
pub(super) const GET: u16 = 0x101;
pub(super) const DELETE: u16 = 0x102;
/// `CTA_TUPLE_ORIG`, `CTA_TUPLE_REPLY`, `CTA_ID`, `CTA_ZONE`.
pub(super) const ORIGINAL: u16 = 1;
pub(super) const REPLY: u16 = 2;
const ID: u16 = 12;
pub(super) const ZONE: u16 = 18;
/// `CTA_TUPLE_IP` with `CTA_IP_V4_SRC`, `CTA_IP_V4_DST`, `CTA_IP_V6_SRC`, `CTA_IP_V6_DST`.
const ADDRESSES: u16 = 1;
/// `CTA_TUPLE_PROTO` with `CTA_PROTO_NUM`, `CTA_PROTO_SRC_PORT`, `CTA_PROTO_DST_PORT`.
const PORTS: u16 = 2;
/// `AF_UNSPEC`: of both families.
const BOTH: u8 = 0;
const IPPROTO_UDP: u8 = 17;

/// One direction of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Direction {
    pub(super) source: (IpAddr, u16),
    pub(super) destination: (IpAddr, u16),
}

/// An entry of connection tracking for UDP.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Flow {
    /// As the client sent it.
    sent: Direction,
    /// As its answers leave whoever it was led to.
    answered: Direction,
    family: u8,
    /// The attributes that name it.
    key: Vec<(u16, Vec<u8>)>,
}

/// Some port of UDP leads elsewhere than before. Listing all flows costs the kernel tens of milliseconds.
pub(super) fn concern(before: &Rules, now: &Rules) -> bool {
    let udp = |rules: &'_ Rules| -> BTreeMap<HostPort, Target> {
        let routes = rules.routes.iter().map(|(port, target)| (*port, *target));
        routes.filter(|(port, _)| port.protocol == Protocol::Udp).collect()
    };
    udp(before) != udp(now)
}

/// Forgets the flows that lead elsewhere than the rules say; how many. Blocks for as long as the kernel needs to list
/// its flows.
pub(super) fn let_go(before: &Rules, now: &Rules) -> io::Result<usize> {
    let conversation = Conversation::open(SockProtocol::NetlinkNetFilter)?;
    let mut stale = Vec::new();
    conversation.dump(GET, &netlink::netfilter(BOTH), |message| {
        stale.extend(flow(&message).filter(|flow| is_stale(flow, before, now, is_ours)));
    })?;
    for flow in &stale {
        let attributes: Vec<(u16, &[u8])> =
            flow.key.iter().map(|(kind, content)| (*kind, content.as_slice())).collect();
        // One that ended meanwhile, or was made anew and has another id, needs no letting go.
        match conversation.ask(DELETE, &netlink::netfilter(flow.family), &attributes) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(stale.len())
}

/// Whether the flow leads elsewhere than to where the rules lead its port.
fn is_stale(flow: &Flow, before: &Rules, now: &Rules, is_ours: impl Fn(IpAddr) -> bool) -> bool {
    let (host, number) = flow.sent.destination;
    let leads_to = |rules: &Rules| {
        let target = rules.routes.get(&HostPort { protocol: Protocol::Udp, number })?;
        Some(match host {
            IpAddr::V4(_) => (Some(IpAddr::V4(target.address)), target.port),
            // To this host itself, at the port of the proxy.
            IpAddr::V6(_) => (None, target.ipv6_proxy.unwrap_or(number)),
        })
    };
    let led_to = |(address, port): (Option<IpAddr>, u16)| {
        address.is_none_or(|address| address == flow.answered.source.0) && port == flow.answered.source.1
    };
    match (leads_to(now), leads_to(before)) {
        (Some(wanted), _) => !led_to(wanted) && is_ours(host),
        (None, Some(was)) => led_to(was) && flow.answered.source != flow.sent.destination,
        (None, None) => false,
    }
}

/// An address of this host that the rules are about: only on those can a socket be bound.
fn is_ours(address: IpAddr) -> bool {
    let other_loopback = matches!(address, IpAddr::V4(it) if it.is_loopback() && it != Ipv4Addr::LOCALHOST);
    !other_loopback && UdpSocket::bind((address, 0)).is_ok()
}

/// `None` for what is not UDP, or cannot be read.
fn flow(message: &Message) -> Option<Flow> {
    let content = |kind| message.attribute(netlink::NETFILTER, kind);
    let key = [(ORIGINAL | NESTED, content(ORIGINAL)), (ID, content(ID)), (ZONE, content(ZONE))];
    let key = key.into_iter().filter_map(|(kind, content)| Some((kind, content?.to_vec())));
    Some(Flow {
        sent: direction(content(ORIGINAL)?, IPPROTO_UDP)?,
        answered: direction(content(REPLY)?, IPPROTO_UDP)?,
        family: message.family()?,
        key: key.collect(),
    })
}

/// `None` for another protocol, or what cannot be read.
pub(super) fn direction(tuple: &[u8], protocol: u8) -> Option<Direction> {
    let part = netlink::attribute;
    let (addresses, ports) = (part(tuple, ADDRESSES)?, part(tuple, PORTS)?);
    let address = |v4, v6| {
        let v4 = part(addresses, v4).and_then(|it| <[u8; 4]>::try_from(it).ok()).map(Ipv4Addr::from);
        let v6 = part(addresses, v6).and_then(|it| <[u8; 16]>::try_from(it).ok()).map(Ipv6Addr::from);
        v4.map(IpAddr::V4).or(v6.map(IpAddr::V6))
    };
    let port = |kind| Some(u16::from_be_bytes(part(ports, kind)?.try_into().ok()?));
    let is_it = part(ports, 1)? == [protocol];
    is_it.then_some(Direction { source: (address(1, 3)?, port(2)?), destination: (address(2, 4)?, port(3)?) })
}

#[cfg(test)]
#[path = "flows_tests.rs"]
pub(super) mod tests;
