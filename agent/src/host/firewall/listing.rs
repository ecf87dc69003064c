//! Our table as `nft --json` lists it, back to [`Rules`]. Pure.
//!
//! In: the listing, and which interface belongs to a prefix. Out: the rules in force, exactly as they were asked for, and
//! the [`Shape`] of the table. What always holds: whatever in the table is not ours shows as a [`STRANGE`] bridge, which
//! nobody asks for, so that a comparison says "different" and the table is made anew.
//!
//! Rules are known by their comments, in their order: versions of `nft` write the same rule in different words, so the
//! words themselves can only be compared with what the same program said right after the table was made.

use super::table::{self, BRIDGE, Chain, METADATA, SETS};
use crate::rules::{HostPort, Rules, Target};
use node::config::settings::Protocol;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// Stands for what in our table is not ours: no prefix has that length.
pub(super) const STRANGE: (Ipv4Addr, u8) = (Ipv4Addr::UNSPECIFIED, u8::MAX);

/// What is in the table beside the elements of its sets, in the words of the program that listed it.
pub(super) type Shape = Vec<Value>;

/// Reads a listing; an error says what cannot be understood.
pub(super) fn read(
    listing: &str,
    interfaces: impl Fn(&BTreeSet<(Ipv4Addr, u8)>) -> BTreeSet<String>,
) -> Result<(Rules, Shape), String> {
    let listing: Value = serde_json::from_str(listing).map_err(|error| error.to_string())?;
    let items = listing.get("nftables").and_then(Value::as_array).ok_or("it has no list `nftables`")?;
    let mut found = Found::default();
    for (kind, body) in items.iter().filter_map(Value::as_object).flatten() {
        found.take(kind, body);
    }
    let shape = std::mem::take(&mut found.shape);
    Ok((found.rules(interfaces), shape))
}

/// The parts of the table.
#[derive(Default)]
struct Found {
    sets: BTreeMap<String, Set>,
    /// By name: where it is called (type, hook, priority, policy), and the comments of its rules.
    chains: BTreeMap<String, (Value, Vec<String>)>,
    shape: Shape,
    strange: bool,
}

#[derive(Default)]
struct Set {
    /// Types of keys and values.
    types: (String, Option<String>),
    elements: Vec<Value>,
}

impl Found {
    fn take(&mut self, kind: &str, body: &Value) {
        let text = |key: &str| body.get(key).and_then(Value::as_str).map(str::to_owned);
        let name = text("name").unwrap_or_default();
        match kind {
            "metainfo" => return,
            // Flags: a dormant table does nothing.
            "table" => self.strange |= body.get("flags").is_some(),
            "set" | "map" => {
                let elements = body.get("elem").and_then(Value::as_array).cloned().unwrap_or_default();
                let types = (text("type").unwrap_or_default(), text("map"));
                self.sets.insert(name, Set { types, elements });
            }
            "chain" => {
                self.chains.entry(name).or_default().0 = called(body);
            }
            "rule" => {
                let chain = text("chain").unwrap_or_default();
                self.chains.entry(chain).or_default().1.push(text("comment").unwrap_or_default());
            }
            _ => self.strange = true,
        }
        let mut body = body.clone();
        if let Some(body) = body.as_object_mut() {
            body.retain(|key, _| !["handle", "elem"].contains(&key.as_str()));
        }
        self.shape.push(body);
    }

