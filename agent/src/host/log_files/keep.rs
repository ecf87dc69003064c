//! The folder in which logs are kept: one folder for each source, with hard links to its files.
//!
//! In: where the engine writes a container's log, or a file of the node. Out: a [`Source`], found again after a restart without asking the engine.
//! `logs/ID` in the agent's state directory, or a symbolic link there to `node-agent-logs/ID` in the engine's own
//! directory: a hard link cannot lead to another file system, nor to another mount of the same one.

use super::LogFile;
use super::folder::Folder;
use crate::logs::feed::FeedError;
use node::hexadecimal::hexadecimal;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// In the agent's state directory.
const FOLDER: &str = "logs";
/// In the engine's directory.
const BESIDE_THE_ENGINE: &str = "node-agent-logs";
/// What is known of a source, beside its files.
const ABOUT: &str = "source.json";
/// What applications wrote is root's, as it is at the engine.
const MODE: u32 = 0o700;
const ABOUT_MODE: u32 = 0o600;

/// All kept logs.
#[derive(Debug)]
pub struct Keep {
    folder: PathBuf,
    /// Held while a folder is made.
    making: Mutex<()>,
}

/// The log of one container, or a file of the node.
#[derive(Debug)]
pub struct Source {
    /// The container; of a file its key ([`file_key`]).
    pub container_id: String,
    /// Whose it was; of a file its path.
    pub service: String,
    /// Digest of its image.
    pub digest: Option<String>,
    /// Where the engine writes, or wrote.
    pub path: PathBuf,
    /// Its files.
    pub folder: Folder,
}

#[derive(Debug, Serialize, Deserialize)]
struct About {
    service: String,
    digest: Option<String>,
    path: PathBuf,
}

impl Keep {
    /// In the agent's state directory.
    pub fn new(state: &Path) -> Keep {
        Keep { folder: state.join(FOLDER), making: Mutex::default() }
    }

    /// The log of a container that was kept before.
    pub fn find(&self, container_id: &str) -> Option<Source> {
        let folder = self.folder.join(container_id);
        let about = std::fs::read(folder.join(ABOUT)).ok()?;
        let About { service, digest, path } = serde_json::from_slice(&about).ok()?;
        let folder = Folder::open(&folder).ok()?;
        Some(Source { container_id: container_id.to_owned(), service, digest, path, folder })
    }

    /// The logs that are kept, but for those of `known` containers.
    pub fn all_but(&self, known: &BTreeSet<String>) -> Vec<Source> {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let unknown = names.filter(|container_id| !known.contains(container_id));
        unknown.filter_map(|container_id| self.find(&container_id)).collect()
    }

    /// The log of a container, kept from now on.
    ///
    /// # Errors
    /// It cannot be kept.
    pub fn begin(&self, container_id: &str, log: &LogFile) -> Result<Source, FeedError> {
        // Nothing of ours is left half changed by a panic.
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(source) = self.find(container_id) {
            return Ok(source);
        }
        let folder = self.make(container_id, &log.path)?;
        let LogFile { path: written, service, digest } = log.clone();
        let about = About { service, digest, path: written };
        let path = folder.join(ABOUT);
        let text = serde_json::to_vec(&about).map_err(io::Error::other);
        text.and_then(|text| node::files::replace(&path, &text, ABOUT_MODE)).map_err(|source| FeedError {
            operation: "write",
            path,
            source,
        })?;
        let folder = Folder::open(&folder)?;
        Ok(Source {
            container_id: container_id.to_owned(),
            service: about.service,
            digest: about.digest,
            path: about.path,
            folder,
        })
    }

    /// Keeps what a container wrote so far, before it is removed.
    ///
    /// # Errors
    /// It cannot be kept.
    pub fn hold(&self, container_id: &str, log: &LogFile) -> Result<(), FeedError> {
        let mut source = self.begin(container_id, log)?;
        source.folder.find_files(&log.path, true).map(|_| ())
    }

    /// Where the cursor of a source is remembered that is no file.
    pub fn cursor(&self, key: &str) -> PathBuf {
        // Whoever writes there says so if it is not there.
        let _ = make_folder(&self.folder);
        self.folder.join(format!("{}.cursor", key.replace('/', "-")))
    }

    /// Forgets files of the node that node.toml names no more.
    pub fn forget_files(&self, is_wanted: impl Fn(&Path) -> bool) {
        for mut source in self.all_but(&BTreeSet::new()) {
            if source.container_id.starts_with(FILE_KEY) && !is_wanted(&source.path) {
                source.folder.clear();
            }
        }
    }

    /// A folder to which files beside `log` can be linked.
    fn make(&self, container_id: &str, log: &Path) -> Result<PathBuf, FeedError> {
        let folder = self.folder.join(container_id);
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| FeedError { operation: "make", path, source }
        };
        if folder.is_symlink() && !folder.exists() {
            // It led to an engine's directory that is no more.
            std::fs::remove_file(&folder).map_err(failed(&folder))?;
        }
        make_folder(&folder).map_err(failed(&folder))?;
        if can_link(log, &folder) {
            return Ok(folder);
        }
        if container_id.starts_with(FILE_KEY) {
            // A folder of ours beside a file of somebody else is nobody's wish: it is marked instead.
            return Ok(folder);
        }
        // DATA-ROOT/containers/ID/ID-json.log
        let Some(engine) = log.ancestors().nth(3) else { return Ok(folder) };
        let beside = engine.join(BESIDE_THE_ENGINE).join(container_id);
        make_folder(&beside).map_err(failed(&beside))?;
        if !can_link(log, &beside) {
            let _ = std::fs::remove_dir(&beside);
            return Ok(folder);
        }
        std::fs::remove_dir(&folder).and_then(|()| symlink(&beside, &folder)).map_err(failed(&folder))?;
        Ok(folder)
    }
}

/// Keys of files begin with it; ids of containers are hexadecimal.
pub(super) const FILE_KEY: &str = "file-";

/// By which a file of the node is kept.
pub(super) fn file_key(path: &Path) -> String {
    let sum = Sha256::digest(path.as_os_str().as_bytes());
    format!("{FILE_KEY}{}", hexadecimal(&sum[..16]))
}

fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(MODE).create(path)
}

/// Whether a file can be linked to a folder; one that is not there yet leaves that open.
fn can_link(file: &Path, folder: &Path) -> bool {
    let trial = folder.join("trial");
    let _ = std::fs::remove_file(&trial);
    match std::fs::hard_link(file, &trial) {
        Ok(()) => std::fs::remove_file(&trial).is_ok(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}
