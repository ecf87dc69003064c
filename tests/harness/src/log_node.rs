//! A node for the logs alone: the agent as a program in a temporary tree, an engine of its own, and an endpoint that counts.
//!
//! In: the folder of the agent's programs, and services that write numbered lines. Out: what arrived, and what the engine
//! still has. No systemd, no metadata service: fewer moving parts, and the agent can be killed as often as one likes.
//! What always holds: everything here runs in the network of the calling thread, and ends with the value.

#![expect(clippy::disallowed_methods, reason = "the harness drives the host: programs, files")]

use crate::docker_daemon::{DockerDaemon, Setup};
use crate::images::Recipe;
use crate::local_cloud::certificates::Certificates;
use crate::processes::Process;
use crate::registry::RegistryBackend;
use crate::stage::workspace;
use crate::wait::{TimedOut, wait_for};
use log_endpoint::numbered::numbers_of_json_file;
use log_endpoint::{LogEndpoint, Seen};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::error::Error;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// Where the lines go.
pub const GROUP: &str = "/node/logs";
/// First part of the names of streams.
pub const INSTANCE: &str = "i-0123456789abcdef0";
/// For what takes a second on an idle machine.
const SOON: Duration = Duration::from_secs(60);

/// The stream of a service.
#[must_use]
pub fn stream(service: &str) -> String {
    format!("{INSTANCE}/{service}")
}

/// An endpoint with a certificate of its own, on that processor if there is a number.
///
/// # Errors
/// What did not start.
pub fn endpoint(processor: Option<usize>) -> Result<LogEndpoint, Box<dyn Error>> {
    let certificates = Certificates::make(vec!["127.0.0.1".to_owned()])?;
    let tls = Arc::clone(certificates.acceptor.config());
    Ok(LogEndpoint::start(tls, &certificates.authority_pem, processor)?)
}

/// A service that writes numbered lines: its name, and `MODE`, `FIRST` and `OUTPUT` as the sample application takes them.
#[derive(Debug, Clone, Default)]
pub struct Writer {
    /// Of the service.
    pub name: String,
    /// Such as `numbered=1000@100`.
    pub mode: String,
    /// Number of its first line.
    pub first: u64,
    /// `stdout` where empty.
    pub output: String,
    /// Each start goes on behind the numbers of the one before, also in another container.
    pub counts_lives: bool,
}

impl Writer {
    /// To standard output, from 0 on.
    #[must_use]
    pub fn of(name: &str, mode: &str) -> Writer {
        Writer { name: name.to_owned(), mode: mode.to_owned(), ..Writer::default() }
    }

    fn section(&self, image: &str, lives: &Path) -> String {
        let Writer { name, mode, first, output, counts_lives } = self;
        let (mount, file) = match counts_lives {
            true => (format!("mounts = [\"{}:/lives\"]\n", lives.display()), format!("/lives/{name}")),
            false => (String::new(), String::new()),
        };
        format!(
            "\n[services.{name}]\nimage = \"{image}\"\nstop_timeout = \"5s\"\n{mount}\
             environment = {{ MODE = \"{mode}\", FIRST = \"{first}\", OUTPUT = \"{output}\", LIVES = \"{file}\" }}\n\
             [services.{name}.update]\nevery = \"never\"\n"
        )
    }
}

/// The node.
pub struct LogNode {
    agent: Option<Process>,
    /// Its engine.
    pub engine: DockerDaemon,
    /// Where its logs go.
    pub endpoint: LogEndpoint,
    registry: RegistryBackend,
    root: tempfile::TempDir,
    programs: PathBuf,
}

impl LogNode {
    /// An engine that has nothing yet, a registry that has the sample application, and an endpoint, on that processor if
    /// there is a number; the agent is not started. `programs` has `node-agent` and `agentctl`.
    ///
    /// # Errors
    /// What did not start.
    pub fn set(
        programs: &Path,
        processor: Option<usize>,
        mut setup: Setup,
    ) -> Result<LogNode, Box<dyn Error>> {
        let sample = workspace().join("target/tools/sample-app");
        let sample =
            fs::read(&sample).map_err(|error| format!("{}: {error}; run make dist", sample.display()))?;
        let registry = RegistryBackend::start()?;
        let image = Recipe::of_program("/sample-app", sample).build()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(registry.images().push(&image, "sample", "latest"))?;
        let endpoint = endpoint(processor)?;
        // For the engine's own driver.
        let trusted = endpoint.authority().display().to_string();
        let told = CREDENTIALS.map(|(name, value)| (name.to_owned(), value.to_owned()));
        // Its driver asks for the second, whatever the first says.
        let trust = ["SSL_CERT_FILE", "AWS_CA_BUNDLE"].map(|name| (name.to_owned(), trusted.clone()));
        setup.environment.extend(told.into_iter().chain(trust));
        let engine = DockerDaemon::start_set(setup)?;
        let (root, programs) = (tempfile::tempdir()?, programs.to_owned());
        let node = LogNode { agent: None, engine, endpoint, registry, root, programs };
        node.hand_over()?;
        Ok(node)
    }

