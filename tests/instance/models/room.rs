//! Two models, each of which fits the volume alone, and both do not.

use super::node::{Node, ON_A_VOLUME, model, node_toml};
use super::scene::{PATIENCE, Scene};
use harness::model_registry::Model;
use harness::wait::wait_for;
use serde_json::{Value, json};

const MEBIBYTE: u64 = 1 << 20;
/// XFS takes some of it for its own log.
const VOLUME_BYTES: u64 = 340 * MEBIBYTE;
const FIRST_BYTES: u64 = 64 * MEBIBYTE;
const SECOND_BYTES: u64 = 150 * MEBIBYTE;
const RESERVE: u64 = 64 * MEBIBYTE;
pub(super) const FIRST: &str = "first:1b";
const SECOND: &str = "second:7b";
/// What the stand-in answers has the prompt in it.
const MODELS: &str = r#"
[models]
reserve = "64m"
prewarm = "16m"

[models.pull."first:1b"]
keep_loaded = true
smoke = { prompt = "Say hello.", expect = "hello" }

[models.pull."second:7b"]
"#;

pub(super) fn serving_one_of_two() -> Option<Node> {
    let mut scene = Scene::set()?;
    scene.stage.renew_volume_with(VOLUME_BYTES).unwrap();
    let digest = scene.stage.models().push(FIRST, &Model::new(1, FIRST_BYTES));
    scene.stage.models().push(SECOND, &Model::new(2, SECOND_BYTES).with_template("another"));
    scene.stage.push_model_server("0.5.4", &[]).unwrap();
    let node_toml = node_toml(&scene, ON_A_VOLUME, "", MODELS);
    scene.boot(&node_toml);
    let node = Node { scene };
    node.until_model(FIRST, "loaded", &digest);
    Some(node)
}

/// The layers of the second model, with the bytes of each that the registry has sent.
fn sent_of_the_second(node: &Node) -> Vec<(String, u64)> {
    let models = node.scene.stage.models();
    let layers = models.layers(SECOND).into_iter();
    layers.map(|layer| (layer.digest.clone(), models.sent(&layer.digest))).collect()
}

pub(super) fn the_second_is_refused_with_numbers_and_leaves_nothing_behind(node: &Node) {
    let refused = node.until("the second model to be refused", |models| {
        let reason = model(models, SECOND)["reason"].as_str().unwrap_or_default();
        reason.contains("is refused") && model(models, SECOND)["state"] == "failed"
    });
    let free = free_bytes(&refused);
    let both = [FIRST, SECOND].map(|name| node.scene.stage.models().size(name));
    assert!(free + both[0] >= both[1] + RESERVE, "the second does not even fit alone: {free} {both:?}");
    assert!(free < both[1] + RESERVE, "both fit: {free} {both:?}");
    for page in ["agentctl models", "agentctl explain", "agentctl status"] {
        says_the_numbers(node, page);
    }

    assert!(sent_of_the_second(node).iter().all(|(_, sent)| *sent == 0), "{:?}", sent_of_the_second(node));
    let mut wanted: Vec<String> =
        node.scene.stage.models().files(FIRST).into_iter().map(|file| file.0).collect();
    wanted.sort();
    assert_eq!(node.files(), wanted, "the folder has more than the first model");
    let status = node.scene.stage.status().unwrap();
    assert_eq!(node.problems(), ["model_disk_full"]);
    assert_eq!(status["node"]["state"], "degraded", "{status:#}");
}

fn free_bytes(models: &Value) -> u64 {
    models["server"]["free_bytes"].as_u64().unwrap()
}

/// The page has them as `agentctl models --json` had them just before. What is free moves by itself: another look then.
fn says_the_numbers(node: &Node, page: &str) {
    let look = || {
        let models = node.models();
        let free = free_bytes(&models);
        let free = format!("{}.{} MiB are free", free / MEBIBYTE, free % MEBIBYTE * 10 / MEBIBYTE);
        let reason = model(&models, SECOND)["reason"].as_str().unwrap_or_default().to_owned();
        // Where something is wrong, `status` says so by its exit code too.
        let text = node.shell(page).stdout;
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for number in ["it needs 150.0 MiB", free.as_str(), "64.0 MiB have to stay free"] {
            if !reason.contains(number) || !text.contains(number) {
                return Err(format!("no {number:?} in {reason:?} or in\n{text}"));
            }
        }
        Ok(())
    };
    wait_for(&format!("the numbers in `{page}`"), PATIENCE, look).unwrap();
}

/// As a bake asks.
pub(super) fn pulling_all_fails_with_the_cause_and_pulling_the_first_succeeds(node: &Node) {
    let all = node.command(&["pull", "--all", "--wait"]);
    assert_eq!(all.code(), 1, "{all}");
    for word in [SECOND, "150.0 MiB", "64.0 MiB"] {
        assert!(all.stderr.contains(word), "no {word:?} in: {all}");
    }
    let first = node.command(&["pull", FIRST, "--wait"]);
    assert_eq!(first.code(), 0, "{first}");
    assert!(sent_of_the_second(node).iter().all(|(_, sent)| *sent == 0));
}

/// The first model of the node, as `agentctl models` says it now.
pub(super) fn first(node: &Node) -> Value {
    let models = node.models();
    assert_ne!(model(&models, FIRST), &json!(null), "{models:#}");
    model(&models, FIRST).clone()
}
