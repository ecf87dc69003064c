//! Connections to the engine, and those of them that wait for the next request: connecting costs the engine and us more
//! than asking does.
//!
//! What always holds: a connection that waits has given the whole of its last answer. One whose answer was left before
//! its end, or that was given up half-way, is closed.

use bollard::errors::Error;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::task::AbortOnDropHandle;

/// How many wait at most; steps and looks at the same time are rarely more.
const KEPT: usize = 8;

/// What is sent.
pub(super) type Payload = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// A connection; dropping it closes it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) sender: http1::SendRequest<Payload>,
    _driver: AbortOnDropHandle<()>,
}

impl Connection {
    pub(super) async fn over<S>(stream: S) -> Result<Connection, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let driver = async move {
            // With upgrades: the output of `exec` comes over the hijacked connection. Its end is seen by the sender.
            let _ = connection.with_upgrades().await;
        };
        Ok(Connection { sender, _driver: AbortOnDropHandle::new(tokio::spawn(driver)) })
    }
}

/// The connections that wait; clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Idle {
    connections: Arc<Mutex<Vec<Connection>>>,
}

impl Idle {
    fn connections(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one that was used last.
    pub(super) fn take(&self) -> Option<Connection> {
        self.connections().pop()
    }

    /// Closes them.
    pub(super) fn clear(&self) {
        self.connections().clear();
    }

    /// Forgets those that the engine has closed; whether there were any.
    pub(super) fn drop_ended(&self) -> bool {
        let mut connections = self.connections();
        let before = connections.len();
        connections.retain(|connection| !connection.sender.is_closed());
        connections.len() < before
    }

    /// Takes back one that can carry the next request.
    pub(super) fn put(&self, connection: Connection) {
        let mut connections = self.connections();
        if connections.len() < KEPT {
            connections.push(connection);
        }
    }

    /// Takes it back when the answer that it brings has been read to its end, however long that takes. Until then the
    /// connection lives as long as the answer: dropping that closes it.
    pub(super) fn keep(&self, mut connection: Connection) {
        let idle = self.clone();
        tokio::spawn(async move {
            if connection.sender.ready().await.is_ok() {
                idle.put(connection);
            }
        });
    }
}
