//! Moves that follow each other closely.

use super::simulation::agent::Node;
use super::simulation::{MODELS, digest, full};

/// Lets seconds pass until the version is good and in memory; how many it took, of 300 at most.
fn seconds_until_good(node: &mut Node, version: usize) -> Option<u32> {
    let (model, wanted) = (full(MODELS[0]), digest(MODELS[0], version));
    (0..300).find(|_| {
        node.pass(None);
        node.step_ends(false);
        node.pull_goes_on(1000);
        node.advance(1);
        let good = node.durable.record(&model).and_then(|record| record.good.clone());
        let loaded = node.world.loaded.iter().any(|(_, loaded)| *loaded == wanted);
        good.as_ref() == Some(&wanted) && loaded && node.memory.step.is_none()
    })
}

#[test]
fn a_second_move_lets_go_of_what_the_first_brought_into_memory_without_waiting_for_it() {
    let mut node = Node::new();
    assert!(seconds_until_good(&mut node, 0).is_some(), "{}", node.story());
    for version in [1, 0, 1, 0] {
        node.world.tags.insert(full(MODELS[0]), digest(MODELS[0], version));
        // A person asks for it.
        node.memory.lookups.clear();
        let took = seconds_until_good(&mut node, version);
        assert!(took.is_some_and(|took| took < 20), "to {version}: {took:?} s\n{}", node.story());
    }
}
