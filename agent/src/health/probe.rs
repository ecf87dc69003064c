//! The questions: HTTP, TCP, a command inside the container. Each has one time limit and one line as its answer.
//!
//! HTTP is spoken without proxy, redirects, pool or TLS: it goes to the container itself, over the bridge.

use super::record::{Answer, Reply};
use crate::engine::{Engine, EngineError};
use crate::observed::Container;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use node::config::settings::{Network, Probe};
use node::fault::one_line;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

/// Characters of a refusing answer that are shown.
const LONGEST_SNIPPET: usize = 200;
/// Bytes read of an answer: beyond that its text is of no interest.
const LONGEST_BODY: usize = 64 * 1024;
const AGENT: &str = concat!("node-agent/", env!("CARGO_PKG_VERSION"));

/// What is asked of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// GET; 200 to 399 passes.
    Http {
        /// Where it listens.
        address: SocketAddr,
        /// Path and query.
        path: String,
    },
    /// A connection is accepted.
    Tcp {
        /// Where it listens.
        address: SocketAddr,
    },
    /// A command exits with 0.
    Exec {
        /// In which container.
        container_id: String,
        /// Program and arguments.
        command: Vec<String>,
    },
    /// Nothing: it passes by staying up for one interval.
    StayedUp,
    /// It cannot be asked: the engine says that it runs, but not where.
    NoAddress,
}

impl Question {
    /// The question for one container. [`Probe::ImageOrStayedUp`] is that of staying up: a HEALTHCHECK of the image is
    /// asked by the engine.
    pub fn of(container: &Container, probe: &Probe, network: Network) -> Question {
        let host = match network {
            Network::Node => container.address,
            Network::Host => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        };
        match (probe, host) {
            (Probe::Exec(command), _) => {
                Question::Exec { container_id: container.id.clone(), command: command.clone() }
            }
            (Probe::ImageOrStayedUp, _) => Question::StayedUp,
            (Probe::Http { .. } | Probe::Tcp { .. }, None) => Question::NoAddress,
            (Probe::Http { port, path }, Some(host)) => {
                Question::Http { address: SocketAddr::new(host, *port), path: path.clone() }
            }
            (Probe::Tcp { port }, Some(host)) => Question::Tcp { address: SocketAddr::new(host, *port) },
        }
    }
}

/// Asks once; the reply comes within `timeout`, give or take what the engine needs for a command.
pub async fn ask<E: Engine>(engine: &E, question: &Question, timeout: Duration) -> Reply {
    match question {
        Question::Http { address, path } => http(*address, path, timeout).await,
        Question::Tcp { address } => tcp(*address, timeout).await,
        Question::Exec { container_id, command } => exec(engine, container_id, command, timeout).await,
        Question::StayedUp => Reply { answer: Answer::Passed, detail: "stayed up".to_owned() },
        Question::NoAddress => {
            let detail = "the engine gives no address on the node's network for it";
            Reply { answer: Answer::Unanswered, detail: detail.to_owned() }
        }
    }
}

async fn http(address: SocketAddr, path: &str, timeout: Duration) -> Reply {
    let url = format!("http://{address}{path}");
    let deadline = tokio::time::Instant::now() + timeout;
    let response = match tokio::time::timeout_at(deadline, get(address, path)).await {
        Ok(Ok(response)) => response,
        Ok(Err(Broken::Connect(why))) => return failed(format!("connect {address}: {why}")),
        Ok(Err(Broken::Exchange(why))) => return failed(format!("GET {url}: {why}")),
        Err(_) => return failed(format!("GET {url}: no answer within {} s", timeout.as_secs_f64())),
    };
    let status = response.head.status();
    // The status is the answer. The text is read all the same: servers complain about clients that hang up early.
    let mut text = Vec::new();
    let _ = tokio::time::timeout_at(deadline, read(response.head.into_body(), &mut text)).await;
    match status.as_u16() {
        200..=399 => Reply { answer: Answer::Passed, detail: format!("GET {url}: {}", status.as_u16()) },
        code => failed(format!("GET {url}: {code}{}", snippet(&text))),
    }
}

fn failed(detail: String) -> Reply {
    Reply { answer: Answer::Failed, detail }
}

/// Where a request broke.
enum Broken {
    Connect(String),
    Exchange(String),
}

/// The head of an answer, and the connection over which the rest comes.
struct Answering {
    head: Response<Incoming>,
    _connection: AbortOnDropHandle<hyper::Result<()>>,
}

async fn get(address: SocketAddr, path: &str) -> Result<Answering, Broken> {
    let stream = TcpStream::connect(address).await.map_err(|error| Broken::Connect(reason(&error)))?;
    let exchange = |error: hyper::Error| Broken::Exchange(one_line(&error));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(exchange)?;
    let connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let request = Request::get(path)
        .header(HOST, address.to_string())
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| Broken::Exchange(error.to_string()))?;
    let head = sender.send_request(request).await.map_err(exchange)?;
    Ok(Answering { head, _connection: connection })
}

/// Appends to `text` what arrives, so that a cut leaves what there was.
async fn read(mut body: Incoming, text: &mut Vec<u8>) {
    while let Some(Ok(frame)) = body.frame().await {
        text.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
        if text.len() > LONGEST_BODY {
            return;
        }
    }
}

async fn tcp(address: SocketAddr, timeout: Duration) -> Reply {
    match tokio::time::timeout(timeout, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Reply { answer: Answer::Passed, detail: format!("connect {address}: accepted") },
        Ok(Err(error)) => failed(format!("connect {address}: {}", reason(&error))),
        Err(_) => failed(format!("connect {address}: no answer within {} s", timeout.as_secs_f64())),
    }
}

async fn exec<E: Engine>(engine: &E, container_id: &str, command: &[String], timeout: Duration) -> Reply {
    let program = command.first().map_or("", String::as_str);
    match engine.exec(container_id, command, timeout).await {
        Ok(outcome) if outcome.code == 0 => {
            Reply { answer: Answer::Passed, detail: format!("`{program}`: exit status 0") }
        }
        Ok(outcome) => {
            let output = snippet(outcome.output.as_bytes());
            failed(format!("`{program}`: exit status {}{output}", outcome.code))
        }
        Err(error @ EngineError::Unreachable { .. }) => {
            Reply { answer: Answer::Unanswered, detail: one_line(&error) }
        }
        Err(error @ EngineError::Refused { .. }) => failed(one_line(&error)),
    }
}

/// ` "text"` on one line, or nothing.
fn snippet(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line: String =
        line.chars().filter(|character| !character.is_control()).take(LONGEST_SNIPPET).collect();
    if line.is_empty() { String::new() } else { format!(" \"{line}\"") }
}

/// `connection refused`, without the error number.
fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::Other => error.to_string(),
        kind => kind.to_string(),
    }
}

#[cfg(test)]
#[path = "probe_tests.rs"]
mod tests;
