//! The unix socket of the control API: made safely, and guarded against slow, silent and too many clients.
//!
//! In: whoever connects. Out: one exchange for each, within deadlines, as soon as [`super::places`] has a place; whoever
//! comes while there is none and the line is full is told so. Not its job: answers ([`super::server`]).

use crate::control::api::Fault;
use crate::control::peer::Peer;
use crate::control::places::{Claim, Places};
use crate::control::server::{Control, router};
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// For the request's head to arrive, whole.
const READ_HEAD: Duration = Duration::from_secs(2);
/// For a whole exchange, unless it is a stream: the command deadline and some time to read the answer.
const EXCHANGE: Duration = Duration::from_secs(20);
/// For a reader to take anything of an answer that lasts: a person may page through logs, and read each page in peace;
/// whoever takes nothing holds a place for no longer.
const STALLED: Duration = Duration::from_secs(15 * 60);
/// Connections that are being told that there is no room; beyond that they are closed.
const REFUSALS: usize = 32;
/// For what was asked to arrive before that is said: a client that is still writing would not read it.
const REFUSAL: Duration = Duration::from_millis(100);
/// A request is a path of ours and a few headers. hyper's smallest.
const HEAD_BYTES: usize = 8192;

/// Why the API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The lock is held.
    #[error("another node-agent serves {}", path.display())]
    Taken {
        /// The socket.
        path: PathBuf,
    },
    /// Something about the files.
    #[error("cannot {action} {}", path.display())]
    Files {
        /// `lock`, `bind`, …
        action: &'static str,
        /// The socket or its lock.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl node::fault::Hint for ListenError {
    fn hint(&self) -> Option<String> {
        match self {
            ListenError::Taken { .. } => Some("look at `systemctl status node-agent`".to_owned()),
            ListenError::Files { .. } => {
                Some("run it as root, and look at `ls -ld /run/node-agent` and `df /run`".to_owned())
            }
        }
    }
}

/// A bound socket. Dropping it removes the file, then lets go of the lock.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    path: PathBuf,
    _lock: Flock<File>,
}

impl Listener {
    /// Listens at `path` for everybody. A file left there by an agent that was killed is replaced in one step; an agent
    /// that lives is found by its lock beside the socket and left alone.
    pub fn bind(path: &Path) -> Result<Listener, ListenError> {
        let failed = |action| move |source| ListenError::Files { action, path: path.to_owned(), source };
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(failed("make the folder of"))?;
        }
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.with_extension("lock"))
            .map_err(failed("lock"))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock)
            .map_err(|_| ListenError::Taken { path: path.to_owned() })?;
        // Bound under another name and renamed: nobody ever finds it with the wrong permissions, or missing.
        let temporary = path.with_extension("sock.new");
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("replace")(error)),
            _ => {}
        }
        let socket = UnixListener::bind(&temporary).map_err(failed("bind"))?;
        fs::set_permissions(&temporary, Permissions::from_mode(0o666)).map_err(failed("open up"))?;
        fs::rename(&temporary, path).map_err(failed("replace"))?;
        Ok(Listener { socket, path: path.to_owned(), _lock: lock })
    }

    /// Serves until `shutdown`, then ends the connections.
    pub async fn serve(self, control: Control, shutdown: CancellationToken) {
        let router = router(control);
        let connections = TaskTracker::new();
        let mut places = Places::new();
        let refusals = Arc::new(Semaphore::new(REFUSALS));
        loop {
            // Cancel safe: accept() takes a connection or nothing.
            let accepted = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = self.socket.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors or memory: asking again at once would only burn the processor.
                    tracing::warn!("cannot accept a control connection: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Some(peer) = peer_of(&stream) else { continue };
            match places.claim(peer.uid) {
                Some(claim) => {
                    connections.spawn(serve_one(stream, peer, router.clone(), claim, shutdown.clone()));
                }
                None => match Arc::clone(&refusals).try_acquire_owned() {
                    Ok(permit) => drop(connections.spawn(refuse(stream, peer, Some(permit)))),
                    Err(_) => tracing::debug!(uid = peer.uid, "closed a control connection: too many"),
                },
            }
        }
        connections.close();
        connections.wait().await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Best effort: a file that stays is replaced by the next agent, and refuses connections until then.
        let _ = fs::remove_file(&self.path);
    }
}

fn peer_of(stream: &UnixStream) -> Option<Peer> {
    let credentials = stream.peer_cred().ok()?;
    Some(Peer { uid: credentials.uid(), gid: credentials.gid(), pid: credentials.pid() })
}

/// What a handler can say of the connection that it answers on.
#[derive(Debug, Clone, Default)]
pub(super) struct Connection {
    lasts: Arc<Notify>,
}

impl Connection {
    /// The answer is a stream: the deadline for the exchange no longer counts.
    pub(super) fn may_last(&self) {
        self.lasts.notify_one();
    }
}

/// Says that there is no room. One try: this shall cost next to nothing.
async fn refuse(stream: UnixStream, peer: Peer, _permit: Option<OwnedSemaphorePermit>) {
    tracing::debug!(uid = peer.uid, "refused a control connection: too many");
    let _ = tokio::time::timeout(REFUSAL, stream.readable()).await;
    // What is left unread when the connection is closed would take the answer with it.
    let _ = stream.try_read(&mut [0; HEAD_BYTES]);
    let fault = Fault::new("agent_busy", "too many ask the agent at a time").hinting("try again in a moment");
    let Ok(body) = serde_json::to_string(&fault) else { return };
    let head = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nconnection: close";
    let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let _ = stream.try_write(answer.as_bytes());
}

async fn serve_one(
    stream: UnixStream,
    peer: Peer,
    router: Router,
    claim: Claim,
    shutdown: CancellationToken,
) {
    let place = tokio::select! {
        place = claim.place() => place,
        () = shutdown.cancelled() => return,
    };
    let Some(place) = place else { return refuse(stream, peer, None).await };
    // Dropping the exchange closes the connection, which is all that a client that is gone or slow can expect.
    tokio::select! {
        () = exchange(stream, peer, router) => {}
        () = shutdown.cancelled() => {}
    }
    drop(place);
}

/// One connection from its first byte to its last, as the socket has it: also for tests that make up the bytes.
pub async fn answer_on<S>(stream: S, peer: Peer, control: Control)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    exchange(stream, peer, router(control)).await;
}

async fn exchange<S>(stream: S, peer: Peer, router: Router)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let connection = Connection::default();
    let service = router.layer(axum::Extension(peer)).layer(axum::Extension(connection.clone()));
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(STALLED));
    let exchange = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(READ_HEAD)
        .max_buf_size(HEAD_BYTES)
        // One request a connection: nobody holds a place without asking something.
        .keep_alive(false)
        .serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(service));
    let deadline = async {
        tokio::select! {
            () = connection.lasts.notified() => std::future::pending().await,
            () = tokio::time::sleep(EXCHANGE) => {}
        }
    };
    tokio::select! {
        result = exchange => if let Err(error) = result {
            tracing::debug!(uid = peer.uid, "a control connection ended early: {error}");
        },
        () = deadline => tracing::debug!(uid = peer.uid, "closed a control connection: too slow"),
    }
}
