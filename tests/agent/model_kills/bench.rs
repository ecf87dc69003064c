//! One node without an engine: the agent's tree, its model server behind a proxy, and the registry of both. Each bench has
//! its own, so that several stand side by side.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use harness::model_registry::{Door, Model, ModelRegistry};
use harness::processes::{Process, free_port};
use harness::wait::wait_for;
use nix::sys::signal::Signal;
use node::paths::Paths;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::proxy::{Proxy, nobody};

pub(crate) const AGENT: &str = env!("CARGO_BIN_EXE_node-agent");
const AGENTCTL: &str = env!("CARGO_BIN_EXE_agentctl");
const STAND_IN: &str = "target/tools/model-double";
/// For what takes a second on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Weights of each version.
pub(crate) const WEIGHTS: u64 = 1536 << 10;
/// A part of a blob; the server fetches all of them at once.
pub(crate) const PART: u64 = 256 << 10;
/// A pull takes a quarter of a second.
pub(crate) const RATE: u64 = 6 << 20;
/// As long may be between two signs of life, on a busy machine too, where a test plays systemd. The agent is told a third
/// of it, and gives one every two seconds.
pub(crate) const WATCHDOG: Duration = Duration::from_secs(12);
/// Versions of the one model. The third one answers nonsense.
pub(crate) const VERSIONS: [u64; 4] = [1, 2, 3, 4];

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Victim {
    Agent,
    Server,
}

pub(crate) struct Bench {
    folder: tempfile::TempDir,
    pub(crate) registry: ModelRegistry,
    door: Door,
    pub(crate) proxy: Proxy,
    /// Of the server.
    address: String,
    pub(crate) server: Option<Process>,
    pub(crate) agent: Option<Process>,
    /// Digests of the versions.
    pub(crate) versions: Vec<String>,
    /// For systemd's end of the notifications, where a test plays systemd.
    pub(crate) notify: Option<PathBuf>,
    /// What the killed ones had said.
    killed: String,
}

/// The program that stands in for the server; `None` where it is not built, which is said.
pub(crate) fn stand_in() -> Option<PathBuf> {
    let program = harness::stage::workspace().join(STAND_IN);
    if program.is_file() {
        return Some(program);
    }
    harness::requirements::skipped(&format!("no {STAND_IN}; run make dist"));
    None
}

