//! An opened directory: everything inside it is reached by name from its descriptor.
//!
//! What always holds: no symbolic link inside is followed, so that nothing outside is read or removed, whatever anybody
//! puts in the place of a name meanwhile. The path up to the directory is the operator's and may have links.

use crate::models::files::FilesError;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::OsString;
use std::fs::{File, ReadDir};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// An opened directory.
#[derive(Debug)]
pub(super) struct Directory {
    descriptor: OwnedFd,
    /// For messages only.
    path: PathBuf,
}

impl Directory {
    /// The one at this path, `None` where there is nothing.
    pub(super) fn at(path: &Path) -> Result<Option<Directory>, FilesError> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let opened = unless_gone(openat(AT_FDCWD, path, flags, Mode::empty()));
        let opened = opened.map_err(|errno| failed("open", path, errno))?;
        Ok(opened.map(|descriptor| Directory { descriptor, path: path.to_owned() }))
    }

    /// The directory of that name, `None` where there is nothing. A link is an error, as is a file.
    pub(super) fn inside(&self, name: &str) -> Result<Option<Directory>, FilesError> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let opened = unless_gone(openat(&self.descriptor, name, flags, Mode::empty()));
        let opened = opened.map_err(|errno| failed("open", &self.path.join(name), errno))?;
        Ok(opened.map(|descriptor| Directory { descriptor, path: self.path.join(name) }))
    }

    /// What it holds, in the order of the file system.
    pub(super) fn names(&self) -> Result<Names, FilesError> {
        // By the descriptor: the path may lead elsewhere by now.
        let own = format!("/proc/self/fd/{}", self.descriptor.as_raw_fd());
        let entries = std::fs::read_dir(own).map_err(|source| self.error("list", source))?;
        Ok(Names { entries, path: self.path.clone() })
    }

    /// What kind of entry this is, `None` where it is gone.
    pub(super) fn state(&self, name: &str) -> Result<Option<FileStat>, FilesError> {
        unless_gone(fstatat(&self.descriptor, name, AtFlags::AT_SYMLINK_NOFOLLOW))
            .map_err(|errno| failed("look at", &self.path.join(name), errno))
    }

    /// The file of that name to read, `None` where it is gone. What is no file is an error.
    pub(super) fn open(&self, name: &str) -> Result<Option<File>, FilesError> {
        // Not blocking: a pipe that somebody put there must not hold us.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let opened = unless_gone(openat(&self.descriptor, name, flags, Mode::empty()));
        let Some(descriptor) = opened.map_err(|errno| failed("open", &self.path.join(name), errno))? else {
            return Ok(None);
        };
        let file = File::from(descriptor);
        let is_file = file.metadata().map_err(|source| self.error_at("open", name, source))?.is_file();
        if is_file {
            return Ok(Some(file));
        }
        Err(self.error_at("open", name, std::io::Error::other("it is no file")))
    }

    /// Removes the entry; `true` when it was there. A link goes itself, what it leads to stays.
    pub(super) fn remove(&self, name: &str) -> Result<bool, FilesError> {
        let removed = unless_gone(unlinkat(&self.descriptor, name, UnlinkatFlags::NoRemoveDir));
        Ok(removed.map_err(|errno| failed("remove", &self.path.join(name), errno))?.is_some())
    }

    /// What was removed stays so, whatever happens to the machine.
    pub(super) fn sync(&self) -> Result<(), FilesError> {
        nix::unistd::fsync(&self.descriptor).map_err(|errno| failed("write", &self.path, errno))
    }

    /// For a message.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// An error on one of its entries.
    pub(super) fn error_at(&self, operation: &'static str, name: &str, source: std::io::Error) -> FilesError {
        FilesError { operation, path: self.path.join(name).display().to_string(), source }
    }

    /// An error on itself.
    pub(super) fn error(&self, operation: &'static str, source: std::io::Error) -> FilesError {
        FilesError { operation, path: self.path.display().to_string(), source }
    }
}

/// See [`Directory::names`].
pub(super) struct Names {
    entries: ReadDir,
    path: PathBuf,
}

impl Iterator for Names {
    type Item = Result<OsString, FilesError>;

    fn next(&mut self) -> Option<Self::Item> {
        let named = |entry: std::io::Result<std::fs::DirEntry>| entry.map(|entry| entry.file_name());
        let path = || self.path.display().to_string();
        let entry = self.entries.next()?;
        Some(named(entry).map_err(|source| FilesError { operation: "list", path: path(), source }))
    }
}

/// Whether this is a file, and no link, pipe or directory.
pub(super) fn is_file(state: &FileStat) -> bool {
    SFlag::from_bits_truncate(state.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG
}

/// Whether this is a directory.
pub(super) fn is_directory(state: &FileStat) -> bool {
    SFlag::from_bits_truncate(state.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR
}

fn unless_gone<T>(result: nix::Result<T>) -> nix::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn failed(operation: &'static str, path: &Path, errno: Errno) -> FilesError {
    FilesError { operation, path: path.display().to_string(), source: errno.into() }
}
