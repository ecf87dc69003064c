//! The volume planner by situation: the whole plan is compared.

mod access;
mod half_made;
mod partitions;
mod safety;

use super::*;
use crate::volumes::signatures::{Condition, Found};
use node::config::settings::Filesystem;
use std::time::Duration;

const GIB: u64 = 1 << 30;

fn wanted() -> Volume {
    Volume {
        identity: VolumeIdentity::AttachName("sdf".to_owned()),
        mount: "/mnt/models".to_owned(),
        filesystem: Filesystem::Xfs,
        format_if_blank: true,
        wait: Duration::from_secs(300),
        optional: false,
        owner: None,
        mode: None,
    }
}

fn device() -> Device {
    Device {
        name: "nvme1n1".to_owned(),
        node: "/dev/nvme1n1".to_owned(),
        number: (259, 4),
        size_bytes: 20 * GIB,
        model: Some("Amazon Elastic Block Store".to_owned()),
        serial: Some("vol0a1b2c3d4e5f60718".to_owned()),
        volume_id: Some("vol-0a1b2c3d4e5f60718".to_owned()),
        attach_names: vec!["sdf".to_owned()],
        read_only: false,
        partitions: Vec::new(),
        uses: Vec::new(),
    }
}

fn xfs(size_bytes: u64) -> Content {
    Content::Filesystem(Found {
        kind: "xfs",
        uuid: Some("u".to_owned()),
        label: None,
        size_bytes: Some(size_bytes),
        condition: Condition::default(),
        mark: None,
    })
}

fn observation(device: Device, content: Content) -> Observation {
    Observation {
        device: Match::One(device),
        content: Some(Ok(content)),
        mount_point: MountPoint::Free { holds_files: false },
        mounted_bytes: None,
        root_folder: None,
    }
}

fn mounted(filesystem: &str, read_only: bool) -> Observation {
    let at = "/mnt/models".to_owned();
    let uses = vec![Use::Mounted { at, filesystem: filesystem.to_owned(), read_only }];
    Observation {
        mount_point: MountPoint::Taken { number: (259, 4), source: "/dev/nvme1n1".to_owned() },
        ..observation(Device { uses, ..device() }, xfs(20 * GIB))
    }
}

fn refused(plan: &Plan) -> &'static str {
    match &plan.action {
        Action::Refuse(refusal) => refusal.code,
        other => panic!("{other:?}: {}", plan.reason),
    }
}

#[test]
fn plan_mounted_and_right_keeps() {
    let plan = plan(&wanted(), &mounted("xfs", false));
    assert_eq!(plan, Plan::new(Action::Keep, "xfs on nvme1n1 is mounted at /mnt/models"));
}

#[test]
fn plan_mounted_and_bound_elsewhere_keeps() {
    let mut observation = mounted("xfs", false);
    if let Match::One(device) = &mut observation.device {
        device.uses.push(Use::Mounted {
            at: "/srv".to_owned(),
            filesystem: "xfs".to_owned(),
            read_only: true,
        });
    }
    assert_eq!(plan(&wanted(), &observation).action, Action::Keep);
}

#[test]
fn plan_mounted_on_a_larger_device_grows() {
    let observation = Observation { mounted_bytes: Some(10 * GIB), ..mounted("xfs", false) };
    let plan = plan(&wanted(), &observation);
    let reason = "xfs on nvme1n1 is mounted at /mnt/models, grow it from 10.0 GiB to 20.0 GiB";
    assert_eq!(plan, Plan::new(Action::Grow { partition: false }, reason));
}

#[test]
fn plan_mounted_wrong_is_refused() {
    assert_eq!(refused(&plan(&wanted(), &mounted("ext4", false))), "volume_foreign");
    assert_eq!(refused(&plan(&wanted(), &mounted("xfs", true))), "volume_read_only");
}

