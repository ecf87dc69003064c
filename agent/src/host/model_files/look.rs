//! What lies in a models' folder, at one moment.
//!
//! In: its path. Out: [`Files`]. What always holds: files that come and go meanwhile are in it or not, and no error; names
//! that are not the server's are nobody's business; the work is bounded by a count of entries. What a manifest may refer
//! to and cannot be read is *damaged*, not absent: somebody may need any layer then.

use super::directory::{Directory, is_directory, is_file};
use crate::host::disk;
use crate::models::files::{Blob, Files, FilesError, Partial};
use crate::models::manifest;
use crate::models::registry::Manifest;
use crate::observed::Disk;
use jiff::Timestamp;
use nix::sys::stat::FileStat;
use node::config::settings::ModelReference;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A hundred models have a thousand files. A folder with more than this is not one of models alone.
const ENTRIES_AT_MOST: usize = 50_000;
/// A manifest has some kilobytes.
const MANIFEST_AT_MOST: u64 = 4 << 20;
/// What `st_blocks` counts, whatever the file system's own blocks are (stat(2)).
const SECTOR: u64 = 512;
const BLOBS: &str = "blobs";
const MANIFESTS: &str = "manifests";
/// Directories above a manifest: host, namespace, model.
const DEPTH: usize = 3;

/// Looks. Blocks as long as the disk does.
pub(super) fn look(directory: &Path) -> Result<Files, FilesError> {
    look_at_most(directory, ENTRIES_AT_MOST)
}

fn look_at_most(directory: &Path, entries: usize) -> Result<Files, FilesError> {
    let disk = room(directory).map_err(|source| FilesError {
        operation: "measure the file system of",
        path: directory.display().to_string(),
        source,
    })?;
    let mut files = Files { disk, ..Files::default() };
    let Some(top) = Directory::at(directory)? else { return Ok(files) };
    let mut left = Left(entries);
    if let Some(blobs) = top.inside(BLOBS)? {
        layers(&blobs, &mut left, &mut files)?;
    }
    for name in top.names()? {
        let name = name?;
        left.take(&top)?;
        match name.to_str() {
            Some(MANIFESTS) => {
                if let Some(folder) = top.inside(MANIFESTS)? {
                    manifests(&folder, &mut Vec::new(), &mut left, &mut files)?;
                }
            }
            // A layout of a newer server, whose references are not known here.
            Some(other) if other.starts_with(MANIFESTS) => files.damaged_manifests.push(other.to_owned()),
            _ => {}
        }
    }
    files.damaged_manifests.sort();
    Ok(files)
}

/// Entries that may be looked at yet.
struct Left(usize);

impl Left {
    fn take(&mut self, directory: &Directory) -> Result<(), FilesError> {
        let too_many =
            || directory.error("list", io::Error::other("there are too many entries for a folder of models"));
        self.0 = self.0.checked_sub(1).ok_or_else(too_many)?;
        Ok(())
    }
}

/// Of the file system that holds the folder, or will hold it once it is made.
fn room(directory: &Path) -> io::Result<Option<Disk>> {
    for above in directory.ancestors() {
        let real = match std::fs::canonicalize(above) {
            Ok(real) => real,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for mount in real.ancestors() {
            if let Some(usage) = disk::usage(mount)? {
                let free_bytes = usage.size_bytes.saturating_sub(usage.used_bytes);
                return Ok(Some(Disk { free_bytes, total_bytes: usage.size_bytes }));
            }
        }
        break;
    }
    Ok(None)
}

/// What the name of a file among the layers says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LayerName {
    /// `sha256-HEX`
    Whole(String),
    /// `sha256-HEX-partial`
    OnItsWay(String),
    /// `sha256-HEX-partial-N`, and N
    Part(String, u32),
}

/// Takes the name of a file apart; `None` for one that is not the server's.
pub(super) fn layer_name(name: &str) -> Option<LayerName> {
    let (kind, rest) = name.split_once('-')?;
    let (digits, ending) =
        rest.split_once('-').map_or((rest, None), |(digits, ending)| (digits, Some(ending)));
    let digest = format!("{kind}:{digits}");
    if !manifest::is_digest(&digest) {
        return None;
    }
    match ending {
        None => Some(LayerName::Whole(digest)),
        Some("partial") => Some(LayerName::OnItsWay(digest)),
        Some(ending) => {
            let number = ending.strip_prefix("partial-")?;
            let is_number = !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit());
            // More parts than that nobody makes.
            is_number.then(|| LayerName::Part(digest, number.parse().unwrap_or(u32::MAX)))
        }
    }
}