    /// Another node on the same engine: without containers, with nothing remembered and nothing arrived.
    ///
    /// # Errors
    /// The containers cannot be removed, or the new endpoint does not start.
    pub fn renew(&mut self) -> Result<(), Box<dyn Error>> {
        self.kill_agent();
        self.engine.thaw().ok();
        let ids = self.engine.docker(&["ps", "--all", "--quiet"], b"")?;
        if !ids.is_empty() {
            let arguments: Vec<&str> =
                ["rm", "--force", "--volumes"].into_iter().chain(ids.split_whitespace()).collect();
            self.engine.docker(&arguments, b"")?;
        }
        self.root = tempfile::tempdir()?;
        self.endpoint.forget()?;
        self.hand_over()
    }

    /// As bootstrap leaves it.
    fn hand_over(&self) -> Result<(), Box<dyn Error>> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        let handoff = json!({
            "schema": 1, "boot_id": boot.trim(), "bootstrap_version": "0.1.0",
            "started_at": "2026-03-01T12:00:00Z", "finished_at": "2026-03-01T12:00:01Z",
            "identity": {
                "instance_id": INSTANCE, "instance_type": "t3.small", "region": "eu-north-1",
                "availability_zone": "eu-north-1a", "account": "123456789012", "image_id": "ami-0", "tags": {},
            },
            "volumes": [], "secrets": [], "steps": [], "problems": [],
        });
        self.write("run/node-agent/handoff.json", &handoff.to_string())
    }

    fn write(&self, path: &str, text: &str) -> Result<(), Box<dyn Error>> {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        Ok(fs::write(path, text)?)
    }

    /// Where the agent keeps what it remembers.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.root.path().join("var/lib/node-agent")
    }

    /// The root of the agent's files.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// The image of the sample application.
    #[must_use]
    pub fn image(&self) -> String {
        format!("{}/sample:latest", self.authority())
    }

    fn authority(&self) -> &str {
        self.registry.url().trim_start_matches("http://")
    }

    /// Writes node.toml with these services, and these keys of `[logs]` beside the group. The next start reads it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn configure(&self, writers: &[Writer], logs: &str) -> Result<(), Box<dyn Error>> {
        let authority = self.authority();
        let head = format!(
            "[node]\nname = \"logs\"\n\n[registries.\"{authority}\"]\nauth = \"none\"\n\n\
             [logs]\ngroup = \"{GROUP}\"\n{logs}\n"
        );
        let lives = self.root.path().join("lives");
        fs::create_dir_all(&lives)?;
        let sections = writers.iter().map(|writer| writer.section(&self.image(), &lives));
        self.write("etc/node-agent/node.toml", &std::iter::once(head).chain(sections).collect::<String>())
    }

    fn command(&self, program: &str, processor: Option<usize>) -> Command {
        let program = self.programs.join(program);
        let mut command = match processor {
            Some(number) => {
                let mut command = Command::new("taskset");
                command.arg("--cpu-list").arg(number.to_string()).arg(&program);
                command
            }
            None => Command::new(&program),
        };
        command.arg("--root").arg(self.root.path()).stdin(Stdio::null()).env_clear();
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        // A port that nobody listens on: everything else of AWS refuses at once.
        command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1");
        command.env("AWS_ENDPOINT_URL", "http://127.0.0.1:1").env("AWS_REGION", "eu-north-1");
        command.env("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", self.endpoint.url());
        command.env("SSL_CERT_FILE", self.endpoint.authority());
        command.envs(CREDENTIALS).env("DOCKER_HOST", self.engine.docker_host());
        command
    }

    /// Starts the agent, on that processor if there is a number; returns its process id.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_agent(&mut self, processor: Option<usize>) -> Result<u32, Box<dyn Error>> {
        let agent = Process::start("node-agent", self.command("node-agent", processor))?;
        let id = agent.id();
        self.agent = Some(agent);
        Ok(id)
    }

    /// Whether one was started, and neither killed nor stopped since.
    #[must_use]
    pub fn has_agent(&self) -> bool {
        self.agent.is_some()
    }

    /// SIGKILL, and whatever it started.
    pub fn kill_agent(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            agent.signal(Signal::SIGKILL).ok();
            agent.wait_for_exit(SOON).ok();
        }
    }

    /// SIGTERM; the exit code.
    ///
    /// # Errors
    /// It did not end.
    pub fn stop_agent(&mut self) -> Result<Option<i32>, Box<dyn Error>> {
        let Some(mut agent) = self.agent.take() else { return Ok(None) };
        agent.signal(Signal::SIGTERM)?;
        let ended = agent.wait_for_exit(SOON);
        Ok(ended.map_err(|error| format!("{error}\n{}", agent.output()))?.code())
    }

    /// What the agent of now wrote.
    #[must_use]
    pub fn agent_log(&self) -> String {
        self.agent.as_ref().map(Process::output).unwrap_or_default()
    }

    /// Runs agentctl and returns both its outputs.
    ///
    /// # Errors
    /// It failed.
    pub fn agentctl(&self, arguments: &[&str]) -> Result<String, Box<dyn Error>> {
        let ended = self.command("agentctl", None).args(arguments).output()?;
        let text = String::from_utf8_lossy(&ended.stdout).into_owned();
        if ended.status.success() {
            return Ok(text);
        }
        Err(format!("agentctl {arguments:?}: {text}{}", String::from_utf8_lossy(&ended.stderr)).into())
    }

    /// `agentctl status --json`, whatever it says of the node.
    #[must_use]
    pub fn status(&self) -> Value {
        let ended = self.command("agentctl", None).args(["status", "--json"]).output();
        ended.ok().and_then(|ended| serde_json::from_slice(&ended.stdout).ok()).unwrap_or_default()
    }

    /// Waits until the agent answers, not what an earlier one left.
    ///
    /// # Errors
    /// It does not.
    pub fn answers(&self) -> Result<(), TimedOut> {
        wait_for("the agent to answer", SOON, || {
            let status = self.status();
            if status.is_object() && status["stale"].is_null() { Ok(()) } else { Err(format!("{status}")) }
        })
    }

    /// Waits until a container of the service runs; its id.
    ///
    /// # Errors
    /// It did not come to that.
    pub fn running(&self, service: &str) -> Result<String, TimedOut> {
        let label = format!("label=node-agent.service={service}");
        let arguments = ["ps", "--no-trunc", "--quiet", "--filter", &label];
        wait_for(&format!("{service} to run"), SOON, || match self.engine.docker(&arguments, b"") {
            Ok(ids) => match ids.split_whitespace().next() {
                Some(id) => Ok(id.to_owned()),
                None => Err(format!("no container; {}\n{}", self.status(), self.agent_log())),
            },
            Err(error) => Err(error.to_string()),
        })
    }

    /// The json-file of a container, the one that is written now.
    ///
    /// # Errors
    /// There is no such container.
    pub fn log_file(&self, id: &str) -> Result<PathBuf, Box<dyn Error>> {
        Ok(self.engine.docker(&["inspect", "--format", "{{.LogPath}}", id], b"")?.into())
    }

    /// Numbers of the lines that the engine has in its file of now.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn written(&self, file: &Path) -> Result<Vec<u64>, Box<dyn Error>> {
        Ok(numbers_of_json_file(File::open(file)?)?)
    }

    /// What arrived from a service.
    #[must_use]
    pub fn seen(&self, service: &str) -> Seen {
        self.endpoint.seen(GROUP, &stream(service))
    }

    /// Waits until so many different lines of a service have arrived.
    ///
    /// # Errors
    /// They did not.
    pub fn arrived(&self, service: &str, lines: u64, deadline: Duration) -> Result<(), TimedOut> {
        wait_for(&format!("{lines} lines of {service}"), deadline, || {
            let distinct = self.endpoint.look(GROUP, &stream(service), |seen| seen.distinct);
            if distinct >= lines { Ok(()) } else { Err(format!("{distinct}")) }
        })
    }
}

/// Of nobody.
pub const CREDENTIALS: [(&str, &str); 2] =
    [("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI-K7MDENG-EXAMPLEKEY")];
