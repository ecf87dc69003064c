//! `node-agent` and `agentctl` as programs, in a temporary tree, without an engine and without AWS: what the agent says
//! to systemd, to an operator, and how it starts and ends. No supervisor but this test: it plays systemd.

#![expect(clippy::disallowed_methods, reason = "starts programs and measures them")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use node::paths::Paths;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

#[path = "node_agent/crowd.rs"]
mod crowd;
#[path = "node_agent/metrics.rs"]
mod metrics;
#[path = "node_agent/reload.rs"]
mod reload;

const AGENT: &str = env!("CARGO_BIN_EXE_node-agent");
const AGENTCTL: &str = env!("CARGO_BIN_EXE_agentctl");
/// For what takes milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(30);

const VALID: &str = r#"
[node]
name = "test-node"

[services.api]
image = "localhost:5000/api:latest"
ports = ["80:8000"]

[services.api.health]
http = "/health"
"#;

const FIVE_MISTAKES: &str = r#"
[services.api]
imagee = "localhost:5000/api:latest"
ports = ["80:port"]
memory = "lots"

[services.api.health]
http = "/health"
interval = "soon"

[volumes.models]
device = "/dev/nvme1n1"
mount = "models"
"#;

/// A node's tree, and systemd's end of the notification socket.
struct Tree {
    root: TempDir,
    notifications: UnixDatagram,
}

impl Tree {
    fn new(configuration: &str) -> Tree {
        let root = tempfile::tempdir().unwrap();
        let notifications = UnixDatagram::bind(root.path().join("notify")).unwrap();
        notifications.set_read_timeout(Some(PATIENCE)).unwrap();
        let tree = Tree { root, notifications };
        tree.write(&tree.paths().configuration(), configuration);
        tree
    }

    fn paths(&self) -> Paths {
        Paths::under(self.root.path())
    }

    fn write(&self, path: &Path, text: &str) {
        node::files::replace(path, text.as_bytes(), 0o644).unwrap();
    }

    /// As bootstrap writes it; `change` makes it another.
    fn hand_over(&self, change: impl FnOnce(&mut serde_json::Value)) {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let mut handoff = serde_json::json!({
            "schema": 1, "boot_id": boot.trim(), "bootstrap_version": "0.1.0",
            "started_at": "2026-03-01T12:00:00Z", "finished_at": "2026-03-01T12:00:01Z",
            "identity": {
                "instance_id": "i-0123456789abcdef0", "instance_type": "t3.small", "region": "eu-north-1",
                "availability_zone": "eu-north-1a", "account": "123456789012", "image_id": "ami-0", "tags": {},
            },
            "volumes": [], "secrets": [], "steps": [], "problems": [],
        });
        change(&mut handoff);
        self.write(&self.paths().handoff(), &handoff.to_string());
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("--root").arg(self.root.path()).stdin(Stdio::null());
        command
            .env_clear()
            .env("NOTIFY_SOCKET", self.root.path().join("notify"))
            .env("WATCHDOG_USEC", "300000");
        // Ports that nobody listens on: everything outside refuses at once.
        command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1");
        command.env("AWS_ENDPOINT_URL", "http://127.0.0.1:1").env("AWS_REGION", "eu-north-1");
        command.env("DOCKER_HOST", format!("unix://{}", self.root.path().join("docker.sock").display()));
        command
    }

    fn start(&self) -> Agent {
        self.start_with(&[])
    }

    fn start_with(&self, arguments: &[&str]) -> Agent {
        let log = self.root.path().join("log");
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let mut command = self.command(AGENT);
        let child = command.args(arguments).stderr(file).stdout(Stdio::null()).spawn().unwrap();
        Agent { child, log }
    }

