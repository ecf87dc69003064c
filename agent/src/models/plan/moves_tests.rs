//! Moves that follow each other closely.

use super::simulation::agent::Node;
use super::simulation::{MODELS, digest, full, reference};
use super::{Action, Step, plan};
use crate::models::observed::{Attempt, Failure, Serving, StepKind};
use jiff::SignedDuration;
use node::config::settings::Prewarm;

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

/// The node with that kind of step of that model under way.
fn busy_with(mut node: Node, kind: StepKind, model: &str) -> Node {
    let layers = Vec::new();
    let digest = digest(model, 0);
    let action = match kind {
        StepKind::Verify => Action::Verify { digest, layers: Vec::new() },
        StepKind::Warm => Action::Warm { digest, layers, rate: Prewarm::Unlimited },
        _ => Action::Smoke {
            name: reference(model),
            digest,
            smoke: node.settings.pull[MODELS[1]].smoke.clone().unwrap(),
        },
    };
    node.memory.step = Some(Step { model: full(model), action, reason: String::new() });
    node
}

#[test]
fn what_takes_long_gives_way_to_a_model_that_left_memory_but_not_to_one_that_cannot_be_loaded() {
    let mut served = Node::new();
    for _ in 0..30 {
        served.pass(None);
        served.step_ends(false);
        served.pull_goes_on(1000);
        served.advance(1);
    }
    served.advance(60);
    served.world.loaded.retain(|(name, _)| *name != full(MODELS[0]));
    let cases = [
        (StepKind::Verify, MODELS[1], true),
        (StepKind::Verify, MODELS[0], true),
        (StepKind::Warm, MODELS[1], true),
        (StepKind::Warm, MODELS[0], false),
        (StepKind::Smoke, MODELS[1], false),
    ];
    for (kind, model, gives_way) in cases {
        let mut node = busy_with(served.clone(), kind, model);
        let plan = node.pass(None);
        assert_eq!(plan.drop_step.is_some(), gives_way, "{kind:?} of {model}: {:?}", plan.drop_step);
        if gives_way {
            node.pass(None);
            let next = node.memory.step.as_ref().map(|step| (step.model.clone(), step.action.kind()));
            assert_eq!(next, Some((full(MODELS[0]), StepKind::Load)), "{kind:?} of {model}");
        }
    }
    // Its files may be why it cannot be loaded: they are compared to the end.
    let mut node = busy_with(served, StepKind::Verify, MODELS[0]);
    let mut observed = node.observed();
    let failure = Failure { code: "model_failed", message: String::new(), hint: None, blames_version: false };
    let at = node.world.now - SignedDuration::from_secs(50);
    let attempt =
        Attempt { failures: 1, busy: 0, at, digest: Some(digest(MODELS[0], 0)), failure: Some(failure) };
    observed.attempts.insert((full(MODELS[0]), StepKind::Load), attempt);
    let now = node.world.now;
    let plan = plan(&node.settings, &Serving::default(), &observed, &node.durable, now);
    assert_eq!(plan.drop_step, None);
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
