//! Volumes on loop devices, through whole runs: formatted when blank, mounted, grown, and refused when anything is odd.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a failing test panics with its story, and a skipped one says so"
)]
#![expect(clippy::disallowed_methods, reason = "makes devices with the real tools")]

#[path = "../world/mod.rs"]
#[expect(dead_code, reason = "shared with the other suite, which uses more of it")]
mod world;

mod access;
mod attachment;
mod damaged;
mod disk;
mod half_made;
mod partitions;

use disk::{Disk, MIB, configuration, outcome, run};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;
use world::{World, is_root};

#[test]
fn a_blank_volume_is_formatted_mounted_kept_and_grown() {
    if !is_root() {
        return;
    }
    for filesystem in ["xfs", "ext4"] {
        let disk = Disk::blank(512 * MIB);
        let world = World::with_everything();
        disk.attach(&world, "xvdf");
        let configuration = configuration(filesystem, "");
        let planned = world.bootstrap(&["plan", "--config", "-"], &configuration);
        assert!(
            planned.expect(0).stdout.contains(&format!("is blank: make {filesystem}")),
            "{}",
            planned.story()
        );

        let (first, handoff) = run(&world, &configuration);
        first.expect(0);
        let (how, volume) = outcome(&handoff);
        assert_eq!(how, "done");
        assert!(volume["mounted"] == true && volume["filesystem"] == filesystem, "{volume:#}");
        let uuid = volume["uuid"].clone();
        assert!(uuid.is_string());
        let mounted = world.read_inside("/proc/self/mounts");
        let line = mounted.lines().find(|line| line.contains("/mnt/models")).unwrap();
        assert!(["nosuid", "nodev", "noatime"].iter().all(|option| line.contains(option)), "{line}");
        world.inside("sh", &["-c", "echo kept > /mnt/models/model"]);

        let (second, handoff) = run(&world, &configuration);
        second.expect(0);
        assert_eq!(outcome(&handoff).0, "unchanged", "{}", second.story());

        disk.grow(1024 * MIB);
        if filesystem == "xfs" || may_resize_ext4() {
            grown(&world, &configuration, &uuid);
        } else {
            let (run, handoff) = run(&world, &configuration);
            run.expect(0);
            assert_eq!(handoff["problems"][0]["code"], "volume_not_grown", "{}", run.story());
        }

        // As after a reboot or on the next instance: not mounted, and full of data.
        assert!(world.inside("umount", &["/mnt/models"]).status.success());
        let (again, handoff) = run(&world, &configuration);
        assert_eq!(outcome(&handoff).0, "done", "{}", again.expect(0).story());
        assert_eq!(world.read_inside("/mnt/models/model"), "kept\n");
    }
}

/// The kernel lets only CAP_SYS_RESOURCE resize ext4 while it is mounted, and some build machines take that away.
fn may_resize_ext4() -> bool {
    const SYS_RESOURCE: u64 = 1 << 24;
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap().trim();
    let may = u64::from_str_radix(effective, 16).unwrap() & SYS_RESOURCE != 0;
    if !may {
        eprintln!("SKIPPED: growing ext4 needs CAP_SYS_RESOURCE; its failure is looked at instead");
    }
    may
}

fn grown(world: &World, configuration: &str, uuid: &serde_json::Value) {
    let (third, handoff) = run(world, configuration);
    third.expect(0);
    assert_eq!(outcome(&handoff).0, "done", "{}", third.story());
    let (fourth, handoff) = run(world, configuration);
    assert_eq!(outcome(&handoff).0, "unchanged", "{}", fourth.expect(0).story());
    assert_eq!(&handoff["volumes"][0]["uuid"], uuid);
    let size = world.inside("df", &["--output=size", "-B1M", "/mnt/models"]);
    let size: u64 = String::from_utf8_lossy(&size.stdout).lines().nth(1).unwrap().trim().parse().unwrap();
    assert!(size > 850, "{size} MiB");
}

#[test]
fn what_is_not_blank_is_refused_and_not_one_byte_of_it_changes() {
    if !is_root() {
        return;
    }
    let makers: [(&str, &[&str]); 3] =
        [("mkfs.ext4", &["-q", "-F"]), ("mkfs.btrfs", &["-q"]), ("mkswap", &[])];
    for (tool, arguments) in makers {
        let disk = Disk::blank(320 * MIB);
        let made = Command::new(tool).args(arguments).arg(&disk.node).output().unwrap();
        assert!(made.status.success(), "{tool}: {made:?}");
        refused(&disk, tool);
    }
    let disk = Disk::blank(320 * MIB);
    disk.file.as_file().write_all_at(&[1], 320 * MIB - 77).unwrap();
    refused(&disk, "one byte near the end");
}

