//! What a run before was killed at.

use super::*;

fn mark() -> Mark {
    Mark {
        filesystem: "xfs",
        uuid: "u".to_owned(),
        size_bytes: 20 * GIB,
        serial: "vol0a1b2c3d4e5f60718".to_owned(),
    }
}

fn plan_mark(mark: Mark) -> Plan {
    plan(&wanted(), &observation(device(), Content::HalfMade(mark)))
}

#[test]
fn plan_half_made_of_ours_is_made_again() {
    let reason = "nvme1n1 holds a file system that a run before began and did not finish: make xfs and mount it at \
                  /mnt/models";
    assert_eq!(plan_mark(mark()), Plan::new(Action::FormatAgain(mark()), reason));
    let never = Volume { format_if_blank: false, ..wanted() };
    let refusal = plan(&never, &observation(device(), Content::HalfMade(mark())));
    assert_eq!(refused(&refusal), "volume_blank");
}

#[test]
fn plan_half_made_of_another_device_or_kind_is_refused_with_what_the_mark_says() {
    let table = [
        (
            Mark { size_bytes: 10 * GIB, ..mark() },
            "for a device of 10737418240 bytes, and this one has 21474836480",
        ),
        (
            Mark { serial: "vol0b".to_owned(), ..mark() },
            "for a device with serial number \"vol0b\", and this one has \"vol0a1b2c3d4e5f60718\"",
        ),
        (
            Mark { serial: String::new(), ..mark() },
            "for a device with serial number none, and this one has \"vol0a1b2c3d4e5f60718\"",
        ),
        (Mark { filesystem: "ext4", ..mark() }, "for ext4, and wanted is xfs"),
    ];
    for (mark, expected) in table {
        let plan = plan_mark(mark);
        assert_eq!(refused(&plan), "volume_foreign");
        assert!(plan.reason.ends_with(expected), "{}", plan.reason);
    }
}

#[test]
fn plan_half_made_without_serial_numbers_is_ours() {
    let nameless = Device { serial: None, ..device() };
    let mark = Mark { serial: String::new(), ..mark() };
    let plan = plan(&wanted(), &observation(nameless, Content::HalfMade(mark.clone())));
    assert_eq!(plan.action, Action::FormatAgain(mark));
}

#[test]
fn plan_half_made_on_a_device_in_use_or_read_only_is_refused() {
    let used = Device { uses: vec![Use::Held { by: "dm-0".to_owned() }], ..device() };
    assert_eq!(refused(&plan(&wanted(), &observation(used, Content::HalfMade(mark())))), "volume_in_use");
    let closed = Device { read_only: true, ..device() };
    assert_eq!(
        refused(&plan(&wanted(), &observation(closed, Content::HalfMade(mark())))),
        "volume_read_only"
    );
}

fn marked(kind: &'static str, mark: Mark, never_mounted: bool) -> Plan {
    let filesystem = if kind == "xfs" { Filesystem::Xfs } else { Filesystem::Ext4 };
    let found = Found {
        kind,
        uuid: Some("u".to_owned()),
        label: None,
        size_bytes: Some(20 * GIB),
        condition: Condition { never_mounted, ..Condition::default() },
        mark: Some(mark),
    };
    let wanted = Volume { filesystem, ..wanted() };
    plan(&wanted, &observation(device(), Content::Filesystem(found)))
}

#[test]
fn plan_a_mark_beside_a_whole_file_system_is_removed_when_that_is_sound() {
    let reason = |kind: &str| {
        format!(
            "nvme1n1 holds {kind}: check what a run before made and did not come to mount, then mount it at /mnt/models"
        )
    };
    let finish = |mark, may_format_again| {
        let finish = Some(Finish { mark, may_format_again });
        Action::Mount(Mounting { finish, ..Mounting::default() })
    };
    assert_eq!(marked("xfs", mark(), false), Plan::new(finish(mark(), false), reason("xfs")));
    let ext4 = Mark { filesystem: "ext4", ..mark() };
    let never_mounted = marked("ext4", ext4.clone(), true);
    assert_eq!(never_mounted, Plan::new(finish(ext4.clone(), true), reason("ext4")));
    assert_eq!(marked("ext4", ext4.clone(), false), Plan::new(finish(ext4, false), reason("ext4")));
}

#[test]
fn plan_a_mark_of_another_device_beside_a_file_system_is_refused() {
    let other = Mark { serial: "vol0b".to_owned(), ..mark() };
    assert_eq!(refused(&marked("xfs", other, false)), "volume_foreign");
}

#[test]
fn plan_a_file_system_that_says_it_is_unfinished_and_bears_no_mark_is_refused() {
    let Content::Filesystem(found) = xfs(20 * GIB) else { unreachable!("xfs is a file system") };
    let condition = Condition { unfinished: true, ..Condition::default() };
    let content = Content::Filesystem(Found { condition, ..found });
    let plan = plan(&wanted(), &observation(device(), content));
    assert_eq!(refused(&plan), "volume_foreign");
    assert!(plan.reason.contains("begun and not finished"), "{}", plan.reason);
}
