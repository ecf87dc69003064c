//! What is left by a mkfs that did not come to its end, and by a bootstrap that did not.

use crate::disk::{Disk, MIB, configuration, outcome, refused, run, tool};
use crate::world::{World, is_root};
use bootstrap::volumes::mark::Mark;
use harness::requirements::{is_on_path, skipped};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

const UUID: &str = "0b6f5a0e-7a3c-4f52-9f1e-2f6c3b8d9a10";
const SIZE: u64 = 320 * MIB;

/// Puts a mkfs before the real one that gets a signal at its n-th write. `-D`: mkfs itself stays the child of who
/// started it.
fn mkfs_gets(world: &World, filesystem: &str, signal: &str, write: usize) {
    let real = format!("/usr/sbin/mkfs.{filesystem}");
    let script = format!(
        "#!/bin/sh\necho $$ > /run/mkfs.pid\nexec strace -D -o /run/mkfs.trace -e trace=pwrite64 -e inject=pwrite64:signal={signal}:when={write} \
         {real} \"$@\"\n"
    );
    world.write_file(&format!("usr/local/sbin/mkfs.{filesystem}"), &script, 0o755);
}

fn mkfs_is_real(world: &World, filesystem: &str) {
    world.inside("rm", &[&format!("/usr/local/sbin/mkfs.{filesystem}")]);
}

fn mark_on(disk: &Disk) -> Option<Mark> {
    let mut sector = [0; 512];
    tool("blockdev", &["--flushbufs", &disk.node]);
    let size = disk.file.as_file().metadata().unwrap().len();
    disk.file.as_file().read_exact_at(&mut sector, Mark::place(size).unwrap()).unwrap();
    Mark::decode(&sector)
}

fn write_mark(disk: &Disk, mark: &Mark) {
    let size = disk.file.as_file().metadata().unwrap().len();
    disk.file.as_file().write_all_at(&mark.encode().unwrap(), Mark::place(size).unwrap()).unwrap();
    tool("blockdev", &["--flushbufs", &disk.node]);
}

fn mark(filesystem: &'static str) -> Mark {
    Mark { filesystem, uuid: UUID.to_owned(), size_bytes: SIZE, serial: String::new() }
}

/// A disk with our mark and the whole file system that it announces.
fn complete(filesystem: &'static str) -> Disk {
    let disk = Disk::blank(SIZE);
    write_mark(&disk, &mark(filesystem));
    let identity = format!("uuid={UUID}");
    let options: &[&str] = match filesystem {
        "xfs" => &["-K", "-m", &identity],
        _ => &["-E", "nodiscard", "-U", UUID],
    };
    disk.make(filesystem, options);
    assert_eq!(mark_on(&disk), Some(mark(filesystem)), "mkfs leaves the mark alone");
    disk
}

fn zero(disk: &Disk, range: std::ops::Range<u64>) {
    let length = usize::try_from(range.end - range.start).unwrap();
    disk.file.as_file().write_all_at(&vec![0; length], range.start).unwrap();
    tool("blockdev", &["--flushbufs", &disk.node]);
}

#[test]
fn a_mkfs_that_was_killed_is_made_again_by_the_next_run() {
    if !is_root() {
        return;
    }
    if !is_on_path("strace") {
        return skipped("strace is not installed; no mkfs was killed");
    }
    let mut killed = 0;
    for (filesystem, write) in [("xfs", 1), ("xfs", 4), ("xfs", 30), ("ext4", 1), ("ext4", 12), ("ext4", 40)]
    {
        let disk = Disk::blank(SIZE);
        let world = World::with_everything();
        disk.attach(&world, "xvdf");
        mkfs_gets(&world, filesystem, "KILL", write);
        let configuration = configuration(filesystem, "");
        let (first, handoff) = run(&world, &configuration);
        if first.code == Some(0) {
            continue;
        }
        assert_eq!(handoff["problems"][0]["code"], "volume_failed", "{}", first.story());
        assert_eq!(mark_on(&disk).unwrap().filesystem, filesystem, "{}", first.story());
        killed += 1;
        mkfs_is_real(&world, filesystem);
        let planned = world.bootstrap(&["plan", "--config", "-"], &configuration);
        let says = "that a run before began and did not finish";
        assert!(planned.stdout.contains(says), "write {write} of {filesystem}: {}", planned.story());
        let (second, handoff) = run(&world, &configuration);
        second.expect(0);
        let (how, volume) = outcome(&handoff);
        assert!(how == "done" && volume["mounted"] == true, "write {write}: {}", second.story());
        assert_eq!(mark_on(&disk), None, "write {write} of {filesystem}");
        let (third, handoff) = run(&world, &configuration);
        assert_eq!(outcome(&handoff).0, "unchanged", "{}", third.expect(0).story());
    }
    eprintln!("mkfs was killed {killed} times");
    assert!(killed >= 4, "{killed}");
}