fn refused(disk: &Disk, what: &str) {
    disk::refused(disk, &configuration("xfs", ""), "volume_foreign", what);
}

#[test]
fn a_volume_that_is_absent_is_waited_for_and_then_a_problem_only_if_required() {
    if !is_root() {
        return;
    }
    let world = World::with_everything();
    let (required, handoff) = run(&world, &configuration("xfs", "wait = \"1s\""));
    required.expect(1);
    assert_eq!(handoff["problems"][0]["code"], "volume_absent");
    let (optional, handoff) = run(&world, &configuration("xfs", "wait = \"1s\"\noptional = true"));
    optional.expect(0);
    assert_eq!(outcome(&handoff).0, "failed");
}

#[test]
fn the_mount_point_takes_no_files_while_the_volume_is_missing() {
    if !is_root() {
        return;
    }
    let disk = Disk::blank(512 * MIB);
    let world = World::with_everything();
    disk.attach(&world, "xvdf");
    // On a disk, and not on the tmpfs at /mnt: kernels before 6.6 have no such flag there.
    let configuration = configuration("ext4", "").replace("/mnt/models", "/mnt/disk/models");
    let lower = Disk::blank(64 * MIB);
    assert!(Command::new("mkfs.ext4").args(["-q", "-F", &lower.node]).status().unwrap().success());
    lower.attach(&world, "lower");
    let mounted = world.inside("sh", &["-c", "mkdir /mnt/disk && mount /dev/lower /mnt/disk"]);
    assert!(mounted.status.success(), "{mounted:?}");
    let (run, _) = run(&world, &configuration);
    run.expect(0);
    assert!(world.inside("touch", &["/mnt/disk/models/there"]).status.success());
    assert!(world.inside("umount", &["/mnt/disk/models"]).status.success());
    assert!(!world.inside("touch", &["/mnt/disk/models/astray"]).status.success());
}

#[test]
fn a_volume_in_use_is_refused_even_if_both_its_ends_are_zero() {
    if !is_root() {
        return;
    }
    let disk = Disk::blank(320 * MIB);
    let world = World::with_everything();
    disk.attach(&world, "xvdf");
    // Someone else has it open for itself: the kernel knows, although no list that we can read does.
    let _holder: File = {
        use std::os::unix::fs::OpenOptionsExt;
        File::options().read(true).write(true).custom_flags(nix::libc::O_EXCL).open(&disk.node).unwrap()
    };
    let (run, handoff) = run(&world, &configuration("xfs", ""));
    run.expect(1);
    assert_eq!(outcome(&handoff).0, "failed");
    assert!(run.stderr.contains("have for itself"), "{}", run.story());
}

#[test]
fn volumes_side_by_side_are_each_made_ready_and_an_optional_one_that_fails_stops_nothing() {
    if !is_root() {
        return;
    }
    let world = World::with_everything();
    let disks = [Disk::blank(512 * MIB), Disk::blank(512 * MIB), Disk::blank(320 * MIB)];
    for (disk, name) in disks.iter().zip(["xvdf", "xvdg", "xvdh"]) {
        disk.attach(&world, name);
    }
    disks[2].file.as_file().write_all_at(b"somebody's", 0).unwrap();
    let section = |name: &str, device: &str, more: &str| {
        format!("[volumes.{name}]\ndevice = \"/dev/{device}\"\nmount = \"/mnt/{name}\"\n{more}\n")
    };
    let configuration = [
        section("models", "sdf", ""),
        section("data", "sdg", "filesystem = \"ext4\""),
        section("foreign", "sdh", "optional = true"),
        section("absent", "sdi", "optional = true\nwait = \"0s\""),
    ]
    .concat();
    let (run, handoff) = run(&world, &configuration);
    run.expect(0);
    let mounted: Vec<(&str, bool)> = handoff["volumes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|volume| (volume["name"].as_str().unwrap(), volume["mounted"].as_bool().unwrap()))
        .collect();
    let expected = [("absent", false), ("data", true), ("foreign", false), ("models", true)];
    assert_eq!(mounted, expected, "{}", run.story());
    let label = |name: &str| {
        let volumes = handoff["volumes"].as_array().unwrap();
        volumes.iter().find(|volume| volume["name"] == name).unwrap()["label"].clone()
    };
    assert_eq!((label("models"), label("data")), ("models".into(), "data".into()));
    let mut codes: Vec<&str> = handoff["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| problem["code"].as_str().unwrap())
        .collect();
    codes.sort_unstable();
    assert_eq!(codes, ["volume_absent", "volume_foreign"]);
}
