//! A real Docker engine of its own: data, sockets, mounts and control groups in places that no other engine uses.
//!
//! It runs in the network namespace of the calling thread, so that whoever wants to reach its containers starts it from a
//! thread that has one of its own (see [`crate::instance::enter_own_network`]), and in a mount namespace of its own, so
//! that its mounts end with it. Dropping it stops it, ends what it started, and removes its files.
//! Not its job: images (the suites make them) and what is asserted.

#![expect(clippy::disallowed_methods, reason = "the harness drives the host: commands, files, clock")]

use crate::processes::hear_signals;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// From start to the first answer; containerd comes up first.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// From SIGTERM to the end; running containers get their stop signal in that time.
const STOP_DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// A running engine.
#[derive(Debug)]
pub struct DockerDaemon {
    directory: tempfile::TempDir,
    /// Parent of all its containers' control groups, and of nobody else's.
    control_group: String,
    setup: Setup,
    process: Option<Child>,
}

/// How an engine differs from the usual one.
#[derive(Debug, Default)]
pub struct Setup {
    /// Searched for programs before the folders of the `PATH`, such as for `iptables`.
    pub programs: Option<PathBuf>,
    /// Of the engine, beside ours.
    pub environment: Vec<(String, String)>,
    /// Of the engine, beside those that it needs.
    pub arguments: Vec<String>,
}

impl DockerDaemon {
    /// Starts an engine and waits for its first answer. Needs root.
    pub fn start() -> io::Result<DockerDaemon> {
        DockerDaemon::start_set(Setup::default())
    }

    /// The same with a folder of programs that the engine runs instead of the usual ones, such as `iptables`.
    pub fn start_with(programs: Option<PathBuf>) -> io::Result<DockerDaemon> {
        DockerDaemon::start_set(Setup { programs, ..Setup::default() })
    }

    /// The same as told.
    pub fn start_set(setup: Setup) -> io::Result<DockerDaemon> {
        // A short path: unix sockets below it may not exceed 107 bytes.
        let directory = tempfile::Builder::new().prefix("engine-").tempdir_in("/tmp")?;
        let name = directory.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let control_group = format!("node-agent-{name}");
        let mut daemon = DockerDaemon { directory, control_group, setup, process: None };
        daemon.launch()?;
        Ok(daemon)
    }

