//! The control API from outside: a real socket in a temporary tree, a board filled by hand, and the real `agentctl`.

#![expect(clippy::disallowed_methods, reason = "starts programs and measures them")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use agent::board::{Board, Owner};
use agent::command::{Command, ModelCommand, Refused, Taken};
use agent::control::logs::{ContainerOutput, Lines, Output};
use agent::control::server::Control;
use agent::control::socket::Listener;
use agent::engine::EngineError;
use agent::reload::Request;
use agent::status::*;
use axum::body::Bytes;
use futures_util::StreamExt;
use node::paths::Paths;
use node::problem::Problem;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Output as Ended, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

#[path = "control_api/configuration.rs"]
mod configuration;
#[path = "control_api/crowd.rs"]
mod crowd;
#[path = "control_api/described.rs"]
mod described;
#[path = "control_api/models.rs"]
mod models;
#[path = "control_api/permissions.rs"]
mod permissions;
#[path = "control_api/schema.rs"]
mod schema;
#[path = "control_api/verbs.rs"]
mod verbs;
#[path = "control_api/watching.rs"]
mod watching;

const AGENTCTL: &str = env!("CARGO_BIN_EXE_agentctl");
const NOBODY: u32 = 65534;

fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// Writes what it was told to, and the container's id.
struct Scripted;

impl ContainerOutput for Scripted {
    fn output(&self, container_id: &str, lines: Lines) -> Output {
        if container_id == "broken" {
            let error = EngineError::Unreachable {
                endpoint: "/var/run/docker.sock".to_owned(),
                operation: "read logs".to_owned(),
                source: None,
            };
            return futures_util::stream::iter([Err(error)]).boxed();
        }
        let Lines { tail, since, follow } = lines;
        let since = since.map_or_else(String::new, |since| format!(" since={since}"));
        let text = format!("{container_id} tail={tail}{since} follow={follow}\n");
        futures_util::stream::iter([Ok(Bytes::from(text))]).boxed()
    }
}

/// A served board.
struct Bench {
    root: TempDir,
    board: Board,
    commands: Option<mpsc::Receiver<Command>>,
    model_commands: Option<mpsc::Receiver<ModelCommand>>,
    requests: Option<mpsc::Receiver<Request>>,
    shutdown: CancellationToken,
    runtime: tokio::runtime::Runtime,
    control: Control,
    log: Log,
}

/// What the server says to the journal.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }

    /// What the tracing of a thread goes to.
    fn dispatch(&self) -> tracing::Dispatch {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_max_level(tracing::Level::INFO);
        tracing::Dispatch::new(subscriber.with_writer(move || log.clone()).finish())
    }
}

impl Write for Log {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(text)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Bench {
    fn new() -> Bench {
        Bench::of(Some(settings()))
    }

    fn of(settings: Option<node::config::Settings>) -> Bench {
        let root = tempfile::tempdir().unwrap();
        // Another user has to reach the socket.
        std::fs::set_permissions(root.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let log = Log::default();
        let dispatch = log.dispatch();
        let logs = move || std::mem::forget(tracing::dispatcher::set_default(&dispatch));
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).on_thread_start(logs).enable_all().build().unwrap();
        let board = Board::new(node());
        let (sender, receiver) = mpsc::channel(8);
        let (models, model_commands) = mpsc::channel(8);
        let (_settings, settings) = watch::channel(settings.map(Arc::new));
        let (configuration, requests) = mpsc::channel(8);
        let control = Control {
            board: board.clone(),
            commands: sender,
            models,
            output: Arc::new(Scripted),
            settings,
            configuration,
        };
        let shutdown = CancellationToken::new();
        let path = Paths::under(root.path()).control_socket();
        let listener = runtime.block_on(async { Listener::bind(&path) }).unwrap();
        runtime.spawn(listener.serve(control.clone(), shutdown.clone()));
        let (commands, model_commands) = (Some(receiver), Some(model_commands));
        Bench {
            root,
            board,
            commands,
            model_commands,
            requests: Some(requests),
            shutdown,
            runtime,
            control,
            log,
        }
    }

    fn paths(&self) -> Paths {
        Paths::under(self.root.path())
    }

    fn control(&self) -> Control {
        self.control.clone()
    }

