//! A marked value is planted as a secret and searched in everything that was written, shown or passed on: it is in the
//! secrets folder on tmpfs and in the containers that were to get it, and nowhere else. A control value, planted in
//! each kind of place, proves that the search finds what is there.

use crate::scene::{PATIENCE, Scene, pass, process_inside};
use harness::stage::{REGISTRY, REPOSITORY, SECRET};
use harness::wait::wait_for;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const CONTROL: &str = "control-77aa01-value";

/// This run's own: another stage of the host may be at work beside it.
fn marked() -> String {
    format!("marked-{}-of-this-run", std::process::id())
}

/// Two services that get the value in every way there is, one that fails with it, and three broken secrets.
fn node_toml(scene: &Scene) -> String {
    let more = "environment_from = [\"app\"]\n\
                environment = { RENAMED = { secret = \"app\", key = \"SECRET_KEY\" }, PLAIN = \"x\" }";
    let image = format!("{REGISTRY}/{REPOSITORY}");
    let sections = format!(
        r#"
[services.files]
image = "{image}:latest"
ports = ["81:8000"]
secret_files = ["app"]
user = "65534:65534"
read_only = true

[services.failing]
image = "{image}:failing"
environment_from = ["app"]

[services.broken]
image = "{image}:latest"
environment_from = ["broken"]

[services.large]
image = "{image}:latest"
secret_files = ["large"]

[services.keyless]
image = "{image}:latest"
environment = {{ NAME = {{ secret = "app", key = "ABSENT" }} }}

[secrets.app]
id = "{SECRET}"
require = ["SECRET_KEY"]

[secrets.broken]
id = "broken"

[secrets.large]
id = "large"

[secrets.lacking]
id = "{SECRET}"
require = ["SECRET_KEY", "NOT_THERE"]
"#
    );
    crate::scene::node_toml(&scene.stage, more, &sections)
}

/// Arguments of every process of the host that hold `needle`.
fn in_arguments(needle: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(needle) {
            found.push(line);
        }
    }
    found
}

/// Files below the host's directory `place` that hold `needle`, relative to it.
fn in_files(place: &Path, needle: &str) -> BTreeSet<String> {
    let output = Command::new("grep")
        .args([
            "--recursive",
            "--text",
            "--fixed-strings",
            "--files-with-matches",
            "--devices=skip",
            "--no-messages",
        ])
        .args(["--", needle, "."])
        .current_dir(place)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| line.trim_start_matches("./").to_owned())
        .collect()
}

/// Everything that the instance wrote since it booted: name of the place and directory.
fn written(scene: &Scene) -> Vec<(&'static str, PathBuf)> {
    let instance = scene.stage.instance();
    let own = instance.root().parent().unwrap().to_owned();
    let inside = instance.path("");
    vec![
        ("disk", own.join("upper")),
        ("docker", own.join("docker")),
        ("containerd", own.join("containerd")),
        ("run", inside.join("run")),
        ("tmp", inside.join("tmp")),
        ("shm", inside.join("dev/shm")),
    ]
}

/// Where the value belongs, which is where it is: the store on tmpfs, the engine's and containerd's own records of a
/// container that has it in its environment (what `secret_files` avoids), and the runtime's copy of that on tmpfs.
fn belongs(place: &str, file: &str) -> bool {
    match place {
        "run" => {
            file.starts_with("node-agent/secrets/")
                || (file.starts_with("docker/") || file.starts_with("containerd/"))
                    && file.ends_with("/config.json")
        }
        "containerd" => file == "io.containerd.metadata.v1.bolt/meta.db",
        "docker" => file.starts_with("containers/") && file.ends_with("/config.v2.json"),
        _ => false,
    }
}

