//! Listings as `nft` writes them, without a kernel. That what was asked for is read back is tested in `tests/agent/firewall`.

use super::*;
use serde_json::json;

fn no_interfaces(_: &BTreeSet<(Ipv4Addr, u8)>) -> BTreeSet<String> {
    BTreeSet::new()
}

/// The table as 1.0.6 lists it, with no rules asked for.
fn empty() -> Vec<Value> {
    let mut items = vec![
        json!({"metainfo": {"version": "1.0.6", "json_schema_version": 1}}),
        json!({"table": {"family": "inet", "name": "node-agent", "handle": 3}}),
    ];
    for (name, keys, values) in SETS {
        let mut set =
            json!({"family": "inet", "name": name, "table": "node-agent", "type": keys, "handle": 9});
        if let Some(values) = values {
            set["map"] = json!(values);
        }
        items.push(if values.is_some() { json!({"map": set}) } else { json!({"set": set}) });
    }
    for Chain { name, hook, rules } in table::chains(&BTreeSet::new()) {
        let mut chain = json!({"family": "inet", "table": "node-agent", "name": name, "handle": 1});
        if let Some(hook) = hook {
            chain["type"] = json!(hook.kind);
            chain["hook"] = json!(hook.hook);
            chain["prio"] = json!(hook.priority);
            chain["policy"] = json!("accept");
        }
        items.push(json!({"chain": chain}));
        items.extend(rules.iter().map(
            |rule| json!({"rule": {"chain": name, "handle": 7, "comment": rule.comment, "expr": [rule.text]}}),
        ));
    }
    items
}

fn read_items(items: &[Value]) -> (Rules, Shape) {
    read(&json!({ "nftables": items }).to_string(), no_interfaces).expect("readable")
}

fn position(items: &[Value], kind: &str, key: &str, value: &str) -> usize {
    items.iter().position(|item| item[kind][key] == value).unwrap_or_else(|| panic!("no {kind} {value}"))
}

#[test]
fn a_table_of_ours_has_nothing_strange() {
    assert_eq!(read_items(&empty()).0, Rules::default());
}

#[test]
fn elements_become_rules() {
    let mut items = empty();
    let mut put = |kind: &str, set: &str, elements: Value| {
        let at = position(&items, kind, "name", set);
        items[at][kind]["elem"] = elements;
    };
    put("map", "tcp-routes", json!([[80, {"concat": ["172.18.0.2", 8000]}]]));
    put("map", "tcp-proxies", json!([[80, 32768]]));
    put("set", "tcp-proxy-ports", json!([32768]));
    put("set", "with-metadata", json!(["172.18.0.2"]));
    let host = HostPort { protocol: Protocol::Tcp, number: 80 };
    let target = Target { address: [172, 18, 0, 2].into(), port: 8000, ipv6_proxy: Some(32768) };
    let expected = Rules {
        routes: [(host, target)].into(),
        with_metadata: [[172, 18, 0, 2].into()].into(),
        ..Rules::default()
    };
    assert_eq!(read_items(&items).0, expected);
}

#[test]
fn what_others_did_to_the_table_is_strange() {
    let chain = |items: &[Value]| position(items, "chain", "name", "forward");
    type Tampering = fn(&mut Vec<Value>, usize);
    let cases: [(&str, Tampering); 9] = [
        ("a rule added", |items, _| {
            items.push(json!({"rule": {"chain": "forward", "expr": [{"drop": null}]}}))
        }),
        ("a rule deleted", |items, at| drop(items.remove(at + 1))),
        ("rules in another order", |items, at| items.swap(at + 1, at + 2)),
        ("a chain deleted", |items, at| drop(items.remove(at))),
        ("a chain added", |items, _| items.push(json!({"chain": {"name": "mine"}}))),
        ("a policy", |items, at| items[at]["chain"]["policy"] = json!("drop")),
        ("a set added", |items, _| items.push(json!({"set": {"name": "mine", "type": "ipv4_addr"}}))),
        ("an element with a time", |items, _| {
            let at = position(items, "set", "name", "with-metadata");
            items[at]["set"]["elem"] = json!([{"elem": {"val": "172.18.0.2", "timeout": 9}}]);
        }),
        ("a dormant table", |items, _| items[1]["table"]["flags"] = json!(["dormant"])),
    ];
    for (what, tamper) in cases {
        let mut items = empty();
        let at = chain(&items);
        tamper(&mut items, at);
        assert!(read_items(&items).0.bridges.contains(&STRANGE), "{what}");
    }
}

#[test]
fn a_rule_in_other_words_has_another_shape() {
    let mut items = empty();
    let before = read_items(&items).1;
    let at = position(&items, "rule", "chain", "forward");
    items[at]["rule"]["handle"] = json!(99);
    assert_eq!(read_items(&items).1, before, "handles do not count");
    items[at]["rule"]["expr"] = json!(["drop"]);
    assert_ne!(read_items(&items).1, before);
}

#[test]
fn what_is_no_listing_is_an_error() {
    for text in ["", "{}", "{\"nftables\": 7}", "nonsense"] {
        assert!(read(text, no_interfaces).is_err(), "{text}");
    }
}
