//! What containers use, from the control groups of their processes.
//!
//! Never through the engine's API of statistics: one question there costs it two reads of every file and a second of
//! waiting.

use crate::metrics::collection::{ContainerMemory, ContainerUse};
use crate::metrics::control_groups::{self, Group, Hierarchies};
use crate::observed::Container;
use node::paths::Paths;
use std::fs;

/// Those that run and are still there; one that ends in between is left out.
pub(super) fn uses(system: &Paths, containers: &[Container]) -> Vec<ContainerUse> {
    let mounts = fs::read_to_string(system.at("/proc/self/mountinfo")).unwrap_or_default();
    let hierarchies = Hierarchies::of(&mounts);
    containers.iter().filter_map(|container| one(system, &hierarchies, container)).collect()
}

fn one(system: &Paths, hierarchies: &Hierarchies, container: &Container) -> Option<ContainerUse> {
    let process = system.at("/proc").join(container.pid?.to_string());
    let memberships = fs::read_to_string(process.join("cgroup")).ok()?;
    let group = |controller| hierarchies.group(&memberships, controller, &container.id);
    let cpu_seconds = group("cpuacct").and_then(|group| cpu_seconds(system, &group));
    let memory = group("memory").and_then(|group| memory(system, &group));
    let nothing = cpu_seconds.is_none() && memory.is_none();
    (!nothing).then(|| ContainerUse {
        id: container.id.clone(),
        name: container.name.clone(),
        service: container.service.clone(),
        cpu_seconds,
        memory,
    })
}

fn cpu_seconds(system: &Paths, group: &Group) -> Option<f64> {
    let text = file(system, group, control_groups::cpu_file(group.version))?;
    control_groups::cpu_seconds(group.version, &text)
}

fn memory(system: &Paths, group: &Group) -> Option<ContainerMemory> {
    let [usage, stat, limit] = control_groups::memory_files(group.version);
    let text = |name| file(system, group, name);
    control_groups::memory(group.version, &text(usage)?, &text(stat)?, &text(limit)?)
}

fn file(system: &Paths, group: &Group, name: &str) -> Option<String> {
    fs::read_to_string(system.at(&group.folder).join(name)).ok()
}
