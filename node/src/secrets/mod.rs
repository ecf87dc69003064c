//! Secrets on the node: values in memory that no log can print, and the store on tmpfs.

use crate::paths::Paths;
use jiff::Timestamp;
use secrecy::SecretSlice;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// One fetched version of a secret.
#[derive(Debug)]
pub struct SecretValue {
    /// `[secrets.NAME]`
    pub name: String,
    /// Version in Secrets Manager.
    pub version_id: String,
    /// When it was fetched.
    pub fetched_at: Timestamp,
    /// Key to value. A secret that is no JSON object has the one key `value`.
    pub values: BTreeMap<String, SecretSlice<u8>>,
}

/// `/run/node-agent/secrets`: one folder a secret and version, so that a running container keeps the files it was
/// started with.
#[derive(Debug, Clone)]
pub struct Store {}

/// Why the store could not be read or written; never holds a value.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} secret {name} at {path}")]
pub struct StoreError {
    /// `read` or `write`
    pub action: &'static str,
    /// `[secrets.NAME]`
    pub name: String,
    /// File or folder.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: std::io::Error,
}

impl Store {
    /// The store under `paths`. Touches nothing.
    pub fn new(_paths: &Paths) -> Store {
        todo!()
    }

    /// Writes a version, whole or not at all, and makes it the current one. Returns whether anything changed.
    pub fn write(&self, _value: &SecretValue) -> Result<bool, StoreError> {
        todo!()
    }

    /// The current version, if there is one.
    pub fn current(&self, _name: &str) -> Result<Option<SecretValue>, StoreError> {
        todo!()
    }

    /// The folder with one file a key (0444) of that version: what containers get mounted read-only.
    pub fn folder(&self, _name: &str, _version_id: &str) -> PathBuf {
        todo!()
    }
}
