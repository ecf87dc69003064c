//! What the kernel keeps of our rules, without an engine.

use crate::Situation;
use crate::scene::{PLENTY, Scene};
use agent::firewall::Firewall;
use agent::rules::{HostPort, Rules, Target};
use harness::requirements::tried;
use node::config::settings::Protocol;
use proptest::prelude::{Strategy, any};
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::time::Instant;

pub(crate) const SITUATIONS: &[Situation] = &[
    ("random_rules_are_read_back_as_they_were_asked_for", random_rules_are_read_back),
    ("what_others_do_to_our_table_is_heard_of_and_undone", what_others_do_to_our_table),
    ("what_others_do_elsewhere_wakes_nobody", what_others_do_elsewhere_wakes_nobody),
    ("more_changes_than_fit_into_the_socket_ring_once", more_changes_than_fit),
    ("how_long_it_takes", how_long_it_takes),
];

const CASES: usize = 300;
const SEED: [u8; 32] = *b"rules are read back as they were";

fn port() -> impl Strategy<Value = HostPort> {
    (any::<bool>(), any::<u16>()).prop_map(|(tcp, number)| {
        let protocol = if tcp { Protocol::Tcp } else { Protocol::Udp };
        HostPort { protocol, number }
    })
}

fn target() -> impl Strategy<Value = Target> {
    (any::<Ipv4Addr>(), any::<u16>(), proptest::option::of(any::<u16>()))
        .prop_map(|(address, port, ipv6_proxy)| Target { address, port, ipv6_proxy })
}

fn rules() -> impl Strategy<Value = Rules> {
    let addresses = || proptest::collection::btree_set(any::<Ipv4Addr>(), 0..12);
    let bridges = proptest::collection::btree_set((any::<Ipv4Addr>(), 0_u8..=32), 0..4);
    let routes = proptest::collection::btree_map(port(), target(), 0..40);
    (routes, addresses(), addresses(), bridges).prop_map(
        |(routes, without_metadata, with_metadata, bridges)| Rules {
            routes,
            without_metadata,
            with_metadata,
            bridges,
        },
    )
}

fn random_rules_are_read_back(scene: &mut Scene) {
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &SEED);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    let mut distinct = BTreeSet::new();
    for case in 0..CASES {
        let rules = rules().new_tree(&mut runner).expect("rules").current();
        scene
            .runtime
            .block_on(agent::firewall::Firewall::replace(&scene.firewall, &rules))
            .expect("replaced");
        assert_eq!(scene.rules(), rules, "case {case} of seed {:?}", String::from_utf8_lossy(&SEED));
        distinct.insert(format!("{rules:?}"));
    }
    tried(&format!("{} sets of rules of seed {:?}", distinct.len(), String::from_utf8_lossy(&SEED)));
}

fn sample(routes: u16) -> Rules {
    let route = |number: u16| {
        let address = Ipv4Addr::from(0xac12_0000 + u32::from(number));
        let protocol = if number.is_multiple_of(8) { Protocol::Udp } else { Protocol::Tcp };
        (HostPort { protocol, number }, Target { address, port: 8000, ipv6_proxy: Some(number + 32768) })
    };
    let routes: BTreeMap<HostPort, Target> = (1..=routes).map(route).collect();
    let addresses: BTreeSet<Ipv4Addr> = routes.values().map(|target| target.address).collect();
    let bridges = [(Ipv4Addr::new(172, 18, 0, 0), 16)].into();
    Rules { routes, without_metadata: addresses, with_metadata: BTreeSet::new(), bridges }
}

fn what_others_do_to_our_table(scene: &mut Scene) {
    let rules = sample(10);
    for tampering in [
        "delete table inet node-agent",
        "flush ruleset",
        "flush chain inet node-agent routes",
        "add rule inet node-agent forward drop",
        "insert rule inet node-agent input accept comment \"to the instance metadata\"",
        "add element inet node-agent tcp-routes { 9999 : 10.0.0.1 . 1 }",
        "delete element inet node-agent tcp-routes { 1 }",
        "delete element inet node-agent tcp-proxies { 1 }",
        "flush set inet node-agent without-metadata",
        "add element inet node-agent bridges { \"eth0\" }",
        "add chain inet node-agent mine",
        "add chain inet node-agent forward { policy drop; }",
        "add set inet node-agent mine { type ipv4_addr; }",
        "add table inet node-agent { flags dormant; }",
    ] {
        scene.replace(&rules);
        scene.quiet();
        scene.nft(&[tampering]);
        assert!(scene.rings(PLENTY), "not heard of: {tampering}");
        assert_ne!(scene.rules(), rules, "not seen: {tampering}");
        scene.replace(&rules);
    }
    let listed = scene.nft(&["--handle", "list chain inet node-agent spoofed"]);
    let handle = listed.split("handle ").last().and_then(|rest| rest.split_whitespace().next());
    let handle = handle.expect("the handle of its only rule");
    let comment = "comment \"loopback is not for containers\"";
    scene.nft(&[&format!("replace rule inet node-agent spoofed handle {handle} ip ttl 7 drop {comment}")]);
    assert_ne!(scene.rules(), rules, "a rule that says something else under its old comment");
}

fn what_others_do_elsewhere_wakes_nobody(scene: &mut Scene) {
    scene.replace(&sample(2));
    scene.quiet();
    scene.nft(&["add table inet other; add chain inet other forward; add table ip node-agent; delete table ip node-agent"]);
    assert!(!scene.rings(Duration::from_millis(300)));
    scene.nft(&["delete table inet other"]);
    assert!(!scene.rings(Duration::from_millis(300)));
}

fn more_changes_than_fit(scene: &mut Scene) {
    scene.quiet();
    // Nobody reads meanwhile: each is hundreds of kilobytes of notifications.
    let many = sample(500);
    for _ in 0..40 {
        scene.runtime.block_on(scene.firewall.replace(&many)).expect("replaced");
    }
    assert!(scene.rings(PLENTY), "events were lost");
    scene.quiet();
    assert!(!scene.rings(Duration::from_millis(100)));
    scene.nft(&["add chain inet node-agent mine"]);
    assert!(scene.rings(PLENTY), "it still hears");
}

fn how_long_it_takes(scene: &mut Scene) {
    const TIMES: u32 = 20;
    for routes in [1, 10, 100] {
        let rules = sample(routes);
        let mut spent = [Duration::ZERO; 2];
        for _ in 0..TIMES {
            let began = Instant::now();
            scene.runtime.block_on(scene.firewall.replace(&rules)).expect("replaced");
            spent[0] += began.elapsed();
            let began = Instant::now();
            assert_eq!(scene.rules(), rules);
            spent[1] += began.elapsed();
        }
        let [replace, read] = spent.map(|spent| spent.as_secs_f64() * 1e3 / f64::from(TIMES));
        tried(&format!("{routes} routes: replace() {replace:.1} ms, rules() {read:.1} ms, mean of {TIMES}"));
        assert!(replace < 1000.0 && read < 1000.0, "{replace} ms, {read} ms");
    }
}
