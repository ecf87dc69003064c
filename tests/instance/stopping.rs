//! What stops, when, and in which order: the agent alone, one service, the machine. On whole instances, with a worker
//! whose task must be finished whatever comes.

#![expect(clippy::disallowed_methods, reason = "asks programs of the host")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod scene;

use harness::requirements::skipped;
use harness::stage::{REGISTRY, REPOSITORY, Stage, dist};
use harness::wait::wait_for;
use scene::{GROUP, PATIENCE, Scene};
use serde_json::Value;
use std::process::Command;
use std::time::Duration;

/// Longer than what Docker (10 s) and systemd (the unit's 15 s) would give by themselves.
const TASK_SECONDS: u64 = 20;
/// A task, and everything around it.
const DOWN: Duration = Duration::from_secs(120);
/// The journal stays on the disk, to be read when the machine is down.
const KEPT_JOURNAL: &str = "[Journal]\nStorage=persistent\n";

fn scene() -> Option<Scene> {
    let mut scene = Scene::set()?;
    let place = "/etc/systemd/journald.conf.d/zz-kept.conf";
    let file = (place.to_owned(), KEPT_JOURNAL.as_bytes().to_vec(), 0o644);
    scene.stage.description().files.push(file);
    scene.push("one", "healthy");
    Some(scene)
}

/// A service of the sample application in that mode; `more` is added to its section.
fn service(name: &str, mode: &str, more: &str) -> String {
    format!(
        r#"
[services.{name}]
image = "{REGISTRY}/{REPOSITORY}:latest"
environment = {{ MODE = "{mode}" }}
{more}

[services.{name}.update]
every = "1s"
strategy = "recreate"
min_healthy = "1s"
deadline = "30s"
"#
    )
}

fn node_toml(stage: &Stage, services: &[String]) -> String {
    let (agent, services) = (stage.agent_section(), services.concat());
    format!("{agent}{services}\n[logs]\ngroup = \"/suite/${{node.name}}\"\n")
}

/// A node with one worker, at the beginning of a task.
fn worker() -> Option<Scene> {
    let mut scene = scene()?;
    let worker = service("worker", &format!("worker={TASK_SECONDS}"), "stop_timeout = \"60s\"");
    let node_toml = node_toml(&scene.stage, &[worker]);
    scene.boot(&node_toml);
    until_ready(&scene);
    Some(scene)
}

fn until_ready(scene: &Scene) {
    let ready = |status: &Value| status["node"]["state"] == "ready";
    let ready = scene.stage.wait_for_status("the node to be ready", PATIENCE, ready);
    ready.unwrap_or_else(|error| panic!("{error}\n{}", scene.story()));
}

/// What the service has written, as far as it has arrived in CloudWatch Logs.
fn lines(scene: &Scene, service: &str) -> Vec<Value> {
    let state = scene.stage.cloud.state();
    let stream = format!("{}/{service}", state.instance.id);
    let messages = state.logs.messages(GROUP, &stream);
    messages.iter().map(|message| serde_json::from_str(message).unwrap()).collect()
}

fn count(lines: &[Value], event: &str) -> usize {
    lines.iter().filter(|line| line["event"] == event).count()
}

