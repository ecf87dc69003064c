//! `agentctl doctor` on a node that is well, and on one where one thing after the other is not.

use super::scene::web::{BLUE_GREEN, Web};
use super::scene::{PATIENCE, Scene};
use harness::requirements::tried;
use serde_json::Value;
use std::time::{Duration, Instant};

/// What a run found, by area and check.
struct Found {
    code: i32,
    report: Value,
    story: String,
}

impl Found {
    fn on(scene: &Scene) -> Found {
        let answer = scene.stage.instance().run(["agentctl", "doctor", "--json"]);
        let report = serde_json::from_str(&answer.stdout).unwrap_or_else(|_| panic!("{answer}"));
        Found { code: answer.code(), report, story: answer.to_string() }
    }

    fn of(&self, check: &str) -> &Value {
        let findings = self.report["findings"].as_array().unwrap();
        findings
            .iter()
            .find(|found| found["check"] == check)
            .unwrap_or_else(|| panic!("no {check}: {}", self.story))
    }

    /// Checks that came to `verdict`.
    fn all(&self, verdict: &str) -> Vec<&str> {
        let findings = self.report["findings"].as_array().unwrap().iter();
        findings
            .filter(|found| found["verdict"] == verdict)
            .map(|found| found["check"].as_str().unwrap())
            .collect()
    }

    /// `check` failed with these words, and says what to do.
    #[track_caller]
    fn failed(&self, check: &str, words: &str, remedy: &str) {
        let found = self.of(check);
        assert_eq!(found["verdict"], "fail", "{check}: {}", self.story);
        assert!(found["message"].as_str().unwrap().contains(words), "{check}: {}", self.story);
        assert!(found["remedy"].as_str().unwrap().contains(remedy), "{check}: {}", self.story);
        assert_eq!(self.code, 1, "{}", self.story);
    }
}

fn well() -> Option<Scene> {
    let mut scene = Scene::set()?;
    scene.push("one", "healthy");
    // As it should be where no container needs the metadata service.
    scene.stage.cloud.state().hop_limit = Some(1);
    let sections = "[volumes.models]\ndevice = \"/dev/sdf\"\nmount = \"/mnt/models\"\nfilesystem = \"ext4\"\n\
                    [secrets.app]\nid = \"stage-secrets\"\nrequire = [\"SECRET_KEY\"]\n";
    let web = Web { more: "environment_from = [\"app\"]", update: BLUE_GREEN, sections, ..Web::default() };
    let node_toml = web.node_toml(&scene.stage);
    scene.boot(&node_toml);
    scene.serves("one");
    scene.settled(&scene.only().digest.unwrap(), &["current"]);
    let shipped = || if scene.shipped().is_empty() { Err("no line yet") } else { Ok(()) };
    harness::wait::wait_for("a line in CloudWatch Logs", PATIENCE, || shipped().map_err(str::to_owned))
        .unwrap();
    Some(scene)
}

#[test]
fn a_node_that_is_well_passes_and_each_thing_that_is_not_is_named_with_what_to_do() {
    let Some(scene) = well() else { return };
    let began = Instant::now();
    let found = Found::on(&scene);
    println!("a healthy node is looked at in {} ms", began.elapsed().as_millis());
    assert_eq!(found.all("fail"), [""; 0], "{}", found.story);
    assert_eq!(found.code, 0, "{}", found.story);
    for check in [
        "node.toml",
        "bootstrap",
        "metadata service",
        "version 2 only",
        "hop limit",
        "role",
        "image of web",
        "secret app",
        "ship logs",
        "clock",
        "engine",
        "volume models",
        "room on models",
        "ports",
        "nftables",
        "node-agent.service",
        "agent",
        "registry of web",
    ] {
        assert_eq!(found.of(check)["verdict"], "pass", "{check}: {}", found.story);
    }
    scene.stage.cloud.state().hop_limit = Some(2);
    let found = Found::on(&scene);
    assert_eq!(found.of("hop limit")["verdict"], "warn", "{}", found.story);
    assert!(
        found.of("hop limit")["message"].as_str().unwrap().starts_with("2, and no service"),
        "{}",
        found.story
    );
    scene.stage.cloud.state().hop_limit = Some(1);
    permissions(&scene);
    files(&scene);
    ports_and_firewall(&scene);
    by_another_user(&scene);
    services_down(&scene);
    tried("a healthy node, and 14 that are not");
}

/// Nothing was put, made or pulled by asking.
fn leaves_nothing(scene: &Scene) {
    let state = scene.stage.cloud.state();
    let groups = state.logs.groups.values();
    let doctor: Vec<&String> =
        groups.flat_map(|group| group.streams.keys()).filter(|name| name.contains("doctor")).collect();
    assert!(doctor.is_empty(), "{doctor:?}");
}

