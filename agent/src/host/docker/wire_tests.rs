//! Answers that a healthy engine does not give, from a scripted one on a unix socket; time is virtual.

use super::*;
use node::config::settings::ImageVersion;
use node::fault::one_line;
use std::collections::VecDeque;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

/// What follows the head of an answer.
pub(super) enum Then {
    /// The end of the connection.
    End,
    /// Nothing, until the client leaves.
    Silence,
}

/// How a request begins, and its answer.
pub(super) type Step = (&'static str, String, Then);
type Script = VecDeque<Step>;

/// An engine that expects these requests, in this order, whatever connection they come on.
pub(super) struct ScriptedEngine {
    pub(super) docker: Docker,
    script: Arc<Mutex<Script>>,
    /// Told when the client leaves an answer that is not complete.
    pub(super) left: Arc<Notify>,
    _directory: tempfile::TempDir,
    _serving: AbortOnDropHandle<()>,
}

pub(super) fn engine(script: impl IntoIterator<Item = Step>) -> ScriptedEngine {
    let directory = tempfile::tempdir().expect("a folder");
    let socket = directory.path().join("s");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let script = Arc::new(Mutex::new(script.into_iter().collect::<Script>()));
    let docker = Docker::connect(Some(&format!("unix://{}", socket.display()))).expect("a client");
    let left = Arc::new(Notify::new());
    let serving = tokio::spawn(serve(listener, Arc::clone(&script), Arc::clone(&left)));
    ScriptedEngine { docker, script, left, _directory: directory, _serving: AbortOnDropHandle::new(serving) }
}

impl ScriptedEngine {
    pub(super) fn assert_all_was_asked(&self) {
        let left: Vec<&str> = self.script.lock().expect("no panic").iter().map(|step| step.0).collect();
        assert_eq!(left, [""; 0], "these requests never came");
    }
}

async fn serve(listener: UnixListener, script: Arc<Mutex<Script>>, left: Arc<Notify>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let request = read_head(&mut stream).await;
        let step = script.lock().expect("no panic").pop_front();
        let Some((expected, answer, then)) = step else { panic!("unexpected: {request}") };
        assert!(request.starts_with(expected), "expected {expected}, was asked {request}");
        stream.write_all(answer.as_bytes()).await.expect("written");
        if let Then::Silence = then {
            let left = Arc::clone(&left);
            tokio::spawn(async move {
                let _ = stream.read_u8().await;
                left.notify_one();
            });
        }
    }
}

async fn read_head(stream: &mut UnixStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a request"));
    }
    String::from_utf8_lossy(&head).into_owned()
}

pub(super) fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{body}")
}

pub(super) fn not_found(message: &str) -> String {
    format!("HTTP/1.1 404 Not Found\r\n\r\n{{\"message\":\"{message}\"}}")
}

/// The first request to any engine.
pub(super) fn ping(version: &str) -> Step {
    ("GET /_ping ", format!("HTTP/1.1 200 OK\r\nApi-Version: {version}\r\n\r\nOK"), Then::End)
}

fn app() -> ImageReference {
    let version = ImageVersion::Tag("latest".to_owned());
    ImageReference { registry: "r:5000".to_owned(), repository: "app".to_owned(), version }
}

/// What a person reads when the pull of `app` meets this engine, and how often progress was told.
async fn pull(engine: &ScriptedEngine) -> (Result<(), String>, usize) {
    let told = std::sync::atomic::AtomicUsize::new(0);
    let count = |_| {
        told.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    };
    let pulled = engine.docker.pull(&app(), "sha256:aa", None, &count).await;
    engine.assert_all_was_asked();
    (pulled.map_err(|error| one_line(&error)), told.into_inner())
}

const PULL: &str = "POST /v1.41/images/create?fromImage=r%3A5000%2Fapp%40sha256%3Aaa";
const DOWNLOADING: &str = r#"{"status":"Downloading","progressDetail":{"current":1,"total":9},"id":"l1"}"#;

