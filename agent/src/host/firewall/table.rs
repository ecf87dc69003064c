//! Our table, as text for `nft`: every name in it and every rule. Pure.
//!
//! In: [`Rules`] and the interfaces of the bridges. Out: the [`Chain`]s that the table must have, and one transaction
//! that makes it so. What always holds: each rule has a comment of its own, by which it is known again when the table is
//! read back; nothing but our table is named.
//! Not its job: running anything, reading the table back ([`super::listing`]).

use crate::rules::{HostPort, Rules, Target};
use node::config::settings::Protocol;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// The table, in the family that sees IPv4 and IPv6.
pub(super) const TABLE: &str = "node-agent";
/// Begins the comment of a rule of one bridge; `ADDRESS/LENGTH` follows, as it was asked for.
pub(super) const BRIDGE: &str = "bridge ";
/// The chain whose rules say which bridges were asked for.
pub(super) const METADATA: &str = "metadata";

/// Sets and maps, with the type of their keys and, for maps, of their values.
pub(super) const SETS: [(&str, &str, Option<&str>); 9] = [
    (TCP_ROUTES, "inet_service", Some("ipv4_addr . inet_service")),
    (UDP_ROUTES, "inet_service", Some("ipv4_addr . inet_service")),
    (TCP_PROXIES, "inet_service", Some("inet_service")),
    (UDP_PROXIES, "inet_service", Some("inet_service")),
    (TCP_PROXY_PORTS, "inet_service", None),
    (UDP_PROXY_PORTS, "inet_service", None),
    (WITHOUT_METADATA, "ipv4_addr", None),
    (WITH_METADATA, "ipv4_addr", None),
    (BRIDGES, "ifname", None),
];
pub(super) const TCP_ROUTES: &str = "tcp-routes";
pub(super) const UDP_ROUTES: &str = "udp-routes";
/// Port of the host to the port of the engine's proxy.
pub(super) const TCP_PROXIES: &str = "tcp-proxies";
pub(super) const UDP_PROXIES: &str = "udp-proxies";
/// The ports of these proxies once more: who was not led there must not reach them from outside.
pub(super) const TCP_PROXY_PORTS: &str = "tcp-proxy-ports";
pub(super) const UDP_PROXY_PORTS: &str = "udp-proxy-ports";
pub(super) const WITHOUT_METADATA: &str = "without-metadata";
pub(super) const WITH_METADATA: &str = "with-metadata";
pub(super) const BRIDGES: &str = "bridges";

/// A chain of our table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) name: &'static str,
    /// Where the kernel calls it; `None` for one that only other chains call.
    pub(super) hook: Option<Hook>,
    pub(super) rules: Vec<Rule>,
}

/// Where and when the kernel calls a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hook {
    pub(super) kind: &'static str,
    pub(super) hook: &'static str,
    /// Lower comes first. The engine's chains are at -100 and 100 (nat) and at 0 (filter).
    pub(super) priority: i64,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) text: String,
    pub(super) comment: String,
}

/// What the table consists of, beside its sets.
pub(super) fn chains(bridges: &BTreeSet<(Ipv4Addr, u8)>) -> Vec<Chain> {
    vec![
        chain("routes", None, &ROUTES),
        chain("prerouting", Some(("nat", "prerouting", -110)), &[TO_THIS_HOST]),
        chain("output", Some(("nat", "output", -110)), &[OTHER_LOOPBACK, TO_THIS_HOST]),
        postrouting(bridges),
        metadata(bridges),
        chain("forward", Some(("filter", "forward", -10)), &TO_METADATA),
        chain("input", Some(("filter", "input", -10)), &[TO_METADATA[0], TO_METADATA[1], TO_PROXIES]),
        chain("proxies", None, &PROXIES),
        // Before connection tracking: an answer comes to the bridge's own address, and becomes loopback's later.
        chain("spoofed", Some(("filter", "prerouting", -300)), &[SPOOFED]),
    ]
}

