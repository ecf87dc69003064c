//! A registry of models: what `ollama pull` and the agent ask, over real HTTP, made of seeds and sizes.
//!
//! In: [`Model`]s under names, a rate, faults. Out: manifests at `/v2/NAMESPACE/MODEL/manifests/TAG`, blobs with Range at
//! `/v2/NAMESPACE/MODEL/blobs/DIGEST`, and a record of every request with what was asked for and what was sent. What
//! always holds: a tag can be moved while somebody pulls it, and blobs stay. Not its job: authentication; the registry
//! of Ollama gives public models to everybody.

mod content;
mod folder;
pub mod gguf;
mod kept;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::Instant;

pub use content::{Content, Layer, Model};
pub use kept::{Kept, kept_in};

use content::{Stored, store};

/// The name of Ollama's own registry.
pub const MODEL_HOST: &str = "registry.ollama.ai";
const PIECE: u64 = 64 << 10;

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It is answered with this status.
    Status(u16),
    /// Nothing comes after so many bytes of the body; the connection stays open.
    Stall(u64),
    /// The connection breaks after so many bytes of the body.
    Drop(u64),
}

/// A rule: requests whose path contains `path` have that trouble, so many `times`.
#[derive(Clone, Debug)]
pub struct RegistryFault {
    /// `/manifests/`, a digest, …
    pub path: String,
    /// What happens.
    pub trouble: Trouble,
    /// How often; `None` is always.
    pub times: Option<u32>,
}

/// A request that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// `GET` or `HEAD`.
    pub method: String,
    /// Path.
    pub path: String,
    /// The bytes of the body that were asked for; the whole one without a Range.
    pub asked: Range<u64>,
    /// Whether it had a Range. Ollama begins a blob with a request without one, to see where it is sent, and closes it.
    pub ranged: bool,
    /// Bytes of the body that were sent so far: what the connection took, not what its reader kept.
    pub sent: u64,
}

#[derive(Default)]
struct State {
    models: BTreeMap<String, Stored>,
    blobs: BTreeMap<String, Content>,
    served: Vec<Served>,
    faults: Vec<RegistryFault>,
    bytes_per_second: Option<u64>,
    /// When the next piece may go, where there is a rate.
    next: Option<Instant>,
    /// Told when the rate changes.
    paced: Arc<Notify>,
}

/// The registry; clones are the same one.
#[derive(Clone, Default)]
pub struct ModelRegistry(Arc<Mutex<State>>);

/// A registry that listens; its door closes when it is dropped.
pub struct Door {
    url: String,
    serving: tokio::task::JoinHandle<()>,
}

