//! Which flows are let go.

use super::*;

/// `AF_INET`
const INET: u8 = 2;

const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 2));
const HOST6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2));
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1));

fn container(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(172, 18, 0, last))
}

fn rules(last: u8, ipv6_proxy: Option<u16>) -> Rules {
    let target = Target { address: Ipv4Addr::new(172, 18, 0, last), port: 5353, ipv6_proxy };
    Rules { routes: [(HostPort { protocol: Protocol::Udp, number: 53 }, target)].into(), ..Rules::default() }
}

fn to(destination: (IpAddr, u16), answers_from: (IpAddr, u16)) -> Flow {
    let client = (CLIENT, 4000);
    Flow {
        sent: Direction { source: client, destination },
        answered: Direction { source: answers_from, destination: client },
        family: INET,
        key: vec![],
    }
}

#[test]
fn flows_that_lead_elsewhere_than_the_rules_say_are_stale() {
    let (none, old, new) = (Rules::default(), rules(2, Some(40002)), rules(3, Some(40003)));
    let at_host = |answers_from| to((HOST, 53), answers_from);
    for (what, flow, before, now, stale) in [
        ("to the container of before", at_host((container(2), 5353)), &old, &new, true),
        ("to the one of now", at_host((container(3), 5353)), &old, &new, false),
        ("to nobody, before there was a route", at_host((HOST, 53)), &none, &new, true),
        ("to what the engine published", at_host((container(9), 5353)), &none, &new, true),
        ("to a container that has no route any more", at_host((container(2), 5353)), &old, &none, true),
        ("of others, at a port that has no route any more", at_host((container(9), 53)), &old, &none, false),
        ("to another port", to((HOST, 54), (container(2), 54)), &old, &new, false),
        ("a question to a name server elsewhere", to((CLIENT, 53), (CLIENT, 53)), &old, &new, false),
        ("over IPv6 to the proxy of before", to((HOST6, 53), (HOST6, 40002)), &old, &new, true),
        ("over IPv6 to the proxy of now", to((HOST6, 53), (HOST6, 40003)), &old, &new, false),
        ("over IPv6, led nowhere any more", to((HOST6, 53), (HOST6, 40002)), &old, &none, true),
    ] {
        let is_ours = |address| address == HOST || address == HOST6;
        assert_eq!(is_stale(&flow, before, now, is_ours), stale, "{what}");
    }
}

#[test]
fn only_udp_that_leads_elsewhere_concerns() {
    assert!(!concern(&Rules::default(), &Rules::default()));
    assert!(!concern(&rules(2, None), &rules(2, None)) && concern(&rules(2, None), &rules(3, None)));
    assert!(concern(&Rules::default(), &rules(2, None)) && concern(&rules(2, None), &Rules::default()));
}

#[test]
fn other_addresses_of_loopback_are_not_ours() {
    assert!(is_ours(Ipv4Addr::LOCALHOST.into()));
    assert!(!is_ours(Ipv4Addr::new(127, 0, 0, 53).into()));
    assert!(!is_ours(Ipv4Addr::new(192, 0, 2, 1).into()), "nobody has that one");
}

/// As it stands in a message.
pub(in super::super) fn attribute(kind: u16, content: &[u8]) -> Vec<u8> {
    netlink::request(0, 0, 0, &[], &[(kind, content)])[16..].to_vec()
}

/// One direction of an entry.
pub(in super::super) fn tuple(protocol: u8, from: ([u8; 4], u16), to: ([u8; 4], u16)) -> Vec<u8> {
    let addresses = [attribute(1, &from.0), attribute(2, &to.0)].concat();
    let ports =
        [attribute(1, &[protocol]), attribute(2, &from.1.to_be_bytes()), attribute(3, &to.1.to_be_bytes())];
    [attribute(ADDRESSES | NESTED, &addresses), attribute(PORTS | NESTED, &ports.concat())].concat()
}

#[test]
fn an_entry_is_read_from_its_attributes() {
    let entry = |protocol| {
        let sent = tuple(protocol, ([198, 18, 0, 1], 4000), ([198, 18, 0, 2], 53));
        let answered = tuple(protocol, ([172, 18, 0, 2], 5353), ([198, 18, 0, 1], 4000));
        let attributes: [(u16, &[u8]); 3] =
            [(ORIGINAL | NESTED, &sent), (REPLY | NESTED, &answered), (ID, &[0, 0, 0, 7])];
        (netlink::request(0x100, 0, 1, &netlink::netfilter(INET), &attributes), sent.clone())
    };
    let (bytes, sent) = entry(IPPROTO_UDP);
    let expected = Flow {
        key: vec![(ORIGINAL | NESTED, sent), (ID, vec![0, 0, 0, 7])],
        ..to((HOST, 53), (container(2), 5353))
    };
    assert_eq!(netlink::messages(&bytes).next().and_then(|message| flow(&message)), Some(expected));
    let (tcp, _) = entry(6);
    assert_eq!(netlink::messages(&tcp).next().and_then(|message| flow(&message)), None);
}