impl Bench {
    pub(crate) fn new(runtime: &Handle) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let registry = ModelRegistry::default();
        // The server comes back to it after each of its deaths.
        let address = format!("127.0.0.1:{}", free_port());
        let (door, proxy) = runtime.block_on(async {
            (registry.listen("127.0.0.1:0").await.unwrap(), Proxy::start(address.clone()).await.unwrap())
        });
        let versions = VERSIONS.map(|seed| registry.push(&version(seed), &Model::new(seed, WEIGHTS)));
        registry.limit(Some(RATE));
        let versions = versions.to_vec();
        let (server, agent, notify) = (None, None, None);
        let killed = String::new();
        Bench { folder, registry, door, proxy, address, server, agent, versions, notify, killed }
    }

    /// As the server lists it.
    pub(crate) fn model(&self) -> String {
        format!("{}/library/m:1", self.door.authority())
    }

    pub(crate) fn tree(&self) -> PathBuf {
        self.folder.path().join("tree")
    }

    pub(crate) fn models(&self) -> PathBuf {
        self.tree().join("models")
    }

    pub(crate) fn paths(&self) -> Paths {
        Paths::under(self.tree())
    }

    /// The tag names that version from now on.
    pub(crate) fn tag(&self, seed: u64) {
        self.registry.retag(&version(seed), "library/m:1");
    }

    /// Digests of the layers of those versions.
    pub(crate) fn layers(&self, seeds: &[u64]) -> Vec<String> {
        let layers = seeds.iter().flat_map(|seed| self.registry.layers(&version(*seed)));
        layers.map(|layer| layer.digest).collect()
    }

    /// A tree as bootstrap leaves it, without a model.
    pub(crate) fn lay_out(&self) {
        std::fs::remove_dir_all(self.tree()).ok();
        std::fs::create_dir_all(self.models()).unwrap();
        let text = format!(
            "[node]\nname = \"test-node\"\n\n[models]\nserver = \"{}\"\ndirectory = \"/models\"\nreserve = \"1m\"\n\
             prewarm = \"off\"\nload_deadline = \"20s\"\n\n[models.pull.\"http://{}\"]\nkeep_loaded = true\n\
             smoke = {{ prompt = \"say four\", expect = \"four\", within = \"10s\" }}\n",
            self.proxy.url(),
            self.model(),
        );
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let handoff = json!({
            "schema": 1, "boot_id": boot.trim(), "bootstrap_version": "0.1.0",
            "started_at": "2026-03-01T12:00:00Z", "finished_at": "2026-03-01T12:00:01Z",
            "identity": {
                "instance_id": "i-0123456789abcdef0", "instance_type": "t3.small", "region": "eu-north-1",
                "availability_zone": "eu-north-1a", "account": "123456789012", "image_id": "ami-0", "tags": {},
            },
            "volumes": [], "secrets": [], "steps": [], "problems": [],
        });
        node::files::replace(&self.paths().configuration(), text.as_bytes(), 0o644).unwrap();
        node::files::replace(&self.paths().handoff(), handoff.to_string().as_bytes(), 0o644).unwrap();
    }

    /// Both programs end, and what they have left is put aside under a name, or comes back from there.
    pub(crate) fn put_aside(&mut self, name: &str) {
        self.end();
        copy(&self.tree(), &self.folder.path().join(name));
    }

    pub(crate) fn bring_back(&mut self, name: &str) {
        self.end();
        copy(&self.folder.path().join(name), &self.tree());
    }

    pub(crate) fn end(&mut self) {
        (self.agent, self.server) = (None, None);
        self.killed.clear();
        self.proxy.watch(nobody());
    }

    /// SIGKILL, and until it is dead.
    pub(crate) fn kill_9(&mut self, victim: Victim) {
        let killed = if victim == Victim::Agent { self.agent.take() } else { self.server.take() };
        if let Some(mut killed) = killed {
            killed.signal(Signal::SIGKILL).ok();
            killed.wait_for_exit(PATIENCE).unwrap();
            self.killed.push_str(&format!("--- killed: {victim:?}\n{}\n", killed.output()));
        }
    }

    pub(crate) fn start_server(&mut self) {
        let mut command = Command::new(stand_in().unwrap());
        let wrong = json!([{"kind": "wrong_answer", "digests": [self.versions[2]], "text": "five"}]);
        command.env("OLLAMA_HOST", &self.address).env("OLLAMA_MODELS", self.models());
        command.env("OLLAMA_NOPRUNE", "1").env("DOUBLE_PART_BYTES", PART.to_string());
        command.env("DOUBLE_RETRY_SECONDS", "0.05").env("DOUBLE_FAULTS", wrong.to_string());
        let mut server = Process::start("the model server", command).unwrap();
        server.wait_for_line("\"listening\"", PATIENCE).unwrap();
        self.server = Some(server);
    }

    pub(crate) fn start_agent(&mut self) {
        self.agent = Some(Process::start("node-agent", self.command(AGENT)).unwrap());
    }

    /// What the programs are given of the environment.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let docker = format!("unix://{}", self.tree().join("docker.sock").display());
        let mut environment = vec![
            // Ports that nobody listens on: everything outside refuses at once.
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT".to_owned(), "http://127.0.0.1:1".to_owned()),
            ("AWS_ENDPOINT_URL".to_owned(), "http://127.0.0.1:1".to_owned()),
            ("AWS_REGION".to_owned(), "eu-north-1".to_owned()),
            ("DOCKER_HOST".to_owned(), docker),
        ];
        if let Some(notify) = &self.notify {
            environment.push(("NOTIFY_SOCKET".to_owned(), notify.display().to_string()));
            environment.push(("WATCHDOG_USEC".to_owned(), (WATCHDOG / 3).as_micros().to_string()));
        }
        environment
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("--root").arg(self.tree()).env_clear().envs(self.environment());
        command
    }

    pub(crate) fn agentctl(&self, arguments: &[&str]) -> Output {
        self.command(AGENTCTL).args(arguments).output().unwrap()
    }

    /// What the agent answers on its socket, without a program between, as it is asked time and again.
    pub(crate) fn ask_agent(&self, path: &str) -> Result<Value, String> {
        let failed = |error: std::io::Error| format!("the agent does not answer: {error}");
        let mut stream = UnixStream::connect(self.paths().control_socket()).map_err(failed)?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(failed)?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n").map_err(failed)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(failed)?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str(body).map_err(|error| format!("{error}: {answer}"))
    }

    /// The same of the server, past the proxy.
    pub(crate) fn ask_server(&self, path: &str) -> Result<Value, String> {
        let failed = |error: std::io::Error| format!("the server does not answer: {error}");
        let mut stream = std::net::TcpStream::connect(&self.address).map_err(failed)?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n").map_err(failed)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(failed)?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str(body).map_err(|error| format!("{error}: {answer}"))
    }

    /// The record of the model on disk, empty where there is none.
    pub(crate) fn record(&self) -> Value {
        let text = std::fs::read_to_string(self.paths().state().join("models.json")).unwrap_or_default();
        let document: Value = serde_json::from_str(&text).unwrap_or_default();
        document["models"][self.model()].clone()
    }

    /// The server has written down what its pulls had brought when their clients went away.
    pub(crate) fn until_pulls_have_ended(&self) -> Result<(), String> {
        let look = || {
            let log = self.ask_server("/double/log")?;
            let open = log.as_array().into_iter().flatten();
            let open = open.filter(|entry| entry["path"] == "/api/pull" && entry["outcome"].is_null());
            match open.count() {
                0 => Ok(()),
                count => Err(format!("{count} are open")),
            }
        };
        wait_for("the server to end its pulls", PATIENCE, look).map_err(|error| error.to_string())
    }

    /// All that both programs have said, and what is remembered.
    pub(crate) fn told(&self) -> String {
        let output = |process: &Option<Process>| process.as_ref().map(Process::output).unwrap_or_default();
        format!(
            "{}--- agent\n{}\n--- server\n{}\n--- record\n{:#}\n--- status\n{}",
            self.killed,
            output(&self.agent),
            output(&self.server),
            self.record(),
            self.ask_agent("/v1/models").map_or_else(|why| why, |models| format!("{models:#}")),
        )
    }
}

pub(crate) fn version(seed: u64) -> String {
    format!("library/m:v{seed}")
}

fn copy(from: &Path, to: &Path) {
    std::fs::remove_dir_all(to).ok();
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).output().unwrap();
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
}
