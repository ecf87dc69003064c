//! The wire between the agent and its engine: what was asked is written down, and the engine's events can be held back.

use crate::bench::Bench;
use agent::host::docker::Docker;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::task::AbortOnDropHandle;

/// A client whose every request is seen. Belongs to the runtime in which it was made.
pub(crate) struct Wire {
    pub(crate) docker: Docker,
    seen: Arc<Seen>,
    _directory: tempfile::TempDir,
    _serving: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Seen {
    /// Method and path without the version.
    requests: Mutex<Vec<String>>,
    muted: AtomicBool,
}

impl Wire {
    pub(crate) fn to(bench: &Bench) -> Wire {
        let directory = tempfile::tempdir().expect("a folder");
        let socket = directory.path().join("s");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let docker = Docker::connect(Some(&format!("unix://{}", socket.display()))).expect("a client");
        let seen = Arc::new(Seen::default());
        let serving = tokio::spawn(serve(listener, bench.daemon.socket(), Arc::clone(&seen)));
        Wire { docker, seen, _directory: directory, _serving: AbortOnDropHandle::new(serving) }
    }

    /// From now on the engine's events are lost.
    pub(crate) fn mute(&self) {
        self.seen.muted.store(true, Ordering::Relaxed);
    }

    /// Questions and steps since the last call, without those whether the engine is there.
    pub(crate) fn requests(&self) -> Vec<String> {
        let mut requests = std::mem::take(&mut *self.seen.requests.lock().expect("no panic"));
        requests.retain(|request| !request.ends_with("/_ping"));
        requests
    }
}

async fn serve(listener: UnixListener, engine: PathBuf, seen: Arc<Seen>) {
    while let Ok((ours, _)) = listener.accept().await {
        let Ok(theirs) = UnixStream::connect(&engine).await else { continue };
        let seen = Arc::clone(&seen);
        tokio::spawn(async move {
            let (from_us, to_us) = ours.into_split();
            let (from_them, to_them) = theirs.into_split();
            let events = AtomicBool::new(false);
            // Both directions end on their own: either side closes when the other has.
            tokio::join!(
                carry(from_us, to_them, |bytes| {
                    let found = requests_in(bytes);
                    let subscribes = found.iter().any(|request| request.starts_with("GET /events"));
                    events.fetch_or(subscribes, Ordering::Relaxed);
                    seen.requests.lock().expect("no panic").extend(found);
                    true
                }),
                carry(from_them, to_us, |_| {
                    !(events.load(Ordering::Relaxed) && seen.muted.load(Ordering::Relaxed))
                }),
            )
        });
    }
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut passes: impl FnMut(&[u8]) -> bool,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if passes(&buffer[..length]) && to.write_all(&buffer[..length]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

/// The request lines in a piece of the stream; ours are written at once.
fn requests_in(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().filter_map(|line| line.strip_suffix(" HTTP/1.1"));
    let path = |line: &str| {
        let (method, path) = line.split_once(' ')?;
        let path =
            path.strip_prefix("/v1.").and_then(|rest| rest.split_once('/')).map_or(path, |(_, rest)| rest);
        Some(format!("{method} /{}", path.trim_start_matches('/')))
    };
    lines.filter_map(path).collect()
}
