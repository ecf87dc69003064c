//! The models' folder on this host: what lies there, removing from it, comparing layers with their names, reading ahead.
//!
//! In: a path, digests. Out: values. What always holds:
//! - nothing outside the folder is read or removed, and nothing whose name is not the server's;
//! - a disk that hangs holds one thread of ours for each kind of work, and is told as a time-out;
//! - reading evicts nothing that a running model uses. What was in memory before stays there. Comparing drops what it
//!   read, piece by piece; so does reading ahead, unless the whole model fits beside all that processes have mapped and a
//!   reserve ([`memory`]). Pages that anybody has mapped the kernel does not drop on our word.
//!
//! Not its job: what should lie there.

mod directory;
mod layers;
mod look;
mod memory;
mod pages;
mod program;
mod rate;
mod reading;
mod remove;
mod scope;
mod wire;

pub use program::{ARGUMENT, warm_up};

use crate::models::files::{Files, FilesError, ModelFiles, WarmProgress, Warmed};
use layers::Wanted;
use node::config::settings::Prewarm;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::timeout;

/// For a look or a removal, the wait for the one before included.
const DEADLINE: Duration = Duration::from_secs(30);
/// A device that gives no byte for so long hangs; the slowest cold volume answers within seconds.
const STALL: Duration = Duration::from_secs(120);

/// The folder, on this host.
#[derive(Debug, Clone)]
pub struct ModelFolder {
    /// Looks and removals go one by one: where one hangs, the next would too.
    turn: Arc<Semaphore>,
    /// Likewise work that reads layers.
    reading: Arc<Semaphore>,
}

impl Default for ModelFolder {
    fn default() -> ModelFolder {
        ModelFolder { turn: Arc::new(Semaphore::new(1)), reading: Arc::new(Semaphore::new(1)) }
    }
}

impl ModelFiles for ModelFolder {
    async fn look(&self, directory: &Path) -> Result<Files, FilesError> {
        let path = directory.to_owned();
        self.brief(directory, move || look::look(&path)).await
    }

    async fn remove_partials(&self, directory: &Path, digests: &[String]) -> Result<(), FilesError> {
        let (path, digests) = (directory.to_owned(), digests.to_vec());
        self.brief(directory, move || remove::partials(&path, &digests)).await
    }

    async fn remove_blobs(&self, directory: &Path, digests: &[String]) -> Result<(), FilesError> {
        let (path, digests) = (directory.to_owned(), digests.to_vec());
        self.brief(directory, move || remove::whole(&path, &digests)).await
    }

    async fn verify(&self, directory: &Path, digest: &str, size_bytes: u64) -> Result<bool, FilesError> {
        let (path, digest) = (directory.to_owned(), digest.to_owned());
        let work = move |stop: &AtomicBool, moved: &dyn Fn(WarmProgress)| {
            layers::verify(&path, (&digest, size_bytes), stop, moved)
        };
        self.long(directory, work, &|_| {}).await
    }

    async fn warm(
        &self,
        directory: &Path,
        digests: &[String],
        rate: Prewarm,
        progress: &(dyn Fn(WarmProgress) + Send + Sync),
    ) -> Result<Warmed, FilesError> {
        let bytes_per_second = match rate {
            Prewarm::Off => {
                let kept = Err("reading ahead is off".to_owned());
                return Ok(Warmed { progress: WarmProgress::default(), kept });
            }
            Prewarm::Unlimited => None,
            Prewarm::BytesPerSecond(rate) => Some(rate),
        };
        let request =
            wire::Request { directory: directory.to_owned(), digests: digests.to_vec(), bytes_per_second };
        let why = match scope::Reader::start(&request).await {
            Ok(reader) => return reader.hear(&directory.display().to_string(), progress).await,
            Err(why) => why,
        };
        tracing::warn!("models are read ahead without being kept in memory: {why}");
        let must_go = Some(format!("what the agent itself reads is not kept: {why}"));
        let work = move |stop: &AtomicBool, moved: &dyn Fn(WarmProgress)| {
            let wire::Request { directory, digests, bytes_per_second: rate } = &request;
            layers::warm(&Wanted { directory, digests, rate: *rate, must_go }, stop, moved)
        };
        self.long(directory, work, progress).await
    }
}

impl ModelFolder {
    /// Work that is done in no time as a rule.
    async fn brief<T: Send + 'static>(
        &self,
        directory: &Path,
        work: impl FnOnce() -> Result<T, FilesError> + Send + 'static,
    ) -> Result<T, FilesError> {
        let done = async {
            // Closed never.
            let turn = Arc::clone(&self.turn).acquire_owned().await.ok();
            let work = move || {
                let done = work();
                drop(turn);
                done
            };
            tokio::task::spawn_blocking(work).await
        };
        match timeout(DEADLINE, done).await {
            Ok(Ok(done)) => done,
            Ok(Err(broken)) => Err(failed(directory, io::Error::other(broken))),
            Err(_) => Err(late(directory, DEADLINE)),
        }
    }

    /// Work that reads whole layers, on a thread of its own that ends when this future is dropped.
    async fn long<T: Send + 'static>(
        &self,
        directory: &Path,
        work: impl FnOnce(&AtomicBool, &dyn Fn(WarmProgress)) -> Result<T, FilesError> + Send + 'static,
        progress: &(dyn Fn(WarmProgress) + Send + Sync),
    ) -> Result<T, FilesError> {
        let turn = timeout(STALL, Arc::clone(&self.reading).acquire_owned()).await;
        let turn = turn.map_err(|_| late(directory, STALL))?.ok();
        let stop = StopOnDrop(Arc::new(AtomicBool::new(false)));
        let told = Arc::clone(&stop.0);
        let (moved, mut movements) = watch::channel(WarmProgress::default());
        let (done, mut outcome) = oneshot::channel();
        let thread = std::thread::Builder::new().name("layers".to_owned());
        let thread = thread.spawn(move || {
            let ended = work(&told, &|far| {
                moved.send_replace(far);
            });
            drop(turn);
            // Nobody waits any more where the future was dropped.
            let _ = done.send(ended);
        });
        thread.map_err(|source| failed(directory, source))?;
        loop {
            let next = async {
                tokio::select! {
                    biased;
                    ended = &mut outcome => Some(ended),
                    Ok(()) = movements.changed() => None,
                }
            };
            match timeout(STALL, next).await {
                Ok(Some(Ok(ended))) => return ended,
                Ok(Some(Err(broken))) => return Err(failed(directory, io::Error::other(broken))),
                Ok(None) => {
                    let far = *movements.borrow_and_update();
                    progress(far);
                }
                Err(_) => return Err(stalled(&directory.display().to_string())),
            }
        }
    }
}

/// Whoever reads is told that nobody wants it any more.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn failed(directory: &Path, source: io::Error) -> FilesError {
    FilesError { operation: "read", path: directory.display().to_string(), source }
}

fn late(directory: &Path, deadline: Duration) -> FilesError {
    let words = format!("the disk did not answer within {} s", deadline.as_secs());
    failed(directory, io::Error::new(io::ErrorKind::TimedOut, words))
}

fn stalled(directory: &str) -> FilesError {
    let words = format!("the disk gave no byte for {} s", STALL.as_secs());
    let source = io::Error::new(io::ErrorKind::TimedOut, words);
    FilesError { operation: "read", path: directory.to_owned(), source }
}

#[cfg(test)]
mod tests;
