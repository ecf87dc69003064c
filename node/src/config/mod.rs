//! node.toml: as typed, then validated.
//!
//! `Source`s (files and their text) -> [`Draft`] (parsed, merged, positions kept) -> [`Settings`] (for one instance).
//! All mistakes are reported at once, each with file, line and column. Everything but [`Draft::read`] is pure.

pub mod settings;

use crate::identity::Facts;
use crate::paths::Paths;
pub use settings::Settings;
use std::collections::BTreeSet;

/// One file of configuration.
#[derive(Debug, Clone)]
pub struct Source {
    /// What messages call it: its path, or `<standard input>`.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// One mistake in node.toml.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Mistake {
    /// [`Source::name`]
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong, on which key, why.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

/// All mistakes of a configuration, in the order of the files and lines. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} mistakes in the configuration", .0.len())]
pub struct Mistakes(pub Vec<Mistake>);

/// Why no configuration could be had.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file could not be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It was read and is wrong.
    #[error(transparent)]
    Invalid(#[from] Mistakes),
}

/// A parsed configuration, not yet bound to an instance.
#[derive(Debug, Clone)]
pub struct Draft {}

impl Draft {
    /// Reads node.toml and the drop-ins of node.d in the order of their names.
    pub fn read(_paths: &Paths) -> Result<Draft, LoadError> {
        todo!()
    }

    /// Parses and merges; later sources win key by key.
    pub fn parse(_sources: Vec<Source>) -> Result<Draft, Mistakes> {
        todo!()
    }

    /// The instance tags that `${tag:KEY}` names, to be asked of the metadata service.
    pub fn tags(&self) -> BTreeSet<String> {
        todo!()
    }

    /// Checks all that can be checked without an instance, with stand-ins for what `${…}` names.
    pub fn check(&self) -> Result<(), Mistakes> {
        todo!()
    }

    /// The validated settings for the instance that `facts` describe.
    pub fn settings(&self, _facts: &Facts) -> Result<Settings, Mistakes> {
        todo!()
    }
}

/// The JSON Schema of node.toml: every key, its default, and which have no effect in this version yet.
pub fn schema() -> serde_json::Value {
    todo!()
}
