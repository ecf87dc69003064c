//! How full file systems are.

use crate::host::disk;
use crate::metrics::collection::{FileSystem, ROOT};
use crate::status::Volume;
use nix::sys::statvfs::statvfs;
use node::paths::Paths;
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Volumes first: they have names, and what the root or the engine lies on may be one of them.
pub(super) fn all(paths: &Paths, engine_folders: &[PathBuf], volumes: &[Volume]) -> Vec<FileSystem> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for volume in volumes {
        let path = paths.at(&volume.mount);
        if disk::is_mount_point(&path).unwrap_or(false) {
            found.extend(new(&mut seen, (&volume.name, &volume.mount), &path));
        }
    }
    found.extend(new(&mut seen, (ROOT, ROOT), &paths.at(ROOT)));
    for folder in engine_folders {
        // The engine's own word, and so a path of the host as the engine sees it.
        if let Some(name) = folder.to_str() {
            found.extend(new(&mut seen, (name, name), folder));
        }
    }
    found
}

/// The file system of `path`, unless it was seen.
fn new(seen: &mut BTreeSet<u64>, (volume, mount): (&str, &str), path: &Path) -> Option<FileSystem> {
    let device = std::fs::metadata(path).ok()?.dev();
    if seen.contains(&device) {
        return None;
    }
    let numbers = statvfs(path).ok()?;
    seen.insert(device);
    let bytes = |blocks: u64| blocks.saturating_mul(numbers.fragment_size());
    Some(FileSystem {
        volume: volume.to_owned(),
        mount: mount.to_owned(),
        size_bytes: bytes(numbers.blocks()),
        free_bytes: bytes(numbers.blocks_free()),
        available_bytes: bytes(numbers.blocks_available()),
        inodes: numbers.files(),
        inodes_free: numbers.files_free(),
    })
}
