//! An engine that is stopped, one that is wedged, and no AWS at all: what runs is kept running, and `agentctl` tells the
//! truth within a second.

use super::{SOON, boot, container_of, is_healthy, is_ready, line_of, named, problem, service, stage};
use harness::local_cloud::{Fault, FaultKind};
use harness::stage::Stage;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Entering the instance included.
const ANSWER: Duration = Duration::from_secs(1);

/// `agentctl status --json` with its exit code, within a second.
#[track_caller]
fn prompt_status(stage: &Stage) -> (i32, Value) {
    let started = Instant::now();
    let answer = stage.instance().run(["agentctl", "status", "--json"]);
    let took = started.elapsed();
    assert!(took < ANSWER, "agentctl took {took:?}");
    (answer.code(), serde_json::from_str(&answer.stdout).unwrap_or_else(|_| panic!("{answer}")))
}

/// Waits until the engine's silence is known; every answer on the way comes within a second.
#[track_caller]
fn silence_is_told(stage: &Stage) -> Value {
    harness::wait::wait_for("the engine's silence to be told", SOON, || {
        let (code, status) = prompt_status(stage);
        let told = problem(&status, "docker_unresponsive", "/var/run/docker.sock").is_some();
        if told && code == 1 { Ok(status) } else { Err(format!("{code}: {status:#}")) }
    })
    .unwrap()
}

fn ready_node(stage: &mut Stage, rest: &str) -> String {
    let node_toml = [stage.agent_section(), service("web", 80, ""), rest.to_owned()].concat();
    let (code, output) = boot(stage, &node_toml);
    assert_eq!(code, 0, "{output}");
    let status = stage.wait_for_status("the node to be ready", SOON, is_ready).unwrap();
    container_of(&status, "web")
}

#[test]
fn a_stopped_engine_is_told_and_the_node_is_ready_again_when_it_is_back() {
    let Some(mut stage) = stage() else { return };
    ready_node(&mut stage, "");
    stage.instance().run(["systemctl", "stop", "docker.socket", "docker.service"]).expect_success();
    let status = silence_is_told(&stage);
    let line = line_of(&status, "docker_unresponsive", "docker.sock");
    assert!(line.contains("systemctl status docker"), "{line}");
    assert_eq!(status["node"]["state"], "degraded");
    assert_ne!(named(&status, "web")["health"], "passing", "{status:#}");
    let text = stage.instance().run(["agentctl", "explain", "web"]).expect_success();
    assert!(text.contains("the Docker engine does not answer; nothing is done until it does"), "{text}");

    stage.instance().run(["systemctl", "start", "docker"]).expect_success();
    stage.wait_for_status("the node to be ready again", SOON, is_ready).unwrap();
    assert!(stage.get("/").is_ok_and(|(code, _)| code == 200));
}

#[test]
fn a_wedged_engine_restarts_nothing() {
    let Some(mut stage) = stage() else { return };
    let container = ready_node(&mut stage, "");
    let pid =
        stage.instance().run(["systemctl", "show", "-p", "MainPID", "--value", "docker"]).expect_success();
    let signal = |name: &str| stage.instance().run(["kill", name, pid.trim()]).expect_success();
    signal("-STOP");
    let status = silence_is_told(&stage);
    let web = named(&status, "web");
    assert_eq!(
        (web["health"].as_str(), container_of(&status, "web")),
        (Some("unknown"), container.clone()),
        "{web:#}"
    );
    assert!(stage.get("/").is_ok_and(|(code, _)| code == 200), "the container runs on");

    signal("-CONT");
    let status = stage.wait_for_status("the node to be ready again", SOON, is_ready).unwrap();
    assert_eq!(container_of(&status, "web"), container);
    assert_eq!(named(&status, "web")["restarts"], 0);
    assert_eq!(status["problems"], serde_json::json!([]));
}

#[test]
fn without_aws_what_runs_is_kept_running_also_by_an_agent_that_starts_anew() {
    let Some(mut stage) = stage() else { return };
    let container =
        ready_node(&mut stage, "[secrets.app]\nid = \"stage-secrets\"\n[logs]\ngroup = \"/failures\"\n");
    for service in ["imds", "secretsmanager", "ecr", "logs", "registry", "files"] {
        stage.cloud.fault(Fault::on(service, FaultKind::Reset));
    }
    let unreachable = |status: &Value| problem(status, "registry_unreachable", "web").is_some();
    let status = stage.wait_for_status("the registry's silence to be told", SOON, unreachable).unwrap();
    line_of(&status, "registry_unreachable", "web");
    assert!(is_healthy(&status, "web") && container_of(&status, "web") == container, "{status:#}");

    stage.instance().shell("kill -KILL $(systemctl show -p MainPID --value node-agent)").expect_success();
    let status = stage
        .wait_for_status("the new agent to have taken the container over", SOON, |status| {
            is_healthy(status, "web") && unreachable(status)
        })
        .unwrap();
    assert_eq!(container_of(&status, "web"), container);
    let started =
        stage.instance().run(["docker", "inspect", "-f", "{{.RestartCount}} {{.State.Status}}", &container]);
    assert_eq!(started.expect_success().trim(), "0 running");

    stage.cloud.clear_faults();
    let status = stage.wait_for_status("the node to be ready", SOON, is_ready).unwrap();
    assert_eq!(container_of(&status, "web"), container);
}
