//! A container that crashes: how long until it runs again, by the agent, by Docker's restart policy, and by a systemd
//! unit around `docker run`.
//!
//! Ten containers each way, each killed twice with more than a minute between, so that no back-off is measured: all
//! three of them have one. The times are the engine's own, from its `die` event to its next `start` event.

#![expect(clippy::disallowed_methods, reason = "what is measured needs this time between")]

use super::samples::{Row, Samples};
use super::{DEADLINE, SERVICES};
use crate::stage::{REGISTRY, REPOSITORY, Stage};
use crate::wait::wait_for;
use serde_json::Value;
use std::error::Error;
use std::fs;
use std::time::Duration;

/// Inside the instance, on a file system that is seen from outside.
const EVENTS: &str = "var/lib/bench-events";
/// Times that each container is killed.
const ROUNDS: usize = 2;
/// Up for so long, the next end is the first again: to the agent after a minute, to Docker and systemd after ten seconds.
const STEADY: Duration = Duration::from_secs(65);

pub(super) fn rows(stage: &Stage) -> Result<Vec<Row>, Box<dyn Error>> {
    let listen = format!(
        "systemd-run --quiet --unit=bench-events sh -c 'exec docker events --format \"{{{{json .}}}}\" > /{EVENTS}'"
    );
    stage.instance().shell(&listen).expect_success();
    let status = stage.status().map_err(|answer| answer.to_string())?;
    let digest = status["services"][0]["digest"].as_str().ok_or("the first service has no digest")?;
    // The engine has it by this name, so that nothing is pulled.
    let image = format!("{REGISTRY}/{REPOSITORY}@{digest}");
    let start = format!(
        "set -e; for i in $(seq 0 {last}); do docker run --detach --restart always --name policy-$i {image} >/dev/null; \
         systemd-run --quiet --unit=unit-$i --property=Restart=always \
         --property=ExecStartPre='-/usr/bin/docker rm --force unit-$i' \
         /usr/bin/docker run --rm --name unit-$i {image}; done",
        last = SERVICES - 1
    );
    stage.instance().shell(&start).expect_success();
    let services = status["services"].as_array().cloned().unwrap_or_default();
    let names: Vec<String> =
        services.iter().filter_map(|service| service["name"].as_str().map(str::to_owned)).collect();
    let (mut ours, mut policy, mut unit) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        if round > 0 {
            std::thread::sleep(STEADY);
        }
        ours.extend(measure(stage, &names)?);
        policy.extend(measure(stage, &numbered("policy"))?);
        unit.extend(measure(stage, &numbered("unit"))?);
    }
    let [ours, policy, unit] = [ours, policy, unit].map(Samples::of);
    let row = |name: &str, other: &Samples| Row {
        what: format!("container crash to running again, median / max of {}", ours.count()),
        bar: "1 s".to_owned(),
        ours: ours.text(),
        instead: format!("{name}: {}", other.text()),
        ratio: Some(other.median() / ours.median()),
    };
    Ok(vec![row("docker --restart always", &policy), row("systemd, docker run", &unit)])
}

fn numbered(kind: &str) -> Vec<String> {
    (0..SERVICES).map(|number| format!("{kind}-{number}")).collect()
}

fn measure(stage: &Stage, names: &[String]) -> Result<Vec<f64>, Box<dyn Error>> {
    let mut took = Vec::new();
    for name in names {
        let kill = format!(
            "id=$(docker ps -q --filter label=node-agent.service={name}); [ \"$id\" ] || id={name}; \
             kill -9 $(docker inspect --format '{{{{.State.Pid}}}}' $id)"
        );
        let running = || {
            let answer = stage.instance().shell(&kill);
            if answer.status.success() { Ok(()) } else { Err(answer.to_string()) }
        };
        wait_for(&format!("the container of {name} to kill"), DEADLINE, running)?;
        let back = || back_after(stage, name).ok_or_else(|| "no start event".to_owned());
        took.push(wait_for(&format!("{name} to run again"), DEADLINE, back)?);
    }
    Ok(took)
}

/// Milliseconds from the last `die` of the container to the `start` after it.
fn back_after(stage: &Stage, name: &str) -> Option<f64> {
    let text = fs::read_to_string(stage.instance().root().join(EVENTS)).ok()?;
    let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mine = events.filter(|event| {
        let attributes = &event["Actor"]["Attributes"];
        event["Type"] == "container"
            && (attributes["name"] == name || attributes["node-agent.service"] == name)
    });
    let mut died = None;
    let mut back = None;
    for event in mine {
        match (event["Action"].as_str(), event["timeNano"].as_u64(), died) {
            (Some("die"), Some(at), _) => (died, back) = (Some(at), None),
            (Some("start"), Some(at), Some(end)) if back.is_none() => back = Some(at.saturating_sub(end)),
            _ => {}
        }
    }
    back.map(|nanoseconds| Duration::from_nanos(nanoseconds).as_secs_f64() * 1000.0)
}
