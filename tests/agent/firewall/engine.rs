//! Beside an engine that has rules of its own, writes them anew, or loses them.

use crate::Situation;
use crate::containers::TCP;
use crate::peers::{nobody, who};
use crate::scene::{PLENTY, Scene};
use agent::rules::Rules;
use harness::netns::INSTANCE_ADDRESS;
use std::io::ErrorKind;

pub(crate) const SITUATIONS: &[Situation] = &[
    ("a_port_that_the_engine_still_publishes_is_ours", a_port_that_the_engine_still_publishes_is_ours),
    ("rules_of_others_are_left_as_they_are", rules_of_others_are_left_as_they_are),
    ("an_engine_that_starts_again_leaves_ours", an_engine_that_starts_again_leaves_ours),
    ("a_firewall_that_somebody_emptied_is_repaired", a_firewall_that_somebody_emptied_is_repaired),
];

fn answer(scene: &Scene) -> String {
    who(Some(scene.network.cloud.path()), (INSTANCE_ADDRESS, TCP)).expect("an answer")
}

fn a_port_that_the_engine_still_publishes_is_ours(scene: &mut Scene) {
    let (published, routed) = (scene.published("published"), scene.routed("routed"));
    assert_eq!(published.observed.routed_ports, []);
    assert_eq!(answer(scene), "published");
    scene.replace(&routed.rules());
    assert_eq!(answer(scene), "routed");
    assert_eq!(who(None, (INSTANCE_ADDRESS, TCP)).expect("from the host"), "routed");
    scene.engine().daemon.docker(&["rm", "--force", "published"], b"").expect("removed");
    assert_eq!(answer(scene), "routed");
}

fn rules_of_others_are_left_as_they_are(scene: &mut Scene) {
    let (old, new) = (scene.routed("old"), scene.routed("new"));
    scene.nft(&["add table inet node-agent-2; add chain inet node-agent-2 node-agent { type filter hook input priority 5; }"]);
    scene.nft(&[
        "add rule inet node-agent-2 node-agent tcp dport 4242 counter drop comment \"tcp to containers\"",
    ]);
    let before = scene.foreign();
    assert!(before.contains("DOCKER") && before.contains("node-agent-2"), "{before}");
    for rules in [old.rules(), new.rules(), Rules::default(), old.rules(), Rules::default()] {
        scene.replace(&rules);
        assert_eq!(scene.foreign(), before);
    }
    assert!(!scene.ruleset().contains("table inet node-agent {"), "no rules, no table");
    scene.nft(&["delete table inet node-agent-2"]);
}

fn an_engine_that_starts_again_leaves_ours(scene: &mut Scene) {
    let target = scene.routed("api");
    scene.replace(&target.rules());
    let rules = target.rules();
    drop(target);
    let engine = scene.engine.as_mut().expect("an engine");
    engine.daemon.stop().expect("stopped");
    engine.daemon.launch().expect("started again");
    assert_eq!(scene.rules(), rules, "as they were");
    scene.engine().daemon.docker(&["start", "api"], b"").expect("started");
    let target = scene.look("api");
    scene.replace(&target.rules());
    assert_eq!(answer(scene), "api");
}

fn a_firewall_that_somebody_emptied_is_repaired(scene: &mut Scene) {
    let target = scene.routed("api");
    scene.replace(&target.rules());
    assert_eq!(answer(scene), "api");
    scene.quiet();
    scene.nft(&["flush ruleset"]);
    assert!(scene.rings(PLENTY), "it is heard of");
    assert_eq!(scene.rules(), Rules::default());
    assert_eq!(
        nobody(Some(scene.network.cloud.path()), (INSTANCE_ADDRESS, TCP)),
        ErrorKind::ConnectionRefused
    );
    scene.replace(&target.rules());
    assert_eq!(answer(scene), "api");
    // Those of the engine went too where it writes nftables; it makes them anew when it starts.
    drop(target);
    let engine = scene.engine.as_mut().expect("an engine");
    engine.daemon.stop().expect("stopped");
    engine.daemon.launch().expect("started again");
}
