//! Lets ports of the bridges give a packet back to the container that sent it.
//!
//! A container that asks for its own service by the host's address sends a packet that our rules lead back to itself.
//! Where the kernel filters bridged packets (br_netfilter, which engines load), the bridge has to send it out of the port
//! by which it came in, and does so in hairpin mode only. Everything else works without.
//!
//! In: names of bridges. Out: each of their ports is in that mode, asked for by netlink (<linux/rtnetlink.h>,
//! <linux/if_link.h>). A port ends with its container.

use super::conversation::Conversation;
use super::netlink::{self, LINK, Message};
use nix::sys::socket::SockProtocol;
use std::collections::BTreeSet;
use std::io;

/// `RTM_GETLINK`, `RTM_SETLINK`.
const GET: u16 = 18;
const SET: u16 = 19;
/// `AF_UNSPEC`, `AF_BRIDGE`.
const ANY: u8 = 0;
const BRIDGE: u8 = 7;
/// `IFLA_IFNAME`, `IFLA_MASTER`, `IFLA_PROTINFO` with `IFLA_BRPORT_MODE`.
const NAME: u16 = 3;
const MASTER: u16 = 10;
const OF_PORT: u16 = 12;
const MODE: u16 = 4;
/// `NLA_F_NESTED`
const NESTED: u16 = 0x8000;

/// Puts the ports of these bridges into hairpin mode. Blocks shortly.
pub(super) fn let_back(bridges: &BTreeSet<String>) -> io::Result<()> {
    let conversation = Conversation::open(SockProtocol::NetlinkRoute)?;
    let mut masters = BTreeSet::new();
    conversation.dump(GET, &header(ANY, 0), |link| {
        if name(&link).is_some_and(|name| bridges.contains(name)) {
            masters.extend(index(&link));
        }
    })?;
    let mut ports = Vec::new();
    conversation.dump(GET, &header(BRIDGE, 0), |port| {
        let master = port.attribute(LINK, MASTER).and_then(netlink::number);
        if master.is_some_and(|master| masters.contains(&master)) && mode(&port) == Some(0) {
            ports.extend(index(&port));
        }
    })?;
    // An attribute that is one byte long, with its padding.
    let [low, high] = MODE.to_ne_bytes();
    let [five, zero] = 5_u16.to_ne_bytes();
    let on = [five, zero, low, high, 1, 0, 0, 0];
    for port in ports {
        match conversation.ask(SET, &header(BRIDGE, port), &[(OF_PORT | NESTED, &on)]) {
            // Its container ended meanwhile.
            Err(error) if error.raw_os_error() == Some(nix::errno::Errno::ENODEV as i32) => {}
            answer => answer?,
        }
    }
    Ok(())
}

/// `struct ifinfomsg`: family, type, index, flags, and which of them change.
fn header(family: u8, index: u32) -> [u8; LINK] {
    let mut header = [0; LINK];
    header[0] = family;
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header
}

fn index(link: &Message) -> Option<u32> {
    netlink::number(link.body.get(4..8)?)
}

fn name<'a>(link: &Message<'a>) -> Option<&'a str> {
    std::str::from_utf8(link.attribute(LINK, NAME)?.strip_suffix(&[0])?).ok()
}

/// 0 is the usual one.
fn mode(port: &Message) -> Option<u8> {
    netlink::attribute(port.attribute(LINK, OF_PORT)?, MODE)?.first().copied()
}
