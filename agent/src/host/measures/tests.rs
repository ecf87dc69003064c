//! The real host, and hosts made of folders: control groups of both versions and mixed, EBS, interfaces.

use super::*;
use crate::observed::ContainerState;
use jiff::Timestamp;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

const ID: &str = "0f6fcf2a1e14d3f5a2c3b4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f70819";

fn host(root: &Path) -> Host {
    Host::new(Paths::under(root), Paths::under(root), Arc::new(Vec::new))
}

fn write(root: &TempDir, path: &str, text: &str) {
    node::files::replace(&root.path().join(path), text.as_bytes(), 0o644).unwrap();
}

fn container(pid: Option<u32>) -> Container {
    Container {
        id: ID.to_owned(),
        name: "api-3".to_owned(),
        service: "api".to_owned(),
        spec: String::new(),
        digest: String::new(),
        generation: 3,
        state: ContainerState::Running { started_at: Timestamp::UNIX_EPOCH },
        created_at: Timestamp::UNIX_EPOCH,
        address: None,
        image_health: None,
        pid,
        routed_ports: Vec::new(),
        ipv6_ports: Vec::new(),
    }
}

/// A folder of `/sys` with the files of one group.
fn group(root: &TempDir, folder: &str, files: &[(&str, &str)]) {
    for (name, text) in files {
        write(root, &format!("sys/fs/cgroup/{folder}/{name}"), text);
    }
}

const MEMORY_ONE: [(&str, &str); 3] = [
    ("memory.usage_in_bytes", "1000000\n"),
    ("memory.stat", "inactive_file 7\ntotal_inactive_file 400000\n"),
    ("memory.limit_in_bytes", "536870912\n"),
];
const CPU_TWO: [(&str, &str); 1] = [("cpu.stat", "usage_usec 2500000\nuser_usec 1\n")];

/// Processor seconds, working set and limit of the one container.
fn used(root: &TempDir) -> Option<(Option<f64>, Option<u64>, Option<u64>)> {
    let uses = host(root.path()).kernel(&[container(Some(77)), container(None)]).containers;
    assert!(uses.len() <= 1, "{uses:?}");
    let it = uses.first()?;
    assert_eq!((it.name.as_str(), it.service.as_str()), ("api-3", "api"));
    Some((it.cpu_seconds, it.memory.map(|it| it.working_set_bytes), it.memory.and_then(|it| it.limit_bytes)))
}

