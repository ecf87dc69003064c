//! Servers that do not bring a model into memory, or lose it.

use crate::Situation;
use crate::scene::{LATE, MEBIBYTE, SOON, Scene};
use serde_json::{Value, json};
use tokio::runtime::Handle;

const WAIT: [&str; 4] = ["models", "pull", "--all", "--wait"];

/// The agent gives a silent server half a minute.
pub(crate) const LONG: &[Situation] = &[
    ("a_server_that_falls_silent_is_told_and_missed_until_it_answers", silent_server),
    ("two_models_that_memory_cannot_hold_do_not_push_each_other_out", memory),
];

pub(crate) const SITUATIONS: &[Situation] = &[
    ("a_load_that_never_ends_is_given_up_and_tried_again", load_hangs),
    ("a_load_that_fails_with_nothing_to_go_back_to_is_told", load_fails),
    ("a_model_on_the_processor_is_shown_there", on_the_processor),
    ("a_model_partly_on_the_processor_is_told_and_serves", partly_on_the_processor),
];

fn silent_server(runtime: &Handle) {
    let mut scene = Scene::new(runtime, &[]);
    let digest = scene.push("small:1", 1, MEBIBYTE);
    scene.configure("", &[("small:1", "keep_loaded = true")]);
    scene.start_agent();
    scene.agentctl(&WAIT, 0);
    scene.fault(&json!({"kind": "silent"}));
    scene.until_problem("model_server_unreachable", "no answer within 5 s");
    let status = scene.status();
    assert_eq!(status["model_server"]["state"], "silent", "{status:#}");
    assert_eq!(scene.model(&status, "small:1")["state"], "absent", "{status:#}");
    scene.agentctl(&["status"], 1);
    for arguments in [vec!["models"], vec!["explain"]] {
        let text = scene.agentctl(&arguments, 0);
        assert!(text.contains("has not answered since"), "{text}");
    }
    let text = scene.agentctl(&["models", "pull", "--all", "--wait", "--timeout", "1"], 1);
    assert!(text.contains("has not answered since"), "{text}");
    scene.clear_faults();
    scene.until_loaded("small:1", &digest, SOON);
    scene.until("the node to be ready", SOON, |status| status["node"]["state"] == "ready");
    assert_eq!(scene.asked("/api/pull").len(), 1, "nothing was pulled again");
}

fn load_hangs(runtime: &Handle) {
    let mut scene = Scene::new(runtime, &[]);
    let digest = scene.push("small:1", 1, MEBIBYTE);
    scene.configure("load_deadline = \"2s\"", &[("small:1", "keep_loaded = true")]);
    scene.fault(&json!({"kind": "load_hang"}));
    scene.start_agent();
    scene.until_told("small:1", "model_server_unreachable", "no answer within 2 s");
    let text = scene.agentctl(&["models", "pull", "--all", "--wait", "--timeout", "2"], 1);
    assert!(text.contains("small:1") && text.contains("no answer within 2 s"), "{text}");
    scene.agentctl(&["status"], 1);
    scene.clear_faults();
    scene.until_loaded("small:1", &digest, SOON);
    scene.agentctl(&WAIT, 0);
    let loads = scene.asked("/api/generate");
    assert!(loads[0]["outcome"] == "cancelled", "the load is given up: {loads:?}");
}

fn load_fails(runtime: &Handle) {
    let mut scene = Scene::new(runtime, &[]);
    let digest = scene.push("small:1", 1, MEBIBYTE);
    scene.configure("", &[("small:1", "keep_loaded = true")]);
    scene.fault(&json!({"kind": "load_error", "text": "unknown model architecture: 'odd'"}));
    scene.start_agent();
    scene.until_told("small:1", "model_failed", "unknown model architecture");
    let tried = |count: usize| {
        let status = scene.until("the model to be left alone", SOON, |status| {
            let reason = scene.model(status, "small:1")["reason"].to_string();
            reason.contains("it is tried again with another version")
        });
        assert_eq!(scene.model(&status, "small:1")["state"], "failed", "{status:#}");
        assert_eq!(scene.asked("/api/generate").len(), count);
    };
    tried(2);
    let text = scene.agentctl(&["models", "pull", "--all", "--wait", "--timeout", "8"], 1);
    assert!(text.contains("unknown model architecture"), "{text}");
    tried(4);
    scene.clear_faults();
    scene.agentctl(&WAIT, 0);
    scene.until_loaded("small:1", &digest, SOON);
}

