//! The positions behind the last delivered lines, on disk.
//!
//! In: positions, moved only after the destination's answer. Out: `log-cursors.json` in the agent's state directory,
//! replaced as a whole. What always holds: the file is never ahead of what was delivered. It may be behind; then lines
//! are delivered again. How often it is written is decided by those who call [`Cursors::save`].

use super::position::Position;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// In the agent's state directory.
pub const FILE_NAME: &str = "log-cursors.json";

/// Only root reads where the logs stand; no value of anybody is in it, but nobody else needs it either.
const MODE: u32 = 0o600;

/// The one format so far.
const VERSION: u32 = 1;

/// Why the positions of an earlier run are not known.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It is there and cannot be read.
    #[error("cannot read log cursors {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not ours, or of a version that this one does not know.
    #[error("log cursors {path} are not valid")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl node::fault::Hint for LoadError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            LoadError::Read { .. } => {
                "look for errors of the disk in `dmesg | tail`; until then lines are delivered again"
            }
            LoadError::Parse { .. } => {
                "nothing: they are written anew, and lines since the last look are delivered again"
            }
        };
        Some(hint.to_owned())
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    containers: BTreeMap<String, Position>,
}

#[derive(Debug)]
struct Memory {
    containers: BTreeMap<String, Position>,
    /// Counts the changes.
    changes: u64,
}

/// The positions of all containers, in memory and on disk.
#[derive(Debug)]
pub struct Cursors {
    path: PathBuf,
    memory: Mutex<Memory>,
    /// The change up to which the file is written; whoever holds it writes.
    written: tokio::sync::Mutex<u64>,
}

impl Cursors {
    /// Reads the positions of an earlier run; none when there is no file. With an error come empty cursors, with which
    /// every log is delivered from its beginning.
    pub fn load(directory: &Path) -> (Cursors, Option<LoadError>) {
        let path = directory.join(FILE_NAME);
        let (containers, error) = match read(&path) {
            Ok(containers) => (containers, None),
            Err(error) => (BTreeMap::new(), Some(error)),
        };
        let memory = Mutex::new(Memory { containers, changes: 0 });
        (Cursors { path, memory, written: tokio::sync::Mutex::new(0) }, error)
    }

    /// Behind the last delivered line of a container; `None` when none was.
    pub fn position(&self, container_id: &str) -> Option<Position> {
        self.memory().containers.get(container_id).copied()
    }

    /// All lines up to `position` were delivered. Returns the number of the change, for [`Cursors::save_change`].
    pub fn advance(&self, container_id: &str, position: Position) -> u64 {
        let mut memory = self.memory();
        memory.containers.insert(container_id.to_owned(), position);
        memory.changes += 1;
        memory.changes
    }

    /// Forgets the containers that `keep` does not name.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) {
        let mut memory = self.memory();
        let before = memory.containers.len();
        memory.containers.retain(|container_id, _| keep(container_id));
        if memory.containers.len() < before {
            memory.changes += 1;
        }
    }

    /// Returns when everything that was known at the call is on disk.
    pub async fn save(&self) -> io::Result<()> {
        let changes = self.memory().changes;
        self.save_change(changes).await
    }

    /// Returns when a change, and all before it, is on disk. Calls at the same time share one write.
    pub async fn save_change(&self, change: u64) -> io::Result<()> {
        let mut written = self.written.lock().await;
        if *written >= change {
            return Ok(());
        }
        let (document, changes) = {
            let memory = self.memory();
            (Document { version: VERSION, containers: memory.containers.clone() }, memory.changes)
        };
        let path = self.path.clone();
        let write = move || {
            let text = serde_json::to_vec_pretty(&document).map_err(io::Error::other)?;
            node::files::replace(&path, &text, MODE)
        };
        tokio::task::spawn_blocking(write).await.map_err(io::Error::other)??;
        *written = changes;
        Ok(())
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // Every change is whole before the lock is given back, so what a panic leaves behind is right.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(path: &Path) -> Result<BTreeMap<String, Position>, LoadError> {
    let text = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(source) => return Err(LoadError::Read { path: path.to_owned(), source }),
        Ok(text) => text,
    };
    let invalid = |source| LoadError::Parse { path: path.to_owned(), source };
    let document: Document = serde_json::from_slice(&text).map_err(invalid)?;
    if document.version != VERSION {
        let message = format!("version {} is not known", document.version);
        return Err(invalid(serde::de::Error::custom(message)));
    }
    Ok(document.containers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    fn position(second: i64) -> Position {
        Position::after(None, Timestamp::from_second(second).unwrap())
    }

    #[tokio::test]
    async fn positions_are_found_again_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let (cursors, error) = Cursors::load(directory.path());
        assert!(error.is_none(), "a missing file is the first start: {error:?}");
        cursors.advance("one", position(1));
        cursors.advance("two", position(2));
        cursors.retain(|container_id| container_id == "two");
        cursors.save().await.unwrap();
        let (again, error) = Cursors::load(directory.path());
        assert!(error.is_none(), "{error:?}");
        assert_eq!(again.position("one"), None);
        assert_eq!(again.position("two"), Some(position(2)));
    }

    #[tokio::test]
    async fn saving_without_a_change_writes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let (cursors, _) = Cursors::load(directory.path());
        cursors.save().await.unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_damaged_file_is_reported_and_everything_is_delivered_again() {
        for damage in ["", "{", r#"{"version": 2, "containers": {}}"#, r#"{"version": 1}"#] {
            let directory = tempfile::tempdir().unwrap();
            node::files::replace(&directory.path().join(FILE_NAME), damage.as_bytes(), MODE).unwrap();
            let (cursors, error) = Cursors::load(directory.path());
            let error = error.expect(damage);
            assert!(error.to_string().ends_with("log-cursors.json are not valid"), "{error}");
            assert_eq!(cursors.position("one"), None);
        }
    }
}
