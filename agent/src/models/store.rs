//! What is remembered of models, on disk: `/var/lib/node-agent/models.json`, replaced whole, and beside it `models.lock`,
//! written when it says something new.
//!
//! A file that cannot be understood is put aside, not deleted, and the agent goes on without: what the server has is
//! adopted.

use super::lock;
use super::record::Durable;
use node::config::settings::Models;
use node::document::{self, Unread};
use node::fault::Hint;
use node::paths::Paths;
use std::io;
use std::path::{Path, PathBuf};

/// Version of the file's shape; what is newer is put aside.
const SCHEMA: u32 = 1;

/// Nothing in them is secret, but who may change them decides what is served.
const MODE: u32 = 0o644;

/// Why what is remembered could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file is there and cannot be read.
    #[error("cannot read what is remembered of models at {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It was read and makes no sense; it was put aside, if it could be moved.
    #[error("what is remembered of models at {} is damaged and was put aside", path.display())]
    Damaged {
        /// Where it was.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// It was written by a newer agent; it was put aside.
    #[error(
        "what is remembered of models at {} is of version {found}, newer than this agent knows, and was put aside",
        path.display()
    )]
    Newer {
        /// Where it was.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// The new content could not be written; the old one still stands.
    #[error("cannot write to {}", path.display())]
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
            StoreError::Read { .. } => "model_record_unreadable",
            StoreError::Damaged { .. } | StoreError::Newer { .. } => "model_record_damaged",
            StoreError::Write { .. } => "model_record_not_written",
        }
    }
}

impl Hint for StoreError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            StoreError::Read { .. } => "look at the permissions of the file; models are served on without it",
            StoreError::Damaged { .. } | StoreError::Newer { .. } => {
                "models are served on; pins of a person are forgotten, and versions that failed may be tried once more"
            }
            StoreError::Write { .. } => {
                "look at `df` for the disk; models are served on, and it is tried again"
            }
        };
        Some(hint.to_owned())
    }
}

/// Where it lies; clones name the same files.
#[derive(Debug, Clone)]
pub struct Store {
    path: PathBuf,
    lock: PathBuf,
}

impl Store {
    /// The store under `paths`. Touches nothing.
    pub fn new(paths: &Paths) -> Store {
        Store { path: paths.state().join("models.json"), lock: paths.state().join("models.lock") }
    }

    /// What was remembered, and why it is less than expected, if it is. A missing file is an empty record.
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

    /// Replaces what was remembered, durably, and then the lock, where that says something else by now. Blocks for as
    /// long as the disk does.
    pub fn save(&self, durable: &Durable, models: &Models) -> Result<(), StoreError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            |source| StoreError::Write { path, source }
        };
        document::save(&self.path, SCHEMA, durable, MODE).map_err(failed(&self.path))?;
        let text = lock::text(models, durable);
        match std::fs::read(&self.lock) {
            Ok(before) if before == text.as_bytes() => Ok(()),
            _ => node::files::replace(&self.lock, text.as_bytes(), MODE).map_err(failed(&self.lock)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::record::Record;
    use crate::models::tests::samples::{ONE, settings};
    use node::document::aside;
    use std::fs;

    fn store() -> (tempfile::TempDir, Store) {
        let root = tempfile::tempdir().unwrap();
        let store = Store::new(&Paths::under(root.path()));
        (root, store)
    }

    fn remembered() -> Durable {
        let mut durable = Durable::default();
        let good = Record { good: Some(ONE.to_owned()), ours: true, ..Record::default() };
        durable.models.insert("registry.ollama.ai/library/a:1".to_owned(), good);
        durable.verified.insert("sha256:layer".to_owned(), 7);
        durable
    }

    #[test]
    fn a_missing_file_is_an_empty_record() {
        let (_root, store) = store();
        let (durable, problem) = store.load();
        assert_eq!(durable, Durable::default());
        assert!(problem.is_none());
    }

    #[test]
    fn what_was_saved_is_loaded_and_the_lock_lies_beside_it() {
        let (_root, store) = store();
        let models = settings(&["a:1"]);
        store.save(&remembered(), &models).unwrap();
        let (durable, problem) = store.load();
        assert_eq!(durable, remembered());
        assert!(problem.is_none());
        let lock = fs::read_to_string(&store.lock).unwrap();
        assert!(lock.contains("[models.pull.\"a:1\"]") && lock.contains(ONE), "{lock}");
        let written = fs::metadata(&store.lock).unwrap().modified().unwrap();
        store.save(&remembered(), &models).unwrap();
        assert_eq!(fs::metadata(&store.lock).unwrap().modified().unwrap(), written, "nothing new to say");
    }

    #[test]
    fn a_damaged_file_is_put_aside_with_a_problem_and_the_next_save_works() {
        let (_root, store) = store();
        let models = settings(&["a:1"]);
        store.save(&remembered(), &models).unwrap();
        let whole = fs::read(&store.path).unwrap();
        for content in [&whole[..whole.len() / 2], b"", b"[]", b"\0\0\0\0"] {
            node::files::replace(&store.path, content, MODE).unwrap();
            let (durable, problem) = store.load();
            assert_eq!(durable, Durable::default());
            assert_eq!(problem.unwrap().code(), "model_record_damaged");
            assert_eq!(fs::read(aside(&store.path)).unwrap(), content);
            assert!(!store.path.exists());
        }
        store.save(&remembered(), &models).unwrap();
        assert_eq!(store.load().0, remembered());
    }

    #[test]
    fn a_file_of_a_newer_agent_is_put_aside() {
        let (_root, store) = store();
        store.save(&remembered(), &settings(&["a:1"])).unwrap();
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
        let error = store.save(&remembered(), &settings(&["a:1"])).unwrap_err();
        assert!(error.to_string().contains("models.json"), "{error}");
        assert_eq!(error.code(), "model_record_not_written");
    }
}
