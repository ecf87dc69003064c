//! The request loop: accepts connections, puts faults in the way, hands each
//! request to its service and writes one line about it.
//!
//! A connection lives in a task owned by its listener; stopping the listener
//! ends them all.

use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::Response;
use futures_util::StreamExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::faults::{FaultKind, Subject};
use super::{Shared, answer, aws, clock, files, gate, imds};
use crate::model_registry::{MODEL_HOST, ModelRegistry};

/// What is behind a listener.
#[derive(Clone)]
pub(super) enum Door {
    Imds,
    Aws,
    Registry(Option<TlsAcceptor>),
    Files(PathBuf),
}

/// The connection is to be dropped without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection was dropped on purpose")]
struct Dropped;

/// Serves connections until it is dropped.
pub(super) async fn serve(listener: TcpListener, door: Door, cloud: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // Both arms lose nothing when the other wins: accept and join_next
            // are cancel safe.
            accepted = listener.accept() => if let Ok((stream, peer)) = accepted {
                connections.spawn(connection(stream, peer, door.clone(), Arc::clone(&cloud)));
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, door: Door, cloud: Arc<Shared>) {
    // Small answers must not wait for a full packet.
    stream.set_nodelay(true).ok();
    if let (Door::Imds, Some(hops)) = (&door, cloud.state().hop_limit) {
        // Set after the handshake: as at AWS, a container beyond the limit
        // connects, and then its answer never comes.
        let hops = i32::try_from(hops).unwrap_or(i32::MAX);
        let set = if peer.is_ipv4() {
            setsockopt(&stream, sockopt::Ipv4Ttl, &hops)
        } else {
            setsockopt(&stream, sockopt::Ipv6Ttl, &hops)
        };
        set.ok();
    }
    let Ok(socket) = stream.as_fd().try_clone_to_owned() else { return };
    match &door {
        Door::Registry(Some(acceptor)) => {
            if let Ok(stream) = acceptor.accept(stream).await {
                requests(stream, socket, door, cloud).await;
            }
        }
        _ => requests(stream, socket, door, cloud).await,
    }
}

async fn requests(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    socket: OwnedFd,
    door: Door,
    cloud: Arc<Shared>,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let (door, cloud, socket) = (&door, &cloud, &socket);
        async move {
            let result = answer_one(cloud, door, request.map(Body::new)).await;
            if result.is_err() {
                // A close with linger time zero is a reset, not an end of file.
                setsockopt(socket, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 }).ok();
            }
            result
        }
    });
    // A connection that ends badly is the client's or the fault's doing.
    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
}

async fn answer_one(cloud: &Shared, door: &Door, request: Request<Body>) -> Result<Response, Dropped> {
    let started = tokio::time::Instant::now();
    let path = request.uri().path();
    let subject = match door {
        Door::Imds => {
            let operation = if request.method() == "PUT" { "PutToken" } else { "Get" };
            Subject { service: "imds", operation: operation.to_owned(), path: path.to_owned() }
        }
        Door::Aws => aws::subject(request.headers(), path),
        Door::Registry(_) => {
            let service = if models(cloud, &request).is_some() { "models" } else { "registry" };
            Subject { service, ..gate::subject(request.method(), path) }
        }
        Door::Files(_) => Subject { service: "files", operation: "Get".to_owned(), path: path.to_owned() },
    };
    let fault = cloud.traffic().arrival(&subject);
    let result = spoiled(cloud, door, &subject, (request, fault.clone())).await;
    cloud.note(&serde_json::json!({
        "time": clock::now(), "service": subject.service, "operation": subject.operation, "path": subject.path,
        "status": result.as_ref().ok().map(|response| response.status().as_u16()),
        "milliseconds": u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        "fault": fault,
    }));
    result
}