/// What is shown to people and programs.
fn shown(scene: &Scene) -> Vec<(String, String)> {
    let instance = scene.stage.instance();
    let api = "curl -sS --unix-socket /run/node-agent/agent.sock http://localhost";
    let commands = [
        "journalctl --all --output=export --no-pager".to_owned(),
        "agentctl status".to_owned(),
        "agentctl status --json".to_owned(),
        "agentctl explain".to_owned(),
        "agentctl explain --json".to_owned(),
        "agentctl config show".to_owned(),
        "agentctl config check".to_owned(),
        "for s in web files failing; do agentctl logs $s --tail 1000; done".to_owned(),
        format!("{api}/v1/status; {api}/v1/explain; {api}/v1/config; {api}/v1/services/nope/logs"),
        "cat /run/node-agent/handoff.json /run/node-agent/status.json /run/node-agent/environment".to_owned(),
        "cat /var/log/node-bootstrap.log /var/log/cloud-init-output.log".to_owned(),
        "node-bootstrap plan; node-bootstrap plan --json".to_owned(),
        "systemctl status node-agent node-bootstrap docker --no-pager --full --lines 1000".to_owned(),
    ];
    let mut shown: Vec<(String, String)> = commands
        .into_iter()
        .map(|command| {
            let answer = instance.shell(&command);
            (command, format!("{}{}", answer.stdout, answer.stderr))
        })
        .collect();
    shown.push(("console".to_owned(), instance.console()));
    let state = scene.stage.cloud.state();
    for (name, group) in &state.logs.groups {
        for (stream, events) in &group.streams {
            let lines: Vec<&str> = events.events.iter().map(|event| event.message.as_str()).collect();
            shown.push((format!("CloudWatch Logs {name} {stream}"), lines.join("\n")));
        }
    }
    shown
}

/// Boots while every process's arguments are looked at, again and again.
fn boot_watched(scene: &mut Scene) {
    let (looks, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let node_toml = node_toml(scene);
    let found = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut found = Vec::new();
            while !done.load(Ordering::Relaxed) {
                found.extend(in_arguments(&marked()));
                looks.fetch_add(1, Ordering::Relaxed);
            }
            found
        });
        let booted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            scene.stage.boot(&node_toml).unwrap();
            let (code, output) = scene.stage.wait_for_user_data(PATIENCE).unwrap();
            println!("bootstrap ended with {code}:\n{output}");
            scene.serves("one");
            pass(Duration::from_secs(5));
        }));
        done.store(true, Ordering::Relaxed);
        let found = watch.join().unwrap();
        booted.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        found
    });
    println!("arguments of all processes looked at {} times", looks.load(Ordering::Relaxed));
    assert!(found.is_empty(), "in the arguments of a process: {found:?}");
}

#[test]
fn a_secret_is_where_it_belongs_and_nowhere_else() {
    let Some(mut scene) = Scene::set() else { return };
    scene.push("one", "healthy");
    scene.stage.push_sample("failing", "failing", "exit").unwrap();
    let marked = marked();
    scene.stage.cloud.put_secret(SECRET, &format!("{{\"SECRET_KEY\": \"{marked}\"}}"));
    scene.stage.cloud.put_secret("broken", &format!("{{\"SECRET_KEY\": \"{marked}\", oops"));
    scene.stage.cloud.put_secret("large", &format!("{{\"SECRET_KEY\": \"{marked}{}\"}}", "x".repeat(70_000)));
    boot_watched(&mut scene);
    containers_have_it(&scene);
    folder_is_closed(&scene);
    nowhere_else(&scene, "after boot");

    // A crash with the value in memory, and a restart that reads it again.
    let pid = scene.agent_pid().unwrap();
    kill(Pid::from_raw(pid), Signal::SIGABRT).unwrap();
    scene.agent_answers(Some(pid));
    scene.stage.instance().run(["systemctl", "restart", "node-bootstrap"]);
    // Another value in the same places, half of which fail.
    scene.stage.cloud.put_secret(SECRET, &format!("[\"{marked}\"]"));
    scene.stage.instance().run(["systemctl", "restart", "node-bootstrap"]);
    scene.agent_answers(None);
    nowhere_else(&scene, "after crash and error");
    the_search_finds_what_is_there(&scene);
}

