//! An instance without Docker, and one whose Docker never answers.

use super::{SOON, boot, boot_log, container_of, is_healthy, is_ready, line_of, service, stage};
use harness::instance::PACKAGES;
use harness::wait::wait_for;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

/// Holds the lock of dpkg as another apt-get does, until its input ends.
const HOLDER: &str = "import fcntl, sys\nlock = open('/var/lib/dpkg/lock-frontend', 'w')\n\
    fcntl.lockf(lock, fcntl.LOCK_EX)\nprint('held', flush=True)\nsys.stdin.read()\n";

#[test]
fn docker_is_installed_from_the_distribution_once_another_package_manager_is_done() {
    let Some(mut stage) = stage() else { return };
    let before = format!(
        "set -e\nsystemctl stop docker.socket docker.service containerd\n\
         dpkg --remove --force-depends docker.io containerd runc >/dev/null\n\
         rm -f /etc/apt/sources.list.d/*\n\
         echo 'deb [trusted=yes] file:{PACKAGES} ./' > /etc/apt/sources.list\n\
         touch /run/docker-is-gone\nuntil test -e /run/lock-is-held; do sleep 0.05; done\n"
    );
    let node_toml = [stage.agent_section(), service("web", 80, "")].concat();
    let user_data = stage.user_data(&node_toml).replacen("set -e\n", &before, 1);
    stage.boot_with(&user_data).unwrap();
    let instance = stage.instance();
    let present =
        |path: &str| if instance.root().join(path).exists() { Ok(()) } else { Err(instance.console()) };
    wait_for("Docker to be removed", SOON, || {
        let gone = instance.run(["test", "-e", "/run/docker-is-gone"]);
        if gone.code() == 0 { Ok(()) } else { Err(instance.console()) }
    })
    .unwrap();
    assert!(present("usr/sbin/dockerd").is_err(), "it was there before: nothing is shown");

    let mut holder = instance.enter();
    let mut holder =
        holder.args(["python3", "-c", HOLDER]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "held\n");
    instance.run(["touch", "/run/lock-is-held"]).expect_success();
    let waits = wait_for("bootstrap to wait for the lock", SOON, || {
        let log = boot_log(&stage);
        let line = log.lines().find(|line| line.contains("holds the lock of the packages; waits for it"));
        line.map(str::to_owned).ok_or(log)
    })
    .unwrap();
    assert!(waits.contains("(python3)"), "who holds it is said: {waits}");
    drop(holder.stdin.take());
    holder.wait().unwrap();

    let (code, output) = stage.wait_for_user_data(super::BOOTSTRAP_DEADLINE).unwrap();
    assert_eq!(code, 0, "{output}");
    assert!(output.contains("docker: installed and started"), "{output}");
    let enabled = stage.instance().run(["systemctl", "is-enabled", "docker.service"]);
    assert_eq!(enabled.stdout.trim(), "enabled", "{enabled}");
    let status = stage.wait_for_status("the node to be ready", SOON, is_ready).unwrap();
    assert!(is_healthy(&status, "web"), "{status:#}");
}

#[test]
fn a_docker_that_never_answers_leaves_a_reachable_node_that_says_so() {
    let Some(mut stage) = stage() else { return };
    let frozen = b"#!/bin/sh\nexec sleep 100000\n".to_vec();
    let impatient = b"[Service]\nTimeoutStartSec=1s\nRestartSec=0\n".to_vec();
    stage.description().files.extend([
        ("/usr/sbin/dockerd".to_owned(), frozen, 0o755),
        ("/etc/systemd/system/docker.service.d/impatient.conf".to_owned(), impatient, 0o644),
    ]);
    let node_toml = [stage.agent_section(), service("web", 80, "")].concat();
    let (code, output) = boot(&mut stage, &node_toml);
    assert_eq!(code, 1, "{output}");
    assert!(output.contains("docker: Docker does not answer"), "{output}");
    assert!(stage.instance().console().contains("Docker does not answer"), "{}", stage.instance().console());
    let told =
        |status: &serde_json::Value| super::problem(status, "docker_unresponsive", "docker.sock").is_some();
    let status = stage.wait_for_status("the agent to tell", SOON, told).unwrap();
    line_of(&status, "docker_unresponsive", "docker.sock");
    assert_eq!(stage.instance().run(["agentctl", "status"]).code(), 1);
    assert_eq!(container_of(&status, "web"), "none");
}
