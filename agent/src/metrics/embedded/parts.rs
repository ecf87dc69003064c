//! The lines of volumes and of services.

use super::{Group, Moments, Unit, grown, percent};
use crate::metrics::collection::{Collection, ContainerUse, EbsCounters, EbsVolume, FileSystem};
use crate::metrics::families::name_of;
use crate::status::{Service, ServiceState};

/// One for each file system, with what EBS says of its volume, and one for each volume of EBS without one.
pub(super) fn volumes(moments: Moments<'_>) -> Vec<Group> {
    let now = moments.now;
    let mut groups: Vec<Group> = now.file_systems.iter().flatten().map(file_system).collect();
    for volume in now.ebs.iter().flatten() {
        let name = match name_of(now, volume) {
            "" => volume.volume_id.as_str(),
            name => name,
        };
        let same = |group: &Group| group.dimension.as_ref().is_some_and(|(_, value)| value == name);
        match groups.iter_mut().find(|group| same(group)) {
            Some(group) => ebs(group, moments, volume),
            None => {
                let mut group = of_volume(name);
                ebs(&mut group, moments, volume);
                groups.push(group);
            }
        }
    }
    groups
}

fn of_volume(name: &str) -> Group {
    Group::new(Some(("Volume", name.to_owned())))
}

fn file_system(it: &FileSystem) -> Group {
    let mut group = of_volume(&it.volume);
    let used = it.size_bytes.saturating_sub(it.free_bytes) as f64;
    group.add("DiskUsed", Unit::Bytes, used);
    group.add("DiskAvailable", Unit::Bytes, it.available_bytes as f64);
    // As `df` has it: full is when nothing more can be written, whatever is kept for root.
    group.add("DiskUsedPercent", Unit::Percent, percent(used, used + it.available_bytes as f64));
    let inodes = it.inodes.saturating_sub(it.inodes_free) as f64;
    group.add("InodesUsedPercent", Unit::Percent, percent(inodes, it.inodes as f64));
    group
}

fn ebs(group: &mut Group, moments: Moments<'_>, volume: &EbsVolume) {
    let of = |value: fn(&EbsCounters) -> u64| {
        moments.grown(|it| {
            let same = |other: &&EbsVolume| other.volume_id == volume.volume_id;
            Some(value(&it.ebs.iter().flatten().find(same)?.counters) as f64)
        })
    };
    let seconds = |value| of(value).map(|microseconds| microseconds / 1e6);
    group.add("EbsRead", Unit::Bytes, of(|it| it.read_bytes));
    group.add("EbsWritten", Unit::Bytes, of(|it| it.write_bytes));
    group.add("EbsVolumeIopsExceeded", Unit::Seconds, seconds(|it| it.volume_iops_exceeded_microseconds));
    group.add(
        "EbsVolumeThroughputExceeded",
        Unit::Seconds,
        seconds(|it| it.volume_throughput_exceeded_microseconds),
    );
    group.add("EbsInstanceIopsExceeded", Unit::Seconds, seconds(|it| it.instance_iops_exceeded_microseconds));
    let throughput = seconds(|it| it.instance_throughput_exceeded_microseconds);
    group.add("EbsInstanceThroughputExceeded", Unit::Seconds, throughput);
    group.add("EbsQueueLength", Unit::Count, volume.counters.queue_length as f64);
}

/// One for each service of the board.
pub(super) fn services(moments: Moments<'_>) -> Vec<Group> {
    moments.now.status.services.iter().map(|it| service(moments, it)).collect()
}

fn service(moments: Moments<'_>, it: &Service) -> Group {
    let mut group = Group::new(Some(("Service", it.name.clone())));
    let running = if it.state == ServiceState::Running { 1.0 } else { 0.0 };
    group.add("Running", Unit::Count, running);
    let restarts = moments.grown(|other| {
        let same = |service: &&Service| service.name == it.name;
        Some(f64::from(other.status.services.iter().find(same)?.restarts))
    });
    group.add("Restarts", Unit::Count, restarts);
    let containers = || of_service(moments.now, &it.name);
    // During an update there are two.
    let memory = containers().filter_map(|container| Some(container.memory?.working_set_bytes as f64));
    group.add("MemoryWorkingSet", Unit::Bytes, memory.reduce(|one, other| one + other));
    let share = containers().filter_map(|container| {
        let memory = container.memory?;
        percent(memory.working_set_bytes as f64, memory.limit_bytes? as f64)
    });
    group.add("MemoryUsedPercent", Unit::Percent, share.reduce(f64::max));
    let used = containers().filter_map(|container| processor_seconds(moments, container));
    let used = used.reduce(|one, other| one + other).zip(moments.seconds());
    // Of one processor.
    group.add("CpuPercent", Unit::Percent, used.and_then(|(used, all)| percent(used, all)));
    group
}

fn of_service<'c>(collection: &'c Collection, name: &'c str) -> impl Iterator<Item = &'c ContainerUse> {
    let containers = collection.kernel.iter().flat_map(|kernel| &kernel.containers);
    containers.filter(move |container| container.service == name)
}

/// Since the moment before; of a container that was not there then, nothing is known.
fn processor_seconds(moments: Moments<'_>, container: &ContainerUse) -> Option<f64> {
    let before = moments.before?.kernel.as_ref()?;
    let before = before.containers.iter().find(|other| other.id == container.id)?;
    grown(before.cpu_seconds?, container.cpu_seconds?)
}