    fn publish(&self, services: Vec<Service>) {
        let explanations = services
            .iter()
            .map(|service| Explanation {
                service: service.name.clone(),
                gate: "GET /health".to_owned(),
                ..Explanation::default()
            })
            .collect();
        self.board.publish_services(services, explanations, Vec::new(), now());
    }

    /// Answers every command with what `answer` makes of its description.
    fn answer_commands(&mut self, answer: impl Fn(&str) -> Result<String, Refused> + Send + 'static) {
        self.take_commands(move |command| answer(command).map(Taken::from));
    }

    /// The same for answers that say more than a line.
    fn take_commands(&mut self, answer: impl Fn(&str) -> Result<Taken, Refused> + Send + 'static) {
        let mut commands = self.commands.take().unwrap();
        self.runtime.spawn(async move {
            while let Some(command) = commands.recv().await {
                let (text, reply) = match command {
                    Command::Restart { service, reply } => (format!("restart {service}"), reply),
                    Command::Update { service, reply } => (format!("update {service:?}"), reply),
                    Command::Wish { service, wish, reply } => (format!("{service}: {wish:?}"), reply),
                };
                let _ = reply.send(answer(&text));
            }
        });
    }

    fn agentctl(&self, arguments: &[&str]) -> Ended {
        self.run_as(None, arguments)
    }

    fn run_as(&self, user: Option<u32>, arguments: &[&str]) -> Ended {
        self.run_as_member(user, None, arguments)
    }