#[test]
fn a_container_in_control_groups_of_version_two() {
    let root = tempfile::tempdir().unwrap();
    write(&root, "proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    write(&root, "proc/77/cgroup", &format!("0::/system.slice/docker-{ID}.scope\n"));
    let folder = format!("system.slice/docker-{ID}.scope");
    group(&root, &folder, &CPU_TWO);
    let memory =
        [("memory.current", "1000000\n"), ("memory.stat", "inactive_file 400000\n"), ("memory.max", "max\n")];
    group(&root, &folder, &memory);
    assert_eq!(used(&root), Some((Some(2.5), Some(600_000), None)));
    write(&root, "proc/77/cgroup", "0::/system.slice/sshd.service\n");
    assert_eq!(used(&root), None, "the number is another program's");
}

#[test]
fn a_container_in_control_groups_of_version_one() {
    let root = tempfile::tempdir().unwrap();
    let mounts = "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                  34 31 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
    write(&root, "proc/self/mountinfo", mounts);
    write(&root, "proc/77/cgroup", &format!("8:memory:/docker/{ID}\n2:cpu,cpuacct:/docker/{ID}\n"));
    group(&root, &format!("cpu,cpuacct/docker/{ID}"), &[("cpuacct.usage", "2500000000\n")]);
    group(&root, &format!("memory/docker/{ID}"), &MEMORY_ONE);
    assert_eq!(used(&root), Some((Some(2.5), Some(600_000), Some(512 << 20))));
}

#[test]
fn a_container_in_the_mixed_layout() {
    let root = tempfile::tempdir().unwrap();
    let mounts = "34 31 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                  41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
    write(&root, "proc/self/mountinfo", mounts);
    write(&root, "proc/77/cgroup", &format!("8:memory:/docker/{ID}\n0::/docker/{ID}\n"));
    group(&root, &format!("unified/docker/{ID}"), &CPU_TWO);
    group(&root, &format!("memory/docker/{ID}"), &MEMORY_ONE);
    assert_eq!(used(&root), Some((Some(2.5), Some(600_000), Some(512 << 20))));
}

#[test]
fn a_host_of_which_nothing_can_be_read_is_one_of_which_nothing_is_known() {
    let root = tempfile::tempdir().unwrap();
    let host = host(&root.path().join("missing"));
    assert_eq!(host.kernel(&[container(Some(77))]), Kernel::default());
    assert_eq!((host.file_systems(&[]), host.ebs()), (Vec::new(), Vec::new()));
}

#[test]
fn only_interfaces_that_are_hardware_are_told_of() {
    let root = tempfile::tempdir().unwrap();
    let line = |name| format!("{name}: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n");
    write(&root, "proc/net/dev", &["lo", "ens5", "docker0", "veth12ab"].map(line).concat());
    std::fs::create_dir_all(root.path().join("sys/class/net/ens5/device")).unwrap();
    std::fs::create_dir_all(root.path().join("sys/class/net/docker0")).unwrap();
    let names: Vec<String> =
        host(root.path()).kernel(&[]).interfaces.into_iter().map(|interface| interface.name).collect();
    assert_eq!(names, ["ens5"]);
}

#[test]
fn devices_of_others_than_ebs_are_never_asked_and_one_that_does_not_answer_is_left_out() {
    let root = tempfile::tempdir().unwrap();
    for (name, model, serial) in [
        ("nvme0", "Amazon Elastic Block Store              ", "vol0a1b2c3d4e5f60718"),
        ("nvme1", "Amazon EC2 NVMe Instance Storage        ", "AWS22222222222222222"),
        ("nvme2", "QEMU NVMe Ctrl", "vol0a1b2c3d4e5f60719"),
    ] {
        write(&root, &format!("sys/class/nvme/{name}/model"), model);
        write(&root, &format!("sys/class/nvme/{name}/serial"), serial);
        std::fs::create_dir_all(root.path().join("dev")).unwrap();
        // It opens, and is no controller. A pipe would hold up whoever opened it.
        match name {
            "nvme0" => symlink("/dev/null", root.path().join("dev/nvme0")).unwrap(),
            name => nix::unistd::mkfifo(&root.path().join("dev").join(name), nix::sys::stat::Mode::S_IRWXU)
                .unwrap(),
        }
    }
    assert_eq!(host(root.path()).ebs(), Vec::new());
}

#[test]
fn a_volume_is_told_of_where_it_is_mounted_and_no_file_system_twice() {
    let volume = |name: &str, mount: &str| Volume {
        name: name.to_owned(),
        volume_id: None,
        device: None,
        mount: mount.to_owned(),
        filesystem: None,
        size_bytes: None,
        used_bytes: None,
    };
    let engine_folders: EngineFolders = Arc::new(|| vec![PathBuf::from("/usr"), PathBuf::from("/missing")]);
    let host = Host::new(Paths::default(), Paths::default(), engine_folders);
    let volumes = [volume("shared", "/dev/shm"), volume("again", "/dev/shm"), volume("folder", "/usr/bin")];
    let found = host.file_systems(&volumes);
    let names: Vec<&str> = found.iter().map(|it| it.volume.as_str()).collect();
    assert_eq!(names.iter().filter(|name| **name == "shared").count(), 1, "{names:?}");
    assert!(names.contains(&"/") && !names.contains(&"again") && !names.contains(&"folder"), "{names:?}");
    assert!(!names.contains(&"/missing"), "{names:?}");
    for it in &found {
        assert!(it.available_bytes <= it.free_bytes && it.free_bytes <= it.size_bytes, "{it:?}");
        assert!(it.inodes_free <= it.inodes, "{it:?}");
    }
}

/// A process in groups of its own, in every hierarchy that is mounted; all of it goes with this.
struct Grouped {
    child: Child,
    folders: Vec<PathBuf>,
}

impl Grouped {
    /// It works for a moment, and then waits. `None` where no group can be made.
    #[expect(
        clippy::disallowed_methods,
        reason = "starts the process that is measured, and tells the kernel its group"
    )]
    fn start(name: &str) -> Option<Grouped> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mounts = mounts.lines().filter_map(|line| {
            let (mounted, kind) = line.split_once(" - ")?;
            kind.starts_with("cgroup").then(|| PathBuf::from(mounted.split(' ').nth(4).unwrap()))
        });
        let work = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; echo done; read x";
        let mut command = Command::new("sh");
        command.args(["-c", &format!("read go; {work}")]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut grouped = Grouped { child: command.spawn().unwrap(), folders: Vec::new() };
        for mount in mounts {
            let folder = mount.join(name);
            // cpuset of version 1 takes nobody before it is told its processors.
            if std::fs::create_dir(&folder).is_ok() {
                let _ = std::fs::write(folder.join("cgroup.procs"), grouped.child.id().to_string());
                grouped.folders.push(folder);
            }
        }
        if grouped.folders.is_empty() {
            return None;
        }
        use std::io::{Read, Write};
        grouped.child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
        let mut done = [0; 5];
        grouped.child.stdout.as_mut().unwrap().read_exact(&mut done).unwrap();
        Some(grouped)
    }
}

