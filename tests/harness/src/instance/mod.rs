//! A disposable EC2 instance: a real systemd with a real Docker engine in a systemd-nspawn container, in its own
//! network namespace, with the metadata service at 169.254.169.254 and its model volume attached as `/dev/xvdf`.
//!
//! In: a [`Description`]. Out: a booted [`Instance`] in which commands run and files are read. Everything it made
//! (mounts, loop devices, namespace, control groups, processes) goes when it is dropped, by its own id.
//! Not its job: the cloud around it (`local_cloud`) and what is asserted (the suites).

#![expect(clippy::disallowed_methods, reason = "the harness drives the host: commands, files, clock")]

mod base;
mod leftovers;
mod network;
mod volume;

pub use base::{Base, BaseError, PACKAGES};
pub(crate) use base::{apt, install_packages, logged, write_file};
pub use leftovers::{is_gone, sweep, sweep_on_signal};
pub use network::{INSTANCE_ADDRESS, METADATA_ADDRESS, OUTSIDE_ADDRESS, enter_own_network};
pub use volume::Volume;

use crate::wait::{TimedOut, wait_for};
use network::InstanceNetwork;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long a boot may take until systemd answers inside.
const BOOT_DEADLINE: Duration = Duration::from_secs(60);
/// From the stop signal until the container is killed; Docker gets its own 10 s for each container inside.
const STOP_DEADLINE: Duration = Duration::from_secs(30);
const RUN_USER_DATA: &str = "usr/local/sbin/run-user-data";
/// For control groups to lose their last process.
const EMPTY_DEADLINE: Duration = Duration::from_secs(5);

/// What an instance is made of, beside the base image.
#[derive(Debug, Default)]
pub struct Description {
    /// Lines of `NAME=value` that every unit inside gets, as an AMI with private endpoints would have them.
    pub environment: Vec<(String, String)>,
    /// Names that resolve to the cloud's address.
    pub hosts: Vec<String>,
    /// Files written before boot: absolute path, content, mode.
    pub files: Vec<(String, Vec<u8>, u32)>,
    /// Attached as `/dev/xvdf` in this order: `xvdf`, `xvdg`, …
    pub volumes: Vec<PathBuf>,
    /// Fetch user data from the metadata service and run it once, as cloud-init does.
    pub run_user_data: bool,
    /// Do not start Docker at boot, and leave no binary of it.
    pub without_docker: bool,
    /// Containers outlive the engine (`live-restore` in its daemon.json).
    pub live_restore: bool,
}

/// A booted instance.
#[derive(Debug)]
pub struct Instance {
    id: String,
    directory: PathBuf,
    network: InstanceNetwork,
    machine: Child,
    leader: u32,
}

/// What a command inside printed and how it ended.
#[derive(Debug)]
pub struct Answer {
    /// The command, for the story.
    pub command: String,
    /// Exit status.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Answer {
    /// Exit code, -1 after a signal.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    /// Standard output of a command that must have succeeded; panics with the whole story otherwise.
    #[track_caller]
    pub fn expect_success(self) -> String {
        assert!(self.status.success(), "{self}");
        self.stdout
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Answer { command, status, stdout, stderr } = self;
        write!(formatter, "`{command}`: {status}\n--- stdout\n{stdout}--- stderr\n{stderr}")
    }
}

/// Unique among what runs on this machine: the process and a counter. [`sweep`] reads the process out of it.
#[must_use]
pub fn next_name(kind: &str) -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    format!("{kind}-{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed))
}

impl Instance {
    /// Boots an instance. The calling thread must be in the cloud's network ([`enter_own_network`]).
    pub fn boot(base: &Base, description: &Description) -> io::Result<Instance> {
        let id = next_name("na");
        let directory = base.runs().join(&id);
        for part in ["upper", "work", "root", "docker", "containerd"] {
            fs::create_dir_all(directory.join(part))?;
        }
        let root = directory.join("root");
        let prepared = mount_root(base, &directory)
            .and_then(|()| furnish(&root, &id, description))
            .and_then(|()| InstanceNetwork::create(&id));
        let network = match prepared {
            Ok(network) => network,
            Err(error) => {
                dismantle(&directory, &id);
                return Err(error);
            }
        };
        let machine = match start_machine(&directory, &network, description) {
            Ok(machine) => machine,
            Err(error) => {
                dismantle(&directory, &id);
                return Err(error);
            }
        };
        let mut instance = Instance { id, directory, network, machine, leader: 0 };
        instance.wait_for_systemd()?;
        Ok(instance)
    }

