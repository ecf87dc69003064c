//! A disk whose only partition holds the file system.

use crate::disk::{Disk, MIB, configuration, make_node, outcome, refused, run, tool};
use crate::may_resize_ext4;
use crate::world::{Run, World, is_root};
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

/// A disk with a table that `sfdisk` makes of `script`, and a file system in the partition that begins at 1 MiB.
fn partitioned(size: u64, script: &str, filesystem: Option<(&str, u64)>) -> Disk {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(size).unwrap();
    let mut sfdisk =
        Command::new("sfdisk").args(["--quiet"]).arg(file.path()).stdin(Stdio::piped()).spawn().unwrap();
    sfdisk.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(sfdisk.wait().unwrap().success());
    if let Some((filesystem, length)) = filesystem {
        let path = file.path().to_str().unwrap();
        let limits = ["--offset", "1048576", "--sizelimit", &length.to_string()];
        let inside = [["--find", "--show"].as_slice(), &limits, &[path]].concat();
        let node = tool("losetup", &inside).trim().to_owned();
        tool(&format!("mkfs.{filesystem}"), &["-q", &node]);
        tool("losetup", &["-d", &node]);
    }
    Disk::of(file, &["--partscan"])
}

/// A run beside something that makes device nodes as devtmpfs does: the world has a /dev of its own.
fn run_with_nodes(world: &World, disk: &Disk, configuration: &str) -> (Run, serde_json::Value) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let partition = format!("{}p1", disk.name());
            let number = format!("/sys/block/{}/{partition}/dev", disk.name());
            while !done.load(Ordering::Relaxed) {
                if let Ok(number) = std::fs::read_to_string(&number) {
                    if !world.inside("test", &["-b", &format!("/dev/{partition}")]).status.success() {
                        make_node(world, &partition, &number);
                    }
                    return;
                }
                std::thread::yield_now();
            }
        });
        let finished = run(world, configuration);
        done.store(true, Ordering::Relaxed);
        finished
    })
}

fn size_inside(world: &World) -> u64 {
    let shown = world.inside("df", &["--output=size", "-B1M", "/mnt/models"]);
    String::from_utf8_lossy(&shown.stdout).lines().nth(1).unwrap().trim().parse().unwrap()
}

#[test]
fn the_only_partition_is_mounted_kept_and_grown_with_its_file_system() {
    if !is_root() {
        return;
    }
    for (label, filesystem) in [("gpt", "xfs"), ("dos", "xfs"), ("gpt", "ext4")] {
        let script = format!("label: {label}\n2048,,L\n");
        let disk = partitioned(512 * MIB, &script, Some((filesystem, 510 * MIB)));
        let world = World::with_everything();
        disk.attach(&world, "xvdf");
        let configuration = configuration(filesystem, "");
        let (first, handoff) = run_with_nodes(&world, &disk, &configuration);
        first.expect(0);
        let (how, volume) = outcome(&handoff);
        assert!(how == "done" && volume["mounted"] == true, "{label}: {}", first.story());
        assert_eq!(volume["device"], format!("/dev/{}p1", disk.name()));
        let uuid = volume["uuid"].clone();
        assert!(uuid.is_string());
        world.inside("sh", &["-c", "echo kept > /mnt/models/model"]);
        let (second, handoff) = run(&world, &configuration);
        assert_eq!(outcome(&handoff).0, "unchanged", "{}", second.expect(0).story());

        // Enlarged while it is mounted, and once more while it is not.
        for (size, mounted) in [(1024, true), (1536, false)] {
            disk.grow(size * MIB);
            if !mounted {
                assert!(world.inside("umount", &["/mnt/models"]).status.success());
            }
            let (grown, handoff) = run(&world, &configuration);
            grown.expect(0);
            assert_eq!(partition_mib(&disk), size - 1, "{label}: the partition: {}", grown.story());
            if filesystem == "xfs" || may_resize_ext4() {
                assert!(size_inside(&world) > size - 200, "{} MiB: {}", size_inside(&world), grown.story());
                assert_eq!(outcome(&handoff).0, "done", "{}", grown.story());
                let (after, handoff) = run(&world, &configuration);
                assert_eq!(outcome(&handoff).0, "unchanged", "{}", after.expect(0).story());
                assert_eq!(handoff["volumes"][0]["uuid"], uuid);
            } else {
                assert_eq!(handoff["problems"][0]["code"], "volume_not_grown", "{}", grown.story());
            }
            assert_eq!(world.read_inside("/mnt/models/model"), "kept\n");
        }
        let verified = Command::new("sfdisk").args(["--verify", &disk.node]).output().unwrap();
        assert!(verified.status.success(), "{verified:?}");
    }
}

