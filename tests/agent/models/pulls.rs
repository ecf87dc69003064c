//! Pulls that go wrong at the server, at the registry, or between the two.

use crate::Situation;
use crate::scene::{LATE, MEBIBYTE, SOON, Scene};
use harness::model_registry::{Kept, RegistryFault, Trouble, kept_in};
use harness::wait::wait_for;
use serde_json::json;
use tokio::runtime::Handle;

const BIG: u64 = 16 * MEBIBYTE;
const WAIT: [&str; 4] = ["models", "pull", "--all", "--wait"];

/// The agent gives a pull that brings nothing a minute.
pub(crate) const LONG: &[Situation] = &[
    ("a_pull_that_stalls_at_99_percent_is_taken_up_again", stall),
    ("a_pull_that_falls_silent_is_taken_up_again", silence),
];

pub(crate) const SITUATIONS: &[Situation] = &[
    ("an_error_inside_a_200_is_told_and_tried_again", error_inside_a_200),
    ("a_connection_that_drops_costs_no_byte", drops),
    ("a_server_that_is_killed_in_mid_pull_costs_no_byte", killed_server),
    ("a_tag_that_moves_before_the_pull_is_followed", tag_moves_before),
    ("a_tag_that_moves_in_mid_pull_is_followed", tag_moves_in_mid_pull),
    ("a_pinned_digest_that_the_registry_does_not_have_is_refused", pinned_elsewhere),
    ("a_model_that_the_registry_does_not_have_is_said_to_be_missing", not_found),
    ("a_registry_that_fails_is_told_and_asked_again", registry_fails),
    ("a_registry_that_falls_silent_is_told_and_asked_again", registry_stalls),
];

fn stall(runtime: &Handle) {
    stops(runtime, "stall", 99);
}

fn silence(runtime: &Handle) {
    stops(runtime, "silence", 50);
}

/// Pulls that bring nothing from there on, until that is over.
fn stops(runtime: &Handle, kind: &str, at: u64) {
    let mut scene = Scene::new(runtime, &[]);
    let digest = scene.push("small:1", 1, BIG);
    scene.configure("", &[("small:1", "keep_loaded = true")]);
    scene.fault(&json!({"kind": kind, "at": at}));
    // Slow enough for lines to come before the trouble: a server tells of a pull every 60 ms.
    scene.registry.limit(Some(BIG));
    scene.start_agent();
    let mut waiting = scene.begin_agentctl(&WAIT);
    scene.until_said("small:1", "and nothing has come for");
    assert_eq!(scene.model(&scene.status(), "small:1")["state"], "pulling");
    // The next pull says of the one before that it failed, for the minute in which it brings nothing either.
    scene.until_told("small:1", "model_pull_stalled", "no byte came for 60 s");
    assert!(scene.agent_log().contains("no byte came for 60 s"), "{}", scene.agent_log());
    let (since, kept) = until_kept(&scene, BIG / 100 * at);
    scene.clear_faults();
    scene.until_loaded("small:1", &digest, LATE);
    scene.nothing_came_twice(since, &kept);
    assert_eq!(scene.asked("/api/pull")[0]["outcome"], "cancelled");
    assert!(waiting.wait_for_exit(SOON).unwrap().success(), "{}", waiting.output());
    scene.agentctl(&["status"], 0);
}

/// Until the server has written down so many bytes of a pull that has ended, while none can come. How many requests the
/// registry has served, and what is kept.
fn until_kept(scene: &Scene, at_least: u64) -> (usize, Vec<Kept>) {
    let look = || {
        let (since, kept) = (scene.registry.served().len(), kept_in(&scene.folder()));
        let bytes: u64 = kept.iter().map(|kept| kept.bytes.end - kept.bytes.start).sum();
        if bytes >= at_least { Ok((since, kept)) } else { Err(format!("{bytes} bytes")) }
    };
    wait_for(&format!("{at_least} bytes to be kept"), SOON, look).unwrap()
}

fn error_inside_a_200(runtime: &Handle) {
    let mut scene = Scene::new(runtime, &[]);
    let digest = scene.push("small:1", 1, MEBIBYTE);
    scene.configure("", &[("small:1", "keep_loaded = true")]);
    scene.fault(&json!({"kind": "error", "at": 60, "text": "something broke inside"}));
    scene.start_agent();
    scene.until_told("small:1", "model_server_refused", "something broke inside");
    let text = scene.agentctl(&["models", "pull", "--all", "--wait", "--timeout", "3"], 1);
    assert!(text.contains("not done within 3 s") && text.contains("something broke inside"), "{text}");
    scene.until_pulls_ended(4, SOON);
    // Between two tries, and not while one is under way.
    scene.until("the node to be degraded", SOON, |status| {
        status["node"]["state"] == "degraded" && scene.model(status, "small:1")["state"] == "failed"
    });
    scene.clear_faults();
    scene.agentctl(&WAIT, 0);
    scene.until_loaded("small:1", &digest, SOON);
    scene.agentctl(&["status"], 0);
}