/// New connections, and packets of UDP without a flow, come here.
const ROUTES: [(&str, &str); 4] = [
    ("dnat ip to tcp dport map @tcp-routes", "tcp to containers"),
    ("dnat ip to udp dport map @udp-routes", "udp to containers"),
    (
        "meta nfproto ipv6 meta l4proto tcp redirect to :tcp dport map @tcp-proxies",
        "tcp over IPv6 to the engine's proxy",
    ),
    (
        "meta nfproto ipv6 meta l4proto udp redirect to :udp dport map @udp-proxies",
        "udp over IPv6 to the engine's proxy",
    ),
];
const TO_THIS_HOST: (&str, &str) = ("fib daddr type local jump routes", "to this host");
/// A resolver of the host listens on 127.0.0.53 and the like; its port may be published by a container.
const OTHER_LOOPBACK: (&str, &str) =
    ("ip daddr 127.0.0.0/8 ip daddr != 127.0.0.1 return", "other addresses of loopback");
const TO_METADATA: [(&str, &str); 4] = [
    ("ip daddr 169.254.169.254 jump metadata", "to the instance metadata"),
    // A proxy in front of it, by a rule of somebody else.
    ("ct original ip daddr 169.254.169.254 jump metadata", "to what stands in for it"),
    // Over IPv6 nobody knows which container it is.
    (
        "iifname @bridges ip6 daddr fd00:ec2::254 meta l4proto tcp reject with tcp reset",
        "to metadata over IPv6: tcp",
    ),
    ("iifname @bridges ip6 daddr fd00:ec2::254 reject with icmpx admin-prohibited", "to metadata over IPv6"),
];
const TO_PROXIES: (&str, &str) = ("iifname != \"lo\" meta nfproto ipv6 jump proxies", "from outside");
const PROXIES: [(&str, &str); 3] = [
    ("ct status dnat return", "led here"),
    ("tcp dport @tcp-proxy-ports reject with tcp reset", "not led to a tcp proxy"),
    ("udp dport @udp-proxy-ports reject with icmpx port-unreachable", "not led to a udp proxy"),
];
const SPOOFED: (&str, &str) =
    ("iifname @bridges ip daddr 127.0.0.0/8 drop", "loopback is not for containers");

fn chain(
    name: &'static str,
    hook: Option<(&'static str, &'static str, i64)>,
    rules: &[(&str, &str)],
) -> Chain {
    let hook = hook.map(|(kind, hook, priority)| Hook { kind, hook, priority });
    Chain { name, hook, rules: rules.iter().map(|(text, comment)| rule(text, comment)).collect() }
}

fn rule(text: &str, comment: &str) -> Rule {
    Rule { text: text.to_owned(), comment: comment.to_owned() }
}

/// The comment has the prefix as it was asked for; the kernel keeps only the part that counts.
fn of_bridge((address, length): &(Ipv4Addr, u8), text: &str) -> Rule {
    let prefix = format!("{address}/{length}");
    Rule { text: text.replace("PREFIX", &prefix), comment: format!("{BRIDGE}{prefix}") }
}

fn postrouting(bridges: &BTreeSet<(Ipv4Addr, u8)>) -> Chain {
    let loopback = "ip saddr 127.0.0.0/8 oifname != \"lo\" ct status dnat masquerade";
    let mut chain = chain("postrouting", Some(("nat", "postrouting", 90)), &[(loopback, "from loopback")]);
    // From a container to its neighbour by the host's address: the answer has to come back the same way.
    let neighbours = "ip saddr PREFIX ip daddr PREFIX ct status dnat masquerade";
    chain.rules.extend(bridges.iter().map(|bridge| of_bridge(bridge, neighbours)));
    chain
}

fn metadata(bridges: &BTreeSet<(Ipv4Addr, u8)>) -> Chain {
    let rules = [
        ("ip saddr @with-metadata accept", "may"),
        ("ip saddr @without-metadata meta l4proto tcp reject with tcp reset", "must not: tcp"),
        ("ip saddr @without-metadata reject with icmpx admin-prohibited", "must not"),
    ];
    let mut chain = chain(METADATA, None, &rules);
    chain.rules.extend(bridges.iter().map(|bridge| of_bridge(bridge, "ip saddr PREFIX drop")));
    chain
}