/// Waits for the beginning of a task that has most of its time before it.
fn in_the_middle_of_a_task(scene: &Scene) {
    let begun = |lines: &[Value]| lines.iter().filter(|line| line["state"] == "begun").count();
    let before = begun(&lines(scene, "worker"));
    let what = "the worker to begin its next task";
    wait_for(what, Duration::from_secs(60), || {
        let lines = lines(scene, "worker");
        if begun(&lines) > before { Ok(()) } else { Err(format!("{lines:#?}")) }
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", scene.story()));
}

/// Waits until the worker has written its last word for the `ends`th time, and looks at what came before it.
#[track_caller]
fn finished_its_task(scene: &Scene, ends: usize) {
    let all = wait_for("the worker's last word", Duration::from_secs(60), || {
        let lines = lines(scene, "worker");
        if count(&lines, "stop") >= ends { Ok(lines) } else { Err(format!("{lines:#?}")) }
    });
    let all = all.unwrap_or_else(|error| panic!("{error}"));
    assert_finished(&all, ends);
}

/// The signal came within a task, that task was done, and took its whole time.
#[track_caller]
fn assert_finished(lines: &[Value], ends: usize) {
    let last = lines.iter().enumerate().filter(|(_, line)| line["event"] == "stop").nth(ends - 1);
    let Some((stop, _)) = last else { panic!("no last word number {ends}: {lines:#?}") };
    let story = &lines[stop.saturating_sub(3)..=stop];
    let [begun, signal, done, _] = story else { panic!("{lines:#?}") };
    assert_eq!((&begun["state"], &signal["event"]), (&"begun".into(), &"sigterm".into()), "{story:#?}");
    assert_eq!((&done["state"], &done["number"]), (&"done".into(), &begun["number"]), "{story:#?}");
    let time = |line: &Value| line["time"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let seconds = (time(done) - time(begun)).total(jiff::Unit::Second).unwrap();
    let task = f64::from(u32::try_from(TASK_SECONDS).unwrap());
    assert!((task..task + 3.0).contains(&seconds), "the task took {seconds} s: {story:#?}");
}

/// Powers the instance off and returns the messages of the journal that it left on its disk.
fn power_off(scene: &mut Scene) -> Vec<String> {
    let instance = scene.stage.instance.as_mut().unwrap();
    if let Err(error) = instance.power_off(DOWN) {
        panic!("{error}\n{}", scene.story());
    }
    let journal = scene.stage.instance().root().join("var/log/journal");
    let read = Command::new("journalctl").arg("-D").arg(&journal).args(["-o", "cat", "--no-pager"]).output();
    let read = read.unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    String::from_utf8_lossy(&read.stdout).lines().map(str::to_owned).collect()
}

/// Where the last line that has these words stands.
#[track_caller]
fn place(journal: &[String], words: &str) -> usize {
    let found = journal.iter().rposition(|line| line.contains(words));
    found.unwrap_or_else(|| panic!("`{words}` is not in the journal:\n{}", tail(journal)))
}

fn tail(journal: &[String]) -> String {
    journal[journal.len().saturating_sub(150)..].join("\n")
}

#[track_caller]
fn in_this_order(journal: &[String], words: &[&str]) {
    let places: Vec<usize> = words.iter().map(|words| place(journal, words)).collect();
    assert!(places.is_sorted(), "{words:?} stand at {places:?}:\n{}", tail(journal));
}

#[test]
fn a_worker_finishes_its_task_whatever_comes_an_agent_restart_an_update_or_a_shutdown() {
    let Some(mut scene) = worker() else { return };

    in_the_middle_of_a_task(&scene);
    let (before, pid) = (scene.only(), scene.agent_pid());
    let started_at = scene.engine().started_at(&before.id);
    scene.stage.instance().run(["systemctl", "restart", "node-agent"]).expect_success();
    scene.agent_answers(pid);
    until_ready(&scene);
    assert_eq!(scene.only(), before);
    assert_eq!(scene.engine().started_at(&before.id), started_at);
    assert_eq!(count(&lines(&scene, "worker"), "sigterm"), 0, "it must not even notice");

    in_the_middle_of_a_task(&scene);
    let new = scene.push("two", "healthy");
    finished_its_task(&scene, 1);
    let updated = scene.stage.wait_for_status("the new image to run", PATIENCE, |status| {
        status["node"]["state"] == "ready" && status["services"][0]["digest"] == new.as_str()
    });
    updated.unwrap_or_else(|error| panic!("{error}\n{}", scene.story()));

    in_the_middle_of_a_task(&scene);
    let journal = power_off(&mut scene);
    // The machine is down: what has not arrived by now never will.
    assert_finished(&lines(&scene, "worker"), 2);
    in_this_order(
        &journal,
        &[
            "the machine goes down: services are stopped",
            "stopping worker-2, which has 60 s to end",
            "worker-2 has ended with code 0",
            "Stopped node-agent.service",
            "Stopping docker.service",
        ],
    );
}

#[test]
fn a_worker_that_a_person_stops_finishes_its_task_and_stays_stopped_over_a_reboot() {
    let help = Command::new(dist().join("agentctl")).arg("--help").output().map(|help| help.stdout);
    let help = help.map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default();
    if !help.lines().any(|line| line.trim_start().starts_with("stop ")) {
        return skipped("agentctl has no command `stop`");
    }
    let Some(mut scene) = worker() else { return };
    in_the_middle_of_a_task(&scene);
    scene.stage.instance().run(["agentctl", "stop", "worker"]).expect_success();
    finished_its_task(&scene, 1);
    let stopped = |status: &Value| status["services"][0]["state"] == "stopped";
    scene.stage.wait_for_status("the worker to be stopped", PATIENCE, stopped).unwrap();
    scene.stage.reboot().unwrap();
    scene.agent_answers(None);
    scene.stage.wait_for_status("the worker to be stopped", PATIENCE, stopped).unwrap();
    assert!(scene.ours().iter().all(|container| !container.running()), "{}", scene.story());
}

#[test]
fn a_shutdown_while_an_update_stops_a_worker_waits_for_it_and_does_not_tell_it_twice() {
    let Some(mut scene) = worker() else { return };
    in_the_middle_of_a_task(&scene);
    scene.push("two", "healthy");
    wait_for("the worker to be told to stop", PATIENCE, || {
        match count(&lines(&scene, "worker"), "sigterm") {
            0 => Err(scene.story()),
            _ => Ok(()),
        }
    })
    .unwrap();
    let journal = power_off(&mut scene);
    let lines = lines(&scene, "worker");
    assert_finished(&lines, 1);
    assert_eq!((count(&lines, "sigterm"), count(&lines, "start")), (1, 1), "{lines:#?}");
    in_this_order(
        &journal,
        &["the machine goes down", "worker-1 has ended with code 0", "Stopped node-agent"],
    );
}

const VOLUME: &str = r#"
[volumes.data]
device = "/dev/sdf"
mount = "/mnt/data"
filesystem = "ext4"
"#;

/// `web` depends on `api`, that on `db`; `deaf` does not hear SIGTERM, and depends on `side`.
fn five_services(stage: &Stage) -> String {
    let deaf = service("deaf", "ignore-term", "depends_on = [\"side\"]\nstop_timeout = \"8s\"");
    let services = [
        service("db", "healthy", "mounts = [\"/mnt/data:/data\"]"),
        service("api", "healthy", "depends_on = [\"db\"]"),
        service("web", "healthy", "depends_on = [\"api\"]"),
        service("side", "healthy", ""),
        deaf,
    ];
    format!("{}{VOLUME}", node_toml(stage, &services))
}

#[test]
fn at_poweroff_services_stop_in_reverse_order_and_after_a_boot_all_are_back() {
    let Some(mut scene) = scene() else { return };
    let node_toml = five_services(&scene.stage);
    scene.boot(&node_toml);
    until_ready(&scene);
    let ids: Vec<String> = scene.ours().into_iter().map(|container| container.id).collect();

    let journal = power_off(&mut scene);
    in_this_order(
        &journal,
        &[
            "the machine goes down: services are stopped",
            "stopping web-1",
            "web-1 has ended with code 0",
            "stopping api-1",
            "api-1 has ended with code 0",
            "stopping db-1",
            "db-1 has ended with code 0",
            // It ignored its signal for 8 s, and held up the one that it depends on, nobody else.
            "deaf-1 has ended with code 137",
            "stopping side-1",
            "side-1 has ended with code 0",
            "Stopped node-agent.service",
            "Stopping docker.service",
            "Stopped docker.service",
        ],
    );
    in_this_order(&journal, &["stopping deaf-1", "stopping api-1"]);
    in_this_order(&journal, &["Stopped node-agent.service", "Unmounted mnt-data.mount"]);
    // The last words of all that had any were delivered before the machine was down.
    for name in ["web", "api", "db", "side"] {
        let lines = lines(&scene, name);
        assert_eq!(lines.last().unwrap()["event"], "stop", "{name}: {lines:#?}");
    }
    assert_eq!(count(&lines(&scene, "deaf"), "sigterm"), 1);

    scene.stage.reboot().unwrap();
    scene.agent_answers(None);
    until_ready(&scene);
    let again: Vec<_> = scene.ours();
    assert!(again.iter().all(|container| container.running()), "{again:#?}");
    assert!(again.len() == 5 && again.iter().all(|container| ids.contains(&container.id)), "{again:#?}");
}

#[test]
fn on_its_way_down_the_node_is_draining_and_starts_nothing() {
    let Some(mut scene) = worker() else { return };
    in_the_middle_of_a_task(&scene);
    let from = scene.stage.cloud.requests("registry", "GetBlob");
    scene.stage.instance().run(["systemctl", "poweroff"]).expect_success();
    let draining = |status: &Value| status["node"]["state"] == "draining";
    let status = scene.stage.wait_for_status("the node to be draining", PATIENCE, draining);
    let status = status.unwrap_or_else(|error| panic!("{error}\n{}", scene.story()));
    assert_eq!(status["services"][0]["state"], "running", "{status:#}");
    let explained = scene.stage.instance().run(["agentctl", "explain", "worker"]).expect_success();
    assert!(explained.contains("the machine goes down; it is being stopped"), "{explained}");
    // The line is told to systemd once a second.
    let told = wait_for("systemd to show it", Duration::from_secs(10), || {
        let shown = scene.stage.instance().run(["systemctl", "status", "--no-pager", "node-agent"]);
        if shown.stdout.contains("draining; 1 of 1 services running") {
            Ok(())
        } else {
            Err(shown.to_string())
        }
    });
    told.unwrap();
    // Neither a new image nor a wish of a person starts anything now.
    scene.push("two", "healthy");
    let late = scene.stage.instance().run(["agentctl", "restart", "worker"]);
    assert_eq!(late.code(), 1, "{late}");
    power_off(&mut scene);
    assert_finished(&lines(&scene, "worker"), 1);
    assert_eq!(count(&lines(&scene, "worker"), "start"), 1);
    assert_eq!(scene.stage.cloud.requests("registry", "GetBlob"), from, "nothing was pulled");
}