fn layers(blobs: &Directory, left: &mut Left, files: &mut Files) -> Result<(), FilesError> {
    let mut parts: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
    for name in blobs.names()? {
        let name = name?;
        left.take(blobs)?;
        let Some((name, kind)) = name.to_str().and_then(|name| Some((name, layer_name(name)?))) else {
            continue;
        };
        let Some(state) = blobs.state(name)?.filter(is_file) else { continue };
        let modified_at = modified_at(&state);
        match kind {
            LayerName::Whole(digest) => {
                let size_bytes = u64::try_from(state.st_size).unwrap_or_default();
                files.blobs.insert(digest, Blob { size_bytes, modified_at });
            }
            LayerName::OnItsWay(digest) => {
                let allocated_bytes = u64::try_from(state.st_blocks).unwrap_or_default() * SECTOR;
                note(&mut files.partials, digest, allocated_bytes, modified_at);
            }
            // Without the layer itself too: somebody has to remove it.
            LayerName::Part(digest, number) => {
                note(&mut files.partials, digest.clone(), 0, modified_at);
                // An empty one is no part, and a number that no part has.
                let numbers = parts.entry(digest).or_default();
                numbers.insert(if state.st_size == 0 { u32::MAX } else { number });
            }
        }
    }
    for (digest, numbers) in parts {
        if let Some(partial) = files.partials.get_mut(&digest) {
            // One number too high says that one is missing, or empty.
            partial.broken = numbers.iter().zip(0..).any(|(number, place)| *number != place);
        }
    }
    Ok(())
}

fn note(partials: &mut BTreeMap<String, Partial>, digest: String, allocated_bytes: u64, at: Timestamp) {
    let partial =
        partials.entry(digest).or_insert(Partial { allocated_bytes: 0, modified_at: at, broken: false });
    partial.allocated_bytes += allocated_bytes;
    partial.modified_at = partial.modified_at.max(at);
}

fn modified_at(state: &FileStat) -> Timestamp {
    let nanoseconds = i32::try_from(state.st_mtime_nsec).unwrap_or_default();
    Timestamp::new(state.st_mtime, nanoseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Walks HOST/NAMESPACE/MODEL/TAG; `above` is where the directory lies.
fn manifests(
    directory: &Directory,
    above: &mut Vec<String>,
    left: &mut Left,
    files: &mut Files,
) -> Result<(), FilesError> {
    for name in directory.names()? {
        let name = name?;
        left.take(directory)?;
        let shown = name.to_string_lossy().into_owned();
        let place: PathBuf = [MANIFESTS].into_iter().chain(above.iter().map(String::as_str)).collect();
        let place = place.join(&shown).display().to_string();
        let Some(name) = name.to_str() else {
            files.damaged_manifests.push(place);
            continue;
        };
        let Some(state) = directory.state(name)? else { continue };
        if above.len() < DEPTH {
            if is_directory(&state) {
                let Some(inside) = directory.inside(name)? else { continue };
                above.push(name.to_owned());
                manifests(&inside, above, left, files)?;
                above.pop();
            } else if !is_file(&state) {
                // A link in the place of a directory: what lies behind it is not looked at, and may need layers.
                files.damaged_manifests.push(place);
            }
            continue;
        }
        match (full_name(above, name), read(directory, name, &state)) {
            (_, Content::Gone) => {}
            (Some(full), Content::Read(manifest)) => {
                files.manifests.insert(full, manifest);
            }
            _ => files.damaged_manifests.push(place),
        }
    }
    Ok(())
}

fn full_name(above: &[String], tag: &str) -> Option<String> {
    let reference: ModelReference = format!("{}:{tag}", above.join("/")).parse().ok()?;
    Some(reference.full())
}

enum Content {
    Read(Manifest),
    Damaged,
    Gone,
}

fn read(directory: &Directory, name: &str, state: &FileStat) -> Content {
    if !is_file(state) || u64::try_from(state.st_size).is_ok_and(|size| size > MANIFEST_AT_MOST) {
        return Content::Damaged;
    }
    let mut bytes = Vec::new();
    let read = match directory.open(name) {
        Ok(None) => return Content::Gone,
        Ok(Some(file)) => file.take(MANIFEST_AT_MOST).read_to_end(&mut bytes).is_ok(),
        Err(_) => false,
    };
    if !read {
        return Content::Damaged;
    }
    manifest::read(&bytes).map_or(Content::Damaged, Content::Read)
}

#[cfg(test)]
#[path = "look_tests.rs"]
mod tests;