fn drops(runtime: &Handle) {
    let mut scene = Scene::new(runtime, &[]);
    let digest = scene.push("small:1", 1, BIG);
    scene.configure("", &[("small:1", "keep_loaded = true")]);
    scene.fault(&json!({"kind": "drop", "at": 20, "times": 1}));
    scene.fault(&json!({"kind": "drop", "at": 40, "times": 1}));
    // From there on every one, before it brings a byte, so that what is kept can be looked at.
    scene.fault(&json!({"kind": "drop", "at": 60}));
    scene.start_agent();
    let mut waiting = scene.begin_agentctl(&WAIT);
    scene.until_pulls_ended(3, SOON);
    let (since, kept) = until_kept(&scene, BIG / 100 * 60);
    scene.until_told("small:1", "model_server_unreachable", "error reading a body from connection");
    let later = scene.registry.served().split_off(since);
    assert!(later.iter().all(|served| !served.path.contains("/blobs/")), "{later:?}");
    scene.clear_faults();
    scene.until_loaded("small:1", &digest, SOON);
    scene.nothing_came_twice(since, &kept);
    assert!(waiting.wait_for_exit(SOON).unwrap().success(), "{}", waiting.output());
    assert!(scene.asked("/api/pull").len() >= 4, "{:?}", scene.asked("/api/pull"));
}

fn killed_server(runtime: &Handle) {
    let mut scene = Scene::new(runtime, &[]);
    let digest = scene.push("small:1", 1, BIG);
    scene.configure("", &[("small:1", "keep_loaded = true")]);
    // Killed when it writes no file of a part, so that each of them is whole.
    scene.fault(&json!({"kind": "stall", "at": 60, "times": 1}));
    scene.start_agent();
    let mut waiting = scene.begin_agentctl(&WAIT);
    scene.until_said("small:1", "and nothing has come for");
    scene.kill_server();
    let (since, kept) = (scene.registry.served().len(), kept_in(&scene.folder()));
    // The parts that were under way, at most sixteen of 64, are lost with it.
    let bytes: u64 = kept.iter().map(|kept| kept.bytes.end - kept.bytes.start).sum();
    assert!(bytes >= BIG / 4, "{bytes} bytes were kept");
    let silent = |status: &serde_json::Value| status["model_server"]["state"] == "silent";
    scene.until("the server to be missed", SOON, silent);
    scene.until_said("small:1", "has not answered since");
    scene.start_server();
    scene.until_loaded("small:1", &digest, SOON);
    scene.nothing_came_twice(since, &kept);
    assert!(waiting.wait_for_exit(SOON).unwrap().success(), "{}", waiting.output());
    scene.agentctl(&["status"], 0);
}

fn tag_moves_before(runtime: &Handle) {
    let mut scene = Scene::without_server(runtime, &[]);
    scene.push("small:1", 1, MEBIBYTE);
    scene.configure("", &[("small:1", "keep_loaded = true")]);
    scene.start_agent();
    let registry = scene.registry.clone();
    let asked = || {
        let asked =
            registry.served().iter().any(|served| served.path.contains("/manifests/") && served.sent > 0);
        if asked { Ok(()) } else { Err("it was not".to_owned()) }
    };
    wait_for("the registry to be asked", SOON, asked).unwrap();
    let second = scene.push("small:1", 2, MEBIBYTE);
    scene.start_server();
    scene.agentctl(&WAIT, 0);
    scene.until_loaded("small:1", &second, SOON);
    assert_eq!(scene.asked("/api/pull").len(), 1, "what came is what is wanted now");
}

