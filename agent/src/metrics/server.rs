//! The endpoint of Prometheus: `GET /metrics`, and nothing else.
//!
//! In: connections on the address of `[metrics] listen`. Out: the newest collection as text. What always holds: one request
//! a connection, small requests, deadlines for all of it; when there are too many connections, it is the oldest that is
//! closed, so that those who hold on to theirs lock nobody out. An address that cannot be listened on is a problem on the
//! board, and is tried again until it can.

use super::collector::Collector;
use super::{exposition, families};
use crate::board::{Board, Owner};
use crate::clock::Clock;
use crate::status::METRICS_LISTEN;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use node::fault::{Hint, with_hint};
use node::problem::Problem;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// Where they are.
pub const PATH: &str = "/metrics";

/// Connections at a time. Prometheus has one, for some milliseconds.
pub const CONNECTIONS: usize = 16;
/// For the request's head to arrive, whole.
pub const READ_HEAD: Duration = Duration::from_secs(2);
/// For a whole exchange.
pub const EXCHANGE: Duration = Duration::from_secs(10);
/// A request is one path and a few headers. hyper's smallest.
const HEAD_BYTES: usize = 8192;
/// Between two tries to listen.
pub const RETRY: Duration = Duration::from_secs(10);
/// After an accept that failed: without descriptors or memory, asking again at once would only burn the processor.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What the endpoint is made of.
pub struct Endpoint {
    /// `[metrics] listen`
    pub listen: SocketAddr,
    /// Where the numbers come from.
    pub collector: Arc<Collector>,
    /// Is told when the address cannot be listened on.
    pub board: Board,
    /// The time of day, for that.
    pub clock: Clock,
}

/// Why nobody can ask.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {listen} for metrics")]
pub struct ListenError {
    listen: SocketAddr,
    #[source]
    source: io::Error,
}

impl Hint for ListenError {
    fn hint(&self) -> Option<String> {
        let port = self.listen.port();
        Some(match self.source.kind() {
            io::ErrorKind::AddrInUse => format!(
                "`ss -ltnp sport = :{port}` shows who listens there; end that, or write another `listen` in [metrics]"
            ),
            io::ErrorKind::AddrNotAvailable => {
                format!(
                    "the node has no such address; write \"127.0.0.1:{port}\" or \"0.0.0.0:{port}\" in [metrics]"
                )
            }
            _ => "write another `listen` in [metrics]".to_owned(),
        })
    }
}

impl Endpoint {
    /// Serves until `shutdown`, then closes all connections.
    pub async fn serve(self, shutdown: CancellationToken) {
        // Waiting for the address, and for a connection, can be cancelled at any time.
        let Some(listener) = shutdown.run_until_cancelled(self.listen()).await else { return };
        tracing::info!("metrics are served at http://{}{PATH}", self.listen);
        let mut connections = Connections::default();
        while let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await {
            match accepted {
                Ok((stream, _)) => connections.add(stream, Arc::clone(&self.collector)),
                Err(error) => {
                    tracing::warn!("cannot accept a connection for metrics: {error}");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
        connections.tasks.shutdown().await;
    }

    /// Tries until it listens.
    async fn listen(&self) -> TcpListener {
        let mut told = false;
        loop {
            let now = (self.clock)();
            match TcpListener::bind(self.listen).await {
                Ok(listener) => {
                    if told {
                        self.board.publish_problems(Owner::Metrics, Vec::new(), now);
                    }
                    return listener;
                }
                Err(source) => {
                    let error = ListenError { listen: self.listen, source };
                    if !told {
                        tracing::warn!(code = METRICS_LISTEN, "{}", with_hint(&error));
                    }
                    told = true;
                    let problem = Problem::from_error(METRICS_LISTEN, &error, now);
                    self.board.publish_problems(Owner::Metrics, vec![problem], now);
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// Those that are open, the oldest first.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    open: VecDeque<AbortHandle>,
}

impl Connections {
    fn add(&mut self, stream: TcpStream, collector: Arc<Collector>) {
        while self.tasks.try_join_next().is_some() {}
        self.open.retain(|task| !task.is_finished());
        if self.open.len() >= CONNECTIONS
            && let Some(oldest) = self.open.pop_front()
        {
            tracing::debug!("closed a connection for metrics: too many");
            oldest.abort();
        }
        self.open.push_back(self.tasks.spawn(serve_one(stream, collector)));
    }
}

async fn serve_one(stream: TcpStream, collector: Arc<Collector>) {
    let service = service_fn(move |request| {
        let collector = Arc::clone(&collector);
        async move { Ok::<_, Infallible>(answer(&request, &collector).await) }
    });
    let exchange = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(READ_HEAD)
        .max_buf_size(HEAD_BYTES)
        // One request a connection: nobody holds a place without asking something.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // Dropping the exchange closes the connection, which is all that a client that is gone or slow can expect.
    match tokio::time::timeout(EXCHANGE, exchange).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!("a connection for metrics ended early: {error}"),
        Err(_) => tracing::debug!("closed a connection for metrics: too slow"),
    }
}

async fn answer(request: &Request<Incoming>, collector: &Collector) -> Response<Full<Bytes>> {
    match (request.method(), request.uri().path()) {
        (&Method::GET, PATH) => {
            let collection = collector.collect().await;
            let text = exposition::text(&families::families(&collection));
            respond(StatusCode::OK, exposition::CONTENT_TYPE, text)
        }
        (_, PATH) => {
            let mut refused = respond(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "only GET\n".to_owned());
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
            refused
        }
        _ => respond(StatusCode::NOT_FOUND, PLAIN, format!("metrics are at {PATH}\n")),
    }
}

const PLAIN: &str = "text/plain; charset=utf-8";

fn respond(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
