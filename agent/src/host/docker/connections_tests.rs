//! How connections are kept and what becomes of a request on one that has ended; against a scripted engine.

use super::*;
use std::collections::VecDeque;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

/// A request and its answer; without one the engine closes the connection in its place.
type Step = (&'static str, Option<String>);
/// In the place of a request: the engine holds the connection until it is told to end.
const UNTIL_TOLD: &str = "until told";

/// An engine that takes these connections one after the other.
struct ScriptedEngine {
    docker: Docker,
    left: Arc<Mutex<VecDeque<Vec<Step>>>>,
    end: Arc<Notify>,
    _directory: tempfile::TempDir,
    _serving: AbortOnDropHandle<()>,
}

fn engine(connections: impl IntoIterator<Item = Vec<Step>>) -> ScriptedEngine {
    let directory = tempfile::tempdir().expect("a folder");
    let socket = directory.path().join("s");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let left = Arc::new(Mutex::new(connections.into_iter().collect::<VecDeque<_>>()));
    let docker = Docker::connect(Some(&format!("unix://{}", socket.display()))).expect("a client");
    let end = Arc::new(Notify::new());
    let serving = AbortOnDropHandle::new(tokio::spawn(serve(listener, Arc::clone(&left), Arc::clone(&end))));
    ScriptedEngine { docker, left, end, _directory: directory, _serving: serving }
}

impl ScriptedEngine {
    fn assert_all_was_asked(&self) {
        let left = self.left.lock().expect("no panic");
        assert!(left.iter().all(Vec::is_empty), "never came: {left:?}");
    }
}

async fn serve(listener: UnixListener, script: Arc<Mutex<VecDeque<Vec<Step>>>>, end: Arc<Notify>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let steps = script.lock().expect("no panic").pop_front().expect("no more connections than scripted");
        for (expected, answer) in steps {
            if expected == UNTIL_TOLD {
                end.notified().await;
                break;
            }
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.expect("a request"));
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            assert!(head.starts_with(expected), "expected {expected}, was asked {head}");
            match answer {
                Some(answer) => stream.write_all(answer.as_bytes()).await.expect("written"),
                None => break,
            }
        }
    }
}

fn answer(head: &str, body: &str) -> Option<String> {
    Some(format!("HTTP/1.1 200 OK\r\n{head}Content-Length: {}\r\n\r\n{body}", body.len()))
}

fn ping(version: &str) -> Step {
    ("GET /_ping ", answer(&format!("Api-Version: {version}\r\n"), "OK"))
}

const LIST: &str = "GET /v1.41/containers/json?";
const START: &str = "POST /v1.41/containers/c1/start ";

fn nothing_there() -> Step {
    (LIST, answer("", "[]"))
}

/// One connection at a time: the next one is accepted when the one before has ended.
async fn looks(engine: &ScriptedEngine, count: usize) {
    for _ in 0..count {
        assert_eq!(engine.docker.containers().await.expect("a list"), []);
        // The connection waits for the next request when its driver has seen the end of the answer.
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn requests_go_over_the_connection_that_is_there() {
    let engine = engine([vec![ping("1.41"), nothing_there(), nothing_there(), nothing_there()]]);
    looks(&engine, 3).await;
    engine.assert_all_was_asked();
}

#[tokio::test]
async fn a_question_on_a_connection_that_ended_is_asked_again() {
    let ended = vec![ping("1.41"), nothing_there(), (LIST, None)];
    let newer = ("GET /v1.53/containers/json?", answer("", "[]"));
    let engine = engine([ended, vec![ping("1.60"), newer]]);
    looks(&engine, 2).await;
    engine.assert_all_was_asked();
}

#[tokio::test]
async fn after_an_engine_has_ended_its_connections_the_version_is_asked_for_again() {
    let newer = ("GET /v1.53/containers/json?", answer("", "[]"));
    let first = vec![ping("1.41"), nothing_there(), (UNTIL_TOLD, None)];
    let engine = engine([first, vec![ping("1.60"), newer]]);
    looks(&engine, 1).await;
    engine.end.notify_one();
    looks(&engine, 1).await;
    engine.assert_all_was_asked();
}

#[tokio::test]
async fn what_may_have_been_done_is_not_done_again() {
    let engine = engine([vec![ping("1.41"), nothing_there(), (START, None)]]);
    looks(&engine, 1).await;
    let error = engine.docker.start("c1").await.expect_err("no answer");
    assert_eq!(error.code(), "docker_unresponsive", "{error}");
    engine.assert_all_was_asked();
}

#[tokio::test]
async fn a_question_is_asked_again_once() {
    let ended = vec![ping("1.41"), nothing_there(), (LIST, None)];
    let engine = engine([ended, vec![ping("1.41"), (LIST, None)]]);
    looks(&engine, 1).await;
    let error = engine.docker.containers().await.expect_err("no answer");
    assert_eq!(error.code(), "docker_unresponsive", "{error}");
    engine.assert_all_was_asked();
}