#[test]
fn plan_blank_is_formatted_if_allowed() {
    let plan_blank = |wanted: &Volume| plan(wanted, &observation(device(), Content::Blank));
    let reason = "nvme1n1 is blank: make xfs and mount it at /mnt/models";
    assert_eq!(plan_blank(&wanted()), Plan::new(Action::Format, reason));
    let never = Volume { format_if_blank: false, ..wanted() };
    assert_eq!(refused(&plan_blank(&never)), "volume_blank");
}

#[test]
fn plan_matching_file_system_is_mounted_and_grown_but_never_shrunk() {
    let plan_size = |size| plan(&wanted(), &observation(device(), xfs(size)));
    let mounting = |grow| Action::Mount(Mounting { grow, ..Mounting::default() });
    assert_eq!(plan_size(20 * GIB).action, mounting(false));
    // What xfs and ext4 cannot use at the end of a device is no reason to grow at every boot.
    assert_eq!(plan_size(20 * GIB - (64 << 20)).action, mounting(false));
    assert_eq!(plan_size(10 * GIB).action, mounting(true));
    assert_eq!(refused(&plan_size(21 * GIB)), "volume_damaged");
}

#[test]
fn plan_foreign_content_is_refused_with_what_it_is() {
    let ext4 = Found {
        kind: "ext4",
        uuid: Some("u-1".to_owned()),
        label: Some("data".to_owned()),
        size_bytes: None,
        condition: Condition::default(),
        mark: None,
    };
    let table = [
        (Content::Filesystem(ext4), "nvme1n1 holds a file system ext4 labelled \"data\" with UUID u-1"),
        (
            Content::Other { what: "swap space".to_owned(), at: 4086 },
            "nvme1n1 holds swap space (at byte 4086)",
        ),
        (
            Content::NotBlank { offset: 7 },
            "nvme1n1 holds unknown data (the first byte that is not zero is byte 7)",
        ),
    ];
    for (content, expected) in table {
        let plan = plan(&wanted(), &observation(device(), content));
        assert_eq!(refused(&plan), "volume_foreign");
        assert_eq!(
            plan.reason,
            format!("{expected}; wanted is xfs, and only a blank device is ever formatted")
        );
    }
}

#[test]
fn plan_unreadable_is_refused() {
    let unreadable = Observation {
        content: Some(Err("Input/output error".to_owned())),
        ..observation(device(), Content::Blank)
    };
    assert_eq!(refused(&plan(&wanted(), &unreadable)), "volume_unreadable");
}

#[test]
fn plan_device_in_use_is_refused_even_if_it_reads_blank() {
    let uses = [
        Use::Root,
        Use::Mounted { at: "/data".to_owned(), filesystem: "xfs".to_owned(), read_only: false },
        Use::PartitionMounted {
            index: 1,
            at: "/mnt/models".to_owned(),
            filesystem: "xfs".to_owned(),
            read_only: false,
        },
        Use::Swap,
        Use::Held { by: "dm-0".to_owned() },
    ];
    for used in uses {
        let in_use = Device { uses: vec![used.clone()], ..device() };
        let plan = plan(&wanted(), &observation(in_use, Content::Blank));
        assert_eq!(refused(&plan), "volume_in_use", "{used}");
        assert!(plan.reason.contains(&used.to_string()), "{}", plan.reason);
    }
}

#[test]
fn plan_mount_point_of_another_is_refused() {
    let taken = MountPoint::Taken { number: (8, 1), source: "/dev/sda1".to_owned() };
    for mount_point in [taken, MountPoint::NoFolder] {
        let observation = Observation { mount_point, ..observation(device(), Content::Blank) };
        assert_eq!(refused(&plan(&wanted(), &observation)), "mount_point_taken");
    }
}

