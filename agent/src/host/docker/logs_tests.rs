//! The logs API as engine 20.10 speaks it, on a unix socket of this process.

use super::*;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::sync::{Arc, Mutex};

/// An engine with the containers `api` (three frames), `quiet` (log driver none) and no other.
struct FakeEngine {
    docker: Docker,
    queries: Arc<Mutex<Vec<String>>>,
    _directory: tempfile::TempDir,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for FakeEngine {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn ping() -> Response {
    ([("Api-Version", "1.41")], "OK").into_response()
}

fn answer(status: StatusCode, message: &str) -> Response {
    (status, axum::Json(serde_json::json!({ "message": message }))).into_response()
}

async fn inspect(Path((_, name)): Path<(String, String)>) -> Response {
    match name.as_str() {
        "gone" => answer(StatusCode::NOT_FOUND, "No such container: gone"),
        name => axum::Json(serde_json::json!({ "Id": name })).into_response(),
    }
}

async fn logs(
    State(queries): State<Arc<Mutex<Vec<String>>>>,
    Path((_, name)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Response {
    queries.lock().unwrap().push(query.unwrap_or_default());
    if name == "quiet" {
        return answer(StatusCode::NOT_IMPLEMENTED, "configured logging driver does not support reading");
    }
    let frames = [
        frame(1, b"2026-11-20T19:22:15.968938146Z aaa"),
        frame(1, b"2026-11-20T19:22:15.968938146Z bbb\n"),
        frame(2, b"2026-11-20T19:22:15.969775616Z e2\n"),
    ];
    Body::from(frames.concat()).into_response()
}

fn frame(stream: u8, text: &[u8]) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap().to_be_bytes();
    [&[stream, 0, 0, 0], &length[..], text].concat()
}

fn engine() -> FakeEngine {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("docker.sock");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let queries = Arc::new(Mutex::new(Vec::new()));
    let router = Router::new()
        .route("/_ping", get(ping))
        .route("/{version}/containers/{name}/json", get(inspect))
        .route("/{version}/containers/{name}/logs", get(logs))
        .with_state(Arc::clone(&queries));
    let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let docker = Docker::connect(Some(&format!("unix://{}", socket.display()))).unwrap();
    FakeEngine { docker, queries, _directory: directory, server }
}

#[tokio::test]
async fn a_followed_log_is_asked_for_with_times_and_given_as_whole_lines() {
    let engine = engine();
    let since = "2026-11-20T19:22:14Z".parse().unwrap();
    let lines: Vec<_> = engine.docker.follow("api", Some(since)).collect().await;
    let lines: Vec<SourceLine> = lines.into_iter().map(Result::unwrap).collect();
    assert_eq!(lines.iter().map(|line| &line.message[..]).collect::<Vec<_>>(), [&b"aaabbb"[..], b"e2"]);
    assert_eq!(lines[0].timestamp.to_string(), "2026-11-20T19:22:15.968938146Z");
    let queries = engine.queries.lock().unwrap().clone();
    assert_eq!(queries.len(), 1);
    for part in ["follow=true", "stdout=true", "stderr=true", "timestamps=true", "since=1795202534"] {
        assert!(queries[0].split('&').any(|found| found == part), "no {part} in {}", queries[0]);
    }
}

#[tokio::test]
async fn a_removed_container_is_told_from_one_whose_log_cannot_be_read() {
    let engine = engine();
    let gone: Vec<_> = engine.docker.follow("gone", None).collect().await;
    assert!(matches!(gone.as_slice(), [Err(SourceError::Gone { .. })]), "{gone:?}");
    let quiet: Vec<_> = engine.docker.follow("quiet", None).collect().await;
    let [Err(SourceError::Engine(error))] = quiet.as_slice() else { panic!("{quiet:?}") };
    assert_eq!(
        error.to_string(),
        "cannot read the log of container quiet: configured logging driver does not support reading"
    );
}

#[tokio::test]
async fn an_engine_that_is_away_is_unreachable_and_not_gone() {
    let directory = tempfile::tempdir().unwrap();
    let socket = format!("unix://{}/none.sock", directory.path().display());
    let docker = Docker::connect(Some(&socket)).unwrap();
    let lines: Vec<_> = docker.follow("api", None).collect().await;
    assert!(
        matches!(lines.as_slice(), [Err(SourceError::Engine(EngineError::Unreachable { .. }))]),
        "{lines:?}"
    );
}

#[tokio::test]
async fn a_person_gets_the_bytes_as_they_were_written() {
    let engine = engine();
    let pieces: Vec<_> =
        engine.docker.output("api", Lines { tail: 10, since: None, follow: false }).collect().await;
    assert_eq!(pieces.len(), 3, "{pieces:?}");
    let queries = engine.queries.lock().unwrap().clone();
    assert!(queries[0].contains("tail=10"), "{queries:?}");
    assert!(!queries[0].contains("timestamps=true"), "{queries:?}");
}