    /// Its unix socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("s")
    }

    /// The same as a value for `DOCKER_HOST`.
    pub fn docker_host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Where suites may put what belongs to this engine, such as folders to mount.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Runs the `docker` program against it and returns what that printed; `input` is its standard input.
    pub fn docker(&self, arguments: &[&str], input: &[u8]) -> io::Result<String> {
        let mut command = Command::new("docker")
            .args(["--host", &self.docker_host(), "--config"])
            .arg(self.directory.path().join("client"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = command.stdin.take() {
            stdin.write_all(input)?;
        }
        let output = command.wait_with_output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(io::Error::other(format!("`docker {}` failed: {words}", arguments.join(" "))))
    }

    /// Stops the engine's process where it stands: it accepts connections and answers none.
    pub fn freeze(&self) -> io::Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets it go on.
    pub fn thaw(&self) -> io::Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Its process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// SIGKILL to the engine alone: what it started goes on, as after a crash.
    pub fn kill(&mut self) -> io::Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        process.kill()?;
        process.wait().map(drop)
    }

    /// Stops the engine and its containers, and keeps its data. What a killed one left ends too.
    pub fn stop(&mut self) -> io::Result<()> {
        let ended = self.process.take().map_or(Ok(()), |mut process| end(&mut process));
        self.end_leftovers();
        ended
    }

    /// Starts it again on the same data.
    pub fn launch(&mut self) -> io::Result<()> {
        let directory = self.directory.path();
        let place = |name: &str| directory.join(name).display().to_string();
        let log = File::options().create(true).append(true).open(directory.join("log"))?;
        let usual = std::env::var_os("PATH").unwrap_or_default();
        let folders = self.setup.programs.clone().into_iter().chain(std::env::split_paths(&usual));
        let path = std::env::join_paths(folders).map_err(io::Error::other)?;
        // Were the suite itself killed, the engine is told to stop: nobody would drop it.
        let mut command = Command::new("setpriv");
        hear_signals(&mut command);
        let process = command
            .env("PATH", path)
            .envs(self.setup.environment.iter().cloned())
            .args([
                "--pdeathsig",
                "TERM",
                "--",
                "unshare",
                "--mount",
                "--propagation",
                "private",
                "--",
                "dockerd",
            ])
            .args(["--data-root", &place("data"), "--exec-root", &place("run"), "--pidfile", &place("pid")])
            .args(["--host", &self.docker_host(), "--cgroup-parent", &format!("/{}", self.control_group)])
            .args(&self.setup.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.process = Some(process);
        let answered = wait_for(START_DEADLINE, || {
            if let Some(status) = self.process.as_mut().map(Child::try_wait).transpose()?.flatten() {
                return Err(io::Error::other(format!("dockerd ended with {status}:\n{}", self.log())));
            }
            Ok(self.docker(&["version"], b"").is_ok())
        });
        answered.map_err(|error| io::Error::other(format!("dockerd: {error}\n{}", self.log())))
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        match &self.process {
            Some(process) => Ok(kill(process_id(process)?, signal)?),
            None => Err(io::Error::other("the engine does not run")),
        }
    }

    /// Ends what an engine that had to be killed left running: its containerd, which carries our directory in its
    /// command line, and its containers, which are in our control group.
    fn end_leftovers(&self) {
        let directory = self.directory.path().display().to_string();
        let own = std::process::id().to_string();
        let ours = |process: &Path| {
            let read = |name: &str| fs::read(process.join(name)).unwrap_or_default();
            let contains = |text: Vec<u8>, part: &str| String::from_utf8_lossy(&text).contains(part);
            let ours = contains(read("cmdline"), &directory) || contains(read("cgroup"), &self.control_group);
            ours && !process.ends_with(&own)
        };
        let _ = wait_for(STOP_DEADLINE, || {
            let entries = fs::read_dir("/proc")?.flatten();
            let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
            let left: Vec<i32> = pids.filter(|pid| ours(&Path::new("/proc").join(pid.to_string()))).collect();
            for pid in &left {
                let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
            }
            Ok(left.is_empty())
        });
        remove_control_groups(&self.control_group);
    }
}

impl Drop for DockerDaemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = writeln!(io::stderr(), "--- log of the engine\n{}---", self.log());
        }
        if let Err(error) = self.stop() {
            let _ = writeln!(io::stderr(), "stopping the engine: {error}");
        }
    }
}

fn end(process: &mut Child) -> io::Result<()> {
    let pid = process_id(process)?;
    // A frozen process would take no notice of being terminated.
    kill(pid, Signal::SIGCONT)?;
    kill(pid, Signal::SIGTERM)?;
    let ended = wait_for(STOP_DEADLINE, || Ok(process.try_wait()?.is_some()));
    if ended.is_err() {
        process.kill()?;
        process.wait()?;
    }
    ended
}

fn process_id(process: &Child) -> io::Result<Pid> {
    i32::try_from(process.id()).map(Pid::from_raw).map_err(io::Error::other)
}

/// Empty groups are removed from the leaves up; the kernel refuses to remove one that is in use.
fn remove_control_groups(name: &str) {
    let hierarchies =
        fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
    for hierarchy in hierarchies.chain([PathBuf::from("/sys/fs/cgroup")]) {
        let group = hierarchy.join(name);
        let children = fs::read_dir(&group).into_iter().flatten().flatten().map(|entry| entry.path());
        for child in children.filter(|path| path.is_dir()) {
            let _ = fs::remove_dir(child);
        }
        let _ = fs::remove_dir(group);
    }
}

fn wait_for(deadline: Duration, mut reached: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    let began = Instant::now();
    while !reached()? {
        if began.elapsed() > deadline {
            return Err(io::Error::from(io::ErrorKind::TimedOut));
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}