#[tokio::test(start_paused = true)]
async fn a_pull_that_falls_silent_is_given_up() {
    let began = tokio::time::Instant::now();
    let engine = engine([ping("1.41"), (PULL, ok(&format!("{DOWNLOADING}\r\n")), Then::Silence)]);
    let (pulled, told) = pull(&engine).await;
    let said = pulled.expect_err("it never ends");
    assert!(said.ends_with("(pull r:5000/app@sha256:aa): no answer within 60 s"), "{said}");
    assert_eq!((told, began.elapsed().as_secs()), (1, 60));
    // Which ends the pull in a real engine.
    engine.left.notified().await;
}

#[tokio::test(start_paused = true)]
async fn unpacking_may_be_silent_for_longer() {
    let began = tokio::time::Instant::now();
    let unpacking = format!("{DOWNLOADING}\r\n{}\r\n", DOWNLOADING.replace("Downloading", "Extracting"));
    let engine = engine([ping("1.41"), (PULL, ok(&unpacking), Then::Silence)]);
    assert!(pull(&engine).await.0.is_err());
    assert_eq!(began.elapsed().as_secs(), 300);
}

#[tokio::test(start_paused = true)]
async fn an_error_within_a_pull_that_began_well() {
    let words = "write /var/lib/docker/tmp/GetImageBlob1: no space left on device";
    let failed = format!(r#"{{"errorDetail":{{"message":"{words}"}},"error":"{words}"}}"#);
    let engine = engine([ping("1.41"), (PULL, ok(&format!("{DOWNLOADING}\r\n{failed}\r\n")), Then::End)]);
    let said = format!("cannot pull r:5000/app@sha256:aa: {words}");
    assert_eq!(pull(&engine).await.0, Err(said));
}

#[tokio::test(start_paused = true)]
async fn a_pull_that_just_ends_without_the_image_failed() {
    let inspect = "GET /v1.41/images/r:5000/app@sha256:aa/json ";
    let gone = not_found("no such image: r:5000/app@sha256:aa");
    let engine = engine([ping("1.41"), (PULL, ok(""), Then::End), (inspect, gone, Then::End)]);
    let said = "cannot pull r:5000/app@sha256:aa: the engine ended the pull without an error, and does not have \
                the image";
    assert_eq!(pull(&engine).await.0, Err(said.to_owned()));
}

const LIST: &str = "GET /v1.41/containers/json?all=true";

#[tokio::test(start_paused = true)]
async fn a_container_that_vanishes_between_two_questions_is_left_out() {
    let inspect = "GET /v1.41/containers/c1/json ";
    let gone = (inspect, not_found("No such container: c1"), Then::End);
    let engine = engine([ping("1.41"), (LIST, ok(r#"[{"Id":"c1"}]"#), Then::End), gone]);
    assert_eq!(engine.docker.containers().await.expect("a list"), []);
    engine.assert_all_was_asked();
}

#[tokio::test(start_paused = true)]
async fn after_silence_the_version_is_asked_for_again() {
    let newer = "GET /v1.53/containers/json?all=true";
    let engine = engine([
        ping("1.41"),
        (LIST, String::new(), Then::Silence),
        ping("1.60"),
        (newer, ok("[]"), Then::End),
        (newer, ok("[]"), Then::End),
    ]);
    let error = engine.docker.containers().await.expect_err("no answer");
    assert!(one_line(&error).ends_with("(list containers): no answer within 5 s"), "{error}");
    assert_eq!(engine.docker.containers().await.expect("a list"), []);
    assert_eq!(engine.docker.containers().await.expect("a list"), [], "the version is known by now");
    engine.assert_all_was_asked();
}

#[tokio::test(start_paused = true)]
async fn an_engine_too_old_to_talk_to() {
    let engine = engine([ping("1.24")]);
    let error = engine.docker.containers().await.expect_err("too old");
    assert_eq!(error.code(), "engine_too_old");
    assert_eq!(one_line(&error), "cannot list containers: the engine's API 1.24 is too old, 1.40 is needed");
}
