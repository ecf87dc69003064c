//! The files of one log, in the order in which they were written, each kept by a link of ours.
//!
//! A file to which no link can lead, because it lies on another file system, is noted by a mark instead (its inode and when
//! it was made): its number is known after a restart, and it is held by its descriptor for as long as the agent runs.
//!
//! In: the path at which the log is written now; `PATH.1`, `PATH.2` … are the ones before it, as the engine and logrotate
//! name them. Out: the files, numbered upwards. What always holds: a number belongs to one file for ever; a file is
//! numbered behind all that were begun before it; a link is removed only when nothing of the file is needed any more and
//! nobody else has it, so that no inode comes again under another number.

use crate::logs::feed::FeedError;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Before a link has its number.
const INCOMING: &str = "incoming-";

/// How often the files are looked at anew when they change meanwhile; a rotation takes milliseconds.
const TRIES: u32 = 20;

/// A file that is kept.
#[derive(Debug)]
pub struct Kept {
    /// Open for reading.
    pub file: File,
    inode: u64,
    /// By a link of ours; else by its descriptor only.
    linked: bool,
}

/// By what a file is known that is not linked: its inode, and when it was made, where the file system says that.
type Mark = (u64, i64);

/// The name of a mark ends so.
const MARK: &str = ".at";

/// The files of one log.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    files: BTreeMap<u64, Kept>,
    /// Of files that are to be found again.
    marks: BTreeMap<u64, Mark>,
}

impl Folder {
    /// What is kept so far.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(path: &Path) -> Result<Folder, FeedError> {
        let mut folder = Folder { path: path.to_owned(), files: BTreeMap::new(), marks: BTreeMap::new() };
        let _alone = folder.alone()?;
        folder.adopt()?;
        Ok(folder)
    }

    /// Files by their numbers.
    pub fn files(&self) -> &BTreeMap<u64, Kept> {
        &self.files
    }

    /// Keeps the files that were begun since the last time; at the first time with those that were rotated before, where
    /// `history` asks for them. `false`: there is no log at `path`, and nothing before it.
    ///
    /// # Errors
    /// They cannot be kept.
    pub fn find_files(&mut self, path: &Path, history: bool) -> Result<bool, FeedError> {
        if self.newest_is(path) {
            return Ok(true);
        }
        let _alone = self.alone()?;
        self.adopt()?;
        for _ in 0..TRIES {
            let there =
                rotation(path).map_err(|source| self.failed("look for the files of", path, source))?;
            self.find_marked(&there);
            if self.keep_new(&there, path, history)? {
                return Ok(!there.is_empty());
            }
        }
        let source = io::Error::other("it was rotated again and again meanwhile");
        Err(self.failed("follow", path, source))
    }

    /// Gives up a file.
    pub fn remove(&mut self, number: u64) {
        self.files.remove(&number);
        // What stays is found at the next start, and delivered again.
        let _ = fs::remove_file(self.link(number));
        let _ = fs::remove_file(self.mark(number));
    }

    /// Whether nobody else has a file any more.
    pub fn is_only_ours(&self, number: u64) -> bool {
        let Some(kept) = self.files.get(&number) else { return false };
        kept.file.metadata().is_ok_and(|metadata| metadata.nlink() <= u64::from(kept.linked))
    }

    /// Removes the folder with all that is in it: the log was delivered to its end.
    pub fn clear(&mut self) {
        self.files.clear();
        let target = fs::read_link(&self.path);
        if let Ok(target) = target {
            let _ = fs::remove_dir_all(target);
            let _ = fs::remove_file(&self.path);
        } else {
            let _ = fs::remove_dir_all(&self.path);
        }
    }

    /// Whoever keeps a log before its container goes does it beside whoever reads it.
    fn alone(&self) -> Result<File, FeedError> {
        let locked = File::open(&self.path).and_then(|folder| folder.lock().map(|()| folder));
        locked.map_err(|source| self.failed("lock", &self.path, source))
    }

    /// Takes what lies in the folder and is not known: from an earlier run, or kept by somebody else meanwhile.
    fn adopt(&mut self) -> Result<(), FeedError> {
        let entries = fs::read_dir(&self.path).map_err(|source| self.failed("read", &self.path, source))?;
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if name.starts_with(INCOMING) {
                // It was not numbered when somebody was killed; it is found again where it comes from.
                let _ = fs::remove_file(entry.path());
            } else if let Some(Ok(number)) = name.strip_suffix(MARK).map(str::parse::<u64>) {
                if !self.files.contains_key(&number) {
                    self.marks.extend(read_mark(&entry.path()).map(|mark| (number, mark)));
                }
            } else if let Ok(number) = name.parse()
                && !self.files.contains_key(&number)
            {
                self.keep(number, &entry.path(), true)?;
            }
        }
        Ok(())
    }

    fn newest_is(&self, path: &Path) -> bool {
        let newest = self.files.last_key_value().map(|(_, kept)| kept.inode);
        newest.is_some() && fs::metadata(path).map(|metadata| metadata.ino()).ok() == newest
    }

    /// Opens the files that were marked. One that is gone was removed while no agent ran.
    fn find_marked(&mut self, there: &[(PathBuf, u64)]) {
        for (number, mark) in std::mem::take(&mut self.marks) {
            let found = there.iter().find(|(name, _)| mark_of(name).is_ok_and(|other| other == mark));
            if found.is_none_or(|(name, _)| self.keep(number, name, false).is_err()) {
                let _ = fs::remove_file(self.mark(number));
                tracing::warn!(log = %self.path.display(), "a log was rotated away before it was delivered");
            }
        }
    }

    /// `false` when the files changed meanwhile: their order would not be known.
    fn keep_new(&mut self, there: &[(PathBuf, u64)], path: &Path, history: bool) -> Result<bool, FeedError> {
        let known = |inode: u64| self.files.values().any(|kept| kept.inode == inode);
        // What lies before a known one was begun before it: copies, and what was there before us.
        let behind = there.iter().rposition(|(_, inode)| known(*inode)).map(|last| last + 1);
        let first = match behind {
            None if !history && self.files.is_empty() => there.len().saturating_sub(1),
            behind => behind.unwrap_or(0),
        };
        let new = &there[first..];
        let mut links = Vec::with_capacity(new.len());
        for (at, (name, inode)) in new.iter().enumerate() {
            let link = self.path.join(format!("{INCOMING}{at}"));
            let _ = fs::remove_file(&link);
            match fs::hard_link(name, &link) {
                Ok(()) => links.push((link, *inode, true)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if cannot_be_linked(&error) => links.push((name.clone(), *inode, false)),
                Err(source) => return Err(self.failed("keep", name, source)),
            }
        }
        let same = |(link, inode, _): &(PathBuf, u64, bool)| {
            fs::metadata(link).is_ok_and(|metadata| metadata.ino() == *inode)
        };
        let unchanged = links.len() == new.len()
            && links.iter().all(same)
            && rotation(path).is_ok_and(|now| now.as_slice() == there);
        if !unchanged {
            for (link, _, _) in links.iter().filter(|(_, _, linked)| *linked) {
                let _ = fs::remove_file(link);
            }
            return Ok(false);
        }
        for (link, _, linked) in links {
            self.number(&link, linked)?;
        }
        Ok(true)
    }

    /// Gives the next number to a link, or to a file that is not linked.
    fn number(&mut self, from: &Path, linked: bool) -> Result<(), FeedError> {
        let number = self.files.last_key_value().map_or(1, |(number, _)| number + 1);
        if linked {
            let numbered = self.link(number);
            fs::rename(from, &numbered).map_err(|source| self.failed("keep", &numbered, source))?;
            return self.keep(number, &numbered, true);
        }
        let mark = mark_of(from).and_then(|mark| Ok(serde_json::to_vec(&mark)?));
        let written = mark.and_then(|mark| node::files::replace(&self.mark(number), &mark, MARK_MODE));
        written.map_err(|source| self.failed("mark", from, source))?;
        self.keep(number, from, false)
    }

    fn keep(&mut self, number: u64, path: &Path, linked: bool) -> Result<(), FeedError> {
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?.ino(), file)));
        let (inode, file) = opened.map_err(|source| self.failed("open", path, source))?;
        self.files.insert(number, Kept { file, inode, linked });
        Ok(())
    }

    fn mark(&self, number: u64) -> PathBuf {
        self.path.join(format!("{number:010}{MARK}"))
    }

    fn link(&self, number: u64) -> PathBuf {
        self.path.join(format!("{number:010}"))
    }

    fn failed(&self, operation: &'static str, path: &Path, source: io::Error) -> FeedError {
        FeedError { operation, path: path.to_owned(), source }
    }
}

