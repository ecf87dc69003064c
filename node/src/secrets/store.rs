//! The store of secrets on tmpfs.
//!
//! ```text
//! /run/node-agent/secrets/          0700
//!     NAME/                         0755
//!         VERSION/KEY               0444, in a folder of 0755: what containers get mounted
//!         VERSION.json              version id, time and key names; no value
//!         current -> VERSION
//! ```
//!
//! In: fetched values, and which versions containers still use. Out: values, and folders to mount. What always holds: one
//! program writes at a time, bootstrap, then the agent. The outer folder is what keeps others out; the inner modes are
//! for users inside containers.
//! Not its job: what is inside the folder of one secret, which is in `versions`.

use super::SecretValue;
use super::versions::{self, file_name, make_directory};
use crate::paths::Paths;
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// `/run/node-agent/secrets`: one folder a secret and version, so that a running container keeps the files it was
/// started with.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// Why the store could not be read or written; never holds a value.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} secret {name} at {path}")]
pub struct StoreError {
    /// `read`, `write` or `prune`
    pub action: &'static str,
    /// `[secrets.NAME]`
    pub name: String,
    /// File or folder.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

impl crate::fault::Hint for StoreError {
    fn hint(&self) -> Option<String> {
        match self.source.kind() {
            ErrorKind::StorageFull => Some("the tmpfs on /run is full: see `df /run`".to_owned()),
            ErrorKind::PermissionDenied => Some("run it as root".to_owned()),
            _ => Some(format!("look at `findmnt -T {}`", self.path.display())),
        }
    }
}

impl Store {
    /// The store under `paths`. Touches nothing.
    pub fn new(paths: &Paths) -> Store {
        Store { root: paths.secrets() }
    }

    /// Writes a version, whole or not at all, and makes it the current one. Returns whether anything changed: a version
    /// never changes, so the one that is current already is left as it is.
    pub fn write(&self, value: &SecretValue) -> Result<bool, StoreError> {
        let secret = self.secret(&value.name);
        self.written(value, &secret).map_err(|source| StoreError {
            action: "write",
            name: value.name.clone(),
            path: secret,
            source,
        })
    }

    /// The current version, if there is one.
    pub fn current(&self, name: &str) -> Result<Option<SecretValue>, StoreError> {
        let secret = self.secret(name);
        versions::read_current(name, &secret).map_err(|source| StoreError {
            action: "read",
            name: name.to_owned(),
            path: secret,
            source,
        })
    }

    /// The folder with one file a key (0444) of that version: what containers get mounted read-only.
    pub fn folder(&self, name: &str, version_id: &str) -> PathBuf {
        self.secret(name).join(file_name(version_id))
    }

    /// Removes all versions of the secret but the current one and `keep`, the ones that containers still use.
    pub fn prune(&self, name: &str, keep: &BTreeSet<String>) -> Result<(), StoreError> {
        let secret = self.secret(name);
        versions::prune(&secret, keep).map_err(|source| StoreError {
            action: "prune",
            name: name.to_owned(),
            path: secret,
            source,
        })
    }

    fn secret(&self, name: &str) -> PathBuf {
        self.root.join(file_name(name))
    }

    fn written(&self, value: &SecretValue, secret: &Path) -> io::Result<bool> {
        make_directory(&self.root, 0o700)?;
        versions::write(value, secret)
    }
}

/// Whether `path`, or the nearest folder above it that exists, is on a tmpfs: what is written there never reaches a
/// disk (but for swap).
pub fn is_tmpfs(path: &Path) -> io::Result<bool> {
    let existing = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    Ok(statfs(existing)?.filesystem_type() == TMPFS_MAGIC)
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
