//! What connection tracking remembers of TCP connections that are over, of a container that is about to be stopped.
//!
//! The kernel remembers a connection for two minutes after its end. A client behind a NAT or a load balancer takes the
//! same port again sooner; then the entry is made anew, and leads where the rules lead now. The engine lets go of all
//! entries of a container that leaves its network, from a list that it made a moment before, and names each by what its
//! client sent. One that was made anew in between has that name too, and mostly also the id, which is made of that name
//! and of its place in memory: a connection to the new container loses its way between two packets, and its client waits
//! in vain. So there is to be nothing left for the engine to let go of, but connections that are still open.
//!
//! In: the address of a container that no rule leads to any more. Out: its entries are gone, each named by what the
//! container answered: whatever leads elsewhere has another name.
//! Not its job: connections that are open, which end with the container.

use super::conversation::Conversation;
use super::flows::{self, DELETE, GET, REPLY, ZONE};
use super::netlink::{self, Message, NESTED};
use nix::sys::socket::SockProtocol;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

/// `AF_INET`
const IPV4: u8 = 2;
const IPPROTO_TCP: u8 = 6;
/// `CTA_PROTOINFO`, in it `CTA_PROTOINFO_TCP`, in it `CTA_PROTOINFO_TCP_STATE`.
const PROTOCOL: u16 = 4;
const TCP: u16 = 1;
const STATE: u16 = 1;
/// `TCP_CONNTRACK_LAST_ACK`, `_TIME_WAIT`, `_CLOSE` of <linux/netfilter/nf_conntrack_tcp.h>.
const OVER: [u8; 3] = [6, 7, 8];

/// Returns how many there were. Blocks for as long as the kernel needs to list its flows.
pub(super) fn let_go(container: Ipv4Addr) -> io::Result<usize> {
    let conversation = Conversation::open(SockProtocol::NetlinkNetFilter)?;
    let header = netlink::netfilter(IPV4);
    let mut names = Vec::new();
    conversation.dump(GET, &header, |message| names.extend(name_if_over(&message, container)))?;
    for name in &names {
        let attributes: Vec<(u16, &[u8])> =
            name.iter().map(|(kind, content)| (*kind, content.as_slice())).collect();
        match conversation.ask(DELETE, &header, &attributes) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(names.len())
}

/// The attributes that name the entry, where it is of a connection to that container that is over.
fn name_if_over(message: &Message, container: Ipv4Addr) -> Option<Vec<(u16, Vec<u8>)>> {
    let content = |kind| message.attribute(netlink::NETFILTER, kind);
    let tcp = netlink::attribute(content(PROTOCOL)?, TCP)?;
    let is_over = OVER.contains(netlink::attribute(tcp, STATE)?.first()?);
    let answered = flows::direction(content(REPLY)?, IPPROTO_TCP)?;
    if !is_over || answered.source.0 != IpAddr::V4(container) {
        return None;
    }
    let name = [(REPLY | NESTED, content(REPLY)), (ZONE, content(ZONE))];
    Some(name.into_iter().filter_map(|(kind, content)| Some((kind, content?.to_vec()))).collect())
}

#[cfg(test)]
mod tests {
    use super::super::flows::tests::{attribute, tuple};
    use super::*;

    const CLIENT: ([u8; 4], u16) = ([198, 18, 0, 1], 4000);
    const HOST: ([u8; 4], u16) = ([198, 18, 0, 2], 80);
    const CONTAINER: ([u8; 4], u16) = ([172, 18, 0, 2], 8000);

    #[test]
    fn only_what_is_over_and_was_answered_by_the_container_goes_and_by_that_name() {
        let answered = tuple(IPPROTO_TCP, CONTAINER, CLIENT);
        let entry = |protocol, from, state: u8| {
            let tcp = attribute(TCP | NESTED, &attribute(STATE, &[state]));
            let (sent, answered) = (tuple(protocol, CLIENT, HOST), tuple(protocol, from, CLIENT));
            let attributes: [(u16, &[u8]); 3] =
                [(flows::ORIGINAL | NESTED, &sent), (REPLY | NESTED, &answered), (PROTOCOL | NESTED, &tcp)];
            netlink::request(0x100, 0, 1, &netlink::netfilter(IPV4), &attributes)
        };
        let name = |bytes: &[u8], address: [u8; 4]| {
            netlink::messages(bytes).next().and_then(|message| name_if_over(&message, address.into()))
        };
        for state in 0..=9 {
            let expected = [6, 7, 8].contains(&state).then(|| vec![(REPLY | NESTED, answered.clone())]);
            assert_eq!(name(&entry(IPPROTO_TCP, CONTAINER, state), CONTAINER.0), expected, "state {state}");
        }
        let other = ([172, 18, 0, 3], 8000);
        assert_eq!(name(&entry(IPPROTO_TCP, other, 7), CONTAINER.0), None, "another container's");
        assert_eq!(name(&entry(17, CONTAINER, 7), CONTAINER.0), None, "not TCP");
    }
}