/// Only root needs to know.
const MARK_MODE: u32 = 0o600;

fn mark_of(path: &Path) -> io::Result<Mark> {
    let metadata = fs::metadata(path)?;
    let made = metadata.created().ok().and_then(|made| made.duration_since(std::time::UNIX_EPOCH).ok());
    let made = made.and_then(|made| i64::try_from(made.as_nanos()).ok()).unwrap_or_default();
    Ok((metadata.ino(), made))
}

fn read_mark(path: &Path) -> Option<Mark> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Another file system, another mount of the same one, or one that has no links.
fn cannot_be_linked(error: &io::Error) -> bool {
    use nix::libc::{EMLINK, EOPNOTSUPP, EPERM, EXDEV};
    matches!(error.raw_os_error(), Some(EXDEV | EPERM | EMLINK | EOPNOTSUPP))
}

/// The files of a log, oldest first, with their inodes: `PATH.N` … `PATH.1`, `PATH`.
fn rotation(path: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Err(io::Error::other("it has no folder"));
    };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found: Vec<(u64, PathBuf, u64)> = Vec::new();
    for entry in entries {
        let entry = entry?;
        let file_name = entry.file_name();
        let Some(suffix) = file_name.to_str().and_then(|file| file.strip_prefix(name)) else { continue };
        let age = match suffix.strip_prefix('.') {
            None if suffix.is_empty() => 0,
            Some(number) => match number.parse() {
                Ok(age) => age,
                Err(_) => continue,
            },
            None => continue,
        };
        match entry.metadata() {
            Ok(metadata) if metadata.is_file() => found.push((age, entry.path(), metadata.ino())),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    found.sort_by_key(|(age, _, _)| std::cmp::Reverse(*age));
    Ok(found.into_iter().map(|(_, path, inode)| (path, inode)).collect())
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
