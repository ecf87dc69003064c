//! One node with its model server and its registry of models.

#![expect(clippy::disallowed_methods, reason = "starts programs and writes their files")]

use crate::engine::IdleEngine;
use harness::http::HttpClient;
use harness::model_registry::{Door, Kept, Model, ModelRegistry};
use harness::processes::{Process, free_port};
use harness::wait::wait_for;
use node::paths::Paths;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::rc::Rc;
use std::time::Duration;
use tokio::runtime::Handle;

const AGENT: &str = env!("CARGO_BIN_EXE_node-agent");
const AGENTCTL: &str = env!("CARGO_BIN_EXE_agentctl");
/// For what takes seconds on an idle machine.
pub(crate) const SOON: Duration = Duration::from_secs(60);
/// For what the agent itself waits a minute for.
pub(crate) const LATE: Duration = Duration::from_secs(150);
pub(crate) const MEBIBYTE: u64 = 1 << 20;

/// The stand-in for the model server.
pub(crate) fn program() -> PathBuf {
    harness::stage::workspace().join("target/tools/model-double")
}

pub(crate) struct Scene {
    runtime: Handle,
    root: tempfile::TempDir,
    pub(crate) registry: ModelRegistry,
    door: Rc<Door>,
    port: u16,
    environment: Vec<(&'static str, String)>,
    server: Option<Process>,
    agent: Option<Process>,
    _engine: IdleEngine,
}

impl Scene {
    /// A server that runs, and a registry that has nothing yet.
    pub(crate) fn new(runtime: &Handle, environment: &[(&'static str, &str)]) -> Scene {
        let mut scene = Scene::without_server(runtime, environment);
        scene.start_server();
        scene
    }

    pub(crate) fn without_server(runtime: &Handle, environment: &[(&'static str, &str)]) -> Scene {
        let registry = ModelRegistry::default();
        let door = Rc::new(runtime.block_on(registry.listen("127.0.0.1:0")).unwrap());
        Scene::at(runtime, (registry, door), environment)
    }

    /// Another node with the same registry, and a server of its own.
    pub(crate) fn another(&self, runtime: &Handle) -> Scene {
        let mut other = Scene::at(runtime, (self.registry.clone(), Rc::clone(&self.door)), &[]);
        other.start_server();
        other
    }

    fn at(
        runtime: &Handle,
        (registry, door): (ModelRegistry, Rc<Door>),
        environment: &[(&'static str, &str)],
    ) -> Scene {
        let root = tempfile::tempdir().unwrap();
        let port = free_port();
        let engine = IdleEngine::start(runtime, &root.path().join("docker.sock"));
        let environment = environment.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let runtime = runtime.clone();
        let scene = Scene {
            runtime,
            root,
            registry,
            door,
            port,
            environment,
            server: None,
            agent: None,
            _engine: engine,
        };
        scene.hand_over();
        scene
    }

    pub(crate) fn paths(&self) -> Paths {
        Paths::under(self.root.path())
    }

    /// The models folder.
    pub(crate) fn folder(&self) -> PathBuf {
        self.root.path().join("models")
    }

    /// A model as the server lists it; node.toml has `http://` before it.
    pub(crate) fn name(&self, short: &str) -> String {
        format!("{}/library/{short}", self.door.authority())
    }

    /// Moves a tag to a version that depends on `seed`; its digest.
    pub(crate) fn push(&self, short: &str, seed: u64, bytes: u64) -> String {
        self.registry.push(short, &Model::new(seed, bytes))
    }

    /// node.toml with these keys of `[models]`, and these models with their own keys.
    pub(crate) fn configure(&self, settings: &str, models: &[(&str, &str)]) {
        let (port, reserve) = (self.port, if settings.contains("reserve") { "" } else { "reserve = \"1m\"" });
        let mut text = format!(
            "[node]\nname = \"test-node\"\n\n[models]\nserver = \"http://127.0.0.1:{port}\"\ndirectory = \"/models\"\n\
             prewarm = \"off\"\n{reserve}\n{settings}\n"
        );
        for (short, keys) in models {
            write!(text, "\n[models.pull.\"http://{}\"]\n{keys}\n", self.name(short)).unwrap();
        }
        self.write(&self.paths().configuration(), &text);
    }

    pub(crate) fn write(&self, path: &Path, text: &str) {
        node::files::replace(path, text.as_bytes(), 0o644).unwrap();
    }

    /// As bootstrap leaves it.
    fn hand_over(&self) {
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
        self.write(&self.paths().handoff(), &handoff.to_string());
    }

    pub(crate) fn start_server(&mut self) {
        let mut command = Command::new(program());
        command.env_clear().env("OLLAMA_HOST", format!("127.0.0.1:{}", self.port)).env("OLLAMA_NOPRUNE", "1");
        command.env("OLLAMA_MODELS", self.folder()).env("DOUBLE_REGISTRY", self.door.url());
        command.env("DOUBLE_PART_BYTES", "262144").env("DOUBLE_RETRY_SECONDS", "0.1");
        command.envs(self.environment.iter().cloned());
        let mut server = Process::start("the model server", command).unwrap();
        server.wait_for_line("listening", SOON).unwrap();
        self.server = Some(server);
    }

    /// SIGTERM, as when its container is stopped.
    pub(crate) fn stop_server(&mut self) {
        self.server.take().unwrap().stop();
    }

    pub(crate) fn kill_server(&mut self) {
        let mut server = self.server.take().unwrap();
        server.signal(nix::sys::signal::Signal::SIGKILL).unwrap();
        server.wait_for_exit(SOON).unwrap();
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("--root").arg(self.root.path()).stdin(Stdio::null()).env_clear();
        // Ports that nobody listens on: everything else outside refuses at once.
        command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1");
        command.env("AWS_ENDPOINT_URL", "http://127.0.0.1:1").env("AWS_REGION", "eu-north-1");
        command.env("DOCKER_HOST", format!("unix://{}", self.root.path().join("docker.sock").display()));
        command
    }

    pub(crate) fn start_agent(&mut self) {
        self.agent = Some(Process::start("node-agent", self.command(AGENT)).unwrap());
        // What the agent before this one left says so too: it is this one that has to be asked.
        let begun = || {
            let ended = self.command(AGENTCTL).args(["models", "--json"]).output().unwrap();
            let models: Value = serde_json::from_slice(&ended.stdout).unwrap_or_default();
            if models["server"].is_object() { Ok(()) } else { Err(words(&ended)) }
        };
        wait_for("the agent to know its models", SOON, begun).unwrap();
    }

    pub(crate) fn stop_agent(&mut self) {
        self.agent.take().unwrap().stop();
    }

    pub(crate) fn agent_log(&self) -> String {
        self.agent.as_ref().map(Process::output).unwrap_or_default()
    }

    /// A command that ends with that exit status; what it wrote, on one line.
    pub(crate) fn agentctl(&self, arguments: &[&str], code: i32) -> String {
        let mut command = self.command(AGENTCTL);
        command.args(arguments);
        if arguments.contains(&"--wait") && !arguments.contains(&"--timeout") {
            command.args(["--timeout", "60"]);
        }
        let ended = command.output().unwrap();
        let text = words(&ended);
        assert_eq!(ended.status.code(), Some(code), "agentctl {arguments:?}: {text}\n{}", self.story());
        text
    }

    /// The same beside what the situation does next.
    pub(crate) fn begin_agentctl(&self, arguments: &[&str]) -> Process {
        let mut command = self.command(AGENTCTL);
        command.args(arguments);
        Process::start("agentctl", command).unwrap()
    }

    pub(crate) fn status(&self) -> Value {
        let ended = self.command(AGENTCTL).args(["status", "--json"]).output().unwrap();
        serde_json::from_slice(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", words(&ended)))
    }

    /// The status as the agent writes it at every change: cheaper to look at than to ask for.
    fn written(&self) -> Value {
        let text = std::fs::read_to_string(self.paths().last_status()).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Until the status of the node is as `enough` wants it.
    pub(crate) fn until(&self, what: &str, deadline: Duration, enough: impl Fn(&Value) -> bool) -> Value {
        let look = || {
            let status = self.written();
            if enough(&status) { Ok(status) } else { Err(format!("{status:#}")) }
        };
        wait_for(what, deadline, look).unwrap_or_else(|story| panic!("{story}\n{}", self.story()))
    }

    pub(crate) fn until_loaded(&self, short: &str, digest: &str, deadline: Duration) {
        self.until(&format!("{short} to be loaded"), deadline, |status| {
            let model = self.model(status, short);
            model["state"] == "loaded" && model["digest"] == digest
        });
    }

    /// Until there is that problem: with a hint, and with the same words in `models` and in `explain`.
    pub(crate) fn until_told(&self, short: &str, code: &str, said: &str) {
        self.until_problem(code, said);
        self.until_said(short, said);
    }

    /// Until `models` and `explain` both have said these words of it.
    pub(crate) fn until_said(&self, short: &str, said: &str) {
        let name = self.name(short);
        for arguments in [vec!["models"], vec!["explain", &name]] {
            // Another step may be shown for a moment between two tries.
            let look = || {
                let text = words(&self.command(AGENTCTL).args(&arguments).output().unwrap());
                if text.contains(said) { Ok(()) } else { Err(text) }
            };
            let what = format!("{said:?} in agentctl {arguments:?}");
            wait_for(&what, SOON, look).unwrap_or_else(|story| panic!("{story}\n{}", self.story()));
        }
    }

    pub(crate) fn until_problem(&self, code: &str, said: &str) -> Value {
        let of = |problem: &&Value| {
            problem["code"] == code && problem["message"].as_str().is_some_and(|text| text.contains(said))
        };
        let status = self.until(&format!("{code}: {said}"), LATE, |status| {
            status["problems"].as_array().is_some_and(|problems| problems.iter().any(|it| of(&it)))
        });
        let problem = status["problems"].as_array().unwrap().iter().find(of).unwrap().clone();
        assert!(problem["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "no hint: {problem:#}");
        problem
    }

    /// One model of a status.
    pub(crate) fn model(&self, status: &Value, short: &str) -> Value {
        let (name, models) = (self.name(short), status["models"].as_array());
        models.into_iter().flatten().find(|model| model["name"] == name.as_str()).cloned().unwrap_or_default()
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let client = HttpClient::default();
        let answer = self.runtime.block_on(client.send(method, &url, &[], body)).unwrap();
        assert!(answer.status.is_success(), "{method} {path}: {}", answer.text());
        answer.json()
    }

    pub(crate) fn fault(&self, fault: &Value) {
        self.ask("POST", "/double/faults", fault);
    }

    pub(crate) fn clear_faults(&self) {
        self.ask("DELETE", "/double/faults", &Value::Null);
    }

    /// Has the server pull without the agent.
    pub(crate) fn pull_by_hand(&self, short: &str) {
        self.ask("POST", "/api/pull", &json!({"model": self.name(short), "insecure": true, "stream": false}));
    }

    /// Requests that the server was asked with that path, since it started.
    pub(crate) fn asked(&self, path: &str) -> Vec<Value> {
        let log = self.ask("GET", "/double/log", &Value::Null);
        log.as_array().unwrap().iter().filter(|entry| entry["path"] == path).cloned().collect()
    }

    /// What the server has.
    pub(crate) fn installed(&self) -> Vec<Value> {
        self.ask("GET", "/api/tags", &Value::Null)["models"].as_array().unwrap().clone()
    }

    /// Until so many pulls have ended.
    pub(crate) fn until_pulls_ended(&self, count: usize, deadline: Duration) {
        let look = || {
            let ended = self.asked("/api/pull").iter().filter(|pull| !pull["outcome"].is_null()).count();
            if ended >= count { Ok(()) } else { Err(format!("{ended} have ended")) }
        };
        wait_for("pulls to end", deadline, look).unwrap_or_else(|story| panic!("{story}\n{}", self.story()));
    }

    /// Of what was kept when the registry had served so many requests, nothing was fetched again.
    pub(crate) fn nothing_came_twice(&self, since: usize, kept: &[Kept]) {
        let again = self.registry.fetched_again(since, kept);
        assert!(again.is_empty(), "{again:?}");
        let whole = self.registry.fetched_whole(since);
        assert!(whole.is_empty(), "{whole:?}");
    }

    /// What a failing situation prints.
    pub(crate) fn story(&self) -> String {
        let mut story = String::new();
        for arguments in [&["status", "--json"][..], &["models"], &["explain"]] {
            let ended = self.command(AGENTCTL).args(arguments).output().unwrap();
            writeln!(story, "--- agentctl {arguments:?}\n{}", String::from_utf8_lossy(&ended.stdout))
                .unwrap();
        }
        story
    }
}

/// Both outputs, every run of white space as one space: lines break elsewhere on every terminal.
fn words(ended: &Output) -> String {
    let text =
        format!("{}\n{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
