//! Secrets on the node: values in memory that no log can print, and the store on tmpfs.

mod contents;
mod store;
mod versions;

pub use contents::{Contents, ContentsError};
pub use store::{Store, StoreError, is_tmpfs};

use jiff::Timestamp;
use secrecy::SecretSlice;
use std::collections::BTreeMap;

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