fn tag_moves_in_mid_pull(runtime: &Handle) {
    let mut scene = Scene::new(runtime, &[]);
    scene.push("small:1", 1, BIG);
    scene.configure("", &[("small:1", "keep_loaded = true")]);
    scene.registry.limit(Some(BIG / 64));
    scene.start_agent();
    let pulling = |status: &serde_json::Value| scene.model(status, "small:1")["state"] == "pulling";
    scene.until("the pull to begin", SOON, pulling);
    let second = scene.push("small:1", 2, MEBIBYTE);
    let name = scene.name("small:1");
    let mut waiting = scene.begin_agentctl(&["models", "update", &name, "--wait"]);
    scene.until_said("small:1", &format!("pulls {}", &second[.."sha256:".len() + 12]));
    scene.registry.limit(None);
    assert!(waiting.wait_for_exit(SOON).unwrap().success(), "{}", waiting.output());
    let text = scene.agentctl(&["explain", &name], 0);
    assert!(text.contains("overtaken"), "{text}");
    let status = scene.status();
    let model = scene.model(&status, "small:1");
    assert_eq!((&model["state"], &model["digest"]), (&json!("loaded"), &json!(second)), "{model:#}");
    assert!(scene.agent_log().contains("the tag has moved"), "{}", scene.agent_log());
    assert_eq!(scene.asked("/api/pull")[0]["outcome"], "cancelled");
}

fn pinned_elsewhere(runtime: &Handle) {
    let mut scene = Scene::new(runtime, &[]);
    let first = scene.push("small:1", 1, MEBIBYTE);
    scene.push("small:1", 2, MEBIBYTE);
    let keys = format!("keep_loaded = true\ndigest = \"{first}\"");
    scene.configure("", &[("small:1", &keys)]);
    scene.start_agent();
    scene.until_told("small:1", "model_digest_mismatch", "node.toml pins");
    let text = scene.agentctl(&WAIT, 1);
    assert!(text.contains("node.toml pins"), "{text}");
    assert_eq!(scene.asked("/api/pull").len(), 0, "it is refused before the pull");
    scene.agentctl(&["status"], 1);
    // The registry has it again.
    scene.push("small:1", 1, MEBIBYTE);
    scene.agentctl(&WAIT, 0);
    scene.until_loaded("small:1", &first, SOON);
}

fn not_found(runtime: &Handle) {
    let mut scene = Scene::new(runtime, &[]);
    scene.configure("", &[("small:1", "keep_loaded = true")]);
    scene.start_agent();
    scene.until_told("small:1", "model_not_found", "small:1");
    let text = scene.agentctl(&WAIT, 1);
    assert!(text.contains("small:1") && text.contains("hint"), "{text}");
    let digest = scene.push("small:1", 1, MEBIBYTE);
    scene.agentctl(&WAIT, 0);
    scene.until_loaded("small:1", &digest, SOON);
}

fn registry_fails(runtime: &Handle) {
    let mut scene = Scene::new(runtime, &[]);
    let digest = scene.push("small:1", 1, MEBIBYTE);
    scene.configure("", &[("small:1", "keep_loaded = true")]);
    let fault = RegistryFault { path: "/manifests/".to_owned(), trouble: Trouble::Status(500), times: None };
    scene.registry.fault(fault.clone());
    scene.start_agent();
    scene.until_told("small:1", "model_registry_unreachable", "500");
    let text = scene.agentctl(&["models", "pull", "--all", "--wait", "--timeout", "2"], 1);
    assert!(text.contains("500"), "{text}");
    scene.registry.clear_faults();
    scene.agentctl(&WAIT, 0);
    scene.until_loaded("small:1", &digest, SOON);
    // What is there serves without the registry; an update of it is refused, and changes nothing.
    scene.registry.fault(fault);
    let text = scene.agentctl(&["models", "update", &scene.name("small:1"), "--wait"], 1);
    assert!(text.contains("500") && text.contains("nothing was changed"), "{text}");
    scene.agentctl(&["status"], 0);
}

fn registry_stalls(runtime: &Handle) {
    let mut scene = Scene::new(runtime, &[]);
    let digest = scene.push("small:1", 1, MEBIBYTE);
    scene.configure("", &[("small:1", "keep_loaded = true")]);
    let fault = RegistryFault { path: "/manifests/".to_owned(), trouble: Trouble::Stall(10), times: None };
    scene.registry.fault(fault.clone());
    scene.start_agent();
    scene.until_told("small:1", "model_registry_unreachable", "no answer within 20 s");
    scene.registry.clear_faults();
    scene.agentctl(&WAIT, 0);
    scene.until_loaded("small:1", &digest, SOON);
    scene.registry.fault(fault);
    let text = scene.agentctl(&["models", "update", &scene.name("small:1"), "--wait"], 1);
    assert!(text.contains("no answer within 20 s") && text.contains("nothing was changed"), "{text}");
    scene.agentctl(&["status"], 0);
}
