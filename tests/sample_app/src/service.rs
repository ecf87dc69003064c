//! What the application answers.
//!
//! `/` name, version and host · `/health`, or the path it was told, 200, or 503
//! as told · `/env-sha?NAME` and `/secret-sha?PATH` (below `/run/secrets/`) the
//! sha256 of a value, never the value · `/reach?NAME` what the service answers
//! whose URL is the value of NAME · `/slow?SECONDS` answers late · `/fail` and
//! `/recover` turn `/health` · `/crash` exits with 1.

use std::io::Write as _;
use std::path::{Component, Path};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Body, Bytes};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;

use crate::mode::Mode;
use crate::reach;

const SECRETS: &str = "/run/secrets";

/// The application's state.
pub(crate) struct Service {
    name: String,
    pub(crate) version: String,
    host: String,
    health_path: String,
    healthy: AtomicBool,
    crash: Notify,
}

impl Service {
    /// `told` gives what the environment says under a name.
    pub(crate) fn new(mode: Mode, told: impl Fn(&str) -> Option<String>) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname");
        Self {
            name: told("NAME").unwrap_or_else(|| "sample-app".to_owned()),
            version: told("VERSION").unwrap_or_else(|| "unversioned".to_owned()),
            host: host.unwrap_or_default().trim().to_owned(),
            health_path: told("HEALTH_PATH").unwrap_or_else(|| "/health".to_owned()),
            healthy: AtomicBool::new(mode != Mode::Unhealthy),
            crash: Notify::new(),
        }
    }

    /// Ends when `/crash` was asked for.
    pub(crate) async fn crashed(&self) {
        self.crash.notified().await;
    }

    pub(crate) async fn answer(&self, request: &Request<impl Body>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        let (status, body) = self.route(path, request.uri().query().unwrap_or_default()).await;
        log(&json!({
            "event": "request", "method": request.method().as_str(), "path": path, "status": status.as_u16(),
            "version": self.version,
        }));
        let mut response = Response::new(Full::from(format!("{body}\n")));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }

    async fn route(&self, path: &str, query: &str) -> (StatusCode, Value) {
        match path {
            _ if path == self.health_path => self.health(),
            "/" => (StatusCode::OK, json!({"name": self.name, "version": self.version, "host": self.host})),
            "/fail" => self.set_health(false),
            "/recover" => self.set_health(true),
            "/env-sha" => fingerprint(query, crate::environment(query).map(String::into_bytes)),
            "/secret-sha" => fingerprint(query, read_secret(query)),
            "/reach" => match reach::answer_of(query).await {
                Ok(status) => (StatusCode::OK, json!({"name": query, "status": status})),
                Err(why) => (StatusCode::BAD_GATEWAY, json!({"name": query, "error": why.to_string()})),
            },
            "/slow" => {
                let seconds = query.parse().unwrap_or(1.0_f64).clamp(0.0, 3600.0);
                log(&json!({"event": "slow", "seconds": seconds}));
                tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
                (StatusCode::OK, json!({"waited_seconds": seconds}))
            }
            "/crash" => {
                self.crash.notify_one();
                // The process ends before there is an answer.
                std::future::pending().await
            }
            _ => (StatusCode::NOT_FOUND, json!({"error": "no such path"})),
        }
    }

    fn health(&self) -> (StatusCode, Value) {
        let healthy = self.healthy.load(Ordering::Relaxed);
        let status = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, json!({"healthy": healthy, "version": self.version}))
    }

    fn set_health(&self, healthy: bool) -> (StatusCode, Value) {
        self.healthy.store(healthy, Ordering::Relaxed);
        (StatusCode::OK, json!({"healthy": healthy}))
    }
}

fn read_secret(inner: &str) -> Option<Vec<u8>> {
    let inner = Path::new(inner);
    let inside = inner.components().all(|part| matches!(part, Component::Normal(_)));
    inside.then(|| std::fs::read(Path::new(SECRETS).join(inner)).ok()).flatten()
}

fn fingerprint(name: &str, value: Option<Vec<u8>>) -> (StatusCode, Value) {
    match value {
        Some(value) => {
            (StatusCode::OK, json!({"name": name, "sha256": format!("{:x}", Sha256::digest(value))}))
        }
        None => (StatusCode::NOT_FOUND, json!({"name": name, "error": "absent"})),
    }
}

/// Writes one line with the time in front; a reader that went away is ignored.
#[expect(clippy::disallowed_methods, reason = "log lines carry the time they were written")]
pub(crate) fn log(line: &Value) {
    let mut stamped = json!({"time": jiff::Timestamp::now()});
    if let (Some(stamped), Some(line)) = (stamped.as_object_mut(), line.as_object()) {
        stamped.extend(line.clone());
    }
    writeln!(std::io::stdout(), "{stamped}").ok();
}