#[test]
fn a_partition_that_was_grown_in_its_table_only_is_grown_in_the_kernel_by_the_next_run() {
    if !is_root() {
        return;
    }
    let disk = partitioned(512 * MIB, "label: gpt\n2048,,L\n", Some(("xfs", 510 * MIB)));
    let world = World::with_everything();
    disk.attach(&world, "xvdf");
    let configuration = configuration("xfs", "");
    run_with_nodes(&world, &disk, &configuration).0.expect(0);
    disk.grow(1024 * MIB);
    // As a run leaves it that is killed after sfdisk.
    let grow = format!("echo ', +' | sfdisk --quiet --no-reread --no-tell-kernel -N 1 {}", disk.node);
    tool("sh", &["-c", &grow]);
    assert_eq!(partition_mib(&disk), 510, "the kernel does not know it yet");
    let (run, handoff) = run(&world, &configuration);
    assert_eq!(outcome(&handoff).0, "done", "{}", run.expect(0).story());
    assert_eq!(partition_mib(&disk), 1023, "{}", run.story());
    assert!(size_inside(&world) > 850, "{} MiB: {}", size_inside(&world), run.story());
}

/// As the kernel knows it, rounded up: a backup table takes the last sectors.
fn partition_mib(disk: &Disk) -> u64 {
    let size = std::fs::read_to_string(format!("/sys/block/{0}/{0}p1/size", disk.name())).unwrap();
    size.trim().parse::<u64>().unwrap().div_ceil(2048)
}

/// What it is, the script of its table, and the file system with its length.
type Refused<'text> = (&'text str, &'text str, Option<(&'text str, u64)>);

#[test]
fn partitions_that_are_not_one_with_the_wanted_file_system_are_refused_byte_for_byte() {
    if !is_root() {
        return;
    }
    let table: [Refused<'_>; 4] = [
        ("an empty table", "label: gpt\n", None),
        ("an empty partition", "label: gpt\n2048,,L\n", None),
        ("another file system", "label: gpt\n2048,,L\n", Some(("ext4", 318 * MIB))),
        ("two partitions", "label: gpt\n2048,614400,L\n,,L\n", Some(("xfs", 300 * MIB))),
    ];
    for (what, script, filesystem) in table {
        let disk = partitioned(320 * MIB, script, filesystem);
        let run = refused(&disk, &configuration("xfs", ""), "volume_foreign", what);
        assert!(run.stderr.contains("partition"), "{what}: {}", run.story());
    }
    let busy = partitioned(512 * MIB, "label: gpt\n2048,,L\n", Some(("xfs", 510 * MIB)));
    tool("partx", &["--add", &busy.node]);
    let world = World::with_everything();
    busy.attach(&world, "xvdf");
    let partition = format!("{}p1", busy.name());
    let number = std::fs::read_to_string(format!("/sys/block/{}/{partition}/dev", busy.name())).unwrap();
    make_node(&world, &partition, &number);
    let elsewhere =
        world.inside("sh", &["-c", &format!("mkdir /mnt/else && mount /dev/{partition} /mnt/else")]);
    assert!(elsewhere.status.success(), "{elsewhere:?}");
    let (run, handoff) = run(&world, &configuration("xfs", ""));
    assert_eq!(handoff["problems"][0]["code"], "volume_in_use", "{}", run.expect(1).story());
    assert!(run.stderr.contains("its partition 1 is mounted at /mnt/else"), "{}", run.story());
}