fn memory(runtime: &Handle) {
    let mut scene = Scene::new(runtime, &[("DOUBLE_MEMORY", "5242880")]);
    scene.push("one:1", 1, 3 * MEBIBYTE);
    scene.push("two:1", 2, 3 * MEBIBYTE);
    scene.configure("", &[("one:1", "keep_loaded = true"), ("two:1", "keep_loaded = true")]);
    scene.start_agent();
    scene.until_told("two:1", "model_memory_short", "its memory does not hold both");
    let check = |status: &Value| {
        assert_eq!(scene.model(status, "one:1")["state"], "loaded", "{status:#}");
        assert_eq!(scene.model(status, "two:1")["state"], "failed", "{status:#}");
    };
    let problem = scene.until_problem("model_memory_short", "3.0 MiB");
    assert_eq!(problem["message"].as_str().unwrap().matches("3.0 MiB").count(), 2, "{problem:#}");
    let text = scene.agentctl(&WAIT, 1);
    assert!(text.contains("its memory does not hold both"), "{text}");
    check(&scene.status());
    // They do not push each other out in turn: after the settling no load is asked for any more.
    let loads = scene.asked("/api/generate").len();
    let looks = scene.asked("/api/ps").len();
    let later = || {
        let seen = scene.asked("/api/ps").len();
        if seen >= looks + 3 { Ok(()) } else { Err(format!("{seen} looks")) }
    };
    harness::wait::wait_for("three more looks at the server", LATE, later).unwrap();
    assert_eq!(scene.asked("/api/generate").len(), loads, "{:?}", scene.asked("/api/generate"));
    check(&scene.status());
}

fn on_the_processor(runtime: &Handle) {
    let mut scene = Scene::new(runtime, &[("DOUBLE_VRAM", "104857600")]);
    let digest = scene.push("small:1", 1, MEBIBYTE);
    scene.configure("", &[("small:1", "keep_loaded = true")]);
    scene.fault(&json!({"kind": "cpu", "times": 1}));
    scene.start_agent();
    scene.agentctl(&WAIT, 0);
    assert_eq!(scene.model(&scene.status(), "small:1")["on_gpu"], false);
    let text = scene.agentctl(&["models"], 0);
    assert!(text.contains(" cpu "), "{text}");
    scene.stop_server();
    scene.start_server();
    scene.until("the model to be on the GPU", SOON, |status| {
        let model = scene.model(status, "small:1");
        model["on_gpu"] == true && model["digest"] == digest
    });
    let text = scene.agentctl(&["models"], 0);
    assert!(text.contains(" gpu "), "{text}");
}

fn partly_on_the_processor(runtime: &Handle) {
    let mut scene = Scene::new(runtime, &[("DOUBLE_VRAM", "104857600")]);
    scene.push("small:1", 1, 2 * MEBIBYTE);
    scene.configure("", &[("small:1", "keep_loaded = true")]);
    scene.fault(&json!({"kind": "cpu", "share": 0.5}));
    scene.start_agent();
    scene.agentctl(&WAIT, 0);
    scene.until_problem("model_partly_on_cpu", "1.0 MiB of the 2.0 MiB");
    assert_eq!(scene.model(&scene.status(), "small:1")["on_gpu"], false);
    // A hint: the node serves.
    scene.agentctl(&["status"], 0);
}
