//! Durable writes: the new content is complete and on disk before the old one goes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Replaces `path` with `content`: temporary file in the same directory, fsync, rename, fsync of the directory.
/// Whoever reads `path` at any time, also after a crash, sees the old content or the new one, whole.
///
/// `mode` is the file's permission bits, set before any byte is written. The parent directory is created if missing.
/// Temporary files of writers that were killed are removed.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    put(path, content, mode, Wait::ForDisk)
}

/// The same for what may be lost with the power: whoever reads `path` sees the old content or the new one, whole, but after
/// a power failure it may be empty. Waiting for a disk takes milliseconds, and there may be dozens of such files.
pub fn replace_unsynced(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    put(path, content, mode, Wait::Never)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    ForDisk,
    Never,
}

fn put(path: &Path, content: &[u8], mode: u32, wait: Wait) -> io::Result<()> {
    let directory = path.parent().ok_or_else(|| io::Error::other("a path without a parent directory"))?;
    let name = path.file_name().ok_or_else(|| io::Error::other("a path without a file name"))?;
    fs::create_dir_all(directory)?;
    let prefix = format!(".{}.", name.to_string_lossy());
    let temporary = directory.join(format!("{prefix}{}", std::process::id()));
    sweep(directory, &prefix);
    let written = write(&temporary, content, mode, wait).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        // The error that matters is the first; a left-over temporary is replaced by the next write.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    match wait {
        Wait::ForDisk => File::open(directory)?.sync_all(),
        Wait::Never => Ok(()),
    }
}

/// Removes what writers of the same file left when they were killed. A temporary file ends in the number of the process
/// that writes it; one that still lives may be at it now. What cannot be removed is in nobody's way.
fn sweep(directory: &Path, prefix: &str) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let file_name = entry.file_name();
        let writer = file_name.to_str().and_then(|name| name.strip_prefix(prefix)?.parse::<u32>().ok());
        if writer.is_some_and(|writer| !Path::new("/proc").join(writer.to_string()).exists()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn write(path: &Path, content: &[u8], mode: u32, wait: Wait) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(content)?;
    match wait {
        Wait::ForDisk => file.sync_all(),
        Wait::Never => Ok(()),
    }
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
        replace_unsynced(&path, b"newer", 0o644).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"newer");
        replace(&path, b"new", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn temporaries_of_killed_writers_go_and_those_of_living_ones_stay() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("node.toml");
        // The first process lives as long as the machine; numbers end at 2^22 (proc(5), pid_max).
        for left in [".node.toml.1", ".node.toml.4194305", ".other.toml.4194305", ".node.toml.new"] {
            write(&root.path().join(left), b"half", 0o600, Wait::Never).unwrap();
        }
        replace(&path, b"new", 0o644).unwrap();
        let names = fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, [".node.toml.1", ".node.toml.new", ".other.toml.4194305", "node.toml"]);
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