impl Door {
    /// `http://ADDRESS:PORT`
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// `ADDRESS:PORT`
    #[must_use]
    pub fn authority(&self) -> &str {
        self.url.trim_start_matches("http://")
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the connection was dropped on purpose")]
struct Dropped;

impl ModelRegistry {
    /// Listens for plain HTTP at an address; port 0 picks one.
    ///
    /// # Errors
    /// Why it cannot.
    pub async fn listen(&self, address: &str) -> std::io::Result<Door> {
        let listener = TcpListener::bind(address).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let registry = self.clone();
        let answers = move |request: Request<Body>| async move { registry.respond(&request) };
        let router = axum::Router::new().fallback(answers);
        let serving = tokio::spawn(async move {
            axum::serve(listener, router).await.ok();
        });
        Ok(Door { url, serving })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a model under a name (`llama3.2:3b`, `me/model:tag`), or moves the tag to it; returns its digest,
    /// `sha256:…`. Works out the sums of all its bytes: about a second for each GiB.
    pub fn push(&self, name: &str, model: &Model) -> String {
        let stored = store(model);
        let digest = stored.digest.clone();
        let mut state = self.state();
        state.blobs.extend(stored.blobs.iter().cloned());
        state.models.insert(key(name), stored);
        digest
    }

    /// Moves a tag to what another one names.
    ///
    /// # Panics
    /// When there is no such model.
    pub fn retag(&self, from: &str, to: &str) {
        let mut state = self.state();
        let stored = state.models.get(&key(from)).cloned();
        state.models.insert(key(to), stored.unwrap_or_else(|| panic!("no model {from}")));
    }

    /// Takes a tag away.
    pub fn remove(&self, name: &str) {
        self.state().models.remove(&key(name));
    }

    /// Its layers, weights first, its configuration last.
    ///
    /// # Panics
    /// When there is no such model.
    #[must_use]
    pub fn layers(&self, name: &str) -> Vec<Layer> {
        let state = self.state();
        state.models.get(&key(name)).unwrap_or_else(|| panic!("no model {name}")).layers.clone()
    }

    /// Bytes of all its layers.
    #[must_use]
    pub fn size(&self, name: &str) -> u64 {
        self.layers(name).iter().map(|layer| layer.size).sum()
    }

    /// Bytes of a blob, where it has it.
    #[must_use]
    pub fn size_of(&self, digest: &str) -> Option<u64> {
        self.state().blobs.get(digest).map(Content::size)
    }

    /// Bodies go no faster than this, all together, those under way too; `None` is as fast as it goes.
    pub fn limit(&self, bytes_per_second: Option<u64>) {
        let mut state = self.state();
        (state.bytes_per_second, state.next) = (bytes_per_second, None);
        state.paced.notify_waiters();
    }

    /// Puts a fault in the way.
    pub fn fault(&self, fault: RegistryFault) {
        self.state().faults.push(fault);
    }

    /// Takes every fault away.
    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }

    /// Every request so far, in order.
    #[must_use]
    pub fn served(&self) -> Vec<Served> {
        self.state().served.clone()
    }

    /// Bytes of a blob that were sent so far, in all requests.
    #[must_use]
    pub fn sent(&self, digest: &str) -> u64 {
        let of = |served: &&Served| served.path.ends_with(digest) && served.method == "GET";
        self.state().served.iter().filter(of).map(|served| served.sent).sum()
    }

    /// Of the requests from number `since` on, those that asked for a blob without a Range, and so for all of it. A server
    /// that begins none so has none; [`ModelRegistry::fetched_again`] does not look at them.
    #[must_use]
    pub fn fetched_whole(&self, since: usize) -> Vec<Served> {
        let whole =
            |served: &&Served| served.method == "GET" && !served.ranged && served.path.contains("/blobs/");
        self.state().served.iter().skip(since).filter(whole).cloned().collect()
    }

    /// Of the requests with a Range from number `since` on (`served().len()` at some moment), those that asked for bytes
    /// which were kept at that moment: none, when nothing is fetched twice.
    #[must_use]
    pub fn fetched_again(&self, since: usize, kept: &[Kept]) -> Vec<Served> {
        let again = |served: &&Served| {
            served.ranged
                && kept.iter().any(|kept| {
                    served.path.ends_with(&kept.digest)
                        && served.asked.start < kept.bytes.end
                        && kept.bytes.start < served.asked.end
                })
        };
        self.state().served.iter().skip(since).filter(again).cloned().collect()
    }

    /// Answers one request.
    pub fn respond(&self, request: &Request<Body>) -> Response<Body> {
        let (method, path) = (request.method().as_str(), request.uri().path());
        let found = self.find(path);
        let size = found.as_ref().map_or(0, |(content, _)| content.size());
        let range = request.headers().get(header::RANGE).and_then(|value| value.to_str().ok());
        let asked = range.and_then(|range| bytes_of(range, size));
        let number = {
            let mut state = self.state();
            let asked = asked.clone().unwrap_or(0..size);
            state.served.push(Served {
                method: method.to_owned(),
                path: path.to_owned(),
                asked,
                ranged: range.is_some(),
                sent: 0,
            });
            state.served.len() - 1
        };
        let trouble = self.trouble(path);
        let Some((content, digest)) = found else {
            return error(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN");
        };
        if let Some(Trouble::Status(code)) = trouble {
            let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return error(status, "UNAVAILABLE");
        }
        let (status, bytes) = match asked {
            Some(bytes) => (StatusCode::PARTIAL_CONTENT, bytes),
            None if range.is_some() => return error(StatusCode::RANGE_NOT_SATISFIABLE, "RANGE_INVALID"),
            None => (StatusCode::OK, 0..size),
        };
        let length = bytes.end - bytes.start;
        let body = if method == "HEAD" {
            Body::empty()
        } else {
            let sending = Sending { registry: self.clone(), number, content, trouble };
            Body::from_stream(futures_util::stream::try_unfold((sending, bytes), Sending::piece))
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        if let Ok(digest) = HeaderValue::from_str(&digest) {
            headers.insert("docker-content-digest", digest);
        }
        response
    }

    /// What a path names: content and digest.
    fn find(&self, path: &str) -> Option<(Content, String)> {
        let state = self.state();
        if let Some((_, digest)) = path.split_once("/blobs/") {
            return Some((state.blobs.get(digest)?.clone(), digest.to_owned()));
        }
        let (repository, tag) = path.strip_prefix("/v2/")?.split_once("/manifests/")?;
        let stored = state.models.get(&format!("{repository}:{tag}"))?;
        Some((Content::Bytes(Arc::new(stored.manifest.clone())), stored.digest.clone()))
    }

    fn trouble(&self, path: &str) -> Option<Trouble> {
        let mut state = self.state();
        let matches = |fault: &RegistryFault| path.contains(&fault.path) && fault.times != Some(0);
        let fault = state.faults.iter_mut().find(|fault| matches(fault))?;
        fault.times = fault.times.map(|times| times - 1);
        Some(fault.trouble)
    }

    /// Until a piece of so many bytes may go.
    async fn turn(&self, length: u64) {
        loop {
            let paced = Arc::clone(&self.state().paced);
            let changed = paced.notified();
            let Some(due) = self.due(length) else { return };
            tokio::select! {
                () = tokio::time::sleep_until(due) => return,
                () = changed => {}
            }
        }
    }

    /// When a piece of so many bytes may go.
    fn due(&self, length: u64) -> Option<Instant> {
        let mut state = self.state();
        let rate = state.bytes_per_second?.max(1);
        let now = Instant::now();
        let due = state.next.map_or(now, |next| next.max(now));
        state.next = Some(due + Duration::from_micros(length.saturating_mul(1_000_000) / rate));
        Some(due)
    }
}

/// A body on its way.
struct Sending {
    registry: ModelRegistry,
    number: usize,
    content: Content,
    trouble: Option<Trouble>,
}

impl Sending {
    async fn piece(
        (sending, bytes): (Sending, Range<u64>),
    ) -> Result<Option<(Bytes, (Sending, Range<u64>))>, Dropped> {
        let sent = sending.registry.state().served[sending.number].sent;
        let allowed = match sending.trouble {
            Some(Trouble::Stall(after) | Trouble::Drop(after)) => after.saturating_sub(sent),
            _ => u64::MAX,
        };
        if bytes.is_empty() {
            return Ok(None);
        }
        match (allowed, sending.trouble) {
            (0, Some(Trouble::Drop(_))) => return Err(Dropped),
            (0, _) => std::future::pending().await,
            _ => {}
        }
        let end = bytes.end.min(bytes.start + PIECE.min(allowed));
        let piece = sending.content.read(bytes.start..end);
        let length = piece.len() as u64;
        sending.registry.turn(length).await;
        sending.registry.state().served[sending.number].sent += length;
        Ok(Some((Bytes::from(piece), (sending, bytes.start + length..bytes.end))))
    }
}

/// `NAMESPACE/MODEL:TAG`, whatever the host.
fn key(name: &str) -> String {
    let name = name.split_once("://").map_or(name, |(_, rest)| rest);
    let parts: Vec<&str> = name.split('/').collect();
    let path = match parts.as_slice() {
        [.., namespace, model] => format!("{namespace}/{model}"),
        _ => format!("library/{name}"),
    };
    let tagged = path.rsplit('/').next().is_some_and(|model| model.contains(':'));
    if tagged { path } else { format!("{path}:latest") }
}

fn bytes_of(range: &str, size: u64) -> Option<Range<u64>> {
    let (start, end) = range.strip_prefix("bytes=")?.split_once('-')?;
    let start = start.parse().ok()?;
    let end = if end.is_empty() { size } else { end.parse::<u64>().ok()?.saturating_add(1).min(size) };
    (start < end).then_some(start..end)
}

fn error(status: StatusCode, code: &str) -> Response<Body> {
    let text = format!(r#"{{"errors":[{{"code":"{code}","message":"as told"}}]}}"#);
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
}