#[test]
fn plan_absent_waits_and_ambiguous_is_refused_with_what_was_seen() {
    let other = Device { name: "nvme2n1".to_owned(), volume_id: None, attach_names: Vec::new(), ..device() };
    let absent = Observation {
        device: find(&wanted().identity, std::slice::from_ref(&other)),
        content: None,
        mount_point: MountPoint::Free { holds_files: false },
        mounted_bytes: None,
        root_folder: None,
    };
    let plan_absent = plan(&wanted(), &absent);
    let seen = "nothing is attached as sdf; seen: nvme2n1 (without a known identity, 20.0 GiB)";
    assert_eq!(plan_absent, Plan::new(Action::Wait, seen));
    let twin = Device { name: "nvme3n1".to_owned(), ..device() };
    let both = Observation { device: find(&wanted().identity, &[device(), twin]), ..absent };
    let plan_both = plan(&wanted(), &both);
    assert_eq!(refused(&plan_both), "volume_ambiguous");
    assert!(
        plan_both.reason.contains("nvme1n1") && plan_both.reason.contains("nvme3n1"),
        "{}",
        plan_both.reason
    );
}

#[test]
fn a_volume_is_found_by_its_id_whatever_the_kernel_calls_it() {
    let identity = VolumeIdentity::VolumeId("vol-0a1b2c3d4e5f60718".to_owned());
    let renamed = Device { name: "nvme7n1".to_owned(), attach_names: Vec::new(), ..device() };
    assert_eq!(find(&identity, std::slice::from_ref(&renamed)), Match::One(renamed));
}

#[test]
fn plan_instance_store_is_never_a_volume_and_is_named() {
    let ephemeral = Device {
        model: Some("Amazon EC2 NVMe Instance Storage".to_owned()),
        volume_id: None,
        attach_names: Vec::new(),
        ..device()
    };
    let Match::Absent { seen } = find(&wanted().identity, std::slice::from_ref(&ephemeral)) else {
        panic!("{ephemeral:?}")
    };
    assert_eq!(seen, "nvme1n1 (instance store, lost with the instance, 20.0 GiB)");
    assert_eq!(refused(&plan(&wanted(), &observation(ephemeral, Content::Blank))), "volume_foreign");
}

#[test]
fn plan_read_only_device_is_refused_whatever_is_on_it() {
    for content in [Content::Blank, xfs(20 * GIB)] {
        let device = Device { read_only: true, ..device() };
        let plan = plan(&wanted(), &observation(device, content.clone()));
        assert_eq!(refused(&plan), "volume_read_only", "{content}");
        assert!(plan.reason.contains("nvme1n1"), "{}", plan.reason);
    }
}

fn ext4(condition: Condition) -> Content {
    let Content::Filesystem(found) = xfs(20 * GIB) else { unreachable!("xfs is a file system") };
    Content::Filesystem(Found { kind: "ext4", condition, ..found })
}

#[test]
fn plan_ext4_that_was_not_left_in_order_is_checked_before_it_is_mounted() {
    let wanted = Volume { filesystem: Filesystem::Ext4, ..wanted() };
    let plan_with = |condition| plan(&wanted, &observation(device(), ext4(condition)));
    let clean = plan_with(Condition::default());
    assert_eq!(
        clean,
        Plan::new(Action::Mount(Mounting::default()), "nvme1n1 holds ext4: mount it at /mnt/models")
    );
    let check = || Action::Mount(Mounting { check: true, ..Mounting::default() });
    let dirty = plan_with(Condition { needs_check: true, ..Condition::default() });
    let reason =
        "nvme1n1 holds ext4: it was not left in order, check it with e2fsck -p, then mount it at /mnt/models";
    assert_eq!(dirty, Plan::new(check(), reason));
    let damaged = plan_with(Condition { has_errors: true, ..Condition::default() });
    let reason = "nvme1n1 holds ext4: it has errors, check it with e2fsck -p, then mount it at /mnt/models";
    assert_eq!(damaged, Plan::new(check(), reason));
}

#[test]
fn plan_xfs_is_never_checked() {
    let condition = Condition { needs_check: true, has_errors: true, ..Condition::default() };
    let Content::Filesystem(found) = xfs(20 * GIB) else { unreachable!("xfs is a file system") };
    let plan = plan(&wanted(), &observation(device(), Content::Filesystem(Found { condition, ..found })));
    assert_eq!(plan.action, Action::Mount(Mounting::default()));
}