#[test]
fn a_bootstrap_that_is_killed_takes_mkfs_with_it_and_the_next_run_makes_it_again_at_once() {
    if !is_root() {
        return;
    }
    if !is_on_path("strace") {
        return skipped("strace is not installed; no mkfs was stopped");
    }
    for filesystem in ["xfs", "ext4"] {
        let disk = Disk::blank(SIZE);
        let world = World::with_everything();
        disk.attach(&world, "xvdf");
        mkfs_gets(&world, filesystem, "STOP", 6);
        let configuration = configuration(filesystem, "");
        let mut bootstrap = world.start_with(&["run", "--config", "-"], &configuration, &[]);
        let mkfs = wait_for_stopped_mkfs(&world);
        assert_eq!(parent(mkfs), Some(bootstrap.id()));
        // From here on every other mkfs is the real one.
        mkfs_is_real(&world, filesystem);
        bootstrap.kill().unwrap();
        bootstrap.wait().unwrap();
        let (again, handoff) = run(&world, &configuration);
        again.expect(0);
        let (how, volume) = outcome(&handoff);
        assert!(how == "done" && volume["mounted"] == true, "{filesystem}: {}", again.story());
        assert_eq!(parent(mkfs), None, "mkfs {mkfs} outlived bootstrap");
        assert_eq!(mark_on(&disk), None);
    }
}

#[test]
fn a_bootstrap_that_is_killed_at_any_of_its_writes_leaves_what_the_next_run_brings_to_its_end() {
    if !is_root() {
        return;
    }
    if !is_on_path("strace") {
        return skipped("strace is not installed; no bootstrap was killed");
    }
    let (mut killed, mut ended) = (0, 0);
    let points = [("pwrite64", 1..4), ("fsync", 1..7), ("mount", 1..2), ("umount2", 1..2)];
    let points = points.into_iter().flat_map(|(call, times)| times.map(move |time| (call, time)));
    for (number, (call, time)) in points.enumerate() {
        let filesystem = ["xfs", "ext4"][number % 2];
        let disk = Disk::blank(SIZE);
        let world = World::with_everything();
        disk.attach(&world, "xvdf");
        let configuration = configuration(filesystem, "");
        world.write_file("etc/given.toml", &configuration, 0o644);
        let inject = format!("inject={call}:signal=KILL:when={time}");
        let program = env!("CARGO_BIN_EXE_node-bootstrap");
        let traced =
            ["-f", "-o", "/dev/null", "-e", "trace=pwrite64,fsync,mount,umount2", "-e", &inject, program];
        let first =
            world.inside("strace", &[traced.as_slice(), &["run", "--config", "/etc/given.toml"]].concat());
        if first.status.success() {
            ended += 1
        } else {
            killed += 1
        }
        let (second, handoff) = run(&world, &configuration);
        second.expect(0);
        let (how, volume) = outcome(&handoff);
        let what = format!("killed at {call} {time} of {filesystem}: {}", second.story());
        assert!(["done", "unchanged"].contains(&how) && volume["mounted"] == true, "{what}");
        assert_eq!(mark_on(&disk), None, "{what}");
    }
    eprintln!("bootstrap or its mkfs was killed {killed} times, and {ended} runs came to their end");
    assert!(killed >= 6, "{killed}");
}

