//! Moves that follow each other closely.

use super::Action;
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

#[test]
fn a_version_that_went_back_is_loaded_although_the_server_takes_the_bad_one_with_its_weights_for_it() {
    let mut node = Node::new();
    assert!(seconds_until_good(&mut node, 0).is_some(), "{}", node.story());
    let (model, own) = (full(MODELS[0]), digest(MODELS[0], 0));
    let bad = digest(MODELS[0], 3);
    // What the server has in memory has no name any more, and a load of the same weights changes nothing.
    let entry = node.world.loaded.iter_mut().find(|(name, _)| *name == model).unwrap();
    entry.1.clone_from(&bad);
    let mut steps = Vec::new();
    for _ in 0..40 {
        node.pass(None);
        let action = node.memory.step.as_ref().map(|step| step.action.clone());
        node.step_ends(false);
        node.advance(1);
        match action {
            Some(Action::Load { .. }) if node.world.loaded.iter().any(|(_, loaded)| *loaded == bad) => {
                node.world.loaded.retain(|(_, loaded)| *loaded != own);
            }
            Some(Action::Unload { .. }) => node.world.loaded.retain(|(_, loaded)| *loaded != bad),
            _ => {}
        }
        steps.extend(action.map(|action| action.kind()));
    }
    assert!(node.world.loaded.iter().any(|(_, loaded)| *loaded == own), "{steps:?}\n{}", node.story());
}
