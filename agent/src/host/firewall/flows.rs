//! Flows of UDP that connection tracking still leads to where a port led before.
//!
//! Rules of nat are asked for the first packet of a flow only. A client that goes on sending from one port, as one of
//! syslog or statsd does, would be led to a stopped container for ever; so flows that lead elsewhere than the rules say
//! are forgotten, and their next packet is a first one. Connections of TCP are left where they are: they drain.
//!
//! In: the rules before and now. Out: entries of connection tracking are gone, each by its own id, asked for by netlink
//! (<linux/netfilter/nfnetlink_conntrack.h>). A flow that is not led by rules, to an address that is not of this host,
//! is nobody's business of ours.

use super::netlink::{self, Message};
use crate::rules::{HostPort, Rules, Target};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt,
    socket, sockopt,
};
use nix::sys::time::TimeVal;
use node::config::settings::Protocol;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET`, and `IPCTNL_MSG_CT_DELETE`.
const GET: u16 = 0x101;
const DELETE: u16 = 0x102;
/// `CTA_TUPLE_ORIG`, `CTA_TUPLE_REPLY`, `CTA_ID`, `CTA_ZONE`.
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
/// `CTA_TUPLE_IP` with `CTA_IP_V4_SRC`, `CTA_IP_V4_DST`, `CTA_IP_V6_SRC`, `CTA_IP_V6_DST`.
const ADDRESSES: u16 = 1;
/// `CTA_TUPLE_PROTO` with `CTA_PROTO_NUM`, `CTA_PROTO_SRC_PORT`, `CTA_PROTO_DST_PORT`.
const PORTS: u16 = 2;
/// `NLA_F_NESTED`
const NESTED: u16 = 0x8000;
/// `AF_UNSPEC`: of both families.
const BOTH: u8 = 0;
const IPPROTO_UDP: u8 = 17;
/// The kernel answers at once; only one that does not at all is given up.
const DEADLINE_SECONDS: i64 = 2;
/// What one read of a dump gives at most.
const LONGEST: usize = 64 * 1024;

/// One direction of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Direction {
    source: (IpAddr, u16),
    destination: (IpAddr, u16),
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
    let socket = open()?;
    let mut stale = Vec::new();
    dump(&socket, |message| {
        stale.extend(flow(&message).filter(|flow| is_stale(flow, before, now, is_ours)));
    })?;
    for flow in &stale {
        let attributes: Vec<(u16, &[u8])> =
            flow.key.iter().map(|(kind, content)| (*kind, content.as_slice())).collect();
        // One that ended meanwhile, or was made anew and has another id, needs no letting go.
        ask(&socket, &netlink::request(DELETE, netlink::ACKNOWLEDGE, 2, flow.family, &attributes))?;
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
    let content = |kind| message.attribute(kind);
    let key = [(ORIGINAL | NESTED, content(ORIGINAL)), (ID, content(ID)), (ZONE, content(ZONE))];
    let key = key.into_iter().filter_map(|(kind, content)| Some((kind, content?.to_vec())));
    Some(Flow {
        sent: direction(content(ORIGINAL)?)?,
        answered: direction(content(REPLY)?)?,
        family: message.family()?,
        key: key.collect(),
    })
}

fn direction(tuple: &[u8]) -> Option<Direction> {
    let part = |bytes, kind| netlink::attributes(bytes).find_map(|(it, found)| (it == kind).then_some(found));
    let (addresses, ports) = (part(tuple, ADDRESSES)?, part(tuple, PORTS)?);
    let address = |v4, v6| {
        let v4 = part(addresses, v4).and_then(|it| <[u8; 4]>::try_from(it).ok()).map(Ipv4Addr::from);
        let v6 = part(addresses, v6).and_then(|it| <[u8; 16]>::try_from(it).ok()).map(Ipv6Addr::from);
        v4.map(IpAddr::V4).or(v6.map(IpAddr::V6))
    };
    let port = |kind| Some(u16::from_be_bytes(part(ports, kind)?.try_into().ok()?));
    let udp = part(ports, 1)? == [IPPROTO_UDP];
    udp.then_some(Direction { source: (address(1, 3)?, port(2)?), destination: (address(2, 4)?, port(3)?) })
}

fn open() -> io::Result<OwnedFd> {
    let netfilter = SockProtocol::NetlinkNetFilter;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, netfilter)?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(DEADLINE_SECONDS, 0))?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    Ok(socket)
}

fn dump(socket: &OwnedFd, mut entry: impl FnMut(Message)) -> io::Result<()> {
    send(socket.as_raw_fd(), &netlink::request(GET, netlink::DUMP, 1, BOTH, &[]), MsgFlags::empty())?;
    let mut buffer = vec![0; LONGEST];
    loop {
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        for message in netlink::messages(&buffer[..length]) {
            match message.kind {
                netlink::DONE => return Ok(()),
                netlink::ERROR => return refusal(&message),
                _ => entry(message),
            }
        }
    }
}

fn ask(socket: &OwnedFd, request: &[u8]) -> io::Result<()> {
    send(socket.as_raw_fd(), request, MsgFlags::empty())?;
    let mut buffer = vec![0; LONGEST];
    let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
    let answer = netlink::messages(&buffer[..length]).find(|message| message.kind == netlink::ERROR);
    match answer.map(|message| refusal(&message)) {
        Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// `struct nlmsgerr`: a negative errno, 0 where it was done.
fn refusal(message: &Message) -> io::Result<()> {
    let code =
        message.body.get(..4).and_then(netlink::number).map_or(Errno::EPROTO as i32, |it| -it.cast_signed());
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) }
}

#[cfg(test)]
#[path = "flows_tests.rs"]
mod tests;
