//! Volumes that are too small.

use crate::Situation;
use crate::scene::{MEBIBYTE, SOON, Scene};
use serde_json::json;
use tokio::runtime::Handle;

const WAIT: [&str; 4] = ["models", "pull", "--all", "--wait"];

pub(crate) const SITUATIONS: &[Situation] = &[
    ("a_model_that_does_not_fit_beside_the_reserve_is_refused_with_the_numbers", reserve),
    ("a_volume_that_is_full_in_mid_pull_is_told_and_tried_again", no_space),
];

fn reserve(runtime: &Handle) {
    let mut scene = Scene::new(runtime, &[]);
    scene.push("small:1", 1, MEBIBYTE);
    scene.configure("reserve = \"900t\"", &[("small:1", "keep_loaded = true")]);
    scene.start_agent();
    scene.until_told("small:1", "model_disk_full", "it needs 1.0 MiB");
    let problem = scene.until_problem("model_disk_full", "921600.0 GiB");
    for word in ["needs", "are free", "have to stay free"] {
        assert!(problem["message"].as_str().unwrap().contains(word), "{problem:#}");
    }
    let text = scene.agentctl(&WAIT, 1);
    assert!(text.contains("it needs 1.0 MiB"), "{text}");
    scene.agentctl(&["status"], 1);
    assert_eq!(scene.asked("/api/pull").len(), 0);
    assert_eq!(harness::model_registry::kept_in(&scene.folder()), [], "nothing is half there");
}

fn no_space(runtime: &Handle) {
    let mut scene = Scene::new(runtime, &[]);
    let digest = scene.push("small:1", 1, MEBIBYTE);
    scene.configure("", &[("small:1", "keep_loaded = true")]);
    scene.fault(&json!({"kind": "no_space", "at": 70}));
    scene.start_agent();
    scene.until_pulls_ended(4, SOON);
    scene.until_told("small:1", "model_disk_full", "no space left on device");
    let text = scene.agentctl(&WAIT, 1);
    assert!(text.contains("no space left on device"), "{text}");
    let status = scene.status();
    assert_eq!(scene.model(&status, "small:1")["state"], "failed", "{status:#}");
    scene.clear_faults();
    scene.agentctl(&WAIT, 0);
    scene.until_loaded("small:1", &digest, SOON);
    scene.agentctl(&["status"], 0);
}