    /// With a primary group other than the user's own.
    fn run_as_member(&self, user: Option<u32>, group: Option<u32>, arguments: &[&str]) -> Ended {
        let mut command = std::process::Command::new(AGENTCTL);
        if let Some(user) = user {
            // The build's own folder may be closed to others.
            let copy = self.root.path().join("agentctl");
            if !copy.exists() {
                // By a process of its own: a test beside this one that starts a program would inherit our descriptor, and
                // what somebody has open for writing cannot be executed.
                let copied = std::process::Command::new("cp").arg(AGENTCTL).arg(&copy).status().unwrap();
                assert!(copied.success(), "cp {AGENTCTL}: {copied}");
            }
            command = std::process::Command::new(copy);
            command.uid(user).gid(group.unwrap_or(user)).current_dir("/");
        }
        command.arg("--root").arg(self.root.path()).args(arguments).stdin(Stdio::null()).output().unwrap()
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.paths().control_socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn node() -> Node {
    Node {
        name: "test-node".to_owned(),
        instance_id: "i-0123456789abcdef0".to_owned(),
        instance_type: "t3.small".to_owned(),
        region: "eu-north-1".to_owned(),
        availability_zone: "eu-north-1a".to_owned(),
        state: NodeState::Starting,
        since: now(),
        version: node::VERSION.to_owned(),
        boot: "boot".to_owned(),
    }
}

fn service(name: &str) -> Service {
    Service {
        name: name.to_owned(),
        state: ServiceState::Running,
        health: HealthState::Passing,
        image: format!("localhost:5000/{name}:latest"),
        digest: Some(format!("sha256:{}", "ab".repeat(32))),
        container_id: Some(format!("{name}-1")),
        since: now(),
        restarts: 0,
        update: UpdateStatus {
            state: UpdateState::Current,
            candidate: None,
            reason: None,
            checked_at: Some(now()),
        },
    }
}

/// As `agent` sees it after validation; only the names matter here.
fn settings() -> node::config::Settings {
    node::config::Settings {
        node_name: "test-node".to_owned(),
        docker: node::config::settings::Docker { install: false },
        images: node::config::settings::Images::default(),
        agent: None,
        volumes: Default::default(),
        secrets: Default::default(),
        services: [("api".to_owned(), service_settings())].into(),
        logs: None,
        models: Default::default(),
        metrics: None,
        registries: Default::default(),
    }
}

fn service_settings() -> node::config::settings::Service {
    use node::config::settings::*;
    Service {
        image: ImageReference {
            registry: "localhost:5000".to_owned(),
            repository: "api".to_owned(),
            version: ImageVersion::Tag("latest".to_owned()),
        },
        command: Vec::new(),
        ports: Vec::new(),
        environment: Default::default(),
        environment_from: Vec::new(),
        secret_files: Vec::new(),
        mounts: Vec::new(),
        depends_on: Vec::new(),
        memory_bytes: None,
        nano_cpus: None,
        gpus: None,
        user: None,
        read_only: false,
        capabilities: Vec::new(),
        imds: false,
        stop_timeout: Duration::from_secs(30),
        network: Network::Node,
        health: Health {
            probe: Probe::ImageOrStayedUp,
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            retries: 3,
            start_period: Duration::from_secs(30),
        },
        update: Update {
            every: None,
            deadline: Duration::from_secs(300),
            min_healthy: Duration::from_secs(10),
            strategy: node::config::settings::Strategy::Recreate,
            min_age: Duration::ZERO,
            windows: Vec::new(),
            drain: Duration::from_secs(30),
            before: Vec::new(),
            after: Vec::new(),
        },
        logs: Shaping::default(),
    }
}

#[track_caller]
fn expect(ended: &Ended, code: i32, stdout: &str, stderr: &str) {
    let (out, err) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    let story = format!("exit {:?}\n--- stdout\n{out}\n--- stderr\n{err}", ended.status.code());
    assert_eq!(ended.status.code(), Some(code), "{story}");
    assert!(out.contains(stdout), "stdout has no {stdout:?}; {story}");
    assert!(err.contains(stderr), "stderr has no {stderr:?}; {story}");
}

fn is_root() -> bool {
    nix::unistd::Uid::effective().is_root()
}

#[test]
fn status_exits_with_0_when_ready_and_1_when_not() {
    let bench = Bench::new();
    expect(&bench.agentctl(&["status"]), 1, "test-node  starting", "");
    bench.publish(vec![service("api")]);
    expect(&bench.agentctl(&["status"]), 0, "test-node  ready", "");
    let problem = Problem {
        code: "secret_missing".to_owned(),
        message: "secret app does not exist".to_owned(),
        hint: Some("create it".to_owned()),
        since: now(),
    };
    bench.board.publish_problems(Owner::Secrets, vec![problem], now());
    expect(&bench.agentctl(&["status"]), 1, "1 problem\n  secret_missing for 0s\n", "");
}

#[test]
fn status_json_has_the_names_of_the_contract_and_no_others() {
    let bench = Bench::new();
    bench.publish(vec![service("api")]);
    let volume = Volume {
        name: "models".to_owned(),
        volume_id: None,
        device: None,
        mount: "/m".to_owned(),
        filesystem: None,
        size_bytes: None,
        used_bytes: None,
    };
    bench.board.publish_volumes(vec![volume], now());
    let secret = Secret { name: "app".to_owned(), version_id: None, fetched_at: None };
    bench.board.publish_secrets(vec![secret], now());
    let problem = Problem { code: "c".to_owned(), message: "m".to_owned(), hint: None, since: now() };
    bench.board.publish_problems(Owner::Logs, vec![problem], now());
    bench.board.publish_models(models::shown(vec![models::model("llama3.2:3b")]), now());
    let ended = bench.agentctl(&["status", "--json"]);
    expect(&ended, 1, "", "");
    let value: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
    let keys = |value: &serde_json::Value| -> Vec<String> {
        let mut keys: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    };
    let top = ["logs", "model_server", "models", "node", "problems", "secrets", "services", "volumes"];
    assert_eq!(keys(&value), top);
    let contract = [
        ("/node", "availability_zone boot instance_id instance_type name region since state version"),
        ("/services/0", "container_id digest health image name restarts since state update"),
        ("/services/0/update", "candidate checked_at reason state"),
        (
            "/models/0",
            "digest gpu_memory_bytes keep_loaded memory_bytes name on_gpu pinned previous progress reason required since \
             size_bytes state update",
        ),
        (
            "/model_server",
            "directory endpoint free_bytes gpu_restarts gpus prewarm reason service state version",
        ),
        ("/volumes/0", "device filesystem mount name size_bytes used_bytes volume_id"),
        (
            "/logs",
            "backlog_bytes behind budgets bytes_shipped dropped events_dropped events_shipped group \
             oldest_unshipped_seconds",
        ),
        ("/logs/dropped", "expired over_a_limit over_the_queue refused too_new too_old"),
        ("/secrets/0", "fetched_at name version_id"),
        ("/problems/0", "code hint message since"),
    ];
    for (place, names) in contract {
        assert_eq!(keys(value.pointer(place).unwrap()).join(" "), names, "{place}");
    }
}

#[test]
fn without_an_agent_the_last_status_is_shown_as_stale_and_the_exit_code_is_3() {
    let root = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(AGENTCTL);
        command.arg("--root").arg(root.path()).args(arguments).output().unwrap()
    };
    expect(&run(&["status"]), 3, "", "cannot reach node-agent at");
    let board = Board::new(node());
    board.publish_services(vec![service("api")], Vec::new(), Vec::new(), now());
    let json = serde_json::to_vec(&board.status()).unwrap();
    node::files::replace(&Paths::under(root.path()).last_status(), &json, 0o644).unwrap();
    expect(&run(&["status"]), 3, "STALE: the agent does not answer", "");
    let ended = run(&["status", "--json"]);
    expect(&ended, 3, "", "");
    let value: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(value["node"]["state"], "ready");
    assert!(value["stale"]["age_seconds"].as_i64().unwrap() >= 0, "{value}");
    expect(&run(&["restart", "api"]), 3, "", "hint: look at `systemctl status node-agent`");
}

#[test]
fn an_agent_that_accepts_and_never_answers_is_given_up_after_a_second() {
    let root = tempfile::tempdir().unwrap();
    let path = Paths::under(root.path()).control_socket();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let _silent = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let begun = Instant::now();
    let ended =
        std::process::Command::new(AGENTCTL).arg("--root").arg(root.path()).arg("status").output().unwrap();
    expect(&ended, 3, "", "gave no answer within 1 s");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn everybody_may_look_and_only_root_may_change() {
    if !is_root() {
        return;
    }
    let mut bench = Bench::new();
    bench.publish(vec![service("api")]);
    bench.answer_commands(|command| Ok(format!("will {command}")));
    for look in [&["status"][..], &["explain", "api"], &["logs", "api"], &["config", "show", "--json"]] {
        expect(&bench.run_as(Some(NOBODY), look), 0, "", "");
    }
    for change in [&["restart", "api"][..], &["update"], &["update", "api"]] {
        let refusal = "user 65534 may read but not change anything (hint: use sudo, or join the group";
        expect(&bench.run_as(Some(NOBODY), change), 1, "", refusal);
    }
    expect(&bench.agentctl(&["restart", "api"]), 0, "will restart api\n", "");
    expect(&bench.agentctl(&["update"]), 0, "will update None\n", "");
    expect(&bench.agentctl(&["update", "api"]), 0, "will update Some(\"api\")\n", "");
}

#[test]
fn what_the_loop_refuses_and_what_does_not_exist_is_said_in_one_line() {
    let mut bench = Bench::new();
    bench.publish(vec![service("api")]);
    bench.answer_commands(|_| {
        Err(Refused {
            code: "busy",
            message: "api is being updated".to_owned(),
            hint: Some("wait for it".to_owned()),
        })
    });
    let refused = "api is being updated (hint: wait for it)\n";
    expect(&bench.agentctl(&["restart", "api"]), 1, "", refused);
    let unknown = "there is no service nope in node.toml (hint: services are: api)\n";
    for arguments in [&["restart", "nope"][..], &["update", "nope"], &["explain", "nope"], &["logs", "nope"]]
    {
        expect(&bench.agentctl(arguments), 1, "", unknown);
    }
    expect(&bench.agentctl(&["completions", "bash"]), 0, "_agentctl", "");
    expect(&bench.agentctl(&["config", "show", "--json"]), 0, "\"stop_timeout\": \"30s\"", "");
    let mut stream = bench.connect();
    stream.write_all(b"GET /v2/status HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("\"path_unknown\""), "{answer}");
}

#[test]
fn waiting_for_an_update_ends_with_its_end() {
    let mut bench = Bench::new();
    bench.publish(vec![service("api")]);
    let board = bench.board.clone();
    bench.answer_commands(move |_| {
        // The registry names something newer, and it fails.
        let mut failed = service("api");
        failed.update.state = UpdateState::RolledBack;
        failed.update.reason = Some("GET /health answered 500".to_owned());
        let explanation = Explanation {
            service: "api".to_owned(),
            gate: "GET /health".to_owned(),
            quarantined: vec![Quarantined {
                digest: "sha256:bad".to_owned(),
                at: now(),
                cause: "GET /health answered 500".to_owned(),
                last_log_lines: vec!["KeyError: DATABASE_URL".to_owned()],
            }],
            ..Explanation::default()
        };
        board.publish_services(vec![failed], vec![explanation], Vec::new(), now());
        Ok("looking for a new image".to_owned())
    });
    let ended = bench.agentctl(&["update", "api", "--wait"]);
    expect(&ended, 1, "looking for a new image\n", "api was rolled back: GET /health answered 500\n");
    expect(&ended, 1, "", "| KeyError: DATABASE_URL");
}

#[test]
fn waiting_has_an_end_of_its_own() {
    let mut bench = Bench::new();
    let mut stuck = service("api");
    stuck.update.checked_at = None;
    stuck.update.reason = Some("the registry does not answer".to_owned());
    bench.publish(vec![stuck]);
    bench.answer_commands(|_| Ok("looking for a new image".to_owned()));
    let ended = bench.agentctl(&["update", "--wait", "--timeout", "0"]);
    let late = "not done within 0 s: api waits for the registry: the registry does not answer (hint:";
    expect(&ended, 1, "", late);
}

#[test]
fn logs_are_streamed_and_followed_into_the_next_container() {
    let bench = Bench::new();
    bench.publish(vec![service("api")]);
    expect(&bench.agentctl(&["logs", "api", "-n", "7"]), 0, "api-1 tail=7 follow=false\n", "");
    let since = ["logs", "api", "--since", "2026-01-02T03:04:05Z"];
    expect(&bench.agentctl(&since), 0, "api-1 tail=10000 since=2026-01-02T03:04:05Z follow=false\n", "");
    expect(&bench.agentctl(&["logs", "api", "--since", "yesterday"]), 2, "", "nor an age such as 10m");
    let mut broken = service("api");
    broken.container_id = Some("broken".to_owned());
    bench.publish(vec![broken]);
    expect(
        &bench.agentctl(&["logs", "api"]),
        1,
        "",
        "the Docker engine at /var/run/docker.sock does not answer",
    );

    bench.publish(vec![service("api")]);
    let mut stream = bench.connect();
    stream.write_all(b"GET /v1/services/api/logs?follow=true HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut seen = String::new();
    let mut until = |text: &str| {
        let mut buffer = [0; 4096];
        while !seen.contains(text) {
            let count = stream.read(&mut buffer).unwrap();
            assert!(count > 0, "the stream ended: {seen}");
            seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    };
    until("api-1 tail=100 follow=true");
    let mut next = service("api");
    next.container_id = Some("api-2".to_owned());
    bench.publish(vec![next]);
    until("api-2 tail=");
}

#[test]
fn the_last_words_of_an_image_that_failed_are_shown_when_its_container_is_gone() {
    let bench = Bench::new();
    let mut waiting = service("api");
    waiting.container_id = None;
    let failed = |digit: &str, at: &str, lines: &[&str]| Quarantined {
        digest: format!("sha256:{}", digit.repeat(64)),
        at: at.parse().unwrap(),
        cause: "it ended with exit status 1".to_owned(),
        last_log_lines: lines.iter().map(|line| (*line).to_owned()).collect(),
    };
    let none = Explanation { service: "api".to_owned(), ..Explanation::default() };
    bench.board.publish_services(vec![waiting.clone()], vec![none.clone()], Vec::new(), now());
    expect(&bench.agentctl(&["logs", "api", "--failed"]), 1, "", "no image of api has failed");
    expect(&bench.agentctl(&["logs", "api"]), 1, "", "service api has no container yet");
    let quarantined = vec![
        failed("b", "2026-01-02T00:00:00Z", &["one", "two", "three"]),
        failed("a", "2026-01-01T00:00:00Z", &["older"]),
    ];
    let explanation = Explanation { quarantined, ..none };
    bench.board.publish_services(vec![waiting], vec![explanation], Vec::new(), now());
    let story = "bbbbbbbbbbbb failed";
    expect(&bench.agentctl(&["logs", "api", "--failed"]), 0, "one\ntwo\nthree\n", story);
    expect(&bench.agentctl(&["logs", "api", "--failed", "-n", "1"]), 0, "three\n", story);
    expect(
        &bench.agentctl(&["logs", "api"]),
        0,
        "one\ntwo\nthree\n",
        "it ended with exit status 1; its last lines",
    );
    expect(&bench.agentctl(&["logs", "api", "--failed", "--follow"]), 2, "", "cannot be used with");
    expect(&bench.agentctl(&["logs", "other", "--failed"]), 1, "", "services are: api");
}

#[test]
fn half_sent_requests_and_silent_clients_do_not_hold_up_others() {
    let bench = Bench::new();
    bench.publish(vec![service("api")]);
    let mut silent: Vec<UnixStream> = (0..80).map(|_| bench.connect()).collect();
    for stream in &mut silent {
        // Too many of them are closed at once, which is as good as being ignored.
        let _ = stream.write_all(b"POST /v1/upd");
    }
    // They are thrown out one deadline after they came; from then on, if not before, everybody is served.
    let begun = Instant::now();
    while bench.agentctl(&["status"]).status.code() != Some(0) {
        assert!(begun.elapsed() < Duration::from_secs(10), "status is still locked out");
    }
    for mut stream in silent {
        let mut answer = Vec::new();
        // Closed by the server: an end or a reset, never the time-out of this test.
        let ended = stream.read_to_end(&mut answer);
        assert!(
            ended.as_ref().err().is_none_or(|error| error.kind() != std::io::ErrorKind::WouldBlock),
            "{ended:?}"
        );
    }
}

#[test]
fn nobody_can_lock_root_out() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    bench.publish(vec![service("api")]);
    let script = "import socket,sys,time\n\
                  s=[]\n\
                  for _ in range(300):\n c=socket.socket(socket.AF_UNIX); c.connect(sys.argv[1]); s.append(c)\n\
                  print('there', flush=True); sys.stdin.read()";
    let mut command = std::process::Command::new("python3");
    command
        .arg("-c")
        .arg(script)
        .arg(bench.paths().control_socket())
        .uid(NOBODY)
        .gid(NOBODY)
        .current_dir("/");
    let mut crowd = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = [0; 6];
    crowd.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
    expect(&bench.agentctl(&["status"]), 0, "test-node  ready", "");
    drop(crowd.stdin.take());
    crowd.wait().unwrap();
}

#[test]
fn an_oversized_request_is_refused() {
    let bench = Bench::new();
    let mut stream = bench.connect();
    let mut request = b"GET /v1/status HTTP/1.1\r\nhost: x\r\nx-long: ".to_vec();
    request.extend(std::iter::repeat_n(b'a', 64 << 10));
    // The server may close before all of it is written.
    let _ = stream.write_all(&request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[test]
fn a_left_over_socket_is_replaced_and_a_living_agent_is_left_alone() {
    let bench = Bench::new();
    let path: PathBuf = bench.paths().control_socket();
    let second = bench.runtime.block_on(async { Listener::bind(&path) });
    let message = second.expect_err("a second agent").to_string();
    assert!(message.starts_with("another node-agent serves "), "{message}");
    expect(&bench.agentctl(&["status"]), 1, "test-node", "");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);

    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("agent.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "as after kill -9");
    bench.runtime.block_on(async { Listener::bind(&path) }).unwrap();
    assert!(!path.exists(), "a listener that ends takes its file with it");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let bench = Bench::new();
    bench.publish((0..200).map(|number| service(&format!("api-{number:03}"))).collect());
    let mut command = std::process::Command::new(AGENTCTL);
    command.arg("--root").arg(bench.root.path()).args(["status", "--json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    expect(&ended, 0, "", "");
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
}

#[test]
fn status_is_quick() {
    let bench = Bench::new();
    bench.publish((0..10).map(|number| service(&format!("api-{number}"))).collect());
    let mut durations: Vec<Duration> = (0..11)
        .map(|_| {
            let begun = Instant::now();
            expect(&bench.agentctl(&["status"]), 0, "api-9", "");
            begun.elapsed()
        })
        .collect();
    durations.sort();
    println!("agentctl status: fastest {:?}, median {:?}", durations[0], durations[5]);
    // The bar is 20 ms on the release build; this one is not optimised and shares the machine with other tests.
    assert!(durations[0] < Duration::from_millis(100), "{durations:?}");
}
