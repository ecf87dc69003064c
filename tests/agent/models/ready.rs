//! When the node calls itself ready, and what stays as it is.

use crate::Situation;
use crate::scene::{MEBIBYTE, SOON, Scene};
use serde_json::{Value, json};
use tokio::runtime::Handle;

const WAIT: [&str; 4] = ["models", "pull", "--all", "--wait"];

pub(crate) const SITUATIONS: &[Situation] = &[
    ("the_node_is_ready_when_its_models_are_loaded_and_after_a_restart_of_the_server_again", ready),
    ("a_second_start_of_the_agent_changes_nothing_and_its_lock_pins_another_node", started_again),
];

fn ready(runtime: &Handle) {
    let mut scene = Scene::new(runtime, &[]);
    let digest = scene.push("small:1", 1, MEBIBYTE);
    scene.push("spare:1", 2, MEBIBYTE);
    scene.configure("", &[("small:1", "keep_loaded = true"), ("spare:1", "")]);
    // Until it was looked at.
    let slow = json!({"kind": "slow_load", "seconds": 300, "times": 1});
    scene.fault(&slow);
    scene.start_agent();
    let starts = |status: &Value| {
        let model = scene.model(status, "small:1");
        assert!(model["state"] == "loaded" || status["node"]["state"] != "ready", "{status:#}");
        model["state"] == "present"
    };
    scene.until("the model to be pulled", SOON, starts);
    let text = scene.agentctl(&["status"], 1);
    assert!(text.contains("starting"), "{text}");
    scene.until_said("small:1", "is being loaded since");
    scene.clear_faults();
    scene.agentctl(&WAIT, 0);
    scene.until("the node to be ready", SOON, |status| status["node"]["state"] == "ready");
    scene.agentctl(&["status"], 0);
    assert_eq!(scene.model(&scene.status(), "spare:1")["state"], "present");
    // What a client asked for in the meantime is put right, too.
    scene.fault(&slow);
    scene.stop_server();
    scene.until("the node to miss its server", SOON, |status| status["node"]["state"] != "ready");
    scene.agentctl(&["status"], 1);
    scene.start_server();
    scene.until_said("small:1", "is being loaded since");
    scene.agentctl(&["status"], 1);
    scene.clear_faults();
    scene.until_loaded("small:1", &digest, SOON);
    scene.until("the node to be ready again", SOON, |status| status["node"]["state"] == "ready");
    assert_eq!(scene.asked("/api/pull").len(), 0, "nothing was pulled again");
}

/// Requests that change what the server has or holds.
fn changes(scene: &Scene) -> usize {
    let paths = ["/api/pull", "/api/copy", "/api/delete", "/api/generate", "/api/embed"];
    paths.iter().map(|path| scene.asked(path).len()).sum()
}

fn started_again(runtime: &Handle) {
    let mut scene = Scene::new(runtime, &[]);
    scene.push("small:1", 1, MEBIBYTE);
    let digest = scene.push("spare:1", 2, MEBIBYTE);
    let models = [("small:1", "keep_loaded = true"), ("spare:1", "required = true")];
    scene.configure("", &models);
    scene.start_agent();
    scene.agentctl(&WAIT, 0);
    let state = |scene: &Scene| {
        let read = |name: &str| std::fs::read_to_string(scene.paths().state().join(name)).unwrap();
        (read("models.json"), read("models.lock"))
    };
    scene.stop_agent();
    let (before, asked) = (state(&scene), changes(&scene));
    scene.start_agent();
    scene.until("the node to be ready", SOON, |status| status["node"]["state"] == "ready");
    scene.agentctl(&WAIT, 0);
    scene.stop_agent();
    assert_eq!(changes(&scene), asked, "the server was asked to change something");
    assert_eq!(state(&scene), before);

    // A node that begins with the lock goes to what it says, whatever the tag names by now.
    let lock = before.1;
    let mut other = scene.another(runtime);
    other.push("spare:1", 3, MEBIBYTE);
    let drop_in = other.paths().drop_ins().join("90-models.toml");
    other.write(&drop_in, &lock);
    other.configure("", &models);
    other.start_agent();
    other.until_told("spare:1", "model_digest_mismatch", "node.toml pins");
    other.push("spare:1", 2, MEBIBYTE);
    other.agentctl(&WAIT, 0);
    let model = other.model(&other.status(), "spare:1");
    assert_eq!((&model["digest"], &model["pinned"]), (&json!(digest), &json!(digest)), "{model:#}");
}
