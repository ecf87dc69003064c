//! Tells when node.toml or a drop-in may have changed, by the kernel's word. Costs nothing while nothing happens.
//!
//! In: the file, and the folder of its drop-ins. Out: one wake for all changes that come close together, once they are
//! over. What always holds: files and folders may come, go, be renamed over each other or be symbolic links; who is woken
//! for nothing finds the same texts. What cannot be watched only has no wake: a reload can always be asked for. Source:
//! inotify(7).

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use node::fault::one_line;
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

/// After the last event: who writes several files, or one in several steps, is over by then.
const QUIET: Duration = Duration::from_secs(1);

/// A file is written and closed, comes or goes by its name; the folder itself goes.
const EVENTS: AddWatchFlags = AddWatchFlags::IN_CLOSE_WRITE
    .union(AddWatchFlags::IN_CREATE)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_ONLYDIR);

/// The kernel's side of it.
#[derive(Debug)]
struct Kernel(Inotify);

impl AsRawFd for Kernel {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Watches one configuration.
#[derive(Debug)]
pub struct ConfigurationWatch {
    file: PathBuf,
    drop_ins: Option<PathBuf>,
    kernel: Option<AsyncFd<Kernel>>,
    /// Folders, by the name under which they were found.
    folders: HashMap<WatchDescriptor, PathBuf>,
    /// When it is quiet, unless more happens.
    due: Option<Instant>,
}

impl ConfigurationWatch {
    /// Begins to watch; within a runtime. The first wake comes by itself, for what happened before.
    pub fn new(file: PathBuf, drop_ins: Option<PathBuf>) -> ConfigurationWatch {
        // A path that is told as seen from the folder in which the program was started.
        let file = std::path::absolute(&file).unwrap_or(file);
        let kernel = open().inspect_err(|error| {
            tracing::warn!(
                reason = one_line(error),
                "changed files are read at `systemctl reload node-agent` only"
            );
        });
        let due = Some(Instant::now() + QUIET);
        let mut watch =
            ConfigurationWatch { file, drop_ins, kernel: kernel.ok(), folders: HashMap::new(), due };
        watch.arm();
        watch
    }

    /// Returns when something may have changed and it is quiet since. Cancel safe: what was heard is kept.
    pub async fn changed(&mut self) {
        loop {
            let quiet = async {
                match self.due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            let heard = async {
                match &self.kernel {
                    Some(kernel) => heard(kernel).await,
                    None => std::future::pending().await,
                }
            };
            // Events are taken only by returning them.
            tokio::select! {
                events = heard => if events.iter().any(|event| self.concerns(event)) {
                    self.due = Some(Instant::now() + QUIET);
                    self.arm();
                },
                () = quiet => {
                    self.due = None;
                    // Before anybody reads: what comes after that is heard.
                    self.arm();
                    return;
                }
            }
        }
    }

    fn concerns(&self, event: &InotifyEvent) -> bool {
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            return true;
        }
        let Some(folder) = self.folders.get(&event.wd) else { return false };
        let Some(name) = &event.name else { return true };
        let path = folder.join(name);
        // A file that is only begun is told again when it is closed.
        if event.mask.contains(AddWatchFlags::IN_CREATE) && is_being_written(&path) {
            return false;
        }
        let is_drop_in =
            self.drop_ins.as_ref() == Some(folder) && path.extension().is_some_and(|it| it == "toml");
        is_drop_in || self.targets().iter().any(|target| target.starts_with(&path))
    }

    /// What is read: the file, where it really lies, and the folder of the drop-ins.
    fn targets(&self) -> BTreeSet<PathBuf> {
        let real = fs::canonicalize(&self.file).ok();
        [Some(self.file.clone()), real, self.drop_ins.clone()].into_iter().flatten().collect()
    }

    /// Watches the folders in which something about the targets would be seen, as they are now.
    fn arm(&mut self) {
        let Some(kernel) = &self.kernel else { return };
        let kernel = &kernel.get_ref().0;
        let mut folders = HashMap::new();
        for folder in self.targets().iter().flat_map(|target| around(target)).chain(self.drop_ins.clone()) {
            // What is missing is seen to come in the folder around it.
            if let Ok(descriptor) = kernel.add_watch(&folder, EVENTS) {
                folders.entry(descriptor).or_insert(folder);
            }
        }
        for gone in self.folders.keys().filter(|descriptor| !folders.contains_key(descriptor)) {
            // The kernel has given it up by itself where the folder is gone.
            let _ = kernel.rm_watch(*gone);
        }
        self.folders = folders;
    }
}

/// The nearest folder around `path` that is there, and the one around that: it shows when the first is replaced.
fn around(path: &Path) -> Vec<PathBuf> {
    let there = path.ancestors().skip(1).filter(|folder| folder.is_dir());
    there.take(2).map(Path::to_owned).collect()
}

/// A file with one name that somebody has just made: not a link of either kind, nor a folder.
fn is_being_written(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.nlink() == 1)
}