    /// Its name: hostname, network namespace and control group.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its root directory as the host sees it.
    pub fn root(&self) -> PathBuf {
        self.directory.join("root")
    }

    /// The host's process id of its process 1; `/proc/LEADER/root` is its root with everything mounted in it.
    pub fn leader(&self) -> u32 {
        self.leader
    }

    /// A path inside, as the host sees it, with everything that is mounted there.
    pub fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.leader))
    }

    /// Where the host sees what this instance has written to its root disk, and nothing of the base image.
    pub fn written(&self) -> PathBuf {
        self.directory.join("upper")
    }

    /// What it printed on its console so far.
    pub fn console(&self) -> String {
        let bytes = fs::read(self.directory.join("console.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// A command line that opens a shell inside.
    pub fn shell_command(&self) -> String {
        format!("nsenter -t {} -m -u -i -n -p -C /bin/bash", self.leader)
    }

    /// Runs a command inside and waits for its end.
    pub fn run<S: AsRef<OsStr>>(&self, command: impl IntoIterator<Item = S>) -> Answer {
        self.run_with_input(command, b"")
    }

    /// Runs a shell line inside and waits for its end.
    pub fn shell(&self, line: &str) -> Answer {
        self.run(["/bin/sh", "-c", line])
    }

    /// Runs a command inside with `input` on its standard input.
    pub fn run_with_input<S: AsRef<OsStr>>(
        &self,
        command: impl IntoIterator<Item = S>,
        input: &[u8],
    ) -> Answer {
        let arguments: Vec<S> = command.into_iter().collect();
        let words = arguments.iter().map(|word| word.as_ref().to_string_lossy());
        let text = words.collect::<Vec<_>>().join(" ");
        let mut child = self
            .enter()
            .args(&arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start nsenter for `{text}`: {error}"));
        if let Some(mut stdin) = child.stdin.take() {
            // A command that does not read its input closes it early; its answer is what matters.
            let _ = stdin.write_all(input);
        }
        let output = child.wait_with_output().unwrap_or_else(|error| panic!("`{text}`: {error}"));
        Answer {
            command: text,
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// A command line that enters the instance; arguments are still to be added.
    pub fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.leader.to_string(), "-m", "-u", "-i", "-n", "-p", "-C"]);
        command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("HOME", "/root");
        command
    }

    fn wait_for_leader(&mut self) -> io::Result<u32> {
        let children = format!("/proc/{0}/task/{0}/children", self.machine.id());
        let machine = &mut self.machine;
        let found = wait_for("a process inside the instance", BOOT_DEADLINE, || {
            match machine.try_wait() {
                Ok(None) => {}
                Ok(Some(status)) => return Ok(Err(format!("systemd-nspawn ended with {status}"))),
                Err(error) => return Ok(Err(error.to_string())),
            }
            let list = fs::read_to_string(&children).unwrap_or_default();
            let mut processes = list.split_whitespace().filter_map(|pid| pid.parse().ok());
            processes.find(|pid| is_in_own_pid_namespace(*pid)).map(Ok).ok_or(list)
        });
        match found {
            Ok(Ok(leader)) => Ok(leader),
            Ok(Err(ended)) => Err(self.boot_failure(&ended)),
            Err(late) => Err(self.boot_failure(&late.to_string())),
        }
    }

    fn wait_for_systemd(&mut self) -> io::Result<()> {
        let answered = wait_for("systemd to answer inside the instance", BOOT_DEADLINE, || {
            // What was seen first may have been the helper that prepares the root, and is gone by now.
            self.leader = match self.wait_for_leader() {
                Ok(leader) => leader,
                Err(error) => return Ok(Err(error)),
            };
            // Not `is-system-running --wait`: user data may run for long, and it is the boot that is waited for.
            let answer = self.run(["systemctl", "show", "-p", "Version"]);
            let answers = answer.status.success() && answer.stdout.contains("Version=");
            if answers { Ok(Ok(())) } else { Err(answer.to_string()) }
        });
        answered.unwrap_or_else(|late| Err(self.boot_failure(&late.to_string())))
    }

    fn boot_failure(&self, what: &str) -> io::Error {
        io::Error::other(format!("the instance did not boot: {what}\n--- console\n{}", self.console()))
    }

    /// Has the machine power itself off, as EC2's stop does by its power button, and waits for its end. Its disks stay
    /// to be looked at, and [`Instance::reboot`] starts it again.
    pub fn power_off(&mut self, deadline: Duration) -> Result<(), TimedOut> {
        let told = self.run(["systemctl", "poweroff"]);
        wait_for("the machine to power itself off", deadline, || match self.machine.try_wait() {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(format!("{told}--- console\n{}", self.console())),
            Err(error) => Err(error.to_string()),
        })
    }

    /// Stops and starts the machine, as a reboot of the instance does: `/run` is new, the disks stay.
    pub fn reboot(&mut self, description: &Description) -> io::Result<()> {
        self.stop_machine();
        self.machine = start_machine(&self.directory, &self.network, description)?;
        self.wait_for_systemd()
    }

    fn stop_machine(&mut self) {
        if matches!(self.machine.try_wait(), Ok(Some(_))) {
            // It has ended by itself, and its number may be another process's by now.
            return leftovers::end_members(&self.id);
        }
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(self.machine.id().cast_signed()),
            nix::sys::signal::Signal::SIGTERM,
        );
        // One that does not end in time is killed below.
        let _ = wait_for("systemd-nspawn to end", STOP_DEADLINE, || match self.machine.try_wait() {
            Ok(None) => Err("it runs".to_owned()),
            Ok(Some(_)) | Err(_) => Ok(()),
        });
        let _ = self.machine.kill();
        let _ = self.machine.wait();
        leftovers::end_members(&self.id);
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.stop_machine();
        self.network.remove();
        dismantle(&self.directory, &self.id);
    }
}

fn mount_root(base: &Base, directory: &Path) -> io::Result<()> {
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        base.root().display(),
        directory.join("upper").display(),
        directory.join("work").display()
    );
    run_on_host("mount", &["-t", "overlay", "overlay", "-o", &options], Some(&directory.join("root")))
}

