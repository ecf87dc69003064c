//! The stand-in as a container runs it, against a registry of models: what it fetches, keeps, forgets and breaks.

#![expect(clippy::unwrap_used, reason = "a failed step of a test ends it")]

mod scene;

use std::time::Duration;

use harness::model_registry::{Model, RegistryFault, Trouble, kept_in};
use harness::requirements::{is_root, skipped};
use nix::sys::signal::Signal;
use scene::{DEADLINE, Scene};
use serde_json::json;

const MEBIBYTE: u64 = 1 << 20;
const SEED: u64 = 20_261_121;

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_is_cut_and_taken_up_again_fetches_only_what_is_missing() {
    let scene = Scene::set(&[("DOUBLE_PART_BYTES", "1048576")]).await;
    let digest = scene.models.push("m:1", &Model::new(SEED, 8 * MEBIBYTE));
    scene.faults(json!({"kind": "stall", "at": 60, "times": 1})).await;
    let pull = scene.begin("/api/pull", &json!({"model": "m:1"}));
    scene.until_faults_are_used().await;
    pull.abort();
    scene.until_log("the pull to be cancelled", |log| log[0]["outcome"] == "cancelled").await;
    scene.until_kept(scene.models.size("m:1") * 60 / 100).await;
    let (kept, since) = (kept_in(&scene.folder()), scene.models.served().len());
    assert!(scene.kept_bytes() < 8 * MEBIBYTE, "{kept:?}");

    let lines = scene.pull("m:1").await;
    assert_eq!(lines.last().unwrap()["status"], "success", "{lines:?}");
    assert_eq!(scene.models.fetched_again(since, &kept), [], "kept: {kept:?}");
    assert_eq!(scene.tags().await[0]["digest"], digest.trim_start_matches("sha256:"));
    // Cached now: not a byte more.
    let since = scene.models.served().len();
    scene.pull("m:1").await;
    assert_eq!(scene.models.served().len(), since + 1, "only the manifest");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_still_goes_on_when_the_faults_are_cleared() {
    for kind in ["stall", "silence"] {
        let scene = Scene::set(&[("DOUBLE_PART_BYTES", "1048576")]).await;
        scene.models.push("m:1", &Model::new(SEED, 8 * MEBIBYTE));
        let weights = scene.models.layers("m:1")[0].clone();
        scene.faults(json!({"kind": kind, "at": 60, "times": 1})).await;
        let pull = scene.begin("/api/pull", &json!({"model": "m:1"}));
        scene.until_faults_are_used().await;
        assert!(!pull.is_finished(), "{kind}");
        scene.clear_faults().await;
        assert!(pull.await.unwrap().contains("success"), "{kind}");
        assert_eq!(scene.models.sent(&weights.digest), weights.size, "{kind}: nothing came twice");
        scene.faults(json!({"kind": "slow_load", "seconds": 600, "times": 1})).await;
        let load = scene.begin("/api/generate", &json!({"model": "m:1", "stream": false}));
        scene.until_faults_are_used().await;
        assert!(!load.is_finished(), "{kind}");
        scene.clear_faults().await;
        assert!(load.await.unwrap().contains(r#""done":true"#), "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_goes_on_where_its_part_files_say() {
    let mut scene = Scene::set(&[("DOUBLE_PART_BYTES", "524288"), ("OLLAMA_NOPRUNE", "1")]).await;
    scene.models.push("m:1", &Model::new(SEED, 8 * MEBIBYTE));
    scene.models.limit(Some(16 * MEBIBYTE));
    scene.begin("/api/pull", &json!({"model": "m:1"}));
    scene.until_kept(524_288).await;
    scene.process.signal(Signal::SIGKILL).unwrap();
    scene.process.wait_for_exit(DEADLINE).unwrap();
    let (kept, since) = (kept_in(&scene.folder()), scene.models.served().len());
    scene.restart();
    scene.models.limit(None);
    assert_eq!(scene.pull("m:1").await.last().unwrap()["status"], "success");
    assert_eq!(scene.models.fetched_again(since, &kept), [], "kept: {kept:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_while_it_took_its_part_files_away_trips_over_the_rest_at_every_pull() {
    let mut scene = Scene::set(&[("DOUBLE_PART_BYTES", "524288"), ("OLLAMA_NOPRUNE", "1")]).await;
    scene.models.push("m:1", &Model::new(SEED, 2 * MEBIBYTE));
    scene.models.limit(Some(4 * MEBIBYTE));
    scene.begin("/api/pull", &json!({"model": "m:1"}));
    scene.until_kept(1).await;
    scene.process.signal(Signal::SIGKILL).unwrap();
    scene.process.wait_for_exit(DEADLINE).unwrap();
    scene.models.limit(None);
    let blob = scene.models.layers("m:1")[0].digest.replacen(':', "-", 1);
    std::fs::remove_file(scene.folder().join("blobs").join(format!("{blob}-partial-0"))).unwrap();
    scene.restart();
    for _ in 0..2 {
        let lines = scene.pull("m:1").await;
        let error = lines.last().unwrap()["error"].as_str().unwrap_or_default().to_owned();
        assert!(error.contains("-partial-0: no such file or directory"), "{lines:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_pull_the_same_share_one_transfer_and_it_outlives_the_first() {
    let scene = Scene::set(&[]).await;
    scene.models.push("m:1", &Model::new(SEED, 4 * MEBIBYTE));
    scene.models.limit(Some(4 * MEBIBYTE));
    let first = scene.begin("/api/pull", &json!({"model": "m:1"}));
    scene.until_log("the first pull", |log| log.as_array().unwrap().len() == 1).await;
    let second = scene.begin("/api/pull", &json!({"model": "m:1"}));
    scene.until_log("the second pull", |log| log.as_array().unwrap().len() == 2).await;
    first.abort();
    let lines = second.await.unwrap();
    assert!(lines.contains("success"), "{lines}");
    let weights = &scene.models.layers("m:1")[0];
    assert_eq!(scene.models.sent(&weights.digest), weights.size);
}

#[tokio::test(flavor = "multi_thread")]
async fn start_prunes_what_is_old_unless_it_is_told_not_to() {
    for (noprune, left) in [("0", 1), ("1", 3)] {
        let mut scene = Scene::set(&[("OLLAMA_NOPRUNE", noprune)]).await;
        let blobs = scene.folder().join("blobs");
        let name = |digit: &str, end: &str| format!("sha256-{}{end}", digit.repeat(64));
        for (file, age) in
            [(name("a", ""), 7200), (name("b", "-partial-0"), 7200), (name("c", "-partial"), 0)]
        {
            scene::make_aged_file(&blobs.join(file), Duration::from_secs(age));
        }
        scene.process.signal(Signal::SIGTERM).unwrap();
        assert_eq!(scene.process.wait_for_exit(DEADLINE).unwrap().code(), Some(0));
        scene.restart();
        assert_eq!(blobs.read_dir().unwrap().count(), left, "OLLAMA_NOPRUNE={noprune}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_name_takes_only_the_layers_that_no_other_needs() {
    let scene = Scene::set(&[]).await;
    let first = Model::new(SEED, MEBIBYTE);
    scene.models.push("m:1", &first);
    scene.models.push("m:2", &first.with_template("other"));
    scene.pull("m:1").await;
    scene.pull("m:2").await;
    let copied = scene.ask("POST", "/api/copy", json!({"source": "m:1", "destination": "m:1.kept-0"})).await;
    assert_eq!(copied.status, 200, "{}", copied.text());
    let blobs = || scene.folder().join("blobs").read_dir().unwrap().count();
    assert_eq!(blobs(), 5);
    for (name, left) in [("m:1", 5), ("m:1.kept-0", 4), ("m:2", 0)] {
        let gone = scene.ask("DELETE", "/api/delete", json!({"model": name})).await;
        assert_eq!((gone.status.as_u16(), blobs()), (200, left), "{name}: {}", gone.text());
    }
    let gone = scene.ask("DELETE", "/api/delete", json!({"model": "m:1"})).await;
    assert_eq!((gone.status.as_u16(), &gone.json()["error"]), (404, &json!("model 'm:1' not found")));
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_that_is_short_lets_pinned_models_go_and_never_holds_what_is_too_big() {
    let scene = Scene::set(&[("DOUBLE_MEMORY", "3000000")]).await;
    for (name, seed, size) in [("a:1", 1, 2_000_000), ("b:1", 2, 2_000_000), ("big:1", 3, 4_000_000)] {
        scene.models.push(name, &Model::new(seed, size));
        scene.pull(name).await;
    }
    let load = |name: &str| json!({"model": name, "keep_alive": -1});
    for name in ["a:1", "b:1"] {
        let loaded = scene.ask("POST", "/api/generate", load(name)).await;
        assert_eq!(loaded.json()["done_reason"], "load", "{}", loaded.text());
        let there = scene.ps().await;
        assert_eq!((there.as_array().unwrap().len(), &there[0]["name"]), (1, &json!(name)));
        assert!(there[0]["expires_at"].as_str().unwrap() > "2300", "{there}");
    }
    let refused = scene.ask("POST", "/api/generate", load("big:1")).await;
    assert_eq!(refused.status, 500);
    assert!(refused.text().contains("requires more system memory (3.8 MiB)"), "{}", refused.text());
    let gone = scene.ask("POST", "/api/generate", json!({"model": "b:1", "keep_alive": 0})).await;
    assert_eq!(gone.json()["done_reason"], "unload");
    assert_eq!(scene.ps().await, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_weights_do_not_load_or_answer_nonsense() {
    let scene = Scene::set(&[]).await;
    scene.models.push("m:1", &Model::new(SEED, MEBIBYTE));
    scene.pull("m:1").await;
    let prompt = json!({"model": "m:1", "prompt": "ping", "stream": false, "keep_alive": 0});
    let answer = scene.ask("POST", "/api/generate", prompt.clone()).await;
    assert!(answer.json()["response"].as_str().unwrap().contains("ping"), "{}", answer.text());

    let weights = scene.folder().join("blobs").join(scene.models.layers("m:1")[0].digest.replace(':', "-"));
    scene::flip_a_byte(&weights);
    let answer = scene.ask("POST", "/api/generate", prompt.clone()).await;
    assert!(!answer.json()["response"].as_str().unwrap().contains("ping"), "{}", answer.text());
    std::fs::File::options().write(true).open(&weights).unwrap().set_len(MEBIBYTE / 2).unwrap();
    let answer = scene.ask("POST", "/api/generate", prompt.clone()).await;
    assert!(answer.status == 500 && answer.text().contains("corrupted or incomplete"), "{}", answer.text());
    std::fs::remove_file(&weights).unwrap();
    let answer = scene.ask("POST", "/api/generate", prompt).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["error"]),
        (400, &json!("\"m:1\" does not support generate"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_of_a_pull_ends_as_it_says_and_the_next_pull_succeeds() {
    let mut scene = Scene::set(&[("DOUBLE_PART_BYTES", "262144")]).await;
    let cases = [
        (json!({"kind": "error", "text": "EOF"}), "{\"error\":\"EOF\"}"),
        (json!({"kind": "no_space"}), "no space left on device\"}"),
        (json!({"kind": "drop"}), ""),
        (json!({"kind": "exit"}), ""),
    ];
    for (number, (mut fault, last)) in cases.into_iter().enumerate() {
        let name = format!("m:{number}");
        scene.models.push(&name, &Model::new(SEED + number as u64, 2 * MEBIBYTE));
        (fault["at"], fault["times"]) = (json!(99), json!(1));
        scene.faults(fault.clone()).await;
        let told = scene.begin("/api/pull", &json!({"model": name})).await.unwrap();
        assert!(told.trim_end().ends_with(last) && !told.contains("success"), "{fault}: {told}");
        if fault["kind"] == "exit" {
            assert_eq!(scene.process.wait_for_exit(DEADLINE).unwrap().code(), Some(137));
            scene.restart();
        }
        assert_eq!(scene.pull(&name).await.last().unwrap()["status"], "success", "after {fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_really_full_ends_the_pull_and_room_lets_it_go_on() {
    if !is_root() {
        return skipped("not root; it mounts a small file system");
    }
    let scene = Scene::set(&[("DOUBLE_PART_BYTES", "262144")]).await;
    let small = scene.blobs_on_a_small_disk(4 * MEBIBYTE);
    scene.models.push("m:1", &Model::new(SEED, 8 * MEBIBYTE));
    let lines = scene.pull("m:1").await;
    let error = lines.last().unwrap()["error"].as_str().unwrap_or_default().to_owned();
    assert!(error.starts_with("write /") && error.ends_with(": no space left on device"), "{lines:?}");
    small.grow(16 * MEBIBYTE);
    let lines = scene.pull("m:1").await;
    assert_eq!(lines.last().unwrap()["status"], "success", "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registry_breaks_and_the_pull_goes_on_or_says_why() {
    let scene = Scene::set(&[("DOUBLE_RETRY_SECONDS", "0"), ("DOUBLE_STALL_SECONDS", "0.2")]).await;
    scene.models.push("m:1", &Model::new(SEED, MEBIBYTE));
    let weights = scene.models.layers("m:1")[0].digest.clone();
    for trouble in [Trouble::Drop(100_000), Trouble::Stall(100_000), Trouble::Status(500)] {
        scene.models.fault(RegistryFault { path: weights.clone(), trouble, times: Some(1) });
        // The first request of a blob is HEAD, which has no body to break.
        let times = if trouble == Trouble::Status(500) { None } else { Some(1) };
        scene.models.fault(RegistryFault { path: weights.clone(), trouble, times });
        let lines = scene.pull("m:1").await;
        if times.is_none() {
            assert!(lines.last().unwrap()["error"].is_string(), "{lines:?}");
            scene.models.clear_faults();
        } else {
            assert_eq!(lines.last().unwrap()["status"], "success", "{trouble:?}: {lines:?}");
        }
        scene.ask("DELETE", "/api/delete", json!({"model": "m:1"})).await;
    }
    let lines = scene.pull("nobody:1").await;
    assert_eq!(lines.last().unwrap()["error"], "pull model manifest: file does not exist");
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_loading_and_of_the_gpu_show_and_a_restart_ends_some() {
    let mut scene = Scene::set(&[("DOUBLE_VRAM", "1000000000")]).await;
    scene.models.push("m:1", &Model::new(SEED, MEBIBYTE));
    scene.pull("m:1").await;
    let load = json!({"model": "m:1", "keep_alive": -1});
    scene.faults(json!([
        {"kind": "load_error", "text": "no luck", "times": 1},
        {"kind": "gpu_lost", "until_restart": true},
        {"kind": "wrong_answer", "text": "blue", "digests": [scene.tags().await[0]["digest"].as_str().map(|hex| format!("sha256:{hex}"))]},
    ]))
    .await;
    let failed = scene.ask("POST", "/api/generate", load.clone()).await;
    assert_eq!((failed.status.as_u16(), &failed.json()["error"]), (500, &json!("no luck")));
    scene.ask("POST", "/api/generate", load.clone()).await;
    assert_eq!(scene.ps().await[0]["size_vram"], 0);
    assert_eq!(scene.nvidia_smi(), (Some(255), "Failed to initialize NVML: Unknown Error\n".to_owned()));
    let asked = json!({"model": "m:1", "prompt": "what?", "stream": false});
    assert_eq!(scene.ask("POST", "/api/generate", asked.clone()).await.json()["response"], "blue");

    scene.process.signal(Signal::SIGTERM).unwrap();
    scene.process.wait_for_exit(DEADLINE).unwrap();
    scene.restart();
    scene.ask("POST", "/api/generate", load).await;
    let there = scene.ps().await;
    assert_eq!(there[0]["size_vram"], there[0]["size"]);
    let (code, text) = scene.nvidia_smi();
    assert!(code == Some(0) && text.starts_with("GPU 0: "), "{text}");
    assert_eq!(scene.ask("POST", "/api/generate", asked).await.json()["response"], "blue");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_ends_with_its_client_and_a_silent_server_answers_nobody() {
    let scene = Scene::set(&[]).await;
    scene.models.push("m:1", &Model::new(SEED, MEBIBYTE));
    scene.pull("m:1").await;
    scene
        .faults(json!([{"kind": "load_hang", "times": 1}, {"kind": "silent", "path": "/api/ps", "times": 1}]))
        .await;
    for (path, request) in [("/api/generate", json!({"model": "m:1"})), ("/api/ps", json!(null))] {
        let asked = scene.begin(path, &request);
        let last = |log: &serde_json::Value| log.as_array().unwrap().last().unwrap().clone();
        scene
            .until_log("the request", |log| last(log)["path"] == path && last(log)["outcome"].is_null())
            .await;
        asked.abort();
        scene.until_log("its end", |log| last(log)["outcome"] == "cancelled").await;
    }
    assert_eq!(scene.ps().await, json!([]));
    let loaded = scene.ask("POST", "/api/generate", json!({"model": "m:1"})).await;
    assert_eq!(loaded.status, 200, "the hung load let go of its turn");
}
