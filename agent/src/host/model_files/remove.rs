//! Removes layers from a models' folder by digest.
//!
//! What always holds: only files of exactly the names that the server makes of these digests go, in `blobs` of this very
//! folder; what was removed is on disk as removed before it is called so.

use super::directory::Directory;
use super::look::{LayerName, layer_name};
use crate::models::files::FilesError;
use crate::models::manifest::is_digest;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;

/// Removes layers on their way, with their parts.
///
/// Parts first: the server takes up a layer by them, and would think that what they call there is there. The layer without
/// parts begins anew.
pub(super) fn partials(directory: &Path, digests: &[String]) -> Result<(), FilesError> {
    let Some(blobs) = blobs(directory, digests)? else { return Ok(()) };
    let wanted: BTreeSet<&str> = digests.iter().map(String::as_str).collect();
    let mut parts = Vec::new();
    for name in blobs.names()? {
        let Some(name) = name?.to_str().map(str::to_owned) else { continue };
        if matches!(layer_name(&name), Some(LayerName::Part(digest, _)) if wanted.contains(digest.as_str())) {
            parts.push(name);
        }
    }
    all(&blobs, parts)?;
    all(&blobs, wanted.iter().map(|digest| format!("{}-partial", file_name(digest))))
}

/// Removes whole layers.
pub(super) fn whole(directory: &Path, digests: &[String]) -> Result<(), FilesError> {
    let Some(blobs) = blobs(directory, digests)? else { return Ok(()) };
    all(&blobs, digests.iter().map(|digest| file_name(digest)))
}

/// The name of a layer's file.
pub(super) fn file_name(digest: &str) -> String {
    digest.replacen(':', "-", 1)
}

/// The folder of layers, `None` where there is none; an error for what is no digest.
pub(super) fn blobs(directory: &Path, digests: &[String]) -> Result<Option<Directory>, FilesError> {
    if let Some(odd) = digests.iter().find(|digest| !is_digest(digest)) {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "it is no digest");
        return Err(FilesError { operation: "find layer", path: odd.clone(), source });
    }
    let Some(top) = Directory::at(directory)? else { return Ok(None) };
    top.inside("blobs")
}

fn all(blobs: &Directory, names: impl IntoIterator<Item = String>) -> Result<(), FilesError> {
    let mut removed = false;
    for name in names {
        removed |= blobs.remove(&name)?;
    }
    if removed { blobs.sync() } else { Ok(()) }
}

#[cfg(test)]
#[path = "remove_tests.rs"]
mod tests;