/// Writes what differs from instance to instance into the root.
fn furnish(root: &Path, id: &str, description: &Description) -> io::Result<()> {
    let write = |path: &str, content: &str| base::write_file(root, path, content.as_bytes(), 0o644);
    write("etc/hostname", &format!("{id}\n"))?;
    let names =
        description.hosts.iter().map(|name| format!("{OUTSIDE_ADDRESS} {name}\n")).collect::<String>();
    write("etc/hosts", &format!("127.0.0.1 localhost\n127.0.1.1 {id}\n{names}"))?;
    let pairs = description.environment.iter().map(|(name, value)| format!("\"{name}={value}\" "));
    let pairs = pairs.collect::<String>();
    write("etc/systemd/system.conf.d/endpoints.conf", &format!("[Manager]\nDefaultEnvironment={pairs}\n"))?;
    // Containers get a control group of this instance's name, so that it can be removed without a guess.
    let engine =
        serde_json::json!({"cgroup-parent": format!("/{id}"), "live-restore": description.live_restore});
    write("etc/docker/daemon.json", &format!("{engine}\n"))?;
    // What cloud-final.service of the base image runs.
    base::write_file(root, RUN_USER_DATA, include_bytes!("run-user-data.sh"), 0o755)?;
    if !description.run_user_data {
        write("etc/cloud/no-user-data", "")?;
    }
    if description.without_docker {
        for unit in ["docker.service", "docker.socket", "containerd.service"] {
            fs::remove_file(root.join("lib/systemd/system").join(unit))?;
        }
        for program in ["usr/bin/docker", "usr/sbin/dockerd", "usr/bin/containerd"] {
            fs::remove_file(root.join(program))?;
        }
    }
    for (path, content, mode) in &description.files {
        base::write_file(root, path, content, *mode)?;
    }
    Ok(())
}