impl Drop for Grouped {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for folder in &self.folders {
            let _ = std::fs::remove_dir(folder);
        }
    }
}

#[test]
fn a_real_process_in_real_control_groups_is_measured() {
    let Some(grouped) = Grouped::start(&format!("docker-{ID}.scope")) else {
        println!("not run: no control group can be made here");
        return;
    };
    let host = Host::new(Paths::default(), Paths::default(), Arc::new(Vec::new));
    let uses = host.kernel(&[container(Some(grouped.child.id()))]).containers;
    let it = uses.first().unwrap_or_else(|| panic!("nothing is known of what is in {:?}", grouped.folders));
    assert!(it.cpu_seconds.is_some_and(|seconds| seconds > 0.0 && seconds < 60.0), "{it:?}");
    match it.memory {
        // Version 1 counts pages from the moment on at which the process came, and may have seen none.
        Some(memory) => assert!(memory.working_set_bytes < 1 << 30, "{it:?}"),
        None => println!("memory is not counted here"),
    }
    println!("{it:?} in {} hierarchies", grouped.folders.len());
    let foreign = Container { id: "f".repeat(64), ..container(Some(grouped.child.id())) };
    assert_eq!(host.kernel(&[foreign]).containers, Vec::new());
}

#[test]
fn the_real_host_says_what_it_has() {
    let host = Host::new(Paths::default(), Paths::default(), Arc::new(Vec::new));
    let kernel = host.kernel(&[]);
    let memory = kernel.memory.expect("memory");
    assert!(memory.available_bytes <= memory.total_bytes && memory.total_bytes > 64 << 20, "{memory:?}");
    let cpu = kernel.cpu.clone().expect("processors");
    let (busy, all) = cpu.busy_and_all();
    assert!(cpu.count >= 1 && busy > 0.0 && busy <= all, "{cpu:?}");
    assert!(kernel.load.is_some_and(|load| load.one >= 0.0));
    let agent = kernel.agent.expect("this process");
    assert!(agent.resident_bytes > 1 << 20 && agent.cpu_seconds >= 0.0, "{agent:?}");
    println!("{} interfaces, {} volumes of EBS", kernel.interfaces.len(), host.ebs().len());
    // Counters only grow.
    let later = host.kernel(&[]);
    assert!(later.cpu.is_some_and(|later| later.busy_and_all().1 >= all));
    assert!(later.agent.is_some_and(|later| later.cpu_seconds >= agent.cpu_seconds));
    for before in &kernel.interfaces {
        let after =
            later.interfaces.iter().find(|after| after.name == before.name).expect("the same interfaces");
        assert!(after.received.bytes >= before.received.bytes && after.sent.bytes >= before.sent.bytes);
    }
}
