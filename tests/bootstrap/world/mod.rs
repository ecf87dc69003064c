//! A root of its own for whole runs of node-bootstrap: a private mount namespace over the host's files, in which every
//! written file can be seen from outside, with a metadata service, a Docker engine and a systemctl that answer.
//!
//! Everything is undone when the value is dropped: with its last process the namespace goes, and with it every mount.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "starts the program under test; says what it skips"
)]

mod cloud;

pub(crate) use cloud::Cloud;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// Whether whole runs can be tested here; says so when not.
pub(crate) fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skip("this test mounts file systems and needs root");
    }
    root
}

/// Says why a test has not run.
pub(crate) fn skip(why: &str) {
    eprintln!("SKIPPED: {why}");
}

/// Layers over /etc, /usr and /var whose upper folders are outside, an own /run, /dev and /mnt.
const ENTER: &str = r#"
set -e
for folder in etc usr var; do
    mount -t overlay overlay -o "lowerdir=/$folder,upperdir=$1/upper/$folder,workdir=$1/work/$folder" "/$folder"
done
mount --bind "$1/run" /run
mount -t tmpfs tmpfs /mnt
mount -t tmpfs tmpfs /dev
mknod /dev/null c 1 3
echo ready
exec cat
"#;

/// A systemctl with a memory: the state of the agent's unit is a file.
const SYSTEMCTL: &str = r#"#!/bin/sh
echo "$*" >> /run/systemctl.log
case "$1" in
show)
    shift 3
    for unit; do
        if [ -e "/etc/systemd/system/$unit" ] || [ -e /run/agent-unit ]; then echo LoadState=loaded; else echo LoadState=not-found; fi
        starts=$(cat /run/agent-starts 2>/dev/null || echo 0)
        if [ "$starts" = 0 ]; then echo ActiveState=inactive; else echo ActiveState=active; fi
        echo "InvocationID=$starts"
        echo NeedDaemonReload=no
        echo
    done;;
start|restart)
    echo $(($(cat /run/agent-starts 2>/dev/null || echo 0) + 1)) > /run/agent-starts;;
is-enabled) exit 1;;
esac
"#;

pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    holder: Child,
    pub(crate) cloud: Cloud,
}

impl World {
    pub(crate) fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        for name in ["etc", "usr", "var"] {
            fs::create_dir_all(folder.path().join("upper").join(name)).unwrap();
            fs::create_dir_all(folder.path().join("work").join(name)).unwrap();
        }
        fs::create_dir(folder.path().join("run")).unwrap();
        let mut holder = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", ENTER, "sh"])
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "the namespace could not be made");
        World { folder, holder, cloud: Cloud::start() }
    }

    /// With a Docker engine that answers and runs nothing, a systemd, and an agent in the AMI.
    pub(crate) fn with_everything() -> World {
        let world = World::new();
        world.start_engine();
        fs::create_dir_all(world.run_folder().join("systemd/system")).unwrap();
        world.write_file("usr/local/sbin/systemctl", SYSTEMCTL, 0o755);
        world.write_file("usr/bin/node-agent", "#!/bin/sh\n", 0o755);
        fs::write(world.run_folder().join("agent-unit"), "").unwrap();
        world.write_file("etc/group", "root:x:0:\nnode-agent:x:999:\n", 0o644);
        world
    }

    fn start_engine(&self) {
        let listener = UnixListener::bind(self.run_folder().join("docker.sock")).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut request = [0; 512];
                let read = stream.read(&mut request).unwrap_or(0);
                let body = if request[..read].starts_with(b"GET /_ping") { "OK" } else { "[]" };
                let _ = write!(stream, "HTTP/1.0 200 OK\r\n\r\n{body}");
            }
        });
    }

    /// What `/run` is inside.
    pub(crate) fn run_folder(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    /// A file of the layers, by its path without the leading slash. Written before the program looks at it.
    pub(crate) fn write_file(&self, path: &str, content: &str, mode: u32) {
        let target = self.seen(&format!("/{path}"));
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(&target, content).unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(mode)).unwrap();
    }

    pub(crate) fn read_inside(&self, path: &str) -> String {
        let output = self.inside("cat", &[path]);
        assert!(output.status.success(), "{path}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a program in the namespace.
    pub(crate) fn inside(&self, program: &str, arguments: &[&str]) -> Output {
        self.command(program).args(arguments).output().unwrap()
    }

    /// The namespace's view of a path, mounts and all, from outside.
    pub(crate) fn seen(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.holder.id()))
    }

    /// The mount namespace itself, for those who enter it by their own means.
    pub(crate) fn namespace(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/mnt", self.holder.id()))
    }

    /// `mountinfo` as a process inside has it.
    pub(crate) fn mounts(&self) -> String {
        fs::read_to_string(format!("/proc/{}/mountinfo", self.holder.id())).unwrap()
    }

    /// What bootstrap is given of AWS.
    pub(crate) fn environment(&self) -> [(&'static str, &str); 4] {
        [
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", self.cloud.endpoint.as_str()),
            ("AWS_ENDPOINT_URL", self.cloud.endpoint.as_str()),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
        ]
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--target", &self.holder.id().to_string(), "--", program]);
        command.envs(self.environment()).env_remove("DOCKER_HOST").env_remove("RUST_LOG");
        command
    }

    /// Runs node-bootstrap with a configuration on its standard input.
    pub(crate) fn bootstrap(&self, arguments: &[&str], configuration: &str) -> Run {
        self.bootstrap_with(arguments, configuration, &[])
    }

    pub(crate) fn bootstrap_with(
        &self,
        arguments: &[&str],
        configuration: &str,
        environment: &[(&str, &str)],
    ) -> Run {
        Run::of(self.start_with(arguments, configuration, environment).wait_with_output().unwrap())
    }

    /// Starts node-bootstrap; the process is the program itself.
    pub(crate) fn start_with(
        &self,
        arguments: &[&str],
        configuration: &str,
        environment: &[(&str, &str)],
    ) -> Child {
        let mut child = self
            .command(env!("CARGO_BIN_EXE_node-bootstrap"))
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A program that ends without reading it closes the pipe.
        let _ = child.stdin.take().unwrap().write_all(configuration.as_bytes());
        child
    }

    /// Every file that was written: in the layers and in /run, without what the test put there.
    pub(crate) fn written(&self) -> Vec<String> {
        let mut files = Vec::new();
        for folder in ["upper", "run"] {
            walk(&self.folder.path().join(folder), &mut files);
        }
        files.sort();
        files
    }

    /// The handoff document.
    pub(crate) fn handoff(&self) -> serde_json::Value {
        serde_json::from_str(&self.read_inside("/run/node-agent/handoff.json")).unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Its input ends: `cat` and with it the namespace goes.
        drop(self.holder.stdin.take());
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn walk(folder: &Path, files: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            files.push(format!("{}/", path.display()));
            walk(&path, files);
        } else if kind.is_file() {
            files.push(path.display().to_string());
        }
    }
}

/// One finished run.
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    fn of(output: Output) -> Run {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// The story of the run, for a failing assertion.
    pub(crate) fn story(&self) -> String {
        format!("exit {:?}\n--- stdout\n{}\n--- stderr\n{}", self.code, self.stdout, self.stderr)
    }

    #[track_caller]
    pub(crate) fn expect(&self, code: i32) -> &Run {
        assert_eq!(self.code, Some(code), "{}", self.story());
        self
    }
}