/// systemd-nspawn makes the groups of its machine below its own, by the same name for all: `payload`. Where instances run
/// side by side, each is started in a group of its own, or the systemd of one removes the group of a unit that the other
/// is just starting under the same name, which then fails with 219/CGROUP.
const IN_OWN_GROUP: &str = "for tree in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do \
    if [ -d $tree ]; then mkdir -p $tree/$0 && echo $$ > $tree/$0/cgroup.procs || exit 1; fi; done; exec \"$@\"";

fn start_machine(
    directory: &Path,
    network: &InstanceNetwork,
    description: &Description,
) -> io::Result<Child> {
    let console = fs::OpenOptions::new().create(true).append(true).open(directory.join("console.log"))?;
    let mut command = Command::new("sh");
    command
        .args(["-c", IN_OWN_GROUP, network.name(), "systemd-nspawn"])
        // Docker sets up forwarding; everything else below /proc/sys stays read-only.
        .env("SYSTEMD_NSPAWN_API_VFS_WRITABLE", "network")
        .args(["--quiet", "--boot", "--register=no", "--keep-unit", "--capability=all"])
        .args(["--console=read-only", "--link-journal=no", "--system-call-filter=@known"])
        .arg(format!("--directory={}", directory.join("root").display()))
        .arg(format!("--machine={}", network.name()))
        .arg(format!("--network-namespace-path={}", network.path().display()))
        // overlay2 cannot lie on an overlay: the engine's data is on the host's own file system.
        .arg(format!("--bind={}:/var/lib/docker", directory.join("docker").display()))
        .arg(format!("--bind={}:/var/lib/containerd", directory.join("containerd").display()));
    for (letter, device) in ('f'..='p').zip(&description.volumes) {
        command.arg(format!("--bind={}:/dev/xvd{letter}", device.display()));
    }
    command.stdin(Stdio::null()).stdout(console.try_clone()?).stderr(console);
    command.spawn()
}

/// Removes what [`Instance::boot`] made on the host. Goes on after an error: the rest has to go too.
fn dismantle(directory: &Path, id: &str) {
    let _ = run_on_host("umount", &["--lazy"], Some(&directory.join("root")));
    // The last processes of containers may still be on their way out.
    let _ =
        crate::wait::wait_for(
            "the control groups to be empty",
            EMPTY_DEADLINE,
            || match sweep_control_groups(Path::new("/sys/fs/cgroup"), id) {
                0 => Ok(()),
                left => Err(format!("{left} are left")),
            },
        );
    let _ = fs::remove_dir_all(directory);
}

/// A hierarchy that is itself mounted from a group of the host has the instance's group below that one.
/// Returns how many could not be removed.
fn sweep_control_groups(group: &Path, id: &str) -> usize {
    let mut left = 0;
    for child in fs::read_dir(group).into_iter().flatten().flatten() {
        if child.file_name() == id {
            remove_control_groups(&child.path());
            left += usize::from(child.path().exists());
        } else if child.file_type().is_ok_and(|kind| kind.is_dir()) {
            left += sweep_control_groups(&child.path(), id);
        }
    }
    left
}

fn remove_control_groups(group: &Path) {
    for child in fs::read_dir(group).into_iter().flatten().flatten() {
        if child.path().is_dir() {
            remove_control_groups(&child.path());
        }
    }
    let _ = fs::remove_dir(group);
}

/// systemd-nspawn has a first child that only makes the second one, in the machine's namespaces, and ends.
fn is_in_own_pid_namespace(pid: u32) -> bool {
    let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/pid")).ok();
    let its = namespace(&pid.to_string());
    its.is_some() && its != namespace("self")
}

/// Runs a program of the host; its own words are the error.
pub(crate) fn run_on_host(program: &str, arguments: &[&str], path: Option<&Path>) -> io::Result<()> {
    let output = Command::new(program).args(arguments).args(path).output()?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    Err(io::Error::other(format!("`{program} {}` failed: {words}", arguments.join(" "))))
}