    /// Among programs of which `systemctl` says `jobs`, when it is asked for the second time: the first one is hit by
    /// a signal.
    fn start_where_systemd_says(&self, jobs: &str) -> Agent {
        let programs = self.root.path().join("programs");
        let script = format!(
            "#!/bin/sh\n[ -e \"$0.asked\" ] || {{ : > \"$0.asked\"; kill -TERM $$; }}\necho '{jobs}'\n"
        );
        node::files::replace(&programs.join("systemctl"), script.as_bytes(), 0o755).unwrap();
        let log = self.root.path().join("log");
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let mut command = self.command(AGENT);
        command.env("PATH", format!("{}:/usr/bin:/bin", programs.display()));
        let child = command.stderr(file).stdout(Stdio::null()).spawn().unwrap();
        Agent { child, log }
    }

    fn agentctl(&self, arguments: &[&str]) -> Output {
        self.command(AGENTCTL).args(arguments).output().unwrap()
    }

    /// Messages to systemd, until one of them has `line`.
    fn until_notified(&self, line: &str, agent: &Agent) -> Vec<String> {
        let mut seen = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let count = self.notifications.recv(&mut buffer).unwrap_or_else(|error| {
                panic!("no {line}: {error}; seen {seen:?}\n{}", agent.log());
            });
            seen.push(String::from_utf8_lossy(&buffer[..count]).into_owned());
            if seen.iter().any(|message| message.starts_with(line)) {
                return seen;
            }
        }
    }

    fn status(&self) -> serde_json::Value {
        let ended = self.agentctl(&["status", "--json"]);
        serde_json::from_slice(&ended.stdout).unwrap_or_else(|error| panic!("{error}\n{}", story(&ended)))
    }

    /// Waits until the status has the problem `code`.
    fn until_problem(&self, code: &str, agent: &Agent) -> serde_json::Value {
        let begun = Instant::now();
        loop {
            let status = self.status();
            let problems = status["problems"].as_array().unwrap();
            if let Some(problem) = problems.iter().find(|problem| problem["code"] == code) {
                return problem.clone();
            }
            assert!(begun.elapsed() < PATIENCE, "no {code} in {status:#}\n{}", agent.log());
        }
    }
}

struct Agent {
    child: Child,
    log: PathBuf,
}