/// One transaction that leaves exactly these rules in our table, or no table where there are none.
pub(super) fn transaction(rules: &Rules, interfaces: &BTreeSet<String>) -> String {
    // Adding what exists is no error, deleting what is missing is one.
    let mut text = format!("add table inet {TABLE}\ndelete table inet {TABLE}\n");
    if *rules == Rules::default() {
        return text;
    }
    let _ = writeln!(text, "table inet {TABLE} {{");
    for (name, keys, values) in SETS {
        let (word, to) = values.map_or(("set", String::new()), |values| ("map", format!(" : {values}")));
        let _ = writeln!(text, "\t{word} {name} {{");
        let _ = writeln!(text, "\t\ttype {keys}{to}");
        let elements = elements(name, rules, interfaces);
        if !elements.is_empty() {
            let _ = writeln!(text, "\t\telements = {{ {} }}", elements.join(", "));
        }
        text.push_str("\t}\n");
    }
    // In two passes: a rule may only jump to a chain that is there.
    for Chain { name, hook, .. } in chains(&rules.bridges) {
        let hook = hook.map(|it| format!("type {} hook {} priority {};", it.kind, it.hook, it.priority));
        let _ = writeln!(text, "\tchain {name} {{ {} }}", hook.unwrap_or_default());
    }
    for Chain { name, rules, .. } in chains(&rules.bridges) {
        let _ = writeln!(text, "\tchain {name} {{");
        for Rule { text: rule, comment } in rules {
            let _ = writeln!(text, "\t\t{rule} comment \"{comment}\"");
        }
        text.push_str("\t}\n");
    }
    text.push_str("}\n");
    text
}

/// One transaction that makes `now` out of `before` by changing only elements that differ; `None` where the table has to
/// be made anew. What stays is not touched: while a whole table is replaced, a packet that is being looked at may find
/// the old one empty.
pub(super) fn change(before: &Rules, now: &Rules, interfaces: &BTreeSet<String>) -> Option<String> {
    let nothing = Rules::default();
    if before.bridges != now.bridges || *before == nothing || *now == nothing {
        return None;
    }
    let mut text = String::new();
    for (name, ..) in SETS {
        let (old, new) = (elements(name, before, interfaces), elements(name, now, interfaces));
        for (word, these, those) in [("delete", &old, &new), ("add", &new, &old)] {
            let differ: Vec<&str> =
                these.iter().filter(|element| !those.contains(element)).map(String::as_str).collect();
            if !differ.is_empty() {
                let _ = writeln!(text, "{word} element inet {TABLE} {name} {{ {} }}", differ.join(", "));
            }
        }
    }
    // With nothing to change, whoever asks has seen something that is not among the rules.
    (!text.is_empty()).then_some(text)
}

/// What the set of that name holds.
fn elements(set: &str, rules: &Rules, interfaces: &BTreeSet<String>) -> Vec<String> {
    let of = |wanted: Protocol| rules.routes.iter().filter(move |(host, _)| host.protocol == wanted);
    let routes = |protocol| {
        let route =
            |(host, to): (&HostPort, &Target)| format!("{} : {} . {}", host.number, to.address, to.port);
        of(protocol).map(route).collect()
    };
    let proxies = |protocol| {
        let proxy = |(host, to): (&HostPort, &Target)| Some(format!("{} : {}", host.number, to.ipv6_proxy?));
        of(protocol).filter_map(proxy).collect()
    };
    let ports = |protocol| {
        let ports: BTreeSet<u16> = of(protocol).filter_map(|(_, to)| to.ipv6_proxy).collect();
        ports.iter().map(u16::to_string).collect()
    };
    let addresses = |addresses: &BTreeSet<Ipv4Addr>| addresses.iter().map(Ipv4Addr::to_string).collect();
    match set {
        TCP_ROUTES => routes(Protocol::Tcp),
        UDP_ROUTES => routes(Protocol::Udp),
        TCP_PROXIES => proxies(Protocol::Tcp),
        UDP_PROXIES => proxies(Protocol::Udp),
        TCP_PROXY_PORTS => ports(Protocol::Tcp),
        UDP_PROXY_PORTS => ports(Protocol::Udp),
        WITHOUT_METADATA => addresses(&rules.without_metadata),
        WITH_METADATA => addresses(&rules.with_metadata),
        _ => interfaces.iter().map(|name| format!("\"{name}\"")).collect(),
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
