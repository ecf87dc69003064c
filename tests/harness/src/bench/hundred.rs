//! A hundred services on one engine: how long until all run, by the agent and by loops of `docker run` with the same
//! options, and what the agent costs once they do.
//!
//! The times are the engine's own: from the beginning to the last container's start. All ways start from an engine
//! without containers that has the image; one container before the first takes the cold caches upon itself.

use super::samples::{Row, megabytes};
use super::{DEADLINE, node_toml, processor, small};
use crate::stage::{REGISTRY, Stage};
use crate::wait::wait_for;
use std::error::Error;
use std::time::Duration;

const SERVICES: usize = 100;
/// Several times what a busy host takes.
const CONVERGENCE: Duration = Duration::from_secs(600);
const STEADY: Duration = Duration::from_secs(60);
const AT_ONCE: usize = 8;

/// Boots an instance of its own.
pub(super) fn rows(stage: &mut Stage) -> Result<Vec<Row>, Box<dyn Error>> {
    let image = small::push(stage)?;
    stage.renew_volume()?;
    let node_toml = node_toml(stage);
    stage.boot(&node_toml)?;
    stage.wait_for_status("the node to be ready", super::BOOT_DEADLINE, |status| {
        status["node"]["state"] == "ready"
    })?;
    let stage = &*stage;
    have_image(stage, &image);
    let mut loops = Vec::new();
    for at_once in [1, AT_ONCE] {
        clear(stage);
        run_one(stage, &image);
        loops.push(by_loop(stage, &image, at_once)?);
    }
    clear(stage);
    run_one(stage, &image);
    let ours = by_agent(stage, &image)?;
    let used = processor::of_units(stage, &["node-agent", "docker"], STEADY)?;
    let row = |name: &str, seconds: f64| Row {
        what: format!("{SERVICES} services: from nothing to all started"),
        bar: "the engine's own time".to_owned(),
        ours: format!("{:.1} s (all healthy after {:.1} s)", ours.started, ours.ready),
        instead: format!("{name}: {seconds:.1} s"),
        ratio: Some(seconds / ours.started),
    };
    Ok(vec![
        row("docker run -d, one after the other", loops[0]),
        row(&format!("docker run -d, {AT_ONCE} at once"), loops[1]),
        Row {
            what: format!("agent, {SERVICES} idle services, {} s: CPU, memory", STEADY.as_secs()),
            bar: "-".to_owned(),
            ours: format!("{:.2} %, {}", used[0].percent, megabytes(used[0].resident_bytes)),
            instead: format!(
                "for scale: dockerd {:.2} %, {}",
                used[1].percent,
                megabytes(used[1].resident_bytes)
            ),
            ratio: None,
        },
    ])
}

fn have_image(stage: &Stage, image: &str) {
    let (password, _) = stage.cloud.state().registry_tokens.issue(jiff::Timestamp::now());
    let pull = format!(
        "echo '{password}' | docker login --username AWS --password-stdin {REGISTRY} && docker pull --quiet {image}"
    );
    stage.instance().shell(&pull).expect_success();
}

/// Without the agent and without containers.
fn clear(stage: &Stage) {
    let line = "systemctl stop node-agent; docker ps --all --quiet | xargs --no-run-if-empty docker rm --force >/dev/null";
    stage.instance().shell(line).expect_success();
}

fn options(name: &str, image: &str) -> String {
    format!(
        "--name {name} --network node-agent --cap-drop ALL --security-opt no-new-privileges --log-driver json-file \
         --log-opt max-size=10m --log-opt max-file=3 --label bench=loop {image}"
    )
}

fn run_one(stage: &Stage, image: &str) {
    let run = format!("docker run --detach {} && docker rm --force warm", options("warm", image));
    stage.instance().shell(&run).expect_success();
}

fn by_loop(stage: &Stage, image: &str, at_once: usize) -> Result<f64, Box<dyn Error>> {
    let run = options("loop-{}", image);
    let line = format!(
        "date +%s%N; seq {SERVICES} | xargs -P {at_once} -I '{{}}' docker run --detach {run} >/dev/null"
    );
    let began = stage.instance().shell(&line).expect_success();
    last_start(stage, "bench=loop", began.trim().parse()?)
}

struct Converged {
    started: f64,
    ready: f64,
}

fn by_agent(stage: &Stage, image: &str) -> Result<Converged, Box<dyn Error>> {
    let services = (0..SERVICES).map(|number| {
        format!(
            "[services.n{number}]\nimage = \"{image}\"\nstop_timeout = \"1s\"\n\
             [services.n{number}.health]\nhttp = \"8000/health\"\n"
        )
    });
    // The service of the boot is not one of them.
    let write = "cat > /etc/node-agent/node.toml && date +%s%N && systemctl restart node-agent";
    let stripped = node_toml(stage);
    let head = stripped.split("[services.web]").next().unwrap_or_default();
    let text: String = std::iter::once(head.to_owned()).chain(services).collect();
    let began = stage.instance().run_with_input(["sh", "-c", write], text.as_bytes()).expect_success();
    let began: u64 = began.trim().parse()?;
    let status = wait_for("a hundred services", CONVERGENCE, || {
        let status = stage.status().map_err(|answer| answer.to_string())?;
        let services = status["services"].as_array().cloned().unwrap_or_default();
        let passing = services.iter().filter(|service| service["health"] == "passing").count();
        let ready = status["node"]["state"] == "ready" && passing == SERVICES;
        if ready { Ok(status) } else { Err(format!("{passing} pass; {}", status["problems"])) }
    })?;
    let since: jiff::Timestamp = status["node"]["since"].as_str().ok_or("no since")?.parse()?;
    let ready = since.duration_since(moment(began)?).as_secs_f64();
    wait_for("the last start", DEADLINE, || {
        last_start(stage, "node-agent.service", began).map_err(|error| error.to_string())
    })
    .map(|started| Converged { started, ready })
    .map_err(Into::into)
}

fn moment(nanoseconds: u64) -> Result<jiff::Timestamp, jiff::Error> {
    jiff::Timestamp::from_nanosecond(i128::from(nanoseconds))
}

/// Seconds from `began` to the start of the last of all the containers with that label.
fn last_start(stage: &Stage, label: &str, began: u64) -> Result<f64, Box<dyn Error>> {
    let line = format!(
        "docker ps --quiet --filter label={label} | xargs docker inspect --format '{{{{.State.StartedAt}}}}'"
    );
    let text = stage.instance().shell(&line).expect_success();
    let starts: Vec<jiff::Timestamp> = text.lines().map(str::parse).collect::<Result<_, _>>()?;
    if starts.len() != SERVICES {
        return Err(format!("{} of {SERVICES} containers run", starts.len()).into());
    }
    let last = starts.into_iter().max().unwrap_or_default();
    Ok(last.duration_since(moment(began)?).as_secs_f64())
}
