//! The unix socket of the control API: made safely, and guarded against slow, silent and too many clients.

use crate::control::peer::Peer;
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
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections of everybody at a time. More than that is a mistake or an attack; they are closed unanswered.
const CONNECTIONS: usize = 48;
/// And as many again for root alone, so that nobody can lock an operator out.
const ROOT_CONNECTIONS: usize = 16;
/// For the request's head to arrive, whole.
const READ_HEAD: Duration = Duration::from_secs(2);
/// For a whole exchange, unless it is a stream: the command deadline and some time to read the answer.
const EXCHANGE: Duration = Duration::from_secs(20);
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
        let everybody = Arc::new(Semaphore::new(CONNECTIONS));
        let root = Arc::new(Semaphore::new(ROOT_CONNECTIONS));
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
            let place = Arc::clone(&everybody).try_acquire_owned().ok();
            let place = place.or_else(|| match peer.uid {
                0 => Arc::clone(&root).try_acquire_owned().ok(),
                _ => None,
            });
            let Some(place) = place else {
                tracing::debug!(uid = peer.uid, "closed a control connection: too many");
                continue;
            };
            connections.spawn(serve_one(stream, peer, router.clone(), place, shutdown.clone()));
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

async fn serve_one(
    stream: UnixStream,
    peer: Peer,
    router: Router,
    place: OwnedSemaphorePermit,
    shutdown: CancellationToken,
) {
    let connection = Connection::default();
    let service = router.layer(axum::Extension(peer)).layer(axum::Extension(connection.clone()));
    let exchange = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(READ_HEAD)
        .max_buf_size(HEAD_BYTES)
        // One request a connection: nobody holds a place without asking something.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let deadline = async {
        tokio::select! {
            () = connection.lasts.notified() => std::future::pending().await,
            () = tokio::time::sleep(EXCHANGE) => {}
        }
    };
    // Dropping the exchange closes the connection, which is all that a client that is gone or slow can expect.
    tokio::select! {
        result = exchange => if let Err(error) = result {
            tracing::debug!(uid = peer.uid, "a control connection ended early: {error}");
        },
        () = deadline => tracing::debug!(uid = peer.uid, "closed a control connection: too slow"),
        () = shutdown.cancelled() => {}
    }
    drop(place);
}