/// The answer, after what the fault does to it.
async fn spoiled(
    cloud: &Shared,
    door: &Door,
    subject: &Subject,
    (request, fault): (Request<Body>, Option<FaultKind>),
) -> Result<Response, Dropped> {
    match fault {
        None => Ok(respond(cloud, door, subject, request).await),
        Some(FaultKind::Delay { milliseconds }) => {
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            Ok(respond(cloud, door, subject, request).await)
        }
        Some(FaultKind::Status { code, body }) => {
            let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Ok(answer::text(status, body))
        }
        Some(FaultKind::Throttle) => Ok(throttled(subject.service)),
        Some(FaultKind::Reset) => Err(Dropped),
        Some(FaultKind::Hang) => std::future::pending().await,
        Some(FaultKind::Body { text }) => Ok(answer::text(StatusCode::OK, text)),
        Some(FaultKind::Truncate { after_bytes }) => {
            Ok(cut(respond(cloud, door, subject, request).await, after_bytes, true))
        }
        Some(FaultKind::Stall { after_bytes }) => {
            Ok(cut(respond(cloud, door, subject, request).await, after_bytes, false))
        }
        Some(FaultKind::Rate { bytes_per_second }) => {
            Ok(slowly(respond(cloud, door, subject, request).await, bytes_per_second))
        }
    }
}

async fn respond(cloud: &Shared, door: &Door, subject: &Subject, request: Request<Body>) -> Response {
    match door {
        Door::Imds => {
            let (parts, _) = request.into_parts();
            imds::respond(&mut cloud.state(), &parts, tokio::time::Instant::now(), clock::now())
        }
        Door::Aws => aws::respond(cloud, subject, request).await,
        Door::Registry(_) => match models(cloud, &request) {
            Some(models) => models.respond(&request),
            None => gate::respond(cloud, request).await,
        },
        Door::Files(root) => files::respond(root, request.method(), &subject.path).await,
    }
}

/// The registry of models, where the request is for its name: it shares the door with the other one.
fn models<'a>(cloud: &'a Shared, request: &Request<Body>) -> Option<&'a ModelRegistry> {
    let host = request.headers().get(header::HOST).and_then(|value| value.to_str().ok());
    let host = host.map(|host| host.split(':').next().unwrap_or(host));
    cloud.models.as_ref().filter(|_| host == Some(MODEL_HOST))
}

fn throttled(service: &str) -> Response {
    match service {
        "registry" => {
            answer::registry_error(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", "Rate exceeded")
        }
        "imds" | "files" | "models" => answer::text(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests"),
        _ => answer::aws(Err(answer::AwsError::new("ThrottlingException", "Rate exceeded"))),
    }
}

/// Lets only the first bytes of a body through; after them the connection
/// breaks, or nothing comes any more. The promised length stays.
/// The body in small parts, each when its time has come; a late one does not make the next one late.
fn slowly(response: Response, bytes_per_second: u64) -> Response {
    const PART: usize = 64 << 10;
    let (mut parts, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact() {
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    let started = tokio::time::Instant::now();
    let small = body.into_data_stream().flat_map(|chunk| {
        let mut left = chunk.unwrap_or_default();
        let pieces = std::iter::from_fn(move || {
            let piece = left.split_to(left.len().min(PART));
            (!piece.is_empty()).then_some(piece)
        });
        futures_util::stream::iter(pieces)
    });
    let timed = small.scan(0_u64, move |sent, piece| {
        *sent += piece.len() as u64;
        let due = started + Duration::from_micros(sent.saturating_mul(1_000_000) / bytes_per_second.max(1));
        async move {
            tokio::time::sleep_until(due).await;
            Some(Ok::<Bytes, Dropped>(piece))
        }
    });
    Response::from_parts(parts, Body::from_stream(timed))
}

fn cut(response: Response, after_bytes: usize, then_break: bool) -> Response {
    let (mut parts, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact() {
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    let start = body.into_data_stream().scan(after_bytes, |left, chunk| {
        let part = chunk.map_or_else(|_| Bytes::new(), |chunk| chunk.slice(..chunk.len().min(*left)));
        *left -= part.len();
        std::future::ready((!part.is_empty()).then_some(Ok::<Bytes, Dropped>(part)))
    });
    let end = futures_util::stream::once(async move {
        if !then_break {
            std::future::pending::<()>().await;
        }
        // Lets what was sent before reach the wire before the break.
        tokio::task::yield_now().await;
        Err(Dropped)
    });
    Response::from_parts(parts, Body::from_stream(start.chain(end)))
}
