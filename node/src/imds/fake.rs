//! A metadata service for tests, at the wire: version 2 only, with tokens that it can revoke and answers that it can
//! replace.

use crate::environment::Environment;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// What a test can look at and change while the service runs.
#[derive(Debug, Default)]
pub(crate) struct Script {
    /// Path below `/latest/` to text.
    pub(crate) values: BTreeMap<String, String>,
    /// Bytes of `user-data`.
    pub(crate) user_data: Option<Vec<u8>>,
    /// Statuses of the next PUTs, before they are answered properly.
    pub(crate) put_statuses: VecDeque<u16>,
    /// Statuses of the next GETs that carry a token, before they are answered properly.
    pub(crate) get_statuses: VecDeque<u16>,
    /// No PUT is ever answered.
    pub(crate) silent: bool,
    /// Every request: method, path, whether it carried a token.
    pub(crate) requests: Vec<(Method, String, bool)>,
    /// Tokens that are accepted.
    pub(crate) tokens: BTreeSet<String>,
}

impl Script {
    pub(crate) fn count(&self, method: &Method) -> usize {
        self.requests.iter().filter(|request| request.0 == *method).count()
    }
}

/// A running service; it ends with the value.
pub(crate) struct FakeImds {
    pub(crate) endpoint: String,
    pub(crate) script: Arc<Mutex<Script>>,
    /// Told of every request.
    pub(crate) asked: Arc<Notify>,
    server: JoinHandle<()>,
}

impl Drop for FakeImds {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl FakeImds {
    pub(crate) async fn start(values: &[(&str, &str)]) -> FakeImds {
        FakeImds::start_at("127.0.0.1:0", values).await
    }

    pub(crate) async fn start_at(address: &str, values: &[(&str, &str)]) -> FakeImds {
        let values = values.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        let script = Arc::new(Mutex::new(Script { values, ..Script::default() }));
        let asked = Arc::new(Notify::new());
        let listener = TcpListener::bind(address).await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state((Arc::clone(&script), Arc::clone(&asked)));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        FakeImds { endpoint, script, asked, server }
    }

    pub(crate) fn environment(&self) -> Environment {
        environment_of(&self.endpoint)
    }
}

/// An environment that names only the metadata endpoint.
pub(crate) fn environment_of(endpoint: &str) -> Environment {
    [("AWS_EC2_METADATA_SERVICE_ENDPOINT".to_owned(), endpoint.to_owned())].into_iter().collect()
}

async fn answer(
    State((script, asked)): State<(Arc<Mutex<Script>>, Arc<Notify>)>,
    request: Request,
) -> Response {
    let path = request.uri().path().strip_prefix("/latest/").unwrap_or_default().to_owned();
    let token = header(request.headers(), "x-aws-ec2-metadata-token");
    let silent = {
        let mut script = script.lock().unwrap();
        script.requests.push((request.method().clone(), path.clone(), token.is_some()));
        script.silent
    };
    asked.notify_one();
    if silent {
        std::future::pending::<()>().await;
    }
    let mut script = script.lock().unwrap();
    if request.method() == Method::PUT {
        return put(&mut script, &path, header(request.headers(), "x-aws-ec2-metadata-token-ttl-seconds"));
    }
    if !token.is_some_and(|token| script.tokens.contains(&token)) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if let Some(status) = script.get_statuses.pop_front() {
        return (StatusCode::from_u16(status).unwrap(), [("location", "/latest/elsewhere")]).into_response();
    }
    if let Some(bytes) = script.user_data.as_ref().filter(|_| path == "user-data") {
        return bytes.clone().into_response();
    }
    match script.values.get(&path) {
        Some(text) => text.clone().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn put(script: &mut Script, path: &str, lifetime: Option<String>) -> Response {
    if let Some(status) = script.put_statuses.pop_front() {
        return StatusCode::from_u16(status).unwrap().into_response();
    }
    let Some(lifetime) = lifetime.filter(|_| path == "api/token") else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let token = format!("token-{}", script.requests.len());
    script.tokens.insert(token.clone());
    ([("x-aws-ec2-metadata-token-ttl-seconds", lifetime)], token).into_response()
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().unwrap().to_owned())
}
