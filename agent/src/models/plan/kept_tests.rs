//! Kept versions where the record that named them is gone.

use super::simulation::agent::{Memory, Node};
use super::simulation::{MODELS, digest, full, reference};
use super::{Action, kept_name, plan};
use crate::command::ModelWish;
use crate::models::files::{Blob, Partial};
use crate::models::observed::{Observed, ServerView, Serving};
use crate::models::record::{Asked, Durable, wish};
use jiff::SignedDuration;

fn passes(node: &mut Node, count: u32) {
    for _ in 0..count {
        node.pass(None);
        node.step_ends(false);
        node.pull_goes_on(1000);
        node.advance(1);
    }
}

/// The first model is its version 1, and 0 is kept.
fn moved() -> Node {
    let mut node = Node::new();
    passes(&mut node, 30);
    node.world.tags.insert(full(MODELS[0]), digest(MODELS[0], 1));
    node.advance(7200);
    passes(&mut node, 30);
    assert_eq!(node.world.names[&full(MODELS[0])], digest(MODELS[0], 1), "{}", node.story());
    node
}

fn kept(version: usize) -> String {
    kept_name(&reference(MODELS[0]), &digest(MODELS[0], version)).full()
}

#[test]
fn an_instance_that_takes_over_the_volume_without_its_record_finds_the_version_to_go_back_to() {
    let mut node = moved();
    (node.durable, node.memory) = (Durable::default(), Memory::default());
    passes(&mut node, 60);
    assert!(node.world.names.contains_key(&kept(0)), "{}", node.story());
    let record = node.durable.record(&full(MODELS[0])).unwrap();
    assert_eq!(record.good, Some(digest(MODELS[0], 1)));
    assert_eq!(record.previous, Some(digest(MODELS[0], 0)));
    let observed = node.observed();
    let asked = Asked { model: &node.settings.pull[MODELS[0]], observed: &observed, now: node.world.now };
    wish(&mut node.durable, &asked, &ModelWish::Rollback).unwrap();
    passes(&mut node, 30);
    assert_eq!(node.world.names[&full(MODELS[0])], digest(MODELS[0], 0), "{}", node.story());
}

#[test]
fn whole_layers_without_a_name_stay_while_somebody_may_be_pulling() {
    let mut node = moved();
    let hour = SignedDuration::from_secs(3600);
    let cleans = |node: &Node, observed: &Observed| {
        let plan = plan(&node.settings, &Serving::default(), observed, &node.durable, node.world.now);
        plan.step.is_some_and(|step| matches!(&step.action, Action::Clean { blobs, .. } if !blobs.is_empty()))
    };
    let mut observed = node.observed();
    let now = node.world.now;
    let files = observed.files.as_mut().unwrap();
    let blob = |age: SignedDuration| Blob { size_bytes: 5, modified_at: now - age };
    files.blobs.insert("sha256:first".to_owned(), blob(hour * 2));
    assert!(cleans(&node, &observed), "nobody needs it");
    // The last layer of the same pull is on its way.
    let partial = |age: SignedDuration| Partial { allocated_bytes: 5, modified_at: now - age, broken: false };
    let files = observed.files.as_mut().unwrap();
    files.partials.insert("sha256:last".to_owned(), partial(hour / 2));
    assert!(!cleans(&node, &observed));
    let files = observed.files.as_mut().unwrap();
    files.partials.insert("sha256:last".to_owned(), partial(hour * 2));
    assert!(cleans(&node, &observed));
    // Or has just come, and the name comes next.
    let files = observed.files.as_mut().unwrap();
    files.partials.clear();
    files.blobs.insert("sha256:last".to_owned(), blob(hour / 2));
    assert!(!cleans(&node, &observed));
}

#[test]
fn without_a_record_older_kept_versions_go_when_they_are_old_and_the_last_one_stays() {
    let mut node = moved();
    node.world.names.insert(kept(2), digest(MODELS[0], 2));
    node.durable = Durable::default();
    // Nothing passes: the record stays without a good version.
    node.settings.every = None;
    let week = node.settings.unused_for;
    let goes = |node: &mut Node, age: SignedDuration| {
        let mut observed = node.observed();
        let ServerView::Up { installed, .. } = &mut observed.server else { panic!("it is up") };
        for it in installed.iter_mut() {
            let last = it.digest == digest(MODELS[0], 0);
            it.modified_at = Some(node.world.now - age - SignedDuration::from_secs(i64::from(!last)));
        }
        // What it does for the models is not asked here.
        node.settings.pull.values_mut().for_each(|model| (model.keep_loaded, model.smoke) = (false, None));
        observed.files = None;
        let plan = plan(&node.settings, &Serving::default(), &observed, &node.durable, node.world.now);
        plan.step.and_then(|step| match step.action {
            Action::Delete { name } => Some(name.full()),
            _ => None,
        })
    };
    assert_eq!(goes(&mut node, SignedDuration::from_secs(60)), None);
    let old = SignedDuration::try_from(week).unwrap();
    assert_eq!(goes(&mut node, old), Some(kept(2)));
}
