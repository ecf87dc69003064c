//! GPUs: what the server's container sees of them, and what is done when it does not any more.
//!
//! The engine takes a request for GPUs where NVIDIA's hook is on its PATH; the stand-in's image has `nvidia-smi`. Both
//! situations wait a minute for the remedy, so they wait side by side. The second and third restart come minutes later,
//! and are the planner's tests'.

use super::node::{Node, ON_A_VOLUME, model, node_toml};
use super::scene::Scene;
use harness::model_registry::Model;
use serde_json::{Value, json};

const NAME: &str = "first:1b";
const HOOK: &str = "/usr/local/sbin/nvidia-container-runtime-hook";
const MODELS: &str = "[models]\nreserve = \"64m\"\n[models.pull.\"first:1b\"]\nkeep_loaded = true\n";

/// A node whose model is on its GPU.
fn serving() -> Option<Node> {
    let mut scene = Scene::beside()?;
    scene.stage.description().files.push((HOOK.to_owned(), b"#!/bin/sh\nexit 0\n".to_vec(), 0o755));
    let digest = scene.stage.models().push(NAME, &Model::new(1, 2 << 20));
    scene.stage.push_model_server("0.5.4", &[("DOUBLE_VRAM", "1073741824")]).unwrap();
    let node_toml = node_toml(&scene, ON_A_VOLUME, "gpus = \"all\"", MODELS);
    scene.boot(&node_toml);
    let node = Node { scene };
    node.until_model(NAME, "loaded", &digest);
    let seen = node.until("the GPU to be seen", |models| models["server"]["gpus"] == 1);
    assert_eq!((&model(&seen, NAME)["on_gpu"], &seen["server"]["gpu_restarts"]), (&json!(true), &json!(0)));
    assert_eq!(node.problems(), [""; 0]);
    Some(node)
}

/// The server lets go of the model; the agent brings it back, and looks after the GPU with it.
fn unload(node: &Node) {
    node.server("/api/generate", Some(&json!({"model": NAME, "keep_alive": 0})));
}

fn fault(node: &Node, fault: &Value) {
    node.server("/double/faults", Some(fault));
}

/// The container is restarted once for it, and everything is as before.
fn is_mended_by_a_restart(node: &Node, why: &str) {
    let before = node.container();
    node.until(&format!("the loss to be told: {why}"), |_| {
        let told = node.problem("model_gpu_lost");
        told.is_some_and(|message| message.contains(why) && message.contains("restarted 1m after that"))
    });
    assert_eq!(node.container(), before, "a moment's trouble is no loss");
    let mended = node.until("the model to be on its GPU again", |models| {
        models["server"]["gpu_restarts"] == 1
            && models["server"]["gpus"] == 1
            && model(models, NAME)["on_gpu"] == true
    });
    assert_ne!(node.container(), before, "{mended:#}");
    node.until("nothing to be wrong any more", |_| node.problems().is_empty());
    let page = node.command(&[]).expect_success();
    assert!(page.contains("restarted once for a GPU that was gone"), "{page}");
}

#[test]
fn a_gpu_that_the_container_has_lost_comes_back_with_a_restart_of_it() {
    let Some(node) = serving() else { return };
    fault(&node, &json!({"kind": "gpu_lost", "until_restart": true}));
    unload(&node);
    is_mended_by_a_restart(&node, "Failed to initialize NVML");
}

#[test]
fn a_model_that_fell_to_the_cpu_comes_back_with_a_restart_and_one_that_fell_in_part_is_told() {
    let Some(node) = serving() else { return };
    fault(&node, &json!({"kind": "cpu", "until_restart": true}));
    unload(&node);
    is_mended_by_a_restart(&node, "wholly on the CPU");

    let before = node.container();
    fault(&node, &json!({"kind": "cpu", "share": 0.5, "until_restart": true}));
    unload(&node);
    node.until("the part on the CPU to be told", |models| {
        model(models, NAME)["on_gpu"] == false && node.problems() == ["model_partly_on_cpu"]
    });
    let status = node.scene.stage.status().unwrap();
    assert_eq!(status["node"]["state"], "ready", "it serves, and no restart would change it: {status:#}");
    let page = node.shell("agentctl status").expect_success();
    assert!(page.contains("1.0 MiB of the 2.0 MiB of first:1b are on the GPU"), "{page}");
    assert_eq!(node.container(), before);
}
