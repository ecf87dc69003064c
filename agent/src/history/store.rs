//! The durable part of the history on disk, `/var/lib/node-agent/history.json`: replaced whole, never edited.
//!
//! A file that cannot be understood is put aside, not deleted, and the agent goes on without: what runs is adopted.

use super::Durable;
use node::document::{self, Unread};
use node::fault::Hint;
use node::paths::Paths;
use std::io;
use std::path::PathBuf;

/// Version of the file's shape; what is newer is put aside.
const SCHEMA: u32 = 1;

/// Logs of applications are in it.
const MODE: u32 = 0o600;

/// Why the history could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file is there and cannot be read.
    #[error("cannot read the history at {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It was read and makes no sense; it lies at `aside` now, if it could be moved.
    #[error("the history at {} is damaged and was put aside", path.display())]
    Damaged {
        /// Where it was.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// It was written by a newer agent; it was put aside.
    #[error("the history at {} is of version {found}, newer than this agent knows, and was put aside", path.display())]
    Newer {
        /// Where it was.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// The new content could not be written; the old one still stands.
    #[error("cannot write the history to {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl StoreError {
    /// Stable code for `problems[]`.
    pub fn code(&self) -> &'static str {
        match self {
            StoreError::Read { .. } => "history_unreadable",
            StoreError::Damaged { .. } | StoreError::Newer { .. } => "history_damaged",
            StoreError::Write { .. } => "history_not_written",
        }
    }
}

impl Hint for StoreError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            StoreError::Read { .. } => "look at the permissions of the file; services run on without it",
            StoreError::Damaged { .. } | StoreError::Newer { .. } => {
                "services run on; versions that failed before may be tried once more"
            }
            StoreError::Write { .. } => "look at `df` for the disk; services run on, and it is tried again",
        };
        Some(hint.to_owned())
    }
}

/// Where the durable part lies; clones name the same file.
#[derive(Debug, Clone)]
pub struct Store {
    path: PathBuf,
}

impl Store {
    /// The store under `paths`. Touches nothing.
    pub fn new(paths: &Paths) -> Store {
        Store { path: paths.state().join("history.json") }
    }

    /// What was remembered, and why it is less than expected, if it is. A missing file is an empty history.
    pub fn load(&self) -> (Durable, Option<StoreError>) {
        let (durable, unread) = document::load(&self.path, SCHEMA);
        let path = self.path.clone();
        let problem = unread.map(|unread| match unread {
            Unread::Unreadable(source) => StoreError::Read { path, source },
            Unread::Damaged(source) => StoreError::Damaged { path, source },
            Unread::Newer(found) => StoreError::Newer { path, found },
        });
        (durable, problem)
    }

    /// Replaces what was remembered, durably.
    pub fn save(&self, durable: &Durable) -> Result<(), StoreError> {
        document::save(&self.path, SCHEMA, durable, MODE)
            .map_err(|source| StoreError::Write { path: self.path.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Version;
    use node::document::aside;
    use std::fs;

    fn store() -> (tempfile::TempDir, Store) {
        let root = tempfile::tempdir().unwrap();
        let store = Store::new(&Paths::under(root.path()));
        (root, store)
    }

    fn remembered() -> Durable {
        let version = Version { digest: "sha256:1".to_owned(), spec: "a".to_owned() };
        let mut durable = Durable::default();
        let record = durable.record_mut("api");
        record.generation = 3;
        record.record_good(&version, "image:latest".to_owned());
        durable
    }

    #[test]
    fn a_missing_file_is_an_empty_history() {
        let (_root, store) = store();
        let (durable, problem) = store.load();
        assert_eq!(durable, Durable::default());
        assert!(problem.is_none());
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let (_root, store) = store();
        store.save(&remembered()).unwrap();
        let (durable, problem) = store.load();
        assert_eq!(durable, remembered());
        assert!(problem.is_none());
    }

    #[test]
    fn a_damaged_file_is_put_aside_with_a_problem_and_the_next_save_works() {
        let (_root, store) = store();
        store.save(&remembered()).unwrap();
        let whole = fs::read(&store.path).unwrap();
        for content in [&whole[..whole.len() / 2], b"", b"[]", b"\0\0\0\0"] {
            node::files::replace(&store.path, content, MODE).unwrap();
            let (durable, problem) = store.load();
            assert_eq!(durable, Durable::default());
            assert_eq!(problem.unwrap().code(), "history_damaged");
            assert_eq!(fs::read(aside(&store.path)).unwrap(), content);
            assert!(!store.path.exists());
        }
        store.save(&remembered()).unwrap();
        assert_eq!(store.load().0, remembered());
    }

    #[test]
    fn a_file_of_a_newer_agent_is_put_aside() {
        let (_root, store) = store();
        store.save(&remembered()).unwrap();
        let text = fs::read_to_string(&store.path).unwrap().replace("\"schema\": 1", "\"schema\": 2");
        node::files::replace(&store.path, text.as_bytes(), MODE).unwrap();
        let (durable, problem) = store.load();
        assert_eq!(durable, Durable::default());
        assert!(matches!(problem, Some(StoreError::Newer { found: 2, .. })));
    }

    #[test]
    fn a_write_that_fails_names_the_file() {
        let (_root, store) = store();
        fs::create_dir_all(store.path.join("occupied")).unwrap();
        let error = store.save(&remembered()).unwrap_err();
        assert!(error.to_string().contains("history.json"), "{error}");
        assert_eq!(error.code(), "history_not_written");
    }
}
