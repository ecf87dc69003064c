//! The Docker engine: that it answers, and that it is set up for what node.toml asks of it.

use crate::examined::{EngineFacts, Unknown, Wanted};
use crate::finding::{Area, Finding};

/// What the agent was made and tested for.
const OLDEST: (u32, u32) = (20, 10);

/// All of it.
pub fn engine(facts: &Result<EngineFacts, Unknown>, wanted: Wanted) -> Vec<Finding> {
    const ANSWERS: &str = "engine";
    let facts = match facts {
        Ok(facts) => facts,
        Err(why) if why.message.contains("ermission denied") => {
            return vec![Finding::skip(Area::Docker, ANSWERS, "run as root to ask the engine")];
        }
        Err(why) => {
            let remedy = why.remedy.clone().unwrap_or_else(|| "look at `systemctl status docker`".to_owned());
            return vec![Finding::fail(Area::Docker, ANSWERS, why.message.clone(), remedy)];
        }
    };
    let mut findings = vec![version(facts), storage(facts)];
    findings.extend(gpus(facts, wanted));
    findings.extend(logs(facts, wanted));
    findings.extend(live_restore(facts));
    findings
}

fn version(facts: &EngineFacts) -> Finding {
    const CHECK: &str = "engine";
    let EngineFacts { version, cgroup_driver, cgroup_version, .. } = facts;
    let message = format!("Docker {version}, cgroup driver {cgroup_driver} (version {cgroup_version})");
    match parsed(version) {
        Some(version) if version < OLDEST => {
            Finding::warn(Area::Docker, CHECK, message, "upgrade the engine to 20.10 or newer")
        }
        _ => Finding::pass(Area::Docker, CHECK, message),
    }
}

fn parsed(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn storage(facts: &EngineFacts) -> Finding {
    const CHECK: &str = "storage driver";
    let driver = facts.storage_driver.clone();
    match driver.as_str() {
        "overlay2" | "overlayfs" | "stargz" | "zfs" | "btrfs" => Finding::pass(Area::Docker, CHECK, driver),
        "vfs" => Finding::warn(
            Area::Docker,
            CHECK,
            "vfs: every container copies its whole image",
            "put the engine's data-root on ext4, or on xfs with ftype=1, and set \"storage-driver\": \"overlay2\"",
        ),
        _ => Finding::warn(
            Area::Docker,
            CHECK,
            format!("{driver}: newer engines no longer have it"),
            "move to overlay2: set \"storage-driver\" in /etc/docker/daemon.json (images are pulled anew)",
        ),
    }
}

/// A reload of systemd takes the devices away from containers whose groups it manages (NVIDIA container toolkit #48).
fn gpus(facts: &EngineFacts, wanted: Wanted) -> Option<Finding> {
    const CHECK: &str = "GPUs";
    let services = wanted?.services.iter().filter(|(_, service)| service.gpus.is_some());
    let names: Vec<&str> = services.map(|(name, _)| name.as_str()).collect();
    if names.is_empty() {
        return None;
    }
    let names = names.join(", ");
    if !facts.runtimes.iter().any(|runtime| runtime.starts_with("nvidia")) {
        return Some(Finding::fail(
            Area::Docker,
            CHECK,
            format!("{names} wants GPUs, and the engine has no runtime for them"),
            "install nvidia-container-toolkit, then `nvidia-ctk runtime configure --runtime=docker` and restart docker",
        ));
    }
    if facts.cgroup_driver == "systemd" {
        return Some(Finding::warn(
            Area::Docker,
            CHECK,
            format!(
                "the engine leaves control groups to systemd: a daemon-reload takes the GPUs away from {names}"
            ),
            "set \"exec-opts\": [\"native.cgroupdriver=cgroupfs\"] in /etc/docker/daemon.json, or use \
             nvidia-container-toolkit 1.18.1 or newer",
        ));
    }
    Some(Finding::pass(Area::Docker, CHECK, format!("there is a runtime for those of {names}")))
}

fn logs(facts: &EngineFacts, wanted: Wanted) -> Option<Finding> {
    const CHECK: &str = "log driver";
    let shipped = wanted.is_some_and(|settings| settings.logs.is_some());
    match facts.log_driver.as_str() {
        "json-file" => Some(Finding::pass(Area::Docker, CHECK, "json-file")),
        other if shipped => Some(Finding::warn(
            Area::Docker,
            CHECK,
            format!(
                "{other} is the default of new containers, so their lines are read by the engine's API or not at all"
            ),
            "set \"log-driver\": \"json-file\" in /etc/docker/daemon.json",
        )),
        _ => None,
    }
}

fn live_restore(facts: &EngineFacts) -> Option<Finding> {
    const CHECK: &str = "live restore";
    let words = "containers run on while the engine is restarted";
    facts.live_restore.then(|| Finding::pass(Area::Docker, CHECK, words))
}
