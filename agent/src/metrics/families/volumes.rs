//! File systems, and what volumes of EBS say of themselves.

use super::{Family, truth};
use crate::metrics::collection::{Collection, EbsCounters, EbsVolume, FileSystem, ROOT};

/// How full they are.
pub(super) fn file_systems(collection: &Collection) -> Vec<Family> {
    let volumes = &collection.status.volumes;
    let measured = collection.file_systems.as_deref().unwrap_or_default();
    let mounted =
        Family::gauge("node_agent_volume_mounted", "1 for a volume of node.toml that is mounted, else 0.");
    let is_mounted = |name: &str| measured.iter().any(|it| it.volume == name);
    // Who was not measured is unknown, not unmounted.
    let known = if collection.file_systems.is_some() { volumes.as_slice() } else { &[] };
    let mounted = mounted.each(
        known,
        |volume| vec![("volume", volume.name.as_str()), ("mount", volume.mount.as_str())],
        |volume| Some(truth(is_mounted(&volume.name))),
    );
    let family = |name, help, value: fn(&FileSystem) -> Option<u64>| {
        Family::gauge(name, help).each(
            measured,
            |it| vec![("volume", it.volume.as_str()), ("mount", it.mount.as_str())],
            |it| value(it).map(|value| value as f64),
        )
    };
    let available = "Bytes that a program without privileges could still write.";
    vec![
        mounted,
        family("node_agent_filesystem_size_bytes", "Size of the file system.", |it| Some(it.size_bytes)),
        family("node_agent_filesystem_free_bytes", "Bytes that nobody uses.", |it| Some(it.free_bytes)),
        family("node_agent_filesystem_available_bytes", available, |it| Some(it.available_bytes)),
        // File systems that make them as they need them say 0.
        family("node_agent_filesystem_inodes", "Files that it can hold.", |it| {
            Some(it.inodes).filter(|all| *all > 0)
        }),
        family("node_agent_filesystem_inodes_free", "Files that it can still hold.", |it| {
            (it.inodes > 0).then_some(it.inodes_free)
        }),
    ]
}

/// The name in node.toml of a volume of EBS, or [`ROOT`]; nothing for one that is neither.
pub(in crate::metrics) fn name_of<'c>(collection: &'c Collection, volume: &EbsVolume) -> &'c str {
    let named =
        collection.status.volumes.iter().find(|it| it.volume_id.as_deref() == Some(&volume.volume_id));
    match named {
        Some(named) => &named.name,
        None if volume.is_root => ROOT,
        None => "",
    }
}

/// Operations, and how long the volume or the instance held them up.
pub(super) fn ebs(collection: &Collection) -> Vec<Family> {
    const COUNTERS: [(&str, &str, Value); 10] = [
        ("node_agent_ebs_read_operations_total", "Read operations completed.", |it| {
            it.read_operations as f64
        }),
        ("node_agent_ebs_write_operations_total", "Write operations completed.", |it| {
            it.write_operations as f64
        }),
        ("node_agent_ebs_read_bytes_total", "Bytes read.", |it| it.read_bytes as f64),
        ("node_agent_ebs_write_bytes_total", "Bytes written.", |it| it.write_bytes as f64),
        ("node_agent_ebs_read_seconds_total", "Time that read operations took, all together.", |it| {
            seconds(it.read_microseconds)
        }),
        ("node_agent_ebs_write_seconds_total", "Time that write operations took, all together.", |it| {
            seconds(it.write_microseconds)
        }),
        (
            "node_agent_ebs_volume_iops_exceeded_seconds_total",
            "Time in which more operations were asked for than the volume's IOPS.",
            |it| seconds(it.volume_iops_exceeded_microseconds),
        ),
        (
            "node_agent_ebs_volume_throughput_exceeded_seconds_total",
            "Time in which more bytes were asked for than the volume's throughput.",
            |it| seconds(it.volume_throughput_exceeded_microseconds),
        ),
        (
            "node_agent_ebs_instance_iops_exceeded_seconds_total",
            "Time in which more operations were asked for than the instance may have.",
            |it| seconds(it.instance_iops_exceeded_microseconds),
        ),
        (
            "node_agent_ebs_instance_throughput_exceeded_seconds_total",
            "Time in which more bytes were asked for than the instance may have.",
            |it| seconds(it.instance_throughput_exceeded_microseconds),
        ),
    ];
    let all = collection.ebs.as_deref().unwrap_or_default();
    let fill = |family: Family, value: Value| {
        family.each(
            all,
            |it| vec![("volume", name_of(collection, it)), ("volume_id", it.volume_id.as_str())],
            |it| Some(value(&it.counters)),
        )
    };
    let counters = COUNTERS.into_iter().map(|(name, help, value)| fill(Family::counter(name, help), value));
    let queue = Family::gauge("node_agent_ebs_queue_length", "Operations that wait at this moment.");
    counters.chain([fill(queue, |it| it.queue_length as f64)]).collect()
}

type Value = fn(&EbsCounters) -> f64;

fn seconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1e6
}
