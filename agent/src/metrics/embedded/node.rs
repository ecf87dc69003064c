//! The line of the node as a whole: its memory, processors and network, the agent, and how its parts are, counted.

use super::{Group, Moments, Unit, percent};
use crate::metrics::collection::{Collection, Cpu, Interface, Process};
use crate::status::{ModelState, ServiceState};

pub(super) fn group(moments: Moments<'_>) -> Group {
    let mut group = Group::new(None);
    memory(&mut group, moments.now);
    processors(&mut group, moments);
    network(&mut group, moments);
    logs(&mut group, moments);
    counted(&mut group, moments.now);
    agent(&mut group, moments);
    group
}

fn memory(group: &mut Group, now: &Collection) {
    let Some(memory) = now.kernel.as_ref().and_then(|kernel| kernel.memory) else { return };
    let used = memory.total_bytes.saturating_sub(memory.available_bytes) as f64;
    group.add("MemoryUsed", Unit::Bytes, used);
    group.add("MemoryUsedPercent", Unit::Percent, percent(used, memory.total_bytes as f64));
    let swapped = memory.swap_total_bytes.saturating_sub(memory.swap_free_bytes) as f64;
    group.add("SwapUsedPercent", Unit::Percent, percent(swapped, memory.swap_total_bytes as f64));
}

fn processors(group: &mut Group, moments: Moments<'_>) {
    let of = |part: fn((f64, f64)) -> f64| {
        moments.grown(|it| Some(part(it.kernel.as_ref()?.cpu.as_ref().map(Cpu::busy_and_all)?)))
    };
    let used = of(|(busy, _)| busy).zip(of(|(_, all)| all));
    group.add("CpuPercent", Unit::Percent, used.and_then(|(busy, all)| percent(busy, all)));
    let load = moments.now.kernel.as_ref().and_then(|kernel| kernel.load);
    group.add("Load1", Unit::None, load.map(|load| load.one));
}

fn network(group: &mut Group, moments: Moments<'_>) {
    // An interface that came in between counts from its own beginning.
    let sum = |of: fn(&Interface) -> u64| {
        moments.grown(|it| {
            let interfaces = &it.kernel.as_ref()?.interfaces;
            (!interfaces.is_empty()).then(|| interfaces.iter().map(of).sum::<u64>() as f64)
        })
    };
    group.add("NetworkReceived", Unit::Bytes, sum(|it| it.received.bytes));
    group.add("NetworkSent", Unit::Bytes, sum(|it| it.sent.bytes));
    let lost = sum(|it| it.received.errors + it.received.dropped + it.sent.errors + it.sent.dropped);
    group.add("NetworkErrors", Unit::Count, lost);
}

fn logs(group: &mut Group, moments: Moments<'_>) {
    let logs = &moments.now.status.logs;
    let shipped = moments.grown(|it| Some(it.status.logs.events_shipped as f64));
    group.add("LogEventsShipped", Unit::Count, shipped);
    let dropped = moments.grown(|it| Some(it.status.logs.events_dropped as f64));
    group.add("LogEventsDropped", Unit::Count, dropped);
    group.add("LogBacklog", Unit::Bytes, logs.backlog_bytes as f64);
    group.add("LogOldestUnshipped", Unit::Seconds, logs.oldest_unshipped_seconds as f64);
}

fn counted(group: &mut Group, now: &Collection) {
    let status = &now.status;
    let count = |count: usize| count as f64;
    group.add("Problems", Unit::Count, count(status.problems.len()));
    let running = |state: ServiceState| state == ServiceState::Running;
    let running = status.services.iter().filter(|service| running(service.state)).count();
    group.add("ServicesRunning", Unit::Count, count(running));
    group.add("ServicesNotRunning", Unit::Count, count(status.services.len() - running));
    if !status.models.is_empty() {
        let in_place = status.models.iter().filter(|model| model.is_in_place()).count();
        group.add("ModelsNotInPlace", Unit::Count, count(status.models.len() - in_place));
        let failed = status.models.iter().filter(|model| model.state == ModelState::Failed).count();
        group.add("ModelsFailed", Unit::Count, count(failed));
        let sum =
            |of: fn(&crate::status::Model) -> Option<u64>| status.models.iter().filter_map(of).sum::<u64>();
        group.add("ModelMemory", Unit::Bytes, sum(|model| model.memory_bytes) as f64);
        group.add("ModelGpuMemory", Unit::Bytes, sum(|model| model.gpu_memory_bytes) as f64);
    }
}

fn agent(group: &mut Group, moments: Moments<'_>) {
    let of = |it: &Collection| -> Option<Process> { it.kernel.as_ref()?.agent };
    group.add("AgentMemory", Unit::Bytes, of(moments.now).map(|agent| agent.resident_bytes as f64));
    let used = moments.grown(|it| Some(of(it)?.cpu_seconds)).zip(moments.seconds());
    group.add("AgentCpuPercent", Unit::Percent, used.and_then(|(busy, all)| percent(busy, all)));
}
