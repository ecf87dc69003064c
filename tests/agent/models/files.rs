//! Files on the volume that are not what their names say.

use crate::Situation;
use crate::scene::{MEBIBYTE, SOON, Scene};
use std::os::unix::fs::FileExt as _;
use tokio::runtime::Handle;

const WAIT: [&str; 4] = ["models", "pull", "--all", "--wait"];

pub(crate) const SITUATIONS: &[Situation] = &[
    ("a_layer_with_other_bytes_is_found_and_pulled_again", other_bytes),
    ("a_layer_that_is_cut_short_is_found_and_pulled_again", cut_short),
    ("a_damaged_layer_that_no_registry_has_goes_back_to_the_version_before", goes_back),
];

fn weights(scene: &Scene, short: &str) -> std::path::PathBuf {
    let digest = scene.registry.layers(short)[0].digest.replace(':', "-");
    scene.folder().join("blobs").join(digest)
}

fn open(path: &std::path::Path) -> std::fs::File {
    std::fs::OpenOptions::new().write(true).open(path).unwrap()
}

/// A volume that was baked elsewhere: the server has the model before the agent starts.
fn damaged(scene: &mut Scene, damage: impl Fn(&std::fs::File)) -> String {
    let digest = scene.push("small:1", 1, MEBIBYTE);
    scene.pull_by_hand("small:1");
    damage(&open(&weights(scene, "small:1")));
    scene.configure("", &[("small:1", "keep_loaded = true")]);
    digest
}

/// The repair is seen while it is held up: a mebibyte takes half a minute then.
fn is_told(scene: &mut Scene, said: &str) {
    scene.registry.limit(Some(32 << 10));
    scene.start_agent();
    scene.until_told("small:1", "model_damaged_layer", said);
    scene.registry.limit(None);
}

fn is_repaired(scene: &Scene, digest: &str) {
    scene.agentctl(&WAIT, 0);
    scene.until_loaded("small:1", digest, SOON);
    let bytes = std::fs::read(weights(scene, "small:1")).unwrap();
    let wanted = harness::model_registry::Content::weights(1, MEBIBYTE, false);
    assert_eq!(bytes.len() as u64, MEBIBYTE);
    assert!(bytes[4096..] == wanted.read(4096..MEBIBYTE)[..], "the file is not what it should be");
    scene.until("the node to be ready", SOON, |status| status["node"]["state"] == "ready");
    scene.agentctl(&["status"], 0);
}

fn other_bytes(runtime: &Handle) {
    let mut scene = Scene::new(runtime, &[]);
    let digest = damaged(&mut scene, |file| file.write_all_at(b"damage", MEBIBYTE / 2).unwrap());
    is_told(&mut scene, "is not what its name says");
    is_repaired(&scene, &digest);
}

fn cut_short(runtime: &Handle) {
    let mut scene = Scene::new(runtime, &[]);
    let digest = damaged(&mut scene, |file| file.set_len(MEBIBYTE / 2).unwrap());
    is_told(&mut scene, "is missing or is not what its name says");
    is_repaired(&scene, &digest);
}

fn goes_back(runtime: &Handle) {
    let mut scene = Scene::new(runtime, &[]);
    let first = scene.push("small:1", 1, MEBIBYTE);
    scene.configure("", &[("small:1", "keep_loaded = true")]);
    scene.start_agent();
    scene.agentctl(&WAIT, 0);
    let second = scene.push("small:1", 2, MEBIBYTE);
    let name = scene.name("small:1");
    scene.agentctl(&["models", "update", &name, "--wait"], 0);
    let path = weights(&scene, "small:1");
    // The server ends, the file is cut, and the registry is away.
    scene.stop_agent();
    scene.stop_server();
    open(&path).set_len(MEBIBYTE / 2).unwrap();
    scene.registry.remove("small:1");
    scene.start_server();
    scene.start_agent();
    scene.until_loaded("small:1", &first, SOON);
    assert_eq!(scene.asked("/api/pull").len(), 0, "{:?}", scene.asked("/api/pull"));
    assert!(scene.agent_log().contains("is good and kept"), "{}", scene.agent_log());
    // When the registry has it again, the damaged file does not stand in its way.
    scene.push("small:1", 2, MEBIBYTE);
    scene.agentctl(&["models", "update", &name, "--wait"], 0);
    scene.until_loaded("small:1", &second, SOON);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), MEBIBYTE);
}
