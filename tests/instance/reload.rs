//! node.toml changes on a whole instance: by `systemctl reload`, by itself, wrong and mended. What a change does not
//! concern is not touched.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod scene;

use harness::stage::{REGISTRY, REPOSITORY};
use harness::wait::wait_for;
use scene::{PATIENCE, Scene};
use serde_json::Value;

const FILE: &str = "/etc/node-agent/node.toml";

/// A service of the sample application on that port of the host, by its own container at a time.
fn service(name: &str, port: u16, environment: &str) -> String {
    format!(
        r#"
[services.{name}]
image = "{REGISTRY}/{REPOSITORY}:latest"
ports = ["{port}:8000"]
environment = {{ {environment} }}
stop_timeout = "5s"

[services.{name}.health]
http = "/health"
interval = "1s"
start_period = "1s"

[services.{name}.update]
every = "1s"
drain = "2s"
min_healthy = "1s"
deadline = "30s"
"#
    )
}

fn logs(group: &str) -> String {
    format!("\n[logs]\ngroup = \"/suite/{group}\"\n")
}

/// Id, specification and generation of the service's only container.
fn container(scene: &Scene, service: &str) -> Option<String> {
    let format = "{{.ID}} {{.Label \"node-agent.spec\"}} {{.Label \"node-agent.generation\"}}";
    let filter = format!("label=node-agent.service={service}");
    let list = ["docker", "ps", "--no-trunc", "--filter", &filter, "--format", format];
    let answer = scene.stage.instance().run(list);
    let lines: Vec<&str> = answer.stdout.lines().collect();
    match lines.as_slice() {
        [one] => Some((*one).to_owned()),
        _ => None,
    }
}

fn write(scene: &Scene, text: &str) {
    // As an editor does it: another file takes the place of the first.
    let command = format!("cat > {FILE}.new && mv {FILE}.new {FILE}");
    let written = scene.stage.instance().run_with_input(["sh", "-c", &command], text.as_bytes());
    assert_eq!(written.code(), 0, "{written}");
}

#[track_caller]
fn until(scene: &Scene, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let seen = scene.stage.wait_for_status(what, PATIENCE, holds);
    seen.unwrap_or_else(|error| panic!("{error}\n{}", scene.story()))
}

fn has(status: &Value, code: &str) -> bool {
    status["problems"].as_array().unwrap().iter().any(|problem| problem["code"] == code)
}

fn is_ready(status: &Value, services: usize) -> bool {
    status["node"]["state"] == "ready"
        && status["services"].as_array().unwrap().len() == services
        && status["services"]
            .as_array()
            .unwrap()
            .iter()
            .all(|service| service["update"]["state"] == "current")
}

#[track_caller]
fn answers(scene: &Scene, port: u16) {
    let answered =
        wait_for(&format!("an answer on port {port}"), PATIENCE, || match scene.stage.get_at(port, "/") {
            Ok((200, _)) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    answered.unwrap_or_else(|error| panic!("{error}\n{}", scene.story()));
}

/// Messages of the service in that log group.
fn shipped(scene: &Scene, group: &str, service: &str) -> usize {
    let state = scene.stage.cloud.state();
    let stream = format!("{}/{service}", state.instance.id);
    state.logs.messages(&format!("/suite/{group}"), &stream).len()
}

#[test]
fn a_service_is_moved_another_is_left_alone_and_a_wrong_file_changes_nothing() {
    let Some(mut scene) = Scene::set() else { return };
    scene.push("one", "healthy");
    let agent_section = scene.stage.agent_section();
    let node = |web: &str, rest: &str| format!("{agent_section}{web}{}{rest}", service("still", 90, ""));
    let first = node(&service("web", 80, "COLOUR = \"red\""), &logs("first"));
    scene.boot(&first);
    until(&scene, "both services to be ready", |status| is_ready(status, 2));
    let (still, web) = (container(&scene, "still").unwrap(), container(&scene, "web").unwrap());
    let agent = scene.agent_pid();

    // Another port and environment, by systemctl.
    let second = node(&service("web", 81, "COLOUR = \"blue\""), &logs("first"));
    write(&scene, &second);
    let difference = scene.stage.instance().run(["agentctl", "config", "diff"]);
    let told = "service web gets a new container";
    assert!(difference.code() == 1 || difference.stdout.contains("mean what is in force"), "{difference}");
    let reloaded = scene.stage.instance().run(["systemctl", "reload", "node-agent"]);
    assert_eq!(reloaded.code(), 0, "{reloaded}\n{}", scene.story());
    until(&scene, "web to be moved", |status| {
        is_ready(status, 2) && container(&scene, "web").is_some_and(|now| now != web)
    });
    answers(&scene, 81);
    assert!(scene.stage.get_at(80, "/").is_err(), "nobody is on the old port");
    assert_eq!(container(&scene, "still").as_ref(), Some(&still), "not touched\n{}", scene.story());
    assert_eq!(scene.agent_pid(), agent, "the same agent");
    let journal = scene.stage.instance().run(["journalctl", "-u", "node-agent", "-o", "cat", "--no-pager"]);
    assert!(journal.stdout.contains(told), "{journal}");
    let web = container(&scene, "web").unwrap();

    // A wrong file.
    write(&scene, &second.replace("ports =", "prots ="));
    let refused = scene.stage.instance().run(["systemctl", "reload", "node-agent"]);
    assert_ne!(refused.code(), 0, "{refused}");
    let refused = scene.stage.instance().run(["agentctl", "config", "reload"]);
    assert!(refused.code() == 78 && refused.stderr.contains("prots ="), "{refused}");
    until(&scene, "the mistake to be told", |status| has(status, "configuration_invalid"));
    let active = scene.stage.instance().run(["systemctl", "is-active", "node-agent"]);
    assert_eq!(active.stdout.trim(), "active", "{active}");
    answers(&scene, 81);
    assert_eq!(container(&scene, "web").as_ref(), Some(&web), "what ran runs on");

    // Mended by itself, with another log group, a service more, and one that is only watched otherwise.
    let third = node(&service("web", 81, "COLOUR = \"blue\""), &logs("second"))
        .replace("interval = \"1s\"", "interval = \"2s\"")
        + &service("more", 91, "");
    write(&scene, &third);
    until(&scene, "the third service", |status| is_ready(status, 3) && !has(status, "configuration_invalid"));
    answers(&scene, 91);
    wait_for("lines in the second group", PATIENCE, || match shipped(&scene, "second", "more") {
        0 => Err("none".to_owned()),
        count => Ok(count),
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", scene.story()));
    assert!(shipped(&scene, "first", "web") > 0, "and those of before in the first");
    assert_eq!(container(&scene, "web").as_ref(), Some(&web), "not touched");
    assert_eq!(container(&scene, "still").as_ref(), Some(&still), "not touched");

    // What goes from the file goes from the node.
    write(&scene, &node("", &logs("second")));
    let gone = |name: &str| {
        let all =
            scene.stage.instance().shell(&format!("docker ps -aq --filter label=node-agent.service={name}"));
        all.stdout.trim().is_empty()
    };
    until(&scene, "two services to go", |status| is_ready(status, 1) && gone("web") && gone("more"));
    assert_eq!(container(&scene, "still").as_ref(), Some(&still), "not touched to the very end");
    assert_eq!(scene.agent_pid(), agent, "the same agent\n{}", scene.story());
}
