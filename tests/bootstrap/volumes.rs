//! Volumes on loop devices, through whole runs: formatted when blank, mounted, grown, and refused when anything is odd.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a failing test panics with its story, and a skipped one says so"
)]
#![expect(clippy::disallowed_methods, reason = "makes devices with the real tools")]

#[expect(dead_code, reason = "shared with the other suite, which uses more of it")]
mod world;

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::Command;
use world::{Run, World, is_root};

const MIB: u64 = 1 << 20;

/// A loop device over a sparse file; detached when dropped, after the mounts of its world are gone.
struct Disk {
    node: String,
    file: tempfile::NamedTempFile,
}

impl Disk {
    fn blank(size: u64) -> Disk {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(size).unwrap();
        let output = Command::new("losetup").args(["--find", "--show"]).arg(file.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        Disk { node: String::from_utf8(output.stdout).unwrap().trim().to_owned(), file }
    }

    fn grow(&self, size: u64) {
        self.file.as_file().set_len(size).unwrap();
        assert!(Command::new("losetup").args(["-c", &self.node]).status().unwrap().success());
    }

    /// Makes it appear in a world as `/dev/NAME`.
    fn attach(&self, world: &World, name: &str) {
        let number = std::fs::metadata(&self.node).unwrap().rdev();
        let (major, minor) =
            (nix::sys::stat::major(number).to_string(), nix::sys::stat::minor(number).to_string());
        let output = world.inside("mknod", &[&format!("/dev/{name}"), "b", &major, &minor]);
        assert!(output.status.success(), "{output:?}");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["-d", &self.node]).status();
    }
}

fn configuration(filesystem: &str, more: &str) -> String {
    format!(
        "[volumes.models]\ndevice = \"/dev/sdf\"\nmount = \"/mnt/models\"\nfilesystem = \"{filesystem}\"\n{more}\n\
         [services.web]\nimage = \"nginx:1\"\n"
    )
}

fn run(world: &World, configuration: &str) -> (Run, serde_json::Value) {
    let run = world.bootstrap(&["run", "--config", "-"], configuration);
    let handoff = world.handoff();
    (run, handoff)
}

fn outcome(handoff: &serde_json::Value) -> (&str, &serde_json::Value) {
    let steps = handoff["steps"].as_array().unwrap();
    let step = steps.iter().find(|step| step["name"] == "volume models").unwrap();
    (step["outcome"].as_str().unwrap(), &handoff["volumes"][0])
}

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
    let sum = |disk: &Disk| Command::new("sha256sum").arg(disk.file.path()).output().unwrap().stdout;
    let world = World::with_everything();
    disk.attach(&world, "xvdf");
    let before = sum(disk);
    let (run, handoff) = run(&world, &configuration("xfs", ""));
    run.expect(1);
    let (how, volume) = outcome(&handoff);
    assert!(how == "failed" && volume["mounted"] == false, "{what}: {}", run.story());
    assert_eq!(handoff["problems"][0]["code"], "volume_foreign", "{what}");
    assert_eq!(
        handoff["steps"].as_array().unwrap().last().unwrap()["outcome"],
        "done",
        "the agent was started"
    );
    assert!(sum(disk) == before, "{what} was written to");
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
fn a_volume_that_is_attached_late_is_taken_when_it_comes() {
    if !is_root() {
        return;
    }
    let disk = Disk::blank(512 * MIB);
    let world = World::with_everything();
    std::thread::scope(|scope| {
        let started = scope.spawn(|| run(&world, &configuration("ext4", "wait = \"60s\"")));
        // Its log says when it waits.
        while !world.inside("grep", &["-q", "waits up to", "/var/log/node-bootstrap.log"]).status.success() {
            std::thread::yield_now();
        }
        disk.attach(&world, "sdf");
        let (run, handoff) = started.join().unwrap();
        run.expect(0);
        assert_eq!(outcome(&handoff).0, "done");
    });
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
