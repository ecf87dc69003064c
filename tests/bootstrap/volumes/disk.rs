//! Loop devices as disks of a world, and what all of these tests ask of a run.

use crate::world::{Run, World};
use nix::unistd::{Whence, lseek};
use std::collections::BTreeMap;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::{Command, Output};

pub(crate) const MIB: u64 = 1 << 20;

/// A loop device over a sparse file; detached when dropped, after the mounts of its world are gone.
pub(crate) struct Disk {
    pub(crate) node: String,
    pub(crate) file: tempfile::NamedTempFile,
}

impl Disk {
    pub(crate) fn blank(size: u64) -> Disk {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(size).unwrap();
        Disk::of(file, &[])
    }

    /// With more options of losetup.
    pub(crate) fn of(file: tempfile::NamedTempFile, options: &[&str]) -> Disk {
        let output = Command::new("losetup")
            .args(["--find", "--show"])
            .args(options)
            .arg(file.path())
            .output()
            .unwrap();
        let node = text(output).trim().to_owned();
        Disk { node, file }
    }

    pub(crate) fn grow(&self, size: u64) {
        self.file.as_file().set_len(size).unwrap();
        tool("losetup", &["-c", &self.node]);
    }

    /// The kernel's name, `loop0`.
    pub(crate) fn name(&self) -> &str {
        self.node.strip_prefix("/dev/").unwrap()
    }

    /// Makes it appear in a world as `/dev/NAME`.
    pub(crate) fn attach(&self, world: &World, name: &str) {
        let number = std::fs::metadata(&self.node).unwrap().rdev();
        let (major, minor) = (nix::sys::stat::major(number), nix::sys::stat::minor(number));
        make_node(world, name, &format!("{major}:{minor}"));
    }

    /// Every block that is not zero, by its offset; what the kernel still holds is written first.
    pub(crate) fn content(&self) -> BTreeMap<u64, Vec<u8>> {
        const BLOCK: usize = 4096;
        tool("blockdev", &["--flushbufs", &self.node]);
        let file = self.file.as_file();
        let seek = |from: i64, whence| lseek(file, from, whence).ok().and_then(|at| u64::try_from(at).ok());
        let mut blocks = BTreeMap::new();
        let mut from = 0;
        while let Some(data) = seek(from, Whence::SeekData) {
            let end = seek(data.try_into().unwrap(), Whence::SeekHole).unwrap();
            let mut bytes = vec![0; (end - data).try_into().unwrap()];
            file.read_exact_at(&mut bytes, data).unwrap();
            let written =
                bytes.chunks(BLOCK).zip((data..).step_by(BLOCK)).filter(|(block, _)| **block != [0; BLOCK]);
            blocks.extend(written.map(|(block, at)| (at, block.to_vec())));
            from = end.try_into().unwrap();
        }
        blocks
    }

    /// What `options` of mkfs make on it.
    pub(crate) fn make(&self, filesystem: &str, options: &[&str]) {
        let program = format!("mkfs.{filesystem}");
        tool(&program, &[options, &["-q", &self.node]].concat());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["-d", &self.node]).status();
    }
}

/// A device node inside; `number` as sysfs writes it.
pub(crate) fn make_node(world: &World, name: &str, number: &str) {
    let (major, minor) = number.trim().split_once(':').unwrap();
    text(world.inside("mknod", &[&format!("/dev/{name}"), "b", major, minor]));
}

/// Runs a program outside; its standard output.
#[track_caller]
pub(crate) fn tool(program: &str, arguments: &[&str]) -> String {
    text(Command::new(program).args(arguments).output().unwrap())
}

#[track_caller]
fn text(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn configuration(filesystem: &str, more: &str) -> String {
    format!(
        "[volumes.models]\ndevice = \"/dev/sdf\"\nmount = \"/mnt/models\"\nfilesystem = \"{filesystem}\"\n{more}\n\
         [services.web]\nimage = \"nginx:1\"\n"
    )
}

pub(crate) fn run(world: &World, configuration: &str) -> (Run, serde_json::Value) {
    let run = world.bootstrap(&["run", "--config", "-"], configuration);
    let handoff = world.handoff();
    (run, handoff)
}

pub(crate) fn outcome(handoff: &serde_json::Value) -> (&str, &serde_json::Value) {
    let steps = handoff["steps"].as_array().unwrap();
    let step = steps.iter().find(|step| step["name"] == "volume models").unwrap();
    (step["outcome"].as_str().unwrap(), &handoff["volumes"][0])
}

/// A run in a new world must refuse the disk, write nothing to it and do everything else.
#[track_caller]
pub(crate) fn refused(disk: &Disk, configuration: &str, code: &str, what: &str) -> Run {
    let world = World::with_everything();
    disk.attach(&world, "xvdf");
    let before = disk.content();
    let (run, handoff) = run(&world, configuration);
    run.expect(1);
    let (how, volume) = outcome(&handoff);
    assert!(how == "failed" && volume["mounted"] == false, "{what}: {}", run.story());
    assert_eq!(handoff["problems"][0]["code"], code, "{what}: {}", run.story());
    let last = &handoff["steps"].as_array().unwrap().last().unwrap()["outcome"];
    assert_eq!(last, "done", "the agent was started");
    let after = disk.content();
    let at = |at: &&u64| before.get(at) != after.get(at);
    let changed: Vec<&u64> = before.keys().chain(after.keys()).filter(at).collect();
    assert!(changed.is_empty(), "{what} was written to, at {changed:?}: {}", run.story());
    run
}
