//! The API: which path does what. Source: ollama `server/routes.go`, `api/types.go`.
//!
//! Beside it, for tests: `GET /double/log`, `GET`, `POST` and `DELETE /double/faults`, `GET /double/gpu`.

mod models;
mod running;

use std::io;
use std::sync::Arc;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::{Method, Request};
use serde_json::{Value, json};

use crate::answer::{self, Answer, Content};
use crate::faults::{Faults, Subject};
use crate::gpu;
use crate::journal::{Entry, Journal};
use crate::load::{Loader, Wanted};
use crate::memory::KeepAlive;
use crate::name::Name;
use crate::pull::Puller;
use crate::settings::Settings;
use crate::store::{Manifest, Store};

/// The server.
pub(crate) struct Server {
    pub(crate) settings: Settings,
    pub(crate) store: Store,
    pub(crate) faults: Arc<Faults>,
    pub(crate) loader: Arc<Loader>,
    pub(crate) puller: Arc<Puller>,
    pub(crate) journal: Journal,
}

/// Path, its method, and whether it needs a body.
const ROUTES: [(&str, Method, bool); 10] = [
    ("/", Method::GET, false),
    ("/api/version", Method::GET, false),
    ("/api/tags", Method::GET, false),
    ("/api/ps", Method::GET, false),
    ("/api/show", Method::POST, true),
    ("/api/pull", Method::POST, true),
    ("/api/copy", Method::POST, true),
    ("/api/delete", Method::DELETE, true),
    ("/api/generate", Method::POST, true),
    ("/api/embed", Method::POST, true),
];

impl Server {
    /// Answers one request.
    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let path = parts.uri.path();
        if path.starts_with("/double/") {
            return self.of_the_double(&parts.method, path, &body);
        }
        let value: Result<Value, _> = serde_json::from_slice(&body);
        let model = value.as_ref().ok().map_or_else(String::new, model);
        let entry = self.journal.begin(parts.method.as_str(), path, &model);
        if let Some(fault) = self.faults.take_at(path) {
            if fault.kind() == "silent" {
                std::future::pending::<()>().await;
            }
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a status")]
            let code = fault.number("code", 500.0) as u16;
            let text = fault.text("internal error");
            return ended(entry, answer::error(code, &text), &text);
        }
        let Some((_, method, needs_body)) = ROUTES.iter().find(|(own, ..)| *own == path) else {
            return ended(entry, answer::text(404, "404 page not found"), "no such path");
        };
        if parts.method != *method && !(parts.method == Method::HEAD && *method == Method::GET) {
            return ended(entry, answer::text(405, "405 method not allowed"), "no such method");
        }
        let value = match (needs_body, body.is_empty(), value) {
            (false, ..) => Value::Null,
            (true, true, _) => return refused(entry, 400, "missing request body"),
            (true, false, Err(error)) => return refused(entry, 400, &error.to_string()),
            (true, false, Ok(value)) => value,
        };
        self.route(path, &value, entry).await
    }

    async fn route(&self, path: &str, request: &Value, entry: Entry) -> Answer {
        match path {
            "/" => ended(entry, answer::text(200, "Ollama is running"), "success"),
            "/api/version" => {
                let told = self.faults.take("version", &Subject::default());
                let version = told.map_or_else(|| self.settings.version.clone(), |fault| fault.text(""));
                ended(entry, answer::json(200, &json!({"version": version})), "success")
            }
            "/api/tags" => ended(entry, answer::json(200, &self.tags()), "success"),
            "/api/ps" => ended(entry, answer::json(200, &self.ps()), "success"),
            "/api/show" => self.show(request, entry),
            "/api/pull" => self.pull(request, entry).await,
            "/api/copy" => self.copy(request, entry),
            "/api/delete" => self.delete(request, entry),
            "/api/generate" => self.generate(request, entry).await,
            _ => self.embed(request, entry).await,
        }
    }

    fn of_the_double(&self, method: &Method, path: &str, body: &[u8]) -> Answer {
        match (method.as_str(), path) {
            ("GET", "/double/log") => answer::json(200, &self.journal.list()),
            ("GET", "/double/gpu") => {
                let view = gpu::view(self.settings.vram, self.faults.is_set("gpu_lost"));
                answer::json(200, &view)
            }
            ("GET", "/double/faults") => answer::json(200, &self.faults.list()),
            ("DELETE", "/double/faults") => {
                self.faults.clear();
                answer::json(200, &json!([]))
            }
            ("POST", "/double/faults") => {
                let value = serde_json::from_slice(body).map_err(|error| error.to_string());
                match value.and_then(|value: Value| self.faults.add(&value)) {
                    Ok(()) => answer::json(200, &self.faults.list()),
                    Err(why) => answer::error(400, &why),
                }
            }
            _ => answer::text(404, "404 page not found"),
        }
    }

    /// What a request calls a model: the name and what it means. The error is status and words.
    fn known(&self, request: &Value) -> Result<(Name, Manifest), (u16, String)> {
        let text = model(request);
        let missing = || (404, format!("model '{text}' not found"));
        let name = Name::parse(&text).ok_or_else(missing)?;
        let manifest = self.store.read(&name).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => missing(),
            _ => (500, error.to_string()),
        })?;
        Ok((name, manifest))
    }

    fn wanted(&self, request: &Value) -> Result<Wanted, (u16, String)> {
        let keep_alive = KeepAlive::of(&request["keep_alive"]).map_err(|why| (400, why))?;
        let (name, manifest) = self.known(request)?;
        let details =
            self.details(&manifest).map_err(|_| (404, format!("model '{}' not found", model(request))))?;
        Ok(Wanted { name, manifest, details, keep_alive })
    }

    /// From the configuration of a model.
    fn details(&self, manifest: &Manifest) -> io::Result<Value> {
        let mut config = Value::Null;
        if let Some(layer) = &manifest.config {
            let bytes = std::fs::read(self.store.blob(&layer.digest))?;
            config =
                serde_json::from_slice(&bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        }
        let text = |key: &str| config[key].as_str().unwrap_or_default();
        Ok(json!({
            "parent_model": "", "format": text("model_format"), "family": text("model_family"),
            "families": config["model_families"], "parameter_size": text("model_type"),
            "quantization_level": text("file_type"),
        }))
    }
}

/// `model`, or `name` as older clients say.
fn model(request: &Value) -> String {
    let fields = ["model", "name", "source"].into_iter();
    let text = fields.filter_map(|field| request[field].as_str()).find(|text| !text.is_empty());
    text.unwrap_or_default().to_owned()
}

fn ended(entry: Entry, answer: Answer, outcome: &str) -> Answer {
    debug_assert!(matches!(answer.body(), Content::Whole(_)), "lines end by themselves");
    entry.end(answer.status().as_u16(), outcome);
    answer
}

fn refused(entry: Entry, status: u16, why: &str) -> Answer {
    ended(entry, answer::error(status, why), why)
}
