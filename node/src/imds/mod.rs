//! The instance metadata service, version 2 only.

use crate::environment::Environment;
use crate::fault::Hint;
use crate::identity::Facts;
use std::collections::BTreeSet;

/// Why the metadata service gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ImdsError {
    /// Placeholder until the client is written.
    #[error("cannot reach the instance metadata service at {endpoint}")]
    Unreachable {
        /// Base URL.
        endpoint: String,
    },
}

impl Hint for ImdsError {}

/// A client; clones share the token.
#[derive(Debug, Clone)]
pub struct Client {}

impl Client {
    /// A client for the endpoint of the environment, else `http://169.254.169.254`.
    pub fn new(_environment: &Environment) -> Client {
        todo!()
    }

    /// The text at `path` below `/latest/`, e.g. `meta-data/instance-id`; `None` where it does not exist (404).
    pub async fn get(&self, _path: &str) -> Result<Option<String>, ImdsError> {
        todo!()
    }

    /// Who this instance is, with those of `tags` (and `Name`) that exist.
    pub async fn facts(&self, _tags: &BTreeSet<String>) -> Result<Facts, ImdsError> {
        todo!()
    }
}
