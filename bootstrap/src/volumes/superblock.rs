//! Superblocks of file systems: kind, UUID, label and size from their bytes. Pure; every reader is given the bytes from
//! where its superblock starts and never panics.

use super::signatures::{Condition, Found};
use node::hexadecimal::hexadecimal;

/// ext2, ext3, ext4, from byte 1024 on. <https://docs.kernel.org/filesystems/ext4/super.html>
pub(super) fn ext(bytes: &[u8]) -> Option<Found> {
    const JOURNAL: u32 = 0x4;
    const JOURNAL_DEVICE: u32 = 0x8;
    const LARGE: u32 = 0x80;
    /// Features of ext2 and ext3: file types, recovery, meta groups. Anything else makes it ext4.
    const OLD_INCOMPATIBLE: u32 = 0x2 | 0x4 | 0x10;
    /// Sparse superblocks, large files, tree directories.
    const OLD_READ_ONLY: u32 = 0x1 | 0x2 | 0x4;
    if bytes.get(0x38..0x3a)? != [0x53, 0xef] {
        return None;
    }
    let (compatible, incompatible, read_only) =
        (little_u32(bytes, 0x5c)?, little_u32(bytes, 0x60)?, little_u32(bytes, 0x64)?);
    let kind = if incompatible & JOURNAL_DEVICE != 0 {
        "jbd"
    } else if incompatible & !OLD_INCOMPATIBLE != 0 || read_only & !OLD_READ_ONLY != 0 {
        "ext4"
    } else if compatible & JOURNAL != 0 {
        "ext3"
    } else {
        "ext2"
    };
    let high = if incompatible & LARGE != 0 { little_u32(bytes, 0x150)? } else { 0 };
    let blocks = u64::from(high) << 32 | u64::from(little_u32(bytes, 0x4)?);
    let block_bytes = 1024_u64.checked_shl(little_u32(bytes, 0x18)?);
    Some(Found {
        kind,
        uuid: uuid(bytes.get(0x68..0x78)?),
        label: label(bytes.get(0x78..0x88)?),
        size_bytes: block_bytes.and_then(|block| blocks.checked_mul(block)),
        condition: ext_condition(bytes, incompatible)?,
        mark: None,
    })
}

/// `s_mtime`, `s_mnt_count` and `s_state`. A journal that asks for recovery is replayed by the kernel when it mounts.
fn ext_condition(bytes: &[u8], incompatible: u32) -> Option<Condition> {
    const RECOVER: u32 = 0x4;
    const VALID: u8 = 0x1;
    const ERRORS: u8 = 0x2;
    let state = *bytes.get(0x3a)?;
    let mounts = bytes.get(0x34..0x36)?;
    Some(Condition {
        unfinished: false,
        never_mounted: little_u32(bytes, 0x2c)? == 0 && mounts == [0, 0],
        has_errors: state & ERRORS != 0,
        needs_check: state & VALID == 0 && incompatible & RECOVER == 0,
    })
}

/// XFS, from the beginning; big endian. `xfs_dsb` in the kernel's `fs/xfs/libxfs/xfs_format.h`
pub(super) fn xfs(bytes: &[u8]) -> Option<Found> {
    if bytes.get(..4)? != b"XFSB" {
        return None;
    }
    let block_bytes = u32::from_be_bytes(bytes.get(4..8)?.try_into().ok()?);
    let blocks = u64::from_be_bytes(bytes.get(8..16)?.try_into().ok()?);
    Some(Found {
        kind: "xfs",
        uuid: uuid(bytes.get(32..48)?),
        label: label(bytes.get(108..120)?),
        size_bytes: blocks.checked_mul(u64::from(block_bytes)),
        // `sb_inprogress`
        condition: Condition { unfinished: *bytes.get(126)? != 0, ..Condition::default() },
        mark: None,
    })
}

/// NTFS, exFAT and FAT say who they are in the boot sector.
pub(super) fn boot_sector(bytes: &[u8]) -> Option<Found> {
    const NAMES: [(&str, usize, &[u8]); 6] = [
        ("ntfs", 3, b"NTFS    "),
        ("exfat", 3, b"EXFAT   "),
        ("vfat", 82, b"FAT32   "),
        ("vfat", 54, b"FAT16   "),
        ("vfat", 54, b"FAT12   "),
        ("vfat", 54, b"FAT     "),
    ];
    let (kind, ..) = NAMES.iter().find(|(_, at, name)| bytes.get(*at..*at + name.len()) == Some(name))?;
    Some(unread(kind))
}

/// F2FS, from byte 1024 on.
pub(super) fn f2fs(bytes: &[u8]) -> Option<Found> {
    (bytes.get(..4)? == 0xf2f5_2010_u32.to_le_bytes()).then(|| unread("f2fs"))
}

/// ISO 9660, from byte 32768 on: the first volume descriptor.
pub(super) fn iso9660(bytes: &[u8]) -> Option<Found> {
    (bytes.get(1..6)? == b"CD001").then(|| unread("iso9660"))
}

/// btrfs, from byte 65536 on.
pub(super) fn btrfs(bytes: &[u8]) -> Option<Found> {
    (bytes.get(64..72)? == b"_BHRfS_M").then(|| unread("btrfs"))
}

/// A file system that is only recognised: it is refused anyway.
fn unread(kind: &'static str) -> Found {
    Found { kind, uuid: None, label: None, size_bytes: None, condition: Condition::default(), mark: None }
}

fn little_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn uuid(bytes: &[u8]) -> Option<String> {
    if bytes.iter().all(|byte| *byte == 0) {
        return None;
    }
    let groups = [bytes.get(..4)?, bytes.get(4..6)?, bytes.get(6..8)?, bytes.get(8..10)?, bytes.get(10..16)?];
    Some(groups.map(hexadecimal).join("-"))
}

fn label(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let label = String::from_utf8_lossy(bytes.get(..end)?).into_owned();
    (!label.is_empty()).then_some(label)
}
