//! A device whose only partition holds the file system.

use super::*;

const MIB: u64 = 1 << 20;

fn partition(size_bytes: u64, content: Content) -> Partition {
    Partition { table: "GPT", number: 1, start_bytes: MIB, size_bytes, content: Box::new(content) }
}

fn full() -> u64 {
    20 * GIB - 2 * MIB
}

fn plan_partition(partition: Partition) -> Plan {
    plan(&wanted(), &observation(device(), Content::Partition(partition)))
}

fn mounted_partition(partition: Partition, index: u32) -> Observation {
    let at = "/mnt/models".to_owned();
    let node = PartitionNode {
        name: "nvme1n1p1".to_owned(),
        node: "/dev/nvme1n1p1".to_owned(),
        number: (259, 5),
        index: 1,
        start_bytes: partition.start_bytes,
        size_bytes: partition.size_bytes,
    };
    let used = Use::PartitionMounted { index, at, filesystem: "xfs".to_owned(), read_only: false };
    Observation {
        mount_point: MountPoint::Taken { number: (259, 5), source: "/dev/nvme1n1p1".to_owned() },
        ..observation(
            Device { partitions: vec![node], uses: vec![used], ..device() },
            Content::Partition(partition),
        )
    }
}

#[test]
fn plan_the_only_partition_with_the_wanted_file_system_is_mounted() {
    let only = partition(full(), xfs(full()));
    let reason = "partition 1 of nvme1n1 holds xfs: mount it at /mnt/models";
    let expected = Plan::new(Action::Mount(Mounting::default()), reason).with(Some(&only));
    assert_eq!(plan_partition(only), expected);
}

#[test]
fn plan_partition_is_grown_before_its_file_system() {
    let only = partition(10 * GIB, xfs(10 * GIB));
    let reason = "partition 1 of nvme1n1 holds xfs: mount it at /mnt/models, grow the partition and it from 10.0 GiB to \
                  19.9 GiB";
    let mounting = Mounting { grow: true, grow_partition: true, ..Mounting::default() };
    assert_eq!(plan_partition(only.clone()), Plan::new(Action::Mount(mounting), reason).with(Some(&only)));
    let file_system_only = plan_partition(partition(full(), xfs(10 * GIB)));
    assert_eq!(file_system_only.growth(), Some(false), "{}", file_system_only.reason);
    assert_eq!(refused(&plan_partition(partition(10 * GIB, xfs(11 * GIB)))), "volume_damaged");
}

#[test]
fn plan_partition_of_an_mbr_ends_where_the_table_can_say() {
    let two_tib = 2 << 40;
    let only = Partition { table: "MBR", ..partition(two_tib - MIB, xfs(two_tib - MIB)) };
    let large = Device { size_bytes: 3 << 40, ..device() };
    let plan = plan(&wanted(), &observation(large, Content::Partition(only)));
    assert_eq!(plan.growth(), None, "{}", plan.reason);
}

#[test]
fn plan_partition_is_never_formatted_and_what_is_in_it_is_named() {
    for inside in [
        Content::Blank,
        Content::NotBlank { offset: 3 },
        Content::Other { what: "swap space".to_owned(), at: 4086 },
    ] {
        let plan = plan_partition(partition(full(), inside.clone()));
        assert_eq!(refused(&plan), "volume_foreign", "{inside}");
        let expected = format!(
            "nvme1n1 holds a GPT whose only partition (1) holds {inside}; wanted is xfs, and a partition is never \
             formatted"
        );
        assert_eq!(plan.reason, expected);
    }
}

#[test]
fn plan_partition_mounted_in_its_place_is_kept_and_grown() {
    let keep = plan(&wanted(), &mounted_partition(partition(full(), xfs(full())), 1));
    assert_eq!(keep.action, Action::Keep, "{}", keep.reason);
    assert_eq!(keep.reason, "xfs on partition 1 of nvme1n1 is mounted at /mnt/models");
    let grow = plan(&wanted(), &mounted_partition(partition(10 * GIB, xfs(10 * GIB)), 1));
    assert_eq!(grow.action, Action::Grow { partition: true }, "{}", grow.reason);
}

#[test]
fn plan_another_partition_in_use_or_an_unknown_table_is_refused() {
    let other = plan(&wanted(), &mounted_partition(partition(full(), xfs(full())), 2));
    assert_eq!(refused(&other), "volume_in_use");
    let unknown = Observation {
        content: Some(Ok(Content::Other { what: "a GPT with 2 partitions".to_owned(), at: 512 })),
        ..mounted_partition(partition(full(), xfs(full())), 1)
    };
    assert_eq!(refused(&plan(&wanted(), &unknown)), "volume_in_use");
}

#[test]
fn plan_partition_with_our_mark_is_not_of_ours() {
    let Content::Filesystem(found) = xfs(full()) else { unreachable!("xfs is a file system") };
    let mark = Mark { filesystem: "xfs", uuid: "u".to_owned(), size_bytes: full(), serial: String::new() };
    let marked = Content::Filesystem(Found { mark: Some(mark), ..found });
    assert_eq!(refused(&plan_partition(partition(full(), marked))), "volume_foreign");
}
