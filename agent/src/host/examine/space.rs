//! Room on file systems, what is mounted, and how patient the kernel is with NVMe disks.

use super::apart;
use crate::examined::{FileSystem, Space};
use crate::host::disk::is_mount_point;
use nix::sys::statvfs::{FsFlags, statvfs};
use node::paths::Paths;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// How full the file system of `path` is; `name` and `mount` are what it is called.
pub async fn file_system(name: &str, mount: &str, path: &Path) -> FileSystem {
    let path = path.to_owned();
    let state =
        apart(move || space(&path)).await.and_then(|space| space.map_err(|error| error.desc().to_owned()));
    FileSystem { name: name.to_owned(), mount: mount.to_owned(), state }
}

fn space(path: &Path) -> nix::Result<Space> {
    let numbers = statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(numbers.fragment_size());
    Ok(Space {
        size_bytes: bytes(numbers.blocks()),
        available_bytes: bytes(numbers.blocks_available()),
        inodes: numbers.files(),
        inodes_free: numbers.files_free(),
        read_only: numbers.flags().contains(FsFlags::ST_RDONLY),
    })
}

/// Whether something is mounted there; no where that cannot be seen.
pub async fn is_mounted(path: &Path) -> bool {
    let path = path.to_owned();
    matches!(apart(move || is_mount_point(&path)).await, Ok(Ok(true)))
}

/// Seconds after which the kernel gives up on a request, for each NVMe disk.
pub fn nvme_timeouts(system: &Paths) -> BTreeMap<String, u64> {
    let disks = fs::read_dir(system.at("/sys/block")).into_iter().flatten().flatten();
    let timeout = |disk: &Path| {
        let milliseconds = fs::read_to_string(disk.join("queue/io_timeout")).ok()?;
        Some(milliseconds.trim().parse::<u64>().ok()? / 1000)
    };
    disks
        .filter_map(|disk| {
            let name = disk.file_name().to_str()?.to_owned();
            let seconds = name.starts_with("nvme").then(|| timeout(&disk.path()))??;
            Some((name, seconds))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_root_has_room_and_nowhere_has_none() {
        let root = file_system("root", "/", Path::new("/")).await;
        assert!(
            root.state.is_ok_and(|space| space.size_bytes > 0 && space.available_bytes <= space.size_bytes)
        );
        let nowhere = file_system("x", "/nowhere", Path::new("/nowhere/at/all")).await;
        assert_eq!(nowhere.state.unwrap_err(), "No such file or directory");
        assert!(is_mounted(Path::new("/proc")).await);
        assert!(!is_mounted(Path::new("/nowhere/at/all")).await);
    }

    #[test]
    fn a_disk_that_is_not_nvme_has_no_limit_of_that_kind() {
        let root = tempfile::tempdir().unwrap();
        for (disk, milliseconds) in
            [("nvme0n1", "30000\n"), ("nvme1n1", "4294967295\n"), ("loop0", "30000\n")]
        {
            let queue = root.path().join("sys/block").join(disk).join("queue");
            fs::create_dir_all(&queue).unwrap();
            node::files::replace(&queue.join("io_timeout"), milliseconds.as_bytes(), 0o644).unwrap();
        }
        let found = nvme_timeouts(&Paths::under(root.path()));
        assert_eq!(found, BTreeMap::from([("nvme0n1".to_owned(), 30), ("nvme1n1".to_owned(), 4_294_967)]));
    }
}
