//! Bad input and half-broken nodes, on whole disposable instances.
//!
//! In: the programs of `make dist`. What is checked in each situation: one line names the thing, the reason and a hint,
//! in `agentctl status` as a problem and, where bootstrap sees it, in its log; and the node goes on with what can go on.
//! Each test has a stage of its own, and takes it down whatever becomes of the test.

#![expect(clippy::disallowed_methods, reason = "looks at the instance's files and at the host")]
#![expect(clippy::unwrap_used, reason = "a stage that cannot be set, or a wait that ends, is a failed test")]

#[path = "failures/agent_versions.rs"]
mod agent_versions;
#[path = "failures/bootstrap_again.rs"]
mod bootstrap_again;
#[path = "failures/configuration.rs"]
mod configuration;
#[path = "failures/docker.rs"]
mod docker;
#[path = "failures/engine.rs"]
mod engine;
#[path = "failures/left_behind.rs"]
mod left_behind;
#[path = "failures/listing.rs"]
mod listing;
#[path = "failures/metadata.rs"]
mod metadata;
#[path = "failures/ports.rs"]
mod ports;
#[path = "failures/pulls.rs"]
mod pulls;
#[path = "failures/secrets.rs"]
mod secrets;
#[path = "failures/side_by_side.rs"]
mod side_by_side;
#[path = "failures/volumes.rs"]
mod volumes;

use harness::requirements::{is_on_path, is_root, skipped};
use harness::stage::{REPOSITORY, Stage};
use serde_json::Value;
use std::time::Duration;

/// User data, from first download to the end; a slow host included.
const BOOTSTRAP_DEADLINE: Duration = Duration::from_secs(120);
/// Until something that waits for nothing but this node has come about.
const SOON: Duration = Duration::from_secs(60);

/// A stage with a healthy image as `sample:latest`; `None` where the host cannot have one, which is said.
fn stage() -> Option<Stage> {
    if !is_root() {
        skipped("not root");
        return None;
    }
    let needed = ["systemd-nspawn", "debootstrap", "docker-registry", "losetup", "ip", "nsenter"];
    if let Some(missing) = needed.into_iter().find(|program| !is_on_path(program)) {
        skipped(&format!("no {missing} on this host"));
        return None;
    }
    if !harness::stage::dist().join("node-bootstrap").is_file() {
        skipped("nothing in target/dist; run make dist");
        return None;
    }
    let stage = Stage::set(|_| {}).unwrap();
    stage.push_sample("latest", "one", "healthy").unwrap();
    Some(stage)
}

/// `[services.NAME]` of the sample application, quick in everything, published on `port`; `rest` comes before its tables.
fn service(name: &str, port: u16, rest: &str) -> String {
    service_of(name, "latest", port, rest)
}

fn service_of(name: &str, tag: &str, port: u16, rest: &str) -> String {
    let image = format!("${{account}}.dkr.ecr.${{region}}.amazonaws.com/{REPOSITORY}:{tag}");
    format!(
        r#"
[services.{name}]
image = "{image}"
ports = ["{port}:8000"]
{rest}
[services.{name}.health]
http = "/health"
interval = "1s"
start_period = "2s"
[services.{name}.update]
every = "5s"
min_healthy = "1s"
deadline = "20s"
"#
    )
}

/// The service of that name, `null` where there is none.
fn named<'a>(status: &'a Value, name: &str) -> &'a Value {
    let services = status["services"].as_array().into_iter().flatten();
    services.into_iter().find(|service| service["name"] == name).unwrap_or(&Value::Null)
}

fn is_healthy(status: &Value, name: &str) -> bool {
    let service = named(status, name);
    service["state"] == "running" && service["health"] == "passing"
}

fn is_ready(status: &Value) -> bool {
    status["node"]["state"] == "ready"
}

/// The problem with that code whose message names `thing`, `None` where there is none.
fn problem<'a>(status: &'a Value, code: &str, thing: &str) -> Option<&'a Value> {
    let problems = status["problems"].as_array().into_iter().flatten();
    problems.into_iter().find(|problem| {
        problem["code"] == code && problem["message"].as_str().is_some_and(|m| m.contains(thing))
    })
}

/// The problem's one line, with its hint as programs print it; panics where it is not one line with a hint.
#[track_caller]
fn line_of(status: &Value, code: &str, thing: &str) -> String {
    let Some(problem) = problem(status, code, thing) else {
        panic!("no problem {code} that names {thing}:\n{:#}", status["problems"]);
    };
    let (message, hint) = (problem["message"].as_str().unwrap_or(""), problem["hint"].as_str().unwrap_or(""));
    assert!(!message.contains('\n') && !hint.contains('\n'), "{problem:#}");
    assert!(!hint.is_empty(), "a hint is missing: {problem:#}");
    assert!(message.len() < 400, "nobody reads this: {message}");
    format!("{message} (hint: {hint})")
}

/// `/var/log/node-bootstrap.log`
fn boot_log(stage: &Stage) -> String {
    stage.instance().shell("cat /var/log/node-bootstrap.log").stdout
}

/// The lines of bootstrap's log that are errors or warnings.
fn complaints(stage: &Stage) -> Vec<String> {
    let log = boot_log(stage);
    log.lines()
        .filter(|line| line.contains(" error: ") || line.contains(" warning: "))
        .map(str::to_owned)
        .collect()
}

/// Boots, waits for the end of user data, and returns its exit code and output.
#[track_caller]
fn boot(stage: &mut Stage, node_toml: &str) -> (i32, String) {
    stage.boot(node_toml).unwrap();
    stage.wait_for_user_data(BOOTSTRAP_DEADLINE).unwrap()
}

/// The container that serves.
fn container_of(status: &Value, name: &str) -> String {
    named(status, name)["container_id"].as_str().unwrap_or("none").to_owned()
}