/// Of a process that has not ended.
fn parent(process: u32) -> Option<u32> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let mut fields = text.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    fields.next()?.parse().ok().filter(|_| !state.starts_with(['Z', 'X']))
}

/// Its tracer says when it is.
fn wait_for_stopped_mkfs(world: &World) -> u32 {
    let read = |name: &str| std::fs::read_to_string(world.run_folder().join(name)).unwrap_or_default();
    let started = Instant::now();
    while !read("mkfs.trace").contains("stopped by SIGSTOP") {
        assert!(started.elapsed() < Duration::from_secs(60), "mkfs was not stopped: {}", read("mkfs.trace"));
        std::thread::yield_now();
    }
    read("mkfs.pid").trim().parse().unwrap()
}

#[test]
fn a_mark_that_was_left_beside_a_whole_file_system_is_removed_and_nothing_else() {
    if !is_root() {
        return;
    }
    for filesystem in ["xfs", "ext4"] {
        let disk = complete(filesystem);
        let world = World::with_everything();
        disk.attach(&world, "xvdf");
        let (run, handoff) = run(&world, &configuration(filesystem, ""));
        run.expect(0);
        let (how, volume) = outcome(&handoff);
        assert!(how == "done" && volume["mounted"] == true, "{}", run.story());
        assert_eq!(volume["uuid"], UUID, "it is the file system that was there");
        assert_eq!(mark_on(&disk), None);
    }
}

#[test]
fn a_marked_ext4_that_is_not_sound_is_made_anew_if_it_was_never_mounted_and_refused_if_it_was() {
    if !is_root() {
        return;
    }
    let disk = complete("ext4");
    tool("debugfs", &["-w", "-R", "clri <2>", &disk.node]);
    let world = World::with_everything();
    disk.attach(&world, "xvdf");
    let (anew, handoff) = run(&world, &configuration("ext4", ""));
    anew.expect(0);
    let (how, volume) = outcome(&handoff);
    assert!(how == "done" && volume["mounted"] == true, "{}", anew.story());
    assert_ne!(volume["uuid"], UUID, "{}", anew.story());
    assert!(volume["reason"].as_str().unwrap().contains("made anew"), "{}", anew.story());

    let mounted = complete("ext4");
    tool("debugfs", &["-w", "-R", "set_super_value mnt_count 1", &mounted.node]);
    tool("debugfs", &["-w", "-R", "clri <2>", &mounted.node]);
    refused(&mounted, &configuration("ext4", ""), "volume_damaged", "ext4 that was mounted beside the mark");
}

#[test]
fn a_marked_xfs_that_is_not_sound_is_refused() {
    if !is_root() {
        return;
    }
    let disk = complete("xfs");
    // The headers of the free space and of the inodes of the first allocation group.
    zero(&disk, 512..2048);
    let run = refused(&disk, &configuration("xfs", ""), "volume_damaged", "xfs without its headers");
    assert!(run.stderr.contains("xfs_repair"), "{}", run.story());
}

#[test]
fn what_was_begun_by_somebody_else_or_for_another_device_is_refused_byte_for_byte() {
    if !is_root() {
        return;
    }
    let marks = [
        ("another serial number", Mark { serial: "vol0b1c2d3e4f506172".to_owned(), ..mark("xfs") }),
        ("another size", Mark { size_bytes: SIZE / 2, ..mark("xfs") }),
        ("another file system", mark("ext4")),
    ];
    for (what, mark) in marks {
        let disk = Disk::blank(SIZE);
        write_mark(&disk, &mark);
        refused(&disk, &configuration("xfs", ""), "volume_foreign", what);
    }
    let never = Disk::blank(SIZE);
    write_mark(&never, &mark("xfs"));
    refused(&never, &configuration("xfs", "format = \"never\""), "volume_blank", "format = never");
    let foreign = Disk::blank(SIZE);
    foreign.make("ext4", &["-F"]);
    write_mark(&foreign, &mark("xfs"));
    refused(&foreign, &configuration("xfs", ""), "volume_foreign", "somebody's ext4 beside our mark");
}
