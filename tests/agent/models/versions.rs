//! New versions that fail, and going from one to another and back.

use crate::Situation;
use crate::scene::{MEBIBYTE, SOON, Scene};
use serde_json::{Value, json};
use tokio::runtime::Handle;

const WAIT: [&str; 4] = ["models", "pull", "--all", "--wait"];
const SMOKE: &str =
    "keep_loaded = true\nsmoke = { prompt = \"say four\", expect = \"four\", within = \"20s\" }";

pub(crate) const SITUATIONS: &[Situation] = &[
    ("a_version_that_answers_wrongly_goes_back_and_is_barred_until_a_person_retries", wrong_answer),
    ("a_version_that_does_not_load_goes_back_and_is_barred", does_not_load),
    ("a_version_whose_load_never_ends_goes_back_and_is_barred", never_ends),
    ("a_good_version_is_gone_back_to_without_the_registry_and_followed_again", there_and_back),
];

/// The first version, loaded; digests of the first and of the second one, which the registry has by now.
fn before(scene: &mut Scene, settings: &str, keys: &str) -> (String, String) {
    let first = scene.push("small:1", 1, MEBIBYTE);
    scene.configure(settings, &[("small:1", keys)]);
    scene.start_agent();
    scene.agentctl(&WAIT, 0);
    scene.until_loaded("small:1", &first, SOON);
    (first, scene.push("small:1", 2, MEBIBYTE))
}

fn update<'a>(name: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["models", "update", name, "--wait"], more].concat()
}

/// The first one serves, the second one is barred for what is `said`, and the node does its job.
fn is_back(scene: &Scene, first: &str, second: &str, said: &str) {
    scene.until_loaded("small:1", first, SOON);
    scene.until_told("small:1", "model_rolled_back", said);
    let status = scene.status();
    let model = scene.model(&status, "small:1");
    assert_eq!(model["update"]["state"], "rolled_back", "{model:#}");
    assert_eq!(model["update"]["candidate"], second, "{model:#}");
    let short: String = second.chars().skip("sha256:".len()).take(12).collect();
    let text = scene.agentctl(&["models"], 0);
    assert!(text.contains(&format!("never again {short}")), "{text}");
    scene.agentctl(&["status"], 0);
    let text = scene.agentctl(&update(&scene.name("small:1"), &[]), 1);
    assert!(text.contains("failed before") && text.contains("--retry"), "{text}");
    let lock = std::fs::read_to_string(scene.paths().state().join("models.lock")).unwrap();
    assert!(lock.contains(first) && !lock.contains(second), "{lock}");
}

fn wrong_answer(runtime: &Handle) {
    let mut scene = Scene::new(runtime, &[]);
    let (first, second) = before(&mut scene, "", SMOKE);
    let name = scene.name("small:1");
    scene.fault(&json!({"kind": "wrong_answer", "text": "five", "digests": [second]}));
    let text = scene.agentctl(&update(&name, &[]), 1);
    assert!(text.contains("the answer was to contain \"four\", and \"five\" came"), "{text}");
    is_back(&scene, &first, &second, "and \"five\" came");
    let weights = scene.registry.layers("small:1")[0].clone();
    assert_eq!(scene.registry.sent(&weights.digest), weights.size, "it came once");
    // Once more, with the same end, and once more when it answers well.
    let text = scene.agentctl(&update(&name, &["--retry"]), 1);
    assert!(text.contains("and \"five\" came"), "{text}");
    is_back(&scene, &first, &second, "and \"five\" came");
    scene.clear_faults();
    scene.agentctl(&update(&name, &["--retry"]), 0);
    scene.until_loaded("small:1", &second, SOON);
    let status = scene.status();
    assert_eq!(status["problems"], json!([]), "{status:#}");
    assert_eq!(scene.model(&status, "small:1")["previous"], first, "{status:#}");
    assert_eq!(scene.registry.sent(&weights.digest), weights.size, "its layers were kept all the time");
}

fn does_not_load(runtime: &Handle) {
    let mut scene = Scene::new(runtime, &[]);
    let (first, second) = before(&mut scene, "", "keep_loaded = true");
    scene.fault(&json!({"kind": "load_error", "text": "invalid file magic", "digests": [second]}));
    let text = scene.agentctl(&update(&scene.name("small:1"), &[]), 1);
    assert!(text.contains("load: ") && text.contains("invalid file magic"), "{text}");
    is_back(&scene, &first, &second, "invalid file magic");
}

fn never_ends(runtime: &Handle) {
    let mut scene = Scene::new(runtime, &[]);
    let (first, second) = before(&mut scene, "load_deadline = \"3s\"", "keep_loaded = true");
    scene.fault(&json!({"kind": "load_hang", "digests": [second]}));
    let text = scene.agentctl(&update(&scene.name("small:1"), &[]), 1);
    assert!(text.contains("no answer within 3 s"), "{text}");
    is_back(&scene, &first, &second, "no answer within 3 s");
}

fn there_and_back(runtime: &Handle) {
    let mut scene = Scene::new(runtime, &[]);
    let (first, second) = before(&mut scene, "", SMOKE);
    let name = scene.name("small:1");
    scene.agentctl(&update(&name, &[]), 0);
    scene.until_loaded("small:1", &second, SOON);
    let text = scene.agentctl(&["models"], 0);
    assert!(text.contains(&format!("agentctl models rollback {name}")), "{text}");
    // Nothing of it is fetched, and the registry may be away.
    scene.registry.remove("small:1");
    let (served, pulls) = (scene.registry.served().len(), scene.asked("/api/pull").len());
    let rollback = ["models", "rollback", &name, "--wait"];
    let text = scene.agentctl(&rollback, 0);
    assert!(text.contains(&first), "{text}");
    let status = scene.status();
    let model = scene.model(&status, "small:1");
    assert_eq!((&model["state"], &model["digest"]), (&json!("loaded"), &json!(first)), "{model:#}");
    assert_eq!((&model["update"]["state"], &model["pinned"]), (&json!("held"), &json!(first)), "{model:#}");
    assert_eq!(scene.asked("/api/pull").len(), pulls);
    let blobs = |served: &harness::model_registry::Served| served.path.contains("/blobs/");
    assert_eq!(scene.registry.served().iter().skip(served).filter(|it| blobs(it)).count(), 0);
    // A third one of which the smoke prompt says no goes back to where the person went.
    let third = scene.push("small:1", 3, MEBIBYTE);
    scene.fault(&json!({"kind": "wrong_answer", "digests": [third]}));
    scene.agentctl(&update(&name, &[]), 1);
    is_back(&scene, &first, &third, "@@@@");
    let names: Vec<Value> = scene.installed();
    assert!(names.iter().all(|name| name["digest"] != third.trim_start_matches("sha256:")), "{names:?}");
}
