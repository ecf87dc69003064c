//! Durable writes: the new content is complete and on disk before the old one goes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Replaces `path` with `content`: temporary file in the same directory, fsync, rename, fsync of the directory.
/// Whoever reads `path` at any time, also after a crash, sees the old content or the new one, whole.
///
/// `mode` is the file's permission bits, set before any byte is written. The parent directory is created if missing.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let directory = path.parent().ok_or_else(|| io::Error::other("a path without a parent directory"))?;
    let name = path.file_name().ok_or_else(|| io::Error::other("a path without a file name"))?;
    fs::create_dir_all(directory)?;
    let temporary = directory.join(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    let written = write_synced(&temporary, content, mode).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        // The error that matters is the first; a left-over temporary is replaced by the next write.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    File::open(directory)?.sync_all()
}

fn write_synced(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn replacing_a_file_leaves_the_new_content_the_mode_and_no_temporary() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("state/history.json");
        replace(&path, b"old", 0o644).unwrap();
        replace(&path, b"new", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_write_that_fails_keeps_the_old_file() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("target");
        fs::create_dir(&path).unwrap();
        fs::create_dir(path.join("occupied")).unwrap();
        assert!(replace(&path, b"new", 0o644).is_err());
        assert!(path.join("occupied").is_dir());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }
}
