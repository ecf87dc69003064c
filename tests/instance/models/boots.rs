//! What a boot brings, what there is without the volume, and what the agent costs afterwards.

use super::node::{Node, VOLUME, model};
use super::room::FIRST;
use super::scene::{PATIENCE, catch};
use harness::bench::processor;
use harness::requirements::tried;
use serde_json::Value;
use std::time::Duration;

/// The bars of a node with ten services.
const MEMORY_BAR: u64 = 30_000_000;
const PROCESSOR_BAR: f64 = 0.2;
/// Where other guests have the caches of this host, waking up costs ten times what it costs on a quiet one, for everybody:
/// then the engine is the measure, which wakes up about as often for these services.
const OF_THE_ENGINE: f64 = 0.75;
const IDLE: Duration = Duration::from_secs(30);

pub(super) fn the_agent_costs_little_while_a_model_is_served(node: &Node) {
    let used = processor::of_units(&node.scene.stage, &["node-agent", "docker"], IDLE).unwrap();
    let (percent, resident, engine) = (used[0].percent, used[0].resident_bytes, used[1].percent);
    #[expect(clippy::cast_precision_loss, reason = "a number to be read")]
    let megabytes = resident as f64 / 1e6;
    tried(&format!(
        "an idle agent with a model in memory: {megabytes:.1} MB, {percent:.3} % of a core (dockerd {engine:.3} %)"
    ));
    assert!(resident <= MEMORY_BAR, "{resident} bytes");
    let bar = PROCESSOR_BAR.max(OF_THE_ENGINE * engine);
    assert!(percent <= bar, "{percent} % of a core, {bar} % may be");
}

pub(super) fn without_its_volume_the_server_is_not_started_and_models_say_why(node: &mut Node) {
    let volumes = std::mem::take(&mut node.scene.stage.description().volumes);
    node.scene.stage.reboot().unwrap();
    let seen = node.until("the server to be down for want of its volume", |models| {
        let reason = model(models, FIRST)["reason"].as_str().unwrap_or_default();
        models["server"]["state"] == "down" && reason.contains("volume models")
    });
    assert_eq!(model(&seen, FIRST)["state"], "absent", "{seen:#}");
    let ran = node.shell("docker ps -q --filter label=node-agent.service=ollama").expect_success();
    assert_eq!(ran, "", "the server runs without its volume");
    let below = node.shell(&format!("ls -A {VOLUME} 2>/dev/null | wc -l")).expect_success();
    assert_eq!(below.trim(), "0", "something was written below the mount point");
    let page = node.command(&[]).expect_success();
    assert!(page.contains("down") && page.contains("volume models"), "{page}");
    node.scene.stage.description().volumes = volumes;
}

/// Control groups of the process that reads ahead.
fn reading(node: &Node) -> Option<String> {
    let found = node.shell("cat /proc/$(pgrep -n -x -f '/proc/[0-9]*/exe warm-up')/cgroup");
    found.status.success().then_some(found.stdout).filter(|groups| !groups.is_empty())
}

pub(super) fn after_a_boot_a_model_is_read_ahead_outside_the_agents_group(node: &mut Node) {
    node.scene.stage.reboot().unwrap();
    let groups = catch(PATIENCE, || reading(node));
    let groups = groups.unwrap_or_else(|| panic!("nobody read ahead\n{}", node.scene.story()));
    assert!(groups.contains(".scope") && !groups.contains("node-agent.service"), "{groups}");
    let kept = node.until("the model to be in memory after the boot", |models| {
        model(models, FIRST)["state"] == "loaded"
    });
    let prewarm: &Value = &kept["server"]["prewarm"];
    let (read, total) = (prewarm["read_bytes"].as_u64().unwrap(), prewarm["total_bytes"].as_u64().unwrap());
    let rate = prewarm["mebibytes_per_second"].as_f64().unwrap();
    assert!(read == total && total >= 64 << 20, "{prewarm:#}");
    // What the kernel still has in memory is not read from the device, and the cap is not for it: the reading itself is
    // held against a throttled device elsewhere.
    assert!(rate >= 1.0, "{prewarm:#}");
    let page = node.command(&[]).expect_success();
    let line = format!("last read ahead: first:1b, 64.0 MiB at {rate:.0} MiB/s");
    assert!(page.contains(&line), "no {line:?} in:\n{page}");
    let used = processor::of_units(&node.scene.stage, &["node-agent"], Duration::from_secs(1)).unwrap();
    assert!(used[0].resident_bytes <= MEMORY_BAR, "{} bytes", used[0].resident_bytes);
    let unit = node.shell("systemctl show --property=MemoryCurrent --value node-agent").expect_success();
    // Pages of files count too. A hierarchy without an account of memory has no number here.
    let counted = unit.trim().parse::<u64>().ok().filter(|bytes| *bytes < u64::MAX);
    tried(&format!("{rate:.1} MiB/s after a boot; the agent's unit has {counted:?} bytes afterwards"));
    assert!(counted.is_none_or(|bytes| bytes < total), "the model is counted against the agent: {unit}");
}
