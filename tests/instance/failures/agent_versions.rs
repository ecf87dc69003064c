//! A new version of the agent that does not become ready: the old one is put back, serves on, and the new one is not
//! tried again. The container that serves is touched by none of it.

use super::{SOON, boot, complaints, container_of, is_healthy, is_ready, line_of, problem, service, stage};
use flate2::Compression;
use flate2::write::GzEncoder;
use harness::instance::Answer;
use harness::stage::{Stage, dist};
use harness::wait::wait_for;
use std::fs;

/// What becomes of `node-agent` in a release.
enum Agent<'a> {
    Script(&'a str),
    /// The one of `make dist`.
    Good,
}

/// Where the files of a version lie on the node.
const FILES: &str = "/usr/bin/node-agent /usr/bin/agentctl /usr/bin/node-bootstrap \
    /etc/systemd/system/node-agent.service /etc/systemd/system/node-bootstrap.service \
    /usr/lib/tmpfiles.d/node-agent.conf /usr/lib/sysusers.d/node-agent.conf";

/// A release tarball as `make dist` makes one, with units that differ, and an agent of the test's making.
fn release(version: &str, agent: &Agent<'_>) -> Vec<u8> {
    let systemd = |name: &str| fs::read(harness::stage::workspace().join("systemd").join(name)).unwrap();
    let unit = String::from_utf8(systemd("node-agent.service")).unwrap();
    let unit = format!("# Of {version}.\n{}", unit.replace("TimeoutStartSec=90s", "TimeoutStartSec=1s"));
    let program = match agent {
        Agent::Script(script) => format!("#!/bin/sh\n{script}\n").into_bytes(),
        Agent::Good => fs::read(dist().join("node-agent")).unwrap(),
    };
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, content, mode) in [
        ("bin/node-agent", program, 0o755),
        ("bin/agentctl", fs::read(dist().join("agentctl")).unwrap(), 0o755),
        ("systemd/node-agent.service", unit.into_bytes(), 0o644),
        ("systemd/node-agent.tmpfiles.conf", systemd("node-agent.tmpfiles.conf"), 0o644),
        ("systemd/node-more.service", b"[Service]\nExecStart=/bin/true\n".to_vec(), 0o644),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        builder
            .append_data(&mut header, format!("node-agent-{version}-x86_64/{name}"), &content[..])
            .unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

/// A node that serves, and what it must look like when the old version is back.
struct Before {
    stage: Stage,
    services: String,
    sums: String,
    container: String,
}

impl Before {
    fn serving() -> Option<Before> {
        let mut stage = stage()?;
        let services = service("web", 80, "");
        let node_toml = [stage.agent_section(), services.clone()].concat();
        let (code, output) = boot(&mut stage, &node_toml);
        assert_eq!(code, 0, "{output}");
        let status = stage.wait_for_status("the node to be ready", SOON, is_ready).unwrap();
        let sums = sums(&stage);
        Some(Before { container: container_of(&status, "web"), stage, services, sums })
    }

    fn update(&self, version: &str, agent: &Agent<'_>) -> (String, Answer) {
        let section = self.stage.publish(&format!("{version}.tar.gz"), &release(version, agent)).unwrap();
        let node_toml = [section, self.services.clone()].concat();
        let answer = self.stage.bootstrap("run", &node_toml);
        (node_toml, answer)
    }

    fn fetched(&self) -> u64 {
        self.stage.cloud.requests("files", "Get")
    }

    /// The old version is there, whole, and serves with the container that it had; the problem says why.
    #[track_caller]
    fn old_one_serves(&self, words: &[&str]) {
        assert_eq!(sums(&self.stage), self.sums, "the old version's files, and no others");
        let told =
            |status: &serde_json::Value| problem(status, "release_rolled_back", "node-agent-").is_some();
        let status =
            self.stage.wait_for_status("the old version to tell of the new one", SOON, told).unwrap();
        let line = line_of(&status, "release_rolled_back", "node-agent-");
        assert!(words.iter().all(|word| line.contains(word)), "{words:?}: {line}");
        assert_eq!(container_of(&status, "web"), self.container, "{status:#}");
        assert!(self.stage.get("/").is_ok_and(|(code, _)| code == 200));
        let left = self.stage.instance().shell("ls /var/lib/node-agent/trial.json");
        assert_ne!(left.code(), 0, "the trial has ended: {left}");
    }
}

/// Of every file of the agent, and the names of its units.
fn sums(stage: &Stage) -> String {
    let line = format!("sha256sum {FILES}; ls /etc/systemd/system/node-*");
    stage.instance().shell(&line).expect_success()
}

fn main_pid(stage: &Stage) -> String {
    stage.instance().run(["systemctl", "show", "-p", "MainPID", "node-agent"]).expect_success()
}

#[test]
fn a_version_that_crashes_is_taken_back_and_not_tried_again() {
    let Some(before) = Before::serving() else { return };
    let crashes = Agent::Script("echo 'cannot find my own head' >&2; exit 1");
    let (broken, answer) = before.update("0.2.0", &crashes);
    assert_eq!(answer.code(), 1, "{answer}");
    before.old_one_serves(&["node-agent-0.2.0-x86_64", "exit status 1", "cannot find my own head", "0.1.0"]);
    let told = complaints(&before.stage);
    let told: Vec<_> = told.iter().filter(|line| line.contains("start agent: ")).collect();
    assert!(told.len() == 1 && told[0].contains("node-agent-0.2.0-x86_64"), "{told:#?}");

    let (pid, fetched) = (main_pid(&before.stage), before.fetched());
    for _ in 0..2 {
        let again = before.stage.bootstrap("run", &broken);
        assert_eq!(again.code(), 1, "what node.toml wants does not run: {again}");
        before.old_one_serves(&["node-agent-0.2.0-x86_64", "exit status 1"]);
    }
    assert_eq!((main_pid(&before.stage), before.fetched()), (pid, fetched), "fetched or started again");

    let (_, answer) = before.update("0.3.0", &Agent::Good);
    assert_eq!(answer.code(), 0, "another version is tried: {answer}");
    let status = before.stage.wait_for_status("the node to be ready", SOON, is_ready).unwrap();
    let problems = status["problems"].as_array().unwrap();
    // Containers run: the units that differ are read at the next boot.
    assert!(
        problems.iter().all(|problem| problem["code"] == "daemon_reload_put_off"),
        "{answer}\n{problems:#?}"
    );
    assert_eq!(container_of(&status, "web"), before.container);
    let unit = before.stage.instance().shell("head -n 1 /etc/systemd/system/node-agent.service").stdout;
    assert_eq!(unit, "# Of 0.3.0.\n");
}

#[test]
fn a_version_that_never_reports_ready_is_taken_back_also_after_a_reboot() {
    let Some(mut before) = Before::serving() else { return };
    let (_, answer) = before.update("0.2.0", &Agent::Script("exec sleep 1000"));
    assert_eq!(answer.code(), 1, "{answer}");
    before.old_one_serves(&["node-agent-0.2.0-x86_64", "activating"]);
    before.stage.reboot().unwrap();
    // Degraded: what node.toml wants does not run.
    let serves = |status: &serde_json::Value| is_healthy(status, "web");
    let status = before.stage.wait_for_status("the service to be back", SOON, serves).unwrap();
    before.container = container_of(&status, "web");
    before.old_one_serves(&["node-agent-0.2.0-x86_64", "activating"]);
}

#[test]
fn a_version_that_refuses_the_configuration_is_tried_again_with_another_one() {
    let Some(mut before) = Before::serving() else { return };
    let (_, answer) =
        before.update("0.2.0", &Agent::Script("echo 'line 1: I do not like this' >&2; exit 78"));
    assert_eq!(answer.code(), 1, "{answer}");
    before.old_one_serves(&["exit status 78", "line 1: I do not like this", "correct node.toml"]);
    let fetched = before.fetched();
    before.services.push_str("[var]\nother = \"configuration\"\n");
    let (_, answer) =
        before.update("0.2.0", &Agent::Script("echo 'line 1: I do not like this' >&2; exit 78"));
    assert_eq!((answer.code(), before.fetched()), (1, fetched + 1), "{answer}");
    before.old_one_serves(&["exit status 78"]);
}

#[test]
fn a_bootstrap_that_is_killed_during_the_trial_is_continued_by_the_next_one() {
    let Some(before) = Before::serving() else { return };
    let section = before.stage.publish("0.2.0.tar.gz", &release("0.2.0", &Agent::Script("exec sleep 1000")));
    let node_toml = [section.unwrap(), before.services.clone()].concat();
    let instance = before.stage.instance();
    instance
        .run_with_input(["sh", "-c", "cat > /etc/node-agent/node.toml"], node_toml.as_bytes())
        .expect_success();
    instance.run(["systemctl", "restart", "--no-block", "node-bootstrap"]).expect_success();
    wait_for("the new version to be started", SOON, || {
        let running = instance.shell("cat /proc/$(systemctl show -p MainPID --value node-agent)/cmdline");
        if running.stdout.contains("sleep") { Ok(()) } else { Err(running.to_string()) }
    })
    .unwrap();
    instance.run(["systemctl", "kill", "--signal=KILL", "node-bootstrap"]).expect_success();
    wait_for("bootstrap to be gone", SOON, || {
        let state = instance.run(["systemctl", "is-failed", "node-bootstrap"]);
        if state.code() == 0 { Ok(()) } else { Err(state.to_string()) }
    })
    .unwrap();
    instance.shell("test -s /var/lib/node-agent/trial.json").expect_success();
    let answer = before.stage.bootstrap_again();
    assert_eq!(answer.code(), 1, "{answer}");
    before.old_one_serves(&["node-agent-0.2.0-x86_64", "activating"]);
}
