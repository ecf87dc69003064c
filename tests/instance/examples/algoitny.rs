//! algoitny-api and algoitny-worker: one image, six keys of one secret; a task that has begun is finished.

use super::deployment::Deployment;
use super::node::Node;
use harness::wait::wait_for;
use serde_json::Value;
use std::time::Duration;

const KEYS: [&str; 6] = [
    "SECRET_KEY",
    "GOOGLE_CLIENT_ID",
    "GOOGLE_CLIENT_SECRET",
    "GEMINI_API_KEY",
    "OPENAI_API_KEY",
    "ANTHROPIC_API_KEY",
];
/// Longer than Docker's own 10 s, so that it shows whose patience it was.
const TASK_SECONDS: f64 = 15.0;
const WORKER_GROUP: &str = "/aws/ec2/algoitny-worker-prod";

#[test]
fn algoitny_api_has_its_six_keys_and_answers_the_load_balancer() {
    let Some(mut deployment) = Deployment::of("algoitny-api") else { return };
    deployment.secret("algoitny-secrets", &KEYS);
    deployment.image("algoitny", "latest", &[("HEALTH_PATH", "/api/health/")]);
    let node = deployment.start();

    node.answers(8000, "/api/health/");
    node.has_keys("api", &KEYS);
    // The engine must not hold the port, or no other container could be ready to take over.
    let container = node.container("api");
    let bindings = container["HostConfig"]["PortBindings"]["8000/tcp"].as_array().unwrap();
    assert!(bindings.iter().all(|binding| binding["HostPort"] != "8000"), "{bindings:?}");
    node.is_confined("api");
    node.ships("/aws/ec2/algoitny-api-prod", 30, &["api"]);
    node.keeps_secrets();
}

#[test]
fn algoitny_worker_finishes_its_task_before_it_is_restarted() {
    let Some(mut deployment) = Deployment::of("algoitny-worker") else { return };
    deployment.secret("algoitny-secrets", &KEYS);
    deployment.image("algoitny", "latest", &[("MODE", &format!("worker={TASK_SECONDS}"))]);
    deployment
        .file("/etc/node-agent/node.d/90-soon.toml", "[services.worker.update]\nmin_healthy = \"1s\"\n");
    let node = deployment.start();

    node.has_keys("worker", &KEYS);
    node.is_confined("worker");
    let before = node.container("worker");
    let command = ["celery", "-A", "config", "worker", "--loglevel=info"];
    assert_eq!(before["Config"]["Cmd"], serde_json::json!(command));
    let published = before["HostConfig"]["PortBindings"].as_object();
    assert!(published.is_none_or(serde_json::Map::is_empty), "{published:?}");

    let restart = node.stage.instance().run(["agentctl", "restart", "worker", "--wait"]);
    assert_eq!(restart.code(), 0, "{restart}");
    let after = node.container("worker");
    assert_ne!(before["State"]["StartedAt"], after["State"]["StartedAt"], "{restart}");
    node.ships(WORKER_GROUP, 30, &["worker"]);
    let told = first_life(&node);
    finished_its_task(&told);
    // From the last word of the old one to the first of the new one: nothing else was waited for.
    assert!(after["State"]["StartedAt"].as_str() > told.last().unwrap()["time"].as_str(), "{told:#?}");
    node.keeps_secrets();
}

/// The lines of the worker's first container, once its last word has arrived.
#[track_caller]
fn first_life(node: &Node) -> Vec<Value> {
    wait_for("the first container's last word", Duration::from_secs(30), || {
        let lines = node.shipped(WORKER_GROUP, "worker");
        let stop = lines.iter().position(|line| line["event"] == "stop");
        stop.map(|stop| lines[..=stop].to_vec()).ok_or_else(|| format!("{lines:#?}"))
    })
    .unwrap()
}

/// SIGTERM came while a task was under way; that task was done to its end, and no other begun.
#[track_caller]
fn finished_its_task(lines: &[Value]) {
    let signal = lines.iter().position(|line| line["event"] == "sigterm");
    let (before, after) = lines.split_at(signal.unwrap_or_else(|| panic!("no signal: {lines:#?}")));
    let last_task = before.iter().rfind(|line| line["event"] == "task").unwrap();
    assert_eq!(last_task["state"], "begun", "{lines:#?}");
    let rest: Vec<_> = after.iter().map(|line| (&line["event"], &line["number"], &line["state"])).collect();
    let (task, stop) = (serde_json::json!("task"), serde_json::json!("stop"));
    assert_eq!(rest.len(), 3, "{lines:#?}");
    assert_eq!((rest[1].0, rest[1].1), (&task, &last_task["number"]), "{lines:#?}");
    assert_eq!((rest[1].2, rest[2].0), (&serde_json::json!("done"), &stop), "{lines:#?}");
    let time = |line: &Value| line["time"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let took = (time(&after[1]) - time(last_task)).total(jiff::Unit::Second).unwrap();
    assert!((TASK_SECONDS..TASK_SECONDS + 2.0).contains(&took), "the task took {took} s: {lines:#?}");
}
