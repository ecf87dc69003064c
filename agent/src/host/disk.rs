//! How full mounted file systems are.

use nix::sys::statvfs::statvfs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Size and use of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Bytes that it can hold.
    pub size_bytes: u64,
    /// Bytes in use.
    pub used_bytes: u64,
}

/// Use of the file system that is mounted at `mount`; `None` where nothing is mounted there. Blocks as long as the
/// device does.
pub fn usage(mount: &Path) -> io::Result<Option<Usage>> {
    if !is_mount_point(mount)? {
        return Ok(None);
    }
    let numbers = statvfs(mount)?;
    let (unit, blocks, free) = (numbers.fragment_size(), numbers.blocks(), numbers.blocks_free());
    let size_bytes = blocks.saturating_mul(unit);
    Ok(Some(Usage { size_bytes, used_bytes: size_bytes.saturating_sub(free.saturating_mul(unit)) }))
}

/// A mount point lies on another device than its parent. (A bind mount of the same device is none of ours.)
pub(super) fn is_mount_point(path: &Path) -> io::Result<bool> {
    let Some(parent) = path.parent() else { return Ok(true) };
    match std::fs::metadata(path) {
        Ok(here) => Ok(here.dev() != std::fs::metadata(parent)?.dev()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_mounted_has_a_size() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(usage(folder.path()).unwrap(), None, "a folder is no mount");
        assert_eq!(usage(&folder.path().join("missing")).unwrap(), None);
        let root = usage(Path::new("/")).unwrap().expect("the root is mounted");
        assert!(root.used_bytes <= root.size_bytes, "{root:?}");
        assert!(usage(Path::new("/proc")).unwrap().is_some(), "another file system than its parent's");
    }
}