fn containers_have_it(scene: &Scene) {
    let wanted = format!("{:x}", Sha256::digest(marked()));
    for path in ["/env-sha?SECRET_KEY", "/env-sha?RENAMED"] {
        let (status, body) = scene.stage.get(path).unwrap();
        assert!(status == 200 && body.contains(&wanted), "{path}: {status} {body}");
    }
    let line = "curl -fsS 'http://127.0.0.1:81/secret-sha?app/SECRET_KEY'";
    wait_for("the container of another user to read its secret file", PATIENCE, || {
        let answer = scene.stage.instance().shell(line);
        if answer.stdout.contains(&wanted) { Ok(()) } else { Err(format!("{answer}\n{}", scene.story())) }
    })
    .unwrap();
    let id = scene.stage.instance().shell("docker ps --quiet --filter label=node-agent.service=files");
    let inspect = format!("docker inspect {}", id.expect_success().trim());
    let inspect = scene.stage.instance().shell(&inspect).expect_success();
    assert!(!inspect.contains(&marked()), "secret_files keep it out of docker inspect: {inspect}");
}

fn folder_is_closed(scene: &Scene) {
    let instance = scene.stage.instance();
    let facts = instance
        .shell("stat -c '%a %U %G' /run/node-agent/secrets; findmnt -no FSTYPE -T /run/node-agent/secrets");
    assert_eq!(facts.expect_success(), "700 root root\ntmpfs\n");
    let other =
        instance.shell("setpriv --reuid 65534 --regid 65534 --clear-groups ls -R /run/node-agent/secrets");
    assert!(!other.status.success() && other.stdout.is_empty(), "{other}");
}

fn nowhere_else(scene: &Scene, when: &str) {
    let mut misplaced = Vec::new();
    let mut placed = Vec::new();
    for (place, directory) in written(scene) {
        for file in in_files(&directory, &marked()) {
            let found = if belongs(place, &file) { &mut placed } else { &mut misplaced };
            found.push(format!("{place}: {file}"));
        }
    }
    println!("{when}: in {} files where it belongs: {placed:#?}", placed.len());
    for (what, text) in shown(scene) {
        if text.contains(&marked()) {
            let lines: Vec<&str> = text.lines().filter(|line| line.contains(&marked())).collect();
            misplaced.push(format!("{what}: {lines:?}"));
        }
    }
    misplaced.extend(in_arguments(&marked()).into_iter().map(|line| format!("arguments: {line}")));
    let leader = scene.stage.instance().leader();
    for name in ["node-agent", "dockerd", "containerd", "systemd"] {
        let pid = process_inside(leader, name).unwrap_or_else(|| panic!("{name} does not run"));
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        if String::from_utf8_lossy(&environment).contains(&marked()) {
            misplaced.push(format!("environment of {name}"));
        }
    }
    assert!(misplaced.is_empty(), "{when}: the value is where it must not be: {misplaced:#?}");
    assert!(placed.iter().any(|file| file.starts_with("run: node-agent/secrets/")), "{placed:?}");
}

/// The same searches, for a value that is there.
fn the_search_finds_what_is_there(scene: &Scene) {
    let instance = scene.stage.instance();
    let plant = format!(
        "for f in /var/log/x /etc/x /var/lib/node-agent/x /run/x /tmp/x /dev/shm/x /var/lib/docker/x \
         /var/lib/containerd/x; do echo 'line with {CONTROL}' > $f; done; echo {CONTROL} > /dev/console; \
         echo {CONTROL} | systemd-cat; echo {CONTROL} >> /var/log/node-bootstrap.log; \
         echo {CONTROL} >> /run/node-agent/handoff.json; journalctl --sync"
    );
    instance.shell(&plant).expect_success();
    for (place, directory) in written(scene) {
        assert!(!in_files(&directory, CONTROL).is_empty(), "the search is blind in {place}");
    }
    let seen: Vec<String> =
        shown(scene).into_iter().filter(|(_, text)| text.contains(CONTROL)).map(|(what, _)| what).collect();
    for what in ["journalctl", "cat /run/node-agent/handoff", "cat /var/log/node-bootstrap", "console"] {
        assert!(seen.iter().any(|seen| seen.starts_with(what)), "the search is blind in {what}: {seen:?}");
    }
    let sleeper = instance.enter().args(["sh", "-c", &format!("sleep 60 # {CONTROL}\nexit")]).spawn();
    let mut sleeper = sleeper.unwrap();
    let seen = wait_for("the control value in arguments", PATIENCE, || {
        if in_arguments(CONTROL).is_empty() { Err("none".to_owned()) } else { Ok(()) }
    });
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    seen.unwrap();
}
