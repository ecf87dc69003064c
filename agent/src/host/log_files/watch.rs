//! Rings when a file is begun in a folder: a log that is written fast is rotated within a tenth of a second, and its oldest
//! file is gone two rotations later.
//!
//! In: folders. Out: a bell for each. What always holds: a folder that cannot be watched only has no bell; whoever needs to
//! know looks from time to time all the same. Source: inotify(7).

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use node::fault::one_line;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

/// A file appears under a name, and the folder goes.
const EVENTS: AddWatchFlags = AddWatchFlags::IN_CREATE
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_ONLYDIR);

type Bells = HashMap<WatchDescriptor, Arc<Notify>>;

/// Watches folders.
#[derive(Debug)]
pub(super) struct Watch {
    kernel: Option<Arc<AsyncFd<Kernel>>>,
    bells: Arc<Mutex<Bells>>,
    _listening: Option<AbortOnDropHandle<()>>,
}

/// The kernel's side of it.
#[derive(Debug)]
struct Kernel(Inotify);

impl AsRawFd for Kernel {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Watch {
    /// Begins to listen; within a runtime.
    pub(super) fn new() -> Watch {
        let bells: Arc<Mutex<Bells>> = Arc::default();
        let kernel = match open() {
            Ok(kernel) => Arc::new(kernel),
            Err(error) => {
                tracing::warn!(reason = one_line(&error), "logs that rotate are found by looking only");
                return Watch { kernel: None, bells, _listening: None };
            }
        };
        let listening = AbortOnDropHandle::new(tokio::spawn(listen(Arc::clone(&kernel), Arc::clone(&bells))));
        Watch { kernel: Some(kernel), bells, _listening: Some(listening) }
    }

    /// The bell of a folder.
    pub(super) fn folder(&self, path: &Path) -> Option<Arc<Notify>> {
        let descriptor = self.kernel.as_ref()?.get_ref().0.add_watch(path, EVENTS).ok()?;
        let mut bells = locked(&self.bells);
        // The same folder has the same descriptor.
        Some(Arc::clone(bells.entry(descriptor).or_default()))
    }
}

fn open() -> io::Result<AsyncFd<Kernel>> {
    let kernel = Kernel(Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?);
    // SAFETY: `Kernel` owns its descriptor, which is open and the same for as long as `Kernel` lives.
    unsafe { AsyncFd::register_with_interest(kernel, Interest::READABLE) }.map_err(Into::into)
}

async fn listen(kernel: Arc<AsyncFd<Kernel>>, bells: Arc<Mutex<Bells>>) {
    loop {
        let Ok(mut ready) = kernel.readable().await else { return };
        match kernel.get_ref().0.read_events() {
            Ok(events) => {
                let mut bells = locked(&bells);
                for event in events {
                    if let Some(bell) = bells.get(&event.wd) {
                        bell.notify_one();
                    }
                    if event.mask.contains(AddWatchFlags::IN_IGNORED) {
                        bells.remove(&event.wd);
                    }
                    if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                        bells.values().for_each(|bell| bell.notify_one());
                    }
                }
            }
            Err(_) => ready.clear_ready(),
        }
    }
}

fn locked(bells: &Mutex<Bells>) -> MutexGuard<'_, Bells> {
    // Every change is whole before the lock is given back.
    bells.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    async fn rings(bell: &Notify) -> bool {
        tokio::time::timeout(Duration::from_secs(10), bell.notified()).await.is_ok()
    }

    #[tokio::test]
    async fn a_file_that_is_begun_rings_the_bell_of_its_folder() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let watch = Watch::new();
        let (first, second) = (watch.folder(one.path()).unwrap(), watch.folder(two.path()).unwrap());
        node::files::replace(&one.path().join("log"), b"x", 0o600).unwrap();
        assert!(rings(&first).await);
        std::fs::rename(one.path().join("log"), two.path().join("log.1")).unwrap();
        assert!(rings(&second).await);
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_has_no_bell_and_one_that_goes_rings_once_more() {
        let folder = tempfile::tempdir().unwrap();
        let watch = Watch::new();
        assert!(watch.folder(&folder.path().join("missing")).is_none());
        let bell = watch.folder(folder.path()).unwrap();
        drop(folder);
        assert!(rings(&bell).await);
    }
}
