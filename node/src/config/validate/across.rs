//! What only shows between services: ports that two of them want, dependencies that go in a circle.

use super::Document;
use crate::config::findings::{Findings, Wrong};
use crate::config::settings::Protocol;
use crate::config::text::port;
use crate::config::written::Network;
use std::collections::{BTreeMap, BTreeSet};

/// Reports every host port that an earlier line has already given away.
pub(super) fn port_conflicts(document: Document<'_>, findings: &mut Findings) {
    let mut wanted = Vec::new();
    for (name, service) in &document.written.services {
        let place = document.root.key("services").key(name).key("ports");
        // Ports on the host's network are refused as such.
        let published = service.ports.iter().enumerate().filter(|_| service.network == Network::Node);
        for (index, text) in published {
            if let Ok(port) = port::published(text) {
                wanted.push((place.item(index).at(), name.as_str(), (port.host, port.protocol)));
            }
        }
    }
    wanted.sort();
    let mut owners: BTreeMap<_, &str> = BTreeMap::new();
    for (at, name, port) in wanted {
        match owners.get(&port).copied() {
            Some(owner) => findings.add(at, taken(name, owner, port)),
            None => {
                owners.insert(port, name);
            }
        }
    }
}

fn taken(name: &str, owner: &str, (number, protocol): (u16, Protocol)) -> Wrong {
    let protocol = match protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
    };
    if name == owner {
        return Wrong::new(format!("host port {number} ({protocol}) is published twice by `{name}`"));
    }
    Wrong::new(format!("host port {number} ({protocol}) of `{name}` is already taken by `{owner}`"))
}

/// Reports each circle of `depends_on` once, at the line that closes it.
pub(super) fn dependency_cycles(document: Document<'_>, findings: &mut Findings) {
    let services = &document.written.services;
    let mut left: BTreeMap<&str, Vec<&str>> = services
        .iter()
        .map(|(name, service)| {
            let known =
                service.depends_on.iter().map(String::as_str).filter(|other| services.contains_key(*other));
            (name.as_str(), known.collect())
        })
        .collect();
    loop {
        drop_startable(&mut left);
        let Some(circle) = circle(&left) else { return };
        if let [first, rest @ ..] = circle.as_slice() {
            let next = rest.first().unwrap_or(first);
            let index = services
                .get(*first)
                .and_then(|service| service.depends_on.iter().position(|name| name == next));
            let place =
                document.root.key("services").key(first).key("depends_on").item(index.unwrap_or_default());
            let wrong =
                Wrong::new(format!("`{first}` would wait for itself: {} -> {first}", circle.join(" -> ")))
                    .hint("take one of these out of its `depends_on`");
            findings.add(place.at(), wrong);
        }
        for name in circle {
            left.remove(name);
        }
    }
}

/// Takes out, again and again, every service whose dependencies are all out.
fn drop_startable(left: &mut BTreeMap<&str, Vec<&str>>) {
    loop {
        let names: BTreeSet<&str> = left.keys().copied().collect();
        left.retain(|_, waits_for| waits_for.iter().any(|name| names.contains(name)));
        if left.len() == names.len() {
            return;
        }
    }
}

/// A circle among services that each wait for another of them, beginning with the first by name.
fn circle<'w>(left: &BTreeMap<&'w str, Vec<&'w str>>) -> Option<Vec<&'w str>> {
    let mut at = *left.keys().next()?;
    let mut trail = Vec::new();
    let mut seen = BTreeSet::new();
    while seen.insert(at) {
        trail.push(at);
        at = *left.get(at)?.iter().find(|name| left.contains_key(*name))?;
    }
    let begin = trail.iter().position(|name| *name == at)?;
    let mut circle = trail.split_off(begin);
    let smallest = circle.iter().enumerate().min_by_key(|(_, name)| **name).map(|(index, _)| index)?;
    circle.rotate_left(smallest);
    Some(circle)
}
