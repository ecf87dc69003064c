//! What the kernel said of disks and file systems since the boot: `/dev/kmsg`, read to its end.

use super::apart;
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A record is smaller than this (Documentation/ABI/testing/dev-kmsg: `LOG_LINE_MAX`, 1 KiB, and its head).
const LONGEST_RECORD: usize = 8192;
/// Bounds a kernel that complains without an end.
const MOST_RECORDS: usize = 100_000;

/// Lines about errors of disks and file systems, the oldest first; an error is why they cannot be read.
pub async fn disk_errors(kmsg: &Path) -> Result<Vec<String>, String> {
    let path = kmsg.to_owned();
    let read = apart(move || read(&path)).await?;
    read.map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied => "run as root".to_owned(),
        ErrorKind::NotFound => format!("there is no {}", kmsg.display()),
        _ => error.to_string(),
    })
}

fn read(kmsg: &Path) -> io::Result<Vec<String>> {
    let nonblocking = nix::libc::O_NONBLOCK;
    let mut records = OpenOptions::new().read(true).custom_flags(nonblocking).open(kmsg)?;
    let mut errors = Vec::new();
    let mut buffer = vec![0; LONGEST_RECORD];
    for _ in 0..MOST_RECORDS {
        match records.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                let record = String::from_utf8_lossy(&buffer[..length]);
                errors.extend(text_of(&record).filter(|text| is_disk_error(text)).map(str::to_owned));
            }
            // Overwritten while it was read: the next one is there.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(errors)
}

/// `PRIORITY,SEQUENCE,MICROSECONDS,FLAGS;TEXT`, then lines of its own fields that begin with a space.
fn text_of(record: &str) -> Option<&str> {
    record.split_once(';')?.1.lines().next()
}

/// The kernel's words: fs/ext4/super.c, fs/xfs/xfs_error.c and xfs_fsops.c, block/blk-core.c, drivers/nvme/host/pci.c.
fn is_disk_error(text: &str) -> bool {
    const ANYWHERE: [&str; 8] = [
        "EXT4-fs error",
        "I/O error, dev ",
        "Buffer I/O error on dev",
        "critical medium error",
        "metadata I/O error",
        "Remounting filesystem read-only",
        "Corruption detected",
        "Metadata corruption detected",
    ];
    let of_xfs = text.starts_with("XFS (")
        && ["hutting down", "Corruption", "log I/O error"].iter().any(|word| text.contains(word));
    let of_nvme = text.starts_with("nvme ")
        && ["timeout, aborting", "timeout, disable", "controller is down"]
            .iter()
            .any(|word| text.contains(word));
    of_xfs || of_nvme || ANYWHERE.iter().any(|word| text.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_from_what_is_said_at_every_mount() {
        for text in [
            "EXT4-fs error (device nvme1n1): ext4_lookup:1853: inode #2: comm ls: deleted inode referenced: 12",
            "blk_update_request: I/O error, dev nvme1n1, sector 2048 op 0x0:(READ) flags 0x0",
            "XFS (nvme1n1): Corruption of in-memory data (0x8) detected at xfs_trans_cancel",
            "XFS (nvme1n1): Filesystem has been shut down due to log error (0x2). Shutting down filesystem",
            "nvme nvme1: I/O 5 QID 2 timeout, aborting",
        ] {
            assert!(is_disk_error(text), "{text}");
        }
        for text in [
            "EXT4-fs (nvme0n1p1): mounted filesystem with ordered data mode. Quota mode: none.",
            "XFS (nvme1n1): Mounting V5 Filesystem",
            "XFS (nvme1n1): Ending clean mount",
            "nvme nvme1: 2/0/0 default/read/poll queues",
            "docker0: port 1(veth1) entered disabled state",
        ] {
            assert!(!is_disk_error(text), "{text}");
        }
    }

    #[test]
    fn a_record_is_its_first_line_of_text() {
        assert_eq!(text_of("6,339,5140900,-;NET: Registered\n SUBSYSTEM=net\n"), Some("NET: Registered"));
        assert_eq!(text_of("no record"), None);
    }

    #[tokio::test]
    async fn a_file_that_is_not_there_tells_nothing() {
        assert_eq!(disk_errors(Path::new("/nowhere/kmsg")).await.unwrap_err(), "there is no /nowhere/kmsg");
    }
}
