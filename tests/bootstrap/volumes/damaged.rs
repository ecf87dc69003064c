//! File systems that were not left in order, damaged ones, and devices that cannot be written.

use crate::disk::{Disk, MIB, configuration, outcome, refused, run, tool};
use crate::world::{World, is_root};
use std::os::unix::fs::FileExt;

const SIZE: u64 = 320 * MIB;

/// `EXT2_VALID_FS` is 1, `EXT2_ERROR_FS` 2.
fn ext4_in_state(state: &str) -> Disk {
    let disk = Disk::blank(SIZE);
    disk.make("ext4", &["-F"]);
    tool("debugfs", &["-w", "-R", &format!("set_super_value state {state}"), &disk.node]);
    disk
}

#[test]
fn ext4_that_was_not_left_in_order_is_checked_and_mounted() {
    if !is_root() {
        return;
    }
    for (state, why) in [("0", "was not left in order"), ("3", "has errors")] {
        let disk = ext4_in_state(state);
        let world = World::with_everything();
        disk.attach(&world, "xvdf");
        let configuration = configuration("ext4", "");
        let planned = world.bootstrap(&["plan", "--config", "-", "--json"], &configuration);
        assert!(planned.expect(0).stdout.contains(why), "{}", planned.story());
        let (run, handoff) = run(&world, &configuration);
        run.expect(0);
        let (how, volume) = outcome(&handoff);
        assert!(how == "done" && volume["mounted"] == true, "{}", run.story());
        assert!(run.stderr.contains("checks the file system"), "{}", run.story());
        assert!(world.inside("umount", &["/mnt/models"]).status.success());
        let header = tool("dumpe2fs", &["-h", &disk.node]);
        assert!(header.lines().any(|line| line.starts_with("Filesystem state:") && line.ends_with(" clean")));
    }
}

#[test]
fn damage_that_asks_for_a_person_is_refused_and_nothing_is_repaired() {
    if !is_root() {
        return;
    }
    let checksum = Disk::blank(SIZE);
    checksum.make("xfs", &[]);
    // `sb_crc`
    checksum.file.as_file().write_all_at(&[0xa5; 4], 224).unwrap();
    let run = refused(&checksum, &configuration("xfs", ""), "volume_damaged", "xfs with a wrong checksum");
    assert!(run.stderr.contains("take a snapshot of the volume first"), "{}", run.story());

    let descriptors = Disk::blank(SIZE);
    descriptors.make("ext4", &["-F", "-b", "4096"]);
    descriptors.file.as_file().write_all_at(&[0xa5; 4096], 4096).unwrap();
    let run = refused(&descriptors, &configuration("ext4", ""), "volume_damaged", "ext4 without descriptors");
    assert!(run.stderr.contains("e2fsck -f /dev/xvdf"), "{}", run.story());
}

#[test]
fn what_e2fsck_does_not_correct_by_itself_is_refused_with_its_words_and_left_to_a_person() {
    if !is_root() {
        return;
    }
    let disk = ext4_in_state("3");
    tool("debugfs", &["-w", "-R", "clri <2>", &disk.node]);
    let world = World::with_everything();
    disk.attach(&world, "xvdf");
    let (run, handoff) = run(&world, &configuration("ext4", ""));
    run.expect(1);
    let problem = &handoff["problems"][0];
    assert_eq!(problem["code"], "volume_damaged", "{}", run.story());
    let message = problem["message"].as_str().unwrap();
    assert!(message.to_lowercase().contains("root inode") && !message.contains("/proc/"), "{problem:#}");
    assert!(problem["hint"].as_str().unwrap().contains("e2fsck -f /dev/xvdf"), "{problem:#}");
    assert_eq!(outcome(&handoff).1["mounted"], false);
    let left = std::process::Command::new("e2fsck").args(["-f", "-n", &disk.node]).output().unwrap();
    assert!(left.status.code().is_some_and(|code| code & 4 != 0), "it is still damaged: {left:?}");
}

#[test]
fn xfs_that_the_kernel_finds_damaged_when_it_mounts_is_refused_and_not_repaired() {
    if !is_root() {
        return;
    }
    let disk = Disk::blank(SIZE);
    disk.make("xfs", &[]);
    // The headers of the first allocation group. The kernel prepares the log before it reads them.
    disk.file.as_file().write_all_at(&[0xa5; 1536], 512).unwrap();
    let world = World::with_everything();
    disk.attach(&world, "xvdf");
    let (run, handoff) = run(&world, &configuration("xfs", ""));
    run.expect(1);
    let problem = &handoff["problems"][0];
    assert_eq!(problem["code"], "volume_damaged", "{}", run.story());
    assert!(problem["hint"].as_str().unwrap().contains("xfs_repair /dev/xvdf by hand"), "{problem:#}");
    let left = std::process::Command::new("xfs_repair").args(["-n", &disk.node]).output().unwrap();
    assert!(!left.status.success(), "it is still damaged: {left:?}");
}

#[test]
fn a_copy_of_a_mounted_xfs_is_refused_by_the_kernel_and_the_hint_says_why() {
    if !is_root() {
        return;
    }
    let first = Disk::blank(SIZE);
    first.make("xfs", &[]);
    let copy = tempfile::NamedTempFile::new().unwrap();
    std::fs::copy(first.file.path(), copy.path()).unwrap();
    let copy = Disk::of(copy, &[]);
    let world = World::with_everything();
    first.attach(&world, "xvdf");
    copy.attach(&world, "xvdg");
    let (mounted, _) = run(&world, &configuration("xfs", ""));
    mounted.expect(0);
    let second = configuration("xfs", "").replace("/dev/sdf", "/dev/sdg").replace("/mnt/models", "/mnt/copy");
    let (run, handoff) = run(&world, &second);
    run.expect(1);
    let problem = &handoff["problems"][0];
    assert!(problem["hint"].as_str().unwrap().contains("made of a snapshot"), "{problem:#}");
}

#[test]
fn a_device_that_cannot_be_written_is_refused() {
    if !is_root() {
        return;
    }
    for filesystem in [None, Some("xfs")] {
        let writable = Disk::blank(SIZE);
        if let Some(filesystem) = filesystem {
            writable.make(filesystem, &[]);
        }
        let copy = tempfile::NamedTempFile::new().unwrap();
        std::fs::copy(writable.file.path(), copy.path()).unwrap();
        let disk = Disk::of(copy, &["--read-only"]);
        let run = refused(&disk, &configuration("xfs", ""), "volume_read_only", "a read-only device");
        assert!(run.stderr.contains("is read-only"), "{}", run.story());
    }
}
