//! One request and its answer on a TCP connection, as HTTP/1.1 (RFC 9112) has them.
//!
//! In: a connection, or an address to connect to. Out: the version that answered, or how it failed.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

const OK: u16 = 200;
/// Below are those of services.
const FIRST_PORT: u16 = 1024;
/// From there to the last.
pub const ALL_PORTS: u16 = u16::MAX - FIRST_PORT + 1;
/// The sample application's answers are far below this.
const ANSWER_LIMIT: usize = 64 * 1024;

/// How a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Nobody listens.
    Refused,
    /// The connection was broken off with an error.
    Reset,
    /// The connection was closed before the first byte of an answer.
    Closed,
    /// No whole answer in time.
    TimedOut,
    /// Another status than 200.
    Status(u16),
    /// An answer that is cut short, or none that makes sense.
    ShortBody,
    /// Anything else, e.g. no route.
    Other,
}

/// One request that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// When it was sent, since the start of the load.
    pub at: Duration,
    /// How long it took to fail.
    pub took: Duration,
    /// How.
    pub kind: Kind,
    /// In the words of the system, and on what connection.
    pub story: String,
}

/// The version of the application that answered, or how that failed and the story.
pub(super) type Ended = Result<String, (Kind, String)>;

/// A request on a connection of its own, from one of so many ports, within a deadline for all of it.
pub(super) async fn alone(address: SocketAddr, ports: u16, deadline: Duration) -> Ended {
    let mut connected = None;
    let work = async {
        let mut stream = from_next_port(address, ports).await.map_err(|error| of_io(&error))?;
        connected = stream.local_addr().ok();
        ask(&mut stream, "close").await
    };
    let ended = tokio::time::timeout(deadline, work).await;
    ended.unwrap_or_else(|_| {
        let how = connected.map_or_else(
            || "not connected".to_owned(),
            |from| format!("connected from port {}, no answer", from.port()),
        );
        Err((Kind::TimedOut, format!("{how} within {} s", deadline.as_secs())))
    })
}

/// Connects from one port after the other, so that each comes again as late as can be.
async fn from_next_port(address: SocketAddr, ports: u16) -> std::io::Result<TcpStream> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let next = NEXT.fetch_add(1, Ordering::Relaxed) % u32::from(ports.max(1));
        let port = FIRST_PORT.saturating_add(u16::try_from(next).unwrap_or(u16::MAX));
        let socket = TcpSocket::new_v4()?;
        match socket.bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
            Ok(()) => return socket.connect(address).await,
        }
    }
}

/// A request on an open connection.
pub(super) async fn ask(stream: &mut TcpStream, connection: &str) -> Ended {
    let request = format!("GET / HTTP/1.1\r\nHost: node\r\nConnection: {connection}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|error| of_io(&error))?;
    let mut answer = Vec::new();
    while !is_whole(&answer) && answer.len() < ANSWER_LIMIT {
        match stream.read_buf(&mut answer).await {
            Ok(0) if answer.is_empty() => return Err((Kind::Closed, "closed without an answer".to_owned())),
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => return Err(of_io(&error)),
        }
    }
    version_of(&answer)
}

fn of_io(error: &std::io::Error) -> (Kind, String) {
    let kind = match error.kind() {
        ErrorKind::ConnectionRefused => Kind::Refused,
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted => Kind::Reset,
        ErrorKind::TimedOut => Kind::TimedOut,
        _ => Kind::Other,
    };
    (kind, error.to_string())
}

/// Head and body, the latter only when it is as long as the head announces.
fn parts(answer: &[u8]) -> Option<(&str, &[u8])> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    let (_, length) = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?;
    let length: usize = length.trim().parse().ok()?;
    Some((head, answer[end + 4..].get(..length)?))
}

fn is_whole(answer: &[u8]) -> bool {
    parts(answer).is_some()
}

fn version_of(answer: &[u8]) -> Ended {
    let short = || (Kind::ShortBody, String::from_utf8_lossy(answer).chars().take(200).collect());
    let (head, body) = parts(answer).ok_or_else(short)?;
    let status: u16 = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(short)?;
    if status != OK {
        return Err((Kind::Status(status), head.lines().next().unwrap_or_default().to_owned()));
    }
    let body: serde_json::Value = serde_json::from_slice(body).map_err(|_| short())?;
    body["version"].as_str().map(str::to_owned).ok_or_else(short)
}