impl Agent {
    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    /// SIGTERM; the exit code, and how long it took.
    fn terminate(&mut self) -> (Option<i32>, Duration) {
        let begun = Instant::now();
        self.signal(nix::sys::signal::Signal::SIGTERM);
        (self.child.wait().unwrap().code(), begun.elapsed())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It has ended already where the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn story(ended: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    format!("exit {:?}\n--- stdout\n{out}\n--- stderr\n{err}", ended.status.code())
}

#[test]
fn five_mistakes_are_five_errors_with_their_places_and_nothing_is_touched() {
    let tree = Tree::new(FIVE_MISTAKES);
    let mine = tree.command(AGENT).output().unwrap();
    let checked = tree.agentctl(&["config", "check"]);
    let place = format!("{}:", tree.paths().configuration().display());
    for ended in [mine, checked] {
        assert_eq!(ended.status.code(), Some(78), "{}", story(&ended));
        let text = String::from_utf8_lossy(&ended.stderr).into_owned();
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with(&place)).collect();
        for line in [3, 4, 5, 9, 12] {
            let at = format!("{place}{line}:");
            assert!(
                lines.iter().any(|found| found.starts_with(&at)),
                "no mistake in line {line}\n{}",
                story(&ended)
            );
        }
        assert!(text.contains("image"), "the right key is suggested\n{}", story(&ended));
    }
    assert!(!tree.root.path().join("run").exists(), "nothing was made");
    assert!(!tree.root.path().join("var").exists(), "nothing was made");
}

#[test]
fn a_configuration_is_checked_without_an_agent_from_any_place() {
    let tree = Tree::new(VALID);
    let ended = tree.agentctl(&["config", "check"]);
    assert!(
        ended.status.success() && ended.stdout.ends_with(b"node.toml is valid: 1 service\n"),
        "{}",
        story(&ended)
    );
    let other = tree.root.path().join("other.toml");
    tree.write(&other, FIVE_MISTAKES);
    let ended = tree.agentctl(&["config", "check", other.to_str().unwrap()]);
    assert_eq!(ended.status.code(), Some(78), "{}", story(&ended));
    let ended = tree.agentctl(&["config", "check", "/nonexistent/node.toml"]);
    assert_eq!(ended.status.code(), Some(1), "{}", story(&ended));
    assert!(ended.stderr.starts_with(b"cannot read /nonexistent/node.toml: "), "{}", story(&ended));
    let ended = tree.agentctl(&["config", "schema"]);
    let schema: serde_json::Value = serde_json::from_slice(&ended.stdout).expect("JSON");
    assert!(schema.is_object());
}

#[test]
fn without_a_configuration_it_ends_and_is_not_started_again() {
    let tree = Tree::new(VALID);
    std::fs::remove_file(tree.paths().configuration()).unwrap();
    let ended = tree.command(AGENT).output().unwrap();
    assert_eq!(ended.status.code(), Some(78), "{}", story(&ended));
    assert_eq!(String::from_utf8_lossy(&ended.stderr).lines().count(), 1, "{}", story(&ended));
}

#[test]
fn with_a_dead_engine_it_is_ready_says_so_and_ends_when_told() {
    let tree = Tree::new(VALID);
    tree.hand_over(|_| {});
    let mut agent = tree.start();
    let messages = tree.until_notified("READY=1", &agent);
    assert!(messages.iter().any(|message| message.starts_with("STATUS=")), "{messages:?}");
    tree.until_notified("WATCHDOG=1", &agent);
    let problem = tree.until_problem("docker_unresponsive", &agent);
    assert!(problem["message"].as_str().unwrap().contains("docker.sock"), "{problem:#}");
    assert!(problem["hint"].is_string(), "{problem:#}");

    let begun = Instant::now();
    let ended = tree.agentctl(&["status"]);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(ended.status.code(), Some(1), "{}", story(&ended));
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(text.contains("test-node  degraded") && text.contains("i-0123456789abcdef0"), "{text}");
    let shown = tree.agentctl(&["config", "show"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("localhost:5000"), "{}", story(&shown));
    let unknown = tree.agentctl(&["restart", "nope"]);
    assert_eq!(unknown.status.code(), Some(1), "{}", story(&unknown));

    let (code, took) = agent.terminate();
    assert_eq!(code, Some(0), "{}", agent.log());
    assert!(took < Duration::from_secs(15), "{took:?}");
    tree.until_notified("STOPPING=1", &agent);
    assert!(!tree.paths().control_socket().exists(), "the socket is gone");
    let ended = tree.agentctl(&["status"]);
    assert_eq!(ended.status.code(), Some(3), "{}", story(&ended));
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(text.starts_with("STALE: ") && text.contains("docker_unresponsive"), "{text}");
}

#[test]
fn an_unknown_instance_is_a_problem_and_the_agent_waits_for_bootstrap() {
    let tree = Tree::new(VALID);
    let mut agent = tree.start();
    tree.until_notified("READY=1", &agent);
    let problem = tree.until_problem("identity_unknown", &agent);
    assert!(problem["message"].as_str().unwrap().contains("127.0.0.1:1"), "{problem:#}");
    tree.until_problem("handoff_missing", &agent);
    let ended = tree.agentctl(&["restart", "api"]);
    assert_eq!(ended.status.code(), Some(1), "{}", story(&ended));

    tree.hand_over(|_| {});
    let begun = Instant::now();
    while tree.status()["node"]["instance_id"] != "i-0123456789abcdef0" {
        assert!(begun.elapsed() < PATIENCE, "still unknown\n{}", agent.log());
    }
    let codes: Vec<String> = tree.status()["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| problem["code"].to_string())
        .collect();
    assert!(!codes.contains(&"\"identity_unknown\"".to_owned()), "{codes:?}");
    assert_eq!(agent.terminate().0, Some(0), "{}", agent.log());
}

#[test]
fn a_handoff_of_another_boot_is_not_believed() {
    let tree = Tree::new(VALID);
    tree.hand_over(|handoff| handoff["boot_id"] = "another-boot".into());
    let agent = tree.start();
    tree.until_notified("READY=1", &agent);
    let problem = tree.until_problem("handoff_stale", &agent);
    assert!(problem["message"].as_str().unwrap().contains("another-boot"), "{problem:#}");
    assert_eq!(tree.status()["node"]["instance_id"], "");
}

#[test]
fn what_bootstrap_could_not_do_is_told_until_bootstrap_could() {
    let tree = Tree::new(VALID);
    tree.hand_over(|handoff| {
        handoff["problems"] = serde_json::json!([{
            "code": "volume_refused", "message": "volume models holds a foreign file system",
            "hint": "look at it", "since": "2026-03-01T12:00:00Z",
        }]);
        handoff["volumes"] = serde_json::json!([{
            "name": "models", "volume_id": null, "device": null, "mount": "/models", "mounted": false,
            "filesystem": null, "uuid": null, "size_bytes": null, "optional": false, "reason": "refused",
        }]);
    });
    let agent = tree.start();
    tree.until_notified("READY=1", &agent);
    tree.until_problem("volume_refused", &agent);
    let begun = Instant::now();
    while tree.status()["volumes"][0]["name"] != "models" {
        assert!(begun.elapsed() < PATIENCE, "no volume\n{}", agent.log());
    }
    assert!(tree.status()["volumes"][0]["used_bytes"].is_null(), "not mounted");
}

#[test]
fn after_kill_9_the_next_one_takes_over_and_a_second_one_is_refused() {
    let tree = Tree::new(VALID);
    tree.hand_over(|_| {});
    let mut killed = tree.start();
    tree.until_notified("READY=1", &killed);
    killed.signal(nix::sys::signal::Signal::SIGKILL);
    killed.child.wait().unwrap();
    assert!(tree.paths().control_socket().exists(), "left behind");
    assert_eq!(tree.agentctl(&["status"]).status.code(), Some(3));

    let agent = tree.start();
    tree.until_notified("READY=1", &agent);
    assert_eq!(tree.agentctl(&["status"]).status.code(), Some(1), "{}", agent.log());
    let second = tree.command(AGENT).output().unwrap();
    assert_eq!(second.status.code(), Some(1), "{}", story(&second));
    assert!(
        String::from_utf8_lossy(&second.stderr).contains("another node-agent serves"),
        "{}",
        story(&second)
    );
    assert_eq!(tree.agentctl(&["status"]).status.code(), Some(1), "the first still answers");
}

#[test]
fn when_the_machine_goes_down_it_drains_asks_for_more_time_and_still_answers() {
    let tree = Tree::new(VALID);
    tree.hand_over(|_| {});
    let mut agent = tree.start_where_systemd_says("712 shutdown.target start waiting");
    tree.until_notified("READY=1", &agent);
    agent.signal(nix::sys::signal::Signal::SIGTERM);
    // The engine does not answer, so that what runs in it is unknown, and waited for.
    for _ in 0..2 {
        tree.until_notified("EXTEND_TIMEOUT_USEC=20000000", &agent);
        tree.until_notified("WATCHDOG=1", &agent);
    }
    assert_eq!(tree.status()["node"]["state"], "draining", "{}", agent.log());
    let late = tree.agentctl(&["restart", "api"]);
    assert_eq!(late.status.code(), Some(1), "{}", story(&late));
    assert!(agent.child.try_wait().unwrap().is_none(), "{}", agent.log());
}

#[test]
fn when_the_agent_alone_is_stopped_it_ends_at_once() {
    for jobs in ["35 node-agent.service restart running", "712 shutdown.target stop waiting"] {
        let tree = Tree::new(VALID);
        tree.hand_over(|_| {});
        let mut agent = tree.start_where_systemd_says(jobs);
        tree.until_notified("READY=1", &agent);
        let (code, took) = agent.terminate();
        assert_eq!(code, Some(0), "{}", agent.log());
        assert!(took < Duration::from_secs(15), "{took:?}");
        assert!(!agent.log().contains("services are stopped"), "{}", agent.log());
    }
}