fn permissions(scene: &Scene) {
    let deny = |actions: &[&str]| {
        scene.stage.cloud.state().denied = actions.iter().map(|action| (*action).to_owned()).collect();
    };
    for (action, check) in [
        ("ecr:GetAuthorizationToken", "image of web"),
        ("ecr:DescribeImages", "image of web"),
        ("ecr:BatchGetImage", "image of web"),
        ("ecr:GetDownloadUrlForLayer", "image of web"),
        ("secretsmanager:GetSecretValue", "secret app"),
        ("logs:PutLogEvents", "ship logs"),
    ] {
        deny(&[action]);
        let found = Found::on(scene);
        found.failed(check, "AccessDenied", action);
        // The agent may have been told the same meanwhile; nothing else fails for it.
        assert_eq!(
            found.all("fail").iter().filter(|name| !matches!(**name, "agent")).count(),
            1,
            "{}",
            found.story
        );
    }
    deny(&[]);
    leaves_nothing(scene);
    let ready = |status: &Value| status["node"]["state"] == "ready";
    scene.stage.wait_for_status("the node to be ready", PATIENCE, ready).unwrap();
}

fn files(scene: &Scene) {
    let shell = |line: &str| scene.stage.instance().shell(line);
    shell("cp /etc/node-agent/node.toml /tmp/node.toml && sed -i 's/^image = /imge = /' /etc/node-agent/node.toml")
        .expect_success();
    Found::on(scene).failed("node.toml", "imge", "agentctl config check");
    shell("cp /tmp/node.toml /etc/node-agent/node.toml").expect_success();
    // A file system that was made read-only, as the kernel does after an error.
    shell("mount -o remount,ro /mnt/models").expect_success();
    Found::on(scene).failed("room on models", "read-only", "dmesg");
    shell("mount -o remount,rw /mnt/models").expect_success();
    shell("umount /mnt/models").expect_success();
    Found::on(scene).failed("volume models", "not mounted at /mnt/models", "node-bootstrap plan");
    let answer = scene.stage.bootstrap_again();
    assert_eq!(answer.code(), 0, "{answer}");
    assert_eq!(Found::on(scene).of("volume models")["verdict"], "pass");
}

fn ports_and_firewall(scene: &Scene) {
    let instance = scene.stage.instance();
    let listen = "import socket,time;s=socket.socket();s.setsockopt(1,2,1);s.bind(('0.0.0.0',80));s.listen();time.sleep(60)";
    let line = format!("systemd-run --quiet --unit=squatter python3 -c \"{listen}\"");
    if instance.shell("command -v python3").code() == 0 {
        instance.shell(&line).expect_success();
        let named = harness::wait::wait_for("the squatter to be named", PATIENCE, || {
            let found = Found::on(scene);
            if found.all("fail").contains(&"port 80 of web") { Ok(found) } else { Err(found.story) }
        });
        named.unwrap().failed("port 80 of web", "python3 (process ", "another host port");
        instance.run(["systemctl", "stop", "squatter"]);
    }
}

/// Somebody who may not look is told so, and gets the rest.
fn by_another_user(scene: &Scene) {
    let command =
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "agentctl", "doctor", "--json"];
    let answer = scene.stage.instance().run(command);
    let report: Value = serde_json::from_str(&answer.stdout).unwrap_or_else(|_| panic!("{answer}"));
    let found = Found { code: answer.code(), report, story: answer.to_string() };
    for check in ["node.toml", "hop limit", "engine", "errors of disks", "ports"] {
        assert_eq!(found.of(check)["verdict"], "skip", "{check}: {}", found.story);
    }
    assert_eq!(found.all("fail"), [""; 0], "{}", found.story);
}

fn services_down(scene: &Scene) {
    let instance = scene.stage.instance();
    instance.run(["systemctl", "stop", "node-agent"]).expect_success();
    let found = Found::on(scene);
    found.failed("agent", "cannot reach node-agent", "systemctl status node-agent");
    found.failed("node-agent.service", "inactive", "systemctl start node-agent.service");
    assert_eq!(found.of("image of web")["verdict"], "pass", "without the agent: {}", found.story);
    instance.run(["systemctl", "stop", "docker.socket", "docker.service"]).expect_success();
    let began = Instant::now();
    let found = Found::on(scene);
    found.failed("engine", "does not answer", "systemctl status docker");
    assert_eq!(found.of("image of web")["verdict"], "pass", "without the engine: {}", found.story);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());

    let status = instance.run(["agentctl", "status"]);
    assert_eq!(status.code(), 3, "{status}");
    assert!(status.stdout.starts_with("STALE"), "{status}");
    assert!(status.stdout.contains("node-agent.service is inactive"), "{status}");
    assert!(status.stdout.contains("the last lines of its journal:\n    | "), "{status}");
}
