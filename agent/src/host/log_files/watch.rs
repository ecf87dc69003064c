//! Rings when a file is begun in a folder, and when one that was silent is written to. A log that is written fast is
//! rotated within a tenth of a second, and its oldest file is gone two rotations later; a log that is silent costs nothing.
//!
//! In: folders, and files while nothing more is to be read from them. Out: a bell for each log. What always holds: what
//! cannot be watched only has no bell; whoever needs to know looks from time to time all the same. Source: inotify(7).

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use node::fault::one_line;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

/// A file appears under a name, and the folder goes.
const OF_FOLDERS: AddWatchFlags = AddWatchFlags::IN_CREATE
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_ONLYDIR);

/// A file grows, or is emptied. Told once: who writes a lot does not wake us for each line.
const OF_FILES: AddWatchFlags = AddWatchFlags::IN_MODIFY.union(AddWatchFlags::IN_ONESHOT);

/// Who hears of what is watched. Logs that lie in one folder share its watch.
type Bells = HashMap<WatchDescriptor, Vec<Weak<Bell>>>;

#[derive(Debug, Default)]
struct Bell {
    notify: Arc<Notify>,
    /// Its silent files are watched, and none was written to since.
    armed: AtomicBool,
}

impl Bell {
    fn ring(&self) {
        self.armed.store(false, Ordering::Release);
        self.notify.notify_one();
    }
}

/// Watches folders.
#[derive(Debug)]
pub(super) struct Watch {
    told: Option<Told>,
    _listening: Option<AbortOnDropHandle<()>>,
}

#[derive(Debug, Clone)]
struct Told {
    kernel: Arc<AsyncFd<Kernel>>,
    bells: Arc<Mutex<Bells>>,
}

/// The kernel's side of it.
#[derive(Debug)]
struct Kernel(Inotify);

impl AsRawFd for Kernel {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// What happens to one log.
#[derive(Debug)]
pub(super) struct News {
    told: Told,
    bell: Arc<Bell>,
}

impl News {
    /// Rings when something happened.
    pub(super) fn bell(&self) -> Arc<Notify> {
        Arc::clone(&self.bell.notify)
    }

    /// Whether the bell rings at the next change of what [`News::arm`] was told.
    pub(super) fn is_armed(&self) -> bool {
        self.bell.armed.load(Ordering::Acquire)
    }

    /// Has the bell ring once when one of these files is written to. What was written before does not ring. `false`: they
    /// cannot be watched.
    pub(super) fn arm<'file>(&self, mut files: impl Iterator<Item = &'file File>) -> bool {
        // Before the first one is watched: it may ring at once.
        self.bell.armed.store(true, Ordering::Release);
        // The file that is open, wherever it was renamed to.
        let open = |file: &File| PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let all = files.all(|file| self.told.watch(&open(file), OF_FILES, &self.bell).is_some());
        if !all {
            self.bell.armed.store(false, Ordering::Release);
        }
        all
    }
}

impl Told {
    fn watch(&self, path: &Path, events: AddWatchFlags, bell: &Arc<Bell>) -> Option<()> {
        // Held from before the watch: whoever reads its first event finds the bell.
        let mut bells = locked(&self.bells);
        let descriptor = self.kernel.get_ref().0.add_watch(path, events).ok()?;
        // The same folder, and the same file, has the same descriptor.
        let heard = bells.entry(descriptor).or_default();
        heard.retain(|other| other.strong_count() > 0);
        if !heard.iter().any(|other| std::ptr::eq(other.as_ptr(), Arc::as_ptr(bell))) {
            heard.push(Arc::downgrade(bell));
        }
        Some(())
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
                return Watch { told: None, _listening: None };
            }
        };
        let told = Told { kernel, bells };
        let listening = AbortOnDropHandle::new(tokio::spawn(listen(told.clone())));
        Watch { told: Some(told), _listening: Some(listening) }
    }

    /// What happens in a folder.
    pub(super) fn folder(&self, path: &Path) -> Option<News> {
        let told = self.told.clone()?;
        let bell = Arc::default();
        told.watch(path, OF_FOLDERS, &bell)?;
        Some(News { told, bell })
    }
}

fn open() -> io::Result<AsyncFd<Kernel>> {
    let kernel = Kernel(Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?);
    // SAFETY: `Kernel` owns its descriptor, which is open and the same for as long as `Kernel` lives.
    unsafe { AsyncFd::register_with_interest(kernel, Interest::READABLE) }.map_err(Into::into)
}

async fn listen(told: Told) {
    loop {
        let Ok(mut ready) = told.kernel.readable().await else { return };
        match told.kernel.get_ref().0.read_events() {
            Ok(events) => {
                let mut bells = locked(&told.bells);
                for event in events {
                    if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                        bells.values().flatten().filter_map(Weak::upgrade).for_each(|bell| bell.ring());
                    }
                    if event.mask.contains(AddWatchFlags::IN_IGNORED) {
                        // What ended the watch was told before.
                        bells.remove(&event.wd);
                    } else if let Some(heard) = bells.get(&event.wd) {
                        heard.iter().filter_map(Weak::upgrade).for_each(|bell| bell.ring());
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
    use std::io::Write;
    use std::time::Duration;

    async fn rings(news: &News) -> bool {
        tokio::time::timeout(Duration::from_secs(10), news.bell().notified()).await.is_ok()
    }

    #[tokio::test]
    async fn a_file_that_is_begun_rings_the_bells_of_all_who_have_a_log_in_its_folder() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let watch = Watch::new();
        let news = [one.path(), one.path(), two.path()].map(|path| watch.folder(path).unwrap());
        node::files::replace(&one.path().join("log"), b"x", 0o600).unwrap();
        assert!(rings(&news[0]).await && rings(&news[1]).await);
        std::fs::rename(one.path().join("log"), two.path().join("log.1")).unwrap();
        assert!(rings(&news[2]).await);
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_has_no_bell_and_one_that_goes_rings_once_more() {
        let folder = tempfile::tempdir().unwrap();
        let watch = Watch::new();
        assert!(watch.folder(&folder.path().join("missing")).is_none());
        let news = watch.folder(folder.path()).unwrap();
        drop(folder);
        assert!(rings(&news).await);
    }

    #[tokio::test]
    async fn a_silent_file_rings_when_it_is_written_to_or_emptied_and_once_only_until_it_is_armed_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut file = File::options().create(true).append(true).read(true).open(&path).unwrap();
        let watch = Watch::new();
        let news = watch.folder(folder.path()).unwrap();
        for round in 0..3 {
            assert!(!news.is_armed());
            assert!(news.arm([&file].into_iter()) && news.is_armed());
            if round == 1 {
                // Whoever rotates renames it; it is the same file.
                std::fs::rename(&path, folder.path().join("log.1")).unwrap();
                assert!(rings(&news).await);
                assert!(news.arm([&file].into_iter()));
            }
            match round {
                2 => file.set_len(0).unwrap(),
                _ => (0..100).for_each(|_| file.write_all(b"line\n").unwrap()),
            }
            assert!(rings(&news).await && !news.is_armed());
        }
        file.write_all(b"more\n").unwrap();
        // Another bell that certainly rings later.
        node::files::replace(&folder.path().join("new"), b"x", 0o600).unwrap();
        assert!(rings(&news).await);
    }
}
