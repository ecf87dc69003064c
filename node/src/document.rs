//! What an agent remembers in a file of its own: one JSON object with the version of its shape, replaced whole.
//!
//! In: a path, the newest version that is understood. Out: what was remembered, and why that is less than expected, if it
//! is. What holds: a file that cannot be understood is put aside, not deleted; a missing one is an empty memory.
//! Not its job: what to tell a person, which depends on what the file is for.

use crate::files;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

#[derive(Serialize, Deserialize)]
struct Document<T> {
    schema: u32,
    #[serde(flatten)]
    content: T,
}

/// Why nothing was read.
#[derive(Debug)]
pub enum Unread {
    /// The file is there and cannot be read.
    Unreadable(io::Error),
    /// It makes no sense; it was put aside, if it could be moved.
    Damaged(serde_json::Error),
    /// It is of this version, newer than what is understood; it was put aside, if it could be moved.
    Newer(u32),
}

/// What was remembered; the default where there is no file or it was not read.
pub fn load<T: DeserializeOwned + Default>(path: &Path, schema: u32) -> (T, Option<Unread>) {
    match read(path, schema) {
        Ok(content) => (content, None),
        Err(unread) => {
            if !matches!(unread, Unread::Unreadable(_)) {
                // Should this fail too, the next write replaces the file, which was of no use as it was.
                let _ = std::fs::rename(path, aside(path));
            }
            (T::default(), Some(unread))
        }
    }
}

fn read<T: DeserializeOwned + Default>(path: &Path, schema: u32) -> Result<T, Unread> {
    let content = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(T::default()),
        Err(error) => return Err(Unread::Unreadable(error)),
        Ok(content) => content,
    };
    let document: Document<T> = serde_json::from_slice(&content).map_err(Unread::Damaged)?;
    if document.schema > schema {
        return Err(Unread::Newer(document.schema));
    }
    Ok(document.content)
}

/// Replaces what was remembered, durably, with these permission bits.
///
/// # Errors
/// Those of the disk; the old content still stands then.
pub fn save<T: Serialize>(path: &Path, schema: u32, content: &T, mode: u32) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(&Document { schema, content }).map_err(io::Error::other)?;
    files::replace(path, &text, mode)
}

/// Where a file lies that was put aside.
#[must_use]
pub fn aside(path: &Path) -> PathBuf {
    path.with_extension("json.damaged")
}