fn open() -> io::Result<AsyncFd<Kernel>> {
    let kernel = Kernel(Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?);
    // SAFETY: `Kernel` owns its descriptor, which is open and the same for as long as `Kernel` lives.
    unsafe { AsyncFd::register_with_interest(kernel, Interest::READABLE) }.map_err(Into::into)
}

async fn heard(kernel: &AsyncFd<Kernel>) -> Vec<InotifyEvent> {
    loop {
        let Ok(mut ready) = kernel.readable().await else { std::future::pending().await };
        match kernel.get_ref().0.read_events() {
            Ok(events) => return events,
            Err(_) => ready.clear_ready(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use node::files::replace;
    use std::fs::{create_dir, remove_dir_all, remove_file, rename};
    use std::os::unix::fs::symlink;

    /// A folder `etc/node-agent` with a file, watched, after the first wake.
    async fn watched() -> (tempfile::TempDir, ConfigurationWatch) {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("etc/node-agent")).unwrap();
        replace(&root.path().join("etc/node-agent/node.toml"), b"1", 0o600).unwrap();
        let mut watch = watch(root.path());
        wakes("what happened before", &mut watch).await;
        (root, watch)
    }

    fn watch(root: &Path) -> ConfigurationWatch {
        let folder = root.join("etc/node-agent");
        ConfigurationWatch::new(folder.join("node.toml"), Some(folder.join("node.d")))
    }

    async fn wakes(why: &str, watch: &mut ConfigurationWatch) {
        let woken = tokio::time::timeout(Duration::from_secs(20), watch.changed()).await;
        woken.unwrap_or_else(|_| panic!("not woken by {why}: {watch:?}"));
    }

    #[tokio::test]
    async fn every_way_to_change_a_file_wakes() {
        let (root, mut watch) = watched().await;
        let folder = root.path().join("etc/node-agent");
        let file = folder.join("node.toml");
        let write = |text: &[u8]| {
            use std::io::Write;
            let mut open = fs::OpenOptions::new().write(true).truncate(true).open(&file).unwrap();
            open.write_all(text).unwrap();
        };
        write(b"2");
        wakes("a write in place", &mut watch).await;
        replace(&file, b"3", 0o600).unwrap();
        wakes("an editor that renames", &mut watch).await;
        remove_file(&file).unwrap();
        wakes("its removal", &mut watch).await;
        replace(&root.path().join("elsewhere.toml"), b"4", 0o600).unwrap();
        symlink(root.path().join("elsewhere.toml"), &file).unwrap();
        wakes("a link in its place", &mut watch).await;
        replace(&root.path().join("elsewhere.toml"), b"5", 0o600).unwrap();
        wakes("a change of what the link leads to", &mut watch).await;
    }

    #[tokio::test]
    async fn folders_may_come_go_and_be_replaced() {
        let (root, mut watch) = watched().await;
        let folder = root.path().join("etc/node-agent");
        create_dir(folder.join("node.d")).unwrap();
        replace(&folder.join("node.d/10.toml"), b"x", 0o600).unwrap();
        wakes("the first drop-in", &mut watch).await;
        replace(&folder.join("node.d/10.toml"), b"y", 0o600).unwrap();
        wakes("another text of it", &mut watch).await;
        remove_dir_all(folder.join("node.d")).unwrap();
        wakes("the end of the drop-ins", &mut watch).await;
        rename(&folder, root.path().join("etc/old")).unwrap();
        wakes("a folder that is renamed away", &mut watch).await;
        create_dir(&folder).unwrap();
        replace(&folder.join("node.toml"), b"z", 0o600).unwrap();
        wakes("another folder in its place", &mut watch).await;
        remove_dir_all(root.path().join("etc")).unwrap();
        wakes("the end of all of it", &mut watch).await;
        fs::create_dir_all(&folder).unwrap();
        replace(&folder.join("node.toml"), b"z", 0o600).unwrap();
        wakes("all of it made again", &mut watch).await;
    }

    #[tokio::test]
    async fn nobody_is_woken_for_what_is_not_read_or_not_written_to_its_end() {
        let (root, watch) = watched().await;
        let folder = root.path().join("etc/node-agent");
        let begun =
            fs::OpenOptions::new().create_new(true).write(true).open(folder.join("node.toml.swp")).unwrap();
        replace(&folder.join("notes.txt"), b"x", 0o600).unwrap();
        replace(&root.path().join("etc/hosts"), b"x", 0o600).unwrap();
        drop(begun);
        let mut told = Vec::new();
        while let Ok(events) = watch.kernel.as_ref().unwrap().get_ref().0.read_events() {
            told.extend(events);
        }
        assert!(told.len() > 3, "{told:?}");
        let wakes: Vec<_> = told.iter().filter(|event| watch.concerns(event)).collect();
        assert!(wakes.is_empty(), "{wakes:?}");
    }
}