    fn rules(mut self, interfaces: impl Fn(&BTreeSet<(Ipv4Addr, u8)>) -> BTreeSet<String>) -> Rules {
        let mut rules = Rules { bridges: self.bridges(), ..Rules::default() };
        self.strange |= !self.has_our_chains(&rules.bridges);
        self.strange |= self.sets.len() != SETS.len();
        for (name, keys, values) in SETS {
            let types = self.sets.get(name).map(|set| &set.types);
            self.strange |= types != Some(&(keys.to_owned(), values.map(str::to_owned)));
        }
        for (protocol, routes, proxies, ports) in [
            (Protocol::Tcp, table::TCP_ROUTES, table::TCP_PROXIES, table::TCP_PROXY_PORTS),
            (Protocol::Udp, table::UDP_ROUTES, table::UDP_PROXIES, table::UDP_PROXY_PORTS),
        ] {
            let led = self.elements(routes, |it| Some((port(it.get(0)?)?, target(it.get(1)?)?)));
            let proxies: BTreeMap<u16, u16> =
                self.elements(proxies, |it| Some((port(it.get(0)?)?, port(it.get(1)?)?))).collect();
            let listed: BTreeSet<u16> = self.elements(ports, port).collect();
            let led: BTreeMap<u16, (Ipv4Addr, u16)> = led.collect();
            self.strange |= listed != proxies.values().copied().collect();
            self.strange |= proxies.keys().any(|number| !led.contains_key(number));
            let route = |(number, (address, port)): (u16, (Ipv4Addr, u16))| {
                let ipv6_proxy = proxies.get(&number).copied();
                (HostPort { protocol, number }, Target { address, port, ipv6_proxy })
            };
            rules.routes.extend(led.into_iter().map(route));
        }
        rules.without_metadata = self.elements(table::WITHOUT_METADATA, address).collect();
        rules.with_metadata = self.elements(table::WITH_METADATA, address).collect();
        let names: BTreeSet<String> =
            self.elements(table::BRIDGES, |name| name.as_str().map(str::to_owned)).collect();
        self.strange |= names != interfaces(&rules.bridges);
        if self.strange {
            rules.bridges.insert(STRANGE);
        }
        rules
    }

    /// The elements of a set; one that cannot be read is strange.
    fn elements<T>(&mut self, set: &str, read: impl Fn(&Value) -> Option<T>) -> std::vec::IntoIter<T> {
        let elements = self.sets.get(set).map(|set| set.elements.as_slice()).unwrap_or_default();
        let values: Vec<T> = elements.iter().filter_map(read).collect();
        self.strange |= values.len() != elements.len();
        values.into_iter()
    }

    fn bridges(&self) -> BTreeSet<(Ipv4Addr, u8)> {
        let comments = self.chains.get(METADATA).map(|(_, comments)| comments.as_slice()).unwrap_or_default();
        let prefix = |comment: &String| {
            let (address, length) = comment.strip_prefix(BRIDGE)?.split_once('/')?;
            Some((address.parse().ok()?, length.parse().ok()?))
        };
        comments.iter().filter_map(prefix).collect()
    }

    fn has_our_chains(&self, bridges: &BTreeSet<(Ipv4Addr, u8)>) -> bool {
        let wanted = table::chains(bridges);
        let is_there = |Chain { name, hook, rules }: &Chain| {
            let Some((found, comments)) = self.chains.get(*name) else { return false };
            let hook = hook.map_or_else(
                || serde_json::json!([null, null, null, null]),
                |it| serde_json::json!([it.kind, it.hook, it.priority, "accept"]),
            );
            *found == hook && comments.iter().eq(rules.iter().map(|rule| &rule.comment))
        };
        self.chains.len() == wanted.len() && wanted.iter().all(is_there)
    }
}

fn called(chain: &Value) -> Value {
    ["type", "hook", "prio", "policy"].map(|key| chain.get(key).cloned().unwrap_or_default()).to_vec().into()
}

fn port(value: &Value) -> Option<u16> {
    u16::try_from(value.as_u64()?).ok()
}

fn address(value: &Value) -> Option<Ipv4Addr> {
    value.as_str()?.parse().ok()
}

fn target(value: &Value) -> Option<(Ipv4Addr, u16)> {
    let [to, number] = value.get("concat")?.as_array()?.as_slice() else { return None };
    Some((address(to)?, port(number)?))
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;
