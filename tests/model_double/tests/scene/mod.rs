//! A stand-in on a free port, a folder of its own and a registry of models.

#![expect(clippy::disallowed_methods, reason = "it runs the program and reads what it leaves")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use harness::http::{Answer, HttpClient};
use harness::model_registry::{Door, ModelRegistry, kept_in};
use harness::processes::Process;
use harness::wait::wait_for_async;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct Scene {
    pub(crate) process: Process,
    pub(crate) models: ModelRegistry,
    url: String,
    client: HttpClient,
    environment: Vec<(String, String)>,
    directory: tempfile::TempDir,
    _door: Door,
}

impl Scene {
    pub(crate) async fn set(environment: &[(&str, &str)]) -> Scene {
        let directory = tempfile::tempdir().unwrap();
        let models = ModelRegistry::default();
        let door = models.listen("127.0.0.1:0").await.unwrap();
        let own = [
            ("OLLAMA_HOST", "127.0.0.1:0"),
            ("OLLAMA_MODELS", directory.path().to_str().unwrap()),
            ("DOUBLE_REGISTRY", door.url()),
        ];
        let environment = own.iter().chain(environment);
        let environment: Vec<_> =
            environment.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (process, url) = start(&environment);
        let client = HttpClient::default();
        Scene { process, models, url, client, environment, directory, _door: door }
    }

    /// Starts it again after its end.
    pub(crate) fn restart(&mut self) {
        (self.process, self.url) = start(&self.environment);
        self.client = HttpClient::default();
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, request: Value) -> Answer {
        let body = if request.is_null() { String::new() } else { request.to_string() };
        self.client.send(method, &format!("{}{path}", self.url), &[], body).await.unwrap()
    }

    /// Asks in a task of its own, on a connection that ends with it; returns the lines that came.
    pub(crate) fn begin(&self, path: &str, request: &Value) -> JoinHandle<String> {
        let authority = self.url.trim_start_matches("http://").to_owned();
        let (method, body) =
            if request.is_null() { ("GET", String::new()) } else { ("POST", request.to_string()) };
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n");
        let whole = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        tokio::spawn(async move {
            let mut stream = TcpStream::connect(authority).await.unwrap();
            stream.write_all(whole.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            // A connection that is broken has brought what it has brought.
            stream.read_to_end(&mut answer).await.ok();
            let answer = String::from_utf8_lossy(&answer).into_owned();
            // Without the sizes of the chunks.
            let lines = answer.lines().filter(|line| line.starts_with('{'));
            lines.collect::<Vec<_>>().join("\n")
        })
    }

    /// Pulls to the end; its lines.
    pub(crate) async fn pull(&self, name: &str) -> Vec<Value> {
        let answer = self.ask("POST", "/api/pull", json!({"model": name})).await;
        let text = answer.text();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub(crate) async fn tags(&self) -> Value {
        self.ask("GET", "/api/tags", Value::Null).await.json()["models"].clone()
    }

    pub(crate) async fn ps(&self) -> Value {
        self.ask("GET", "/api/ps", Value::Null).await.json()["models"].clone()
    }

    pub(crate) async fn faults(&self, faults: Value) {
        let answer = self.ask("POST", "/double/faults", faults).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    pub(crate) async fn clear_faults(&self) {
        let answer = self.ask("DELETE", "/double/faults", Value::Null).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    pub(crate) async fn until_faults_are_used(&self) {
        let look = || async {
            let left = self.ask("GET", "/double/faults", Value::Null).await.json();
            if left == json!([]) { Ok(()) } else { Err(left.to_string()) }
        };
        wait_for_async("the faults to strike", DEADLINE, look).await.unwrap();
    }

    pub(crate) async fn until_log(&self, what: &str, wanted: impl Fn(&Value) -> bool) {
        let look = || async {
            let log = self.ask("GET", "/double/log", Value::Null).await.json();
            if wanted(&log) { Ok(()) } else { Err(log.to_string()) }
        };
        wait_for_async(what, DEADLINE, look).await.unwrap();
    }

    /// Bytes of blobs that the folder holds, by its own files.
    pub(crate) fn kept_bytes(&self) -> u64 {
        kept_in(self.directory.path()).iter().map(|kept| kept.bytes.end - kept.bytes.start).sum()
    }

    pub(crate) async fn until_kept(&self, at_least: u64) {
        let look = || async {
            let kept = self.kept_bytes();
            if kept >= at_least { Ok(()) } else { Err(format!("{kept} B\n{}", self.process.output())) }
        };
        wait_for_async(&format!("{at_least} B to be kept"), DEADLINE, look).await.unwrap();
    }

    /// Puts a file system of so many bytes where the blobs are.
    pub(crate) fn blobs_on_a_small_disk(&self, bytes: u64) -> SmallDisk {
        let disk = SmallDisk(self.directory.path().join("blobs"));
        disk.mount(MsFlags::empty(), bytes);
        disk
    }

    /// Exit code and output of the program under its other name.
    pub(crate) fn nvidia_smi(&self) -> (Option<i32>, String) {
        let link = self.directory.path().join("nvidia-smi");
        if !link.exists() {
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_model-double"), &link).unwrap();
        }
        let mut command = Command::new(link);
        command.arg("-L").envs(self.environment.iter().map(|(name, value)| (name, value)));
        let output = command.env("OLLAMA_HOST", self.url.trim_start_matches("http://")).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// A file system in memory; gone when dropped.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(&self, flags: MsFlags, bytes: u64) {
        let size = format!("size={bytes}");
        mount(Some("tmpfs"), &self.0, Some("tmpfs"), flags, Some(size.as_str())).unwrap();
    }

    pub(crate) fn grow(&self, bytes: u64) {
        self.mount(MsFlags::MS_REMOUNT, bytes);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The server may still have a file of it open.
        umount2(&self.0, MntFlags::MNT_DETACH).ok();
    }
}

fn start(environment: &[(String, String)]) -> (Process, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_model-double"));
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    let mut process = Process::start("model-double", command).unwrap();
    let line = process.wait_for_line("\"listening\"", DEADLINE).unwrap();
    let line: Value = serde_json::from_str(&line).unwrap();
    (process, format!("http://{}", line["address"].as_str().unwrap()))
}

pub(crate) fn make_aged_file(path: &Path, age: Duration) {
    let file = std::fs::File::create(path).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
}

/// The last one, far behind the head.
pub(crate) fn flip_a_byte(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let last = bytes.last_mut().unwrap();
    *last = !*last;
    std::fs::write(path, bytes).unwrap();
}
