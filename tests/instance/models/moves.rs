//! The server's end, and versions: what a tag names from now on, one that does not do, and the one before.

use super::node::{Node, short};
use super::room::{FIRST, first};
use harness::model_registry::{Model, RegistryFault, Trouble};
use serde_json::{Value, json};

fn digest(node: &Node) -> String {
    first(node)["digest"].as_str().unwrap().to_owned()
}

pub(super) fn a_server_that_was_killed_has_its_model_in_memory_again(node: &Node) {
    let (before, digest) = (node.container(), digest(node));
    let id = before.split_whitespace().next().unwrap();
    node.shell(&format!("docker kill {id}")).expect_success();
    let after = harness::wait::wait_for("another run of the server", super::scene::PATIENCE, || {
        let answer = node.shell("docker ps -q --filter label=node-agent.service=ollama");
        let now = if answer.stdout.trim().is_empty() { before.clone() } else { node.container() };
        if now == before { Err(answer.to_string()) } else { Ok(now) }
    });
    let after = after.unwrap_or_else(|error| panic!("{error}\n{}", node.scene.story()));
    assert_ne!(before, after);
    node.until("the new run to have the model in memory", |models| {
        let up = models["server"]["state"] == "up";
        up && node.in_memory().iter().any(|(name, loaded, ..)| name == FIRST && *loaded == digest)
    });
    node.until_model(FIRST, "loaded", &digest);
}

/// A version with the weights of the first and a template of its own, under its tag.
fn publish(node: &Node, template: &str) -> String {
    let first = Model::new(1, node.scene.stage.models().layers(FIRST)[0].size);
    node.scene.stage.models().push(FIRST, &first.with_template(template))
}

#[track_caller]
fn serves(node: &Node, digest: &str) {
    let in_memory = node.in_memory();
    assert!(in_memory.iter().any(|(_, loaded, ..)| loaded == digest), "{digest}: {in_memory:#?}");
}

pub(super) fn a_tag_that_moved_is_taken_a_bad_version_is_not_and_the_way_back_needs_no_registry(node: &Node) {
    let one = digest(node);
    let weights = node.scene.stage.models().layers(FIRST)[0].digest.clone();
    let sent = node.scene.stage.models().sent(&weights);

    let two = publish(node, "two");
    let taken = node.command(&["update", FIRST, "--wait"]);
    assert_eq!(taken.code(), 0, "{taken}\n{}", node.scene.story());
    assert_eq!((digest(node), first(node)["previous"].as_str()), (two.clone(), Some(one.as_str())));
    serves(node, &two);

    let three = publish(node, "three");
    let wrong = json!({"kind": "wrong_answer", "text": "a fish", "digests": [three]});
    node.server("/double/faults", Some(&wrong));
    let refused = node.command(&["update", FIRST, "--wait"]);
    assert_eq!(refused.code(), 1, "{refused}\n{}", node.scene.story());
    assert!(refused.stderr.contains("a fish") && refused.stderr.contains(short(&three)), "{refused}");
    node.until_model(FIRST, "loaded", &two);
    serves(node, &two);
    let page = node.command(&[]).expect_success();
    let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(page.contains(&format!("never again {}", short(&three))) && page.contains("a fish"), "{page}");

    goes_back_without_its_registry(node, &one);
    assert_eq!(node.scene.stage.models().sent(&weights), sent, "the weights were there all the time");
}

fn goes_back_without_its_registry(node: &Node, one: &str) {
    // No answer but a refusal, for both who ask it.
    let gone = RegistryFault { path: "/v2/".to_owned(), trouble: Trouble::Status(503), times: None };
    node.scene.stage.models().fault(gone);
    let asked = node.layers_asked();
    let back = node.command(&["rollback", FIRST, "--wait"]);
    assert_eq!(back.code(), 0, "{back}\n{}", node.scene.story());
    assert_eq!(digest(node), one);
    serves(node, one);
    assert_eq!(node.layers_asked(), asked, "the way back has no download");
    node.scene.stage.models().clear_faults();
    let pinned: Value = first(node)["pinned"].clone();
    assert_eq!(pinned, one, "it would move on by itself again");
}
