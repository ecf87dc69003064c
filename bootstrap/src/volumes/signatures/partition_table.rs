//! Partition tables: is there one, is it sound, and is there exactly one partition.
//!
//! In: both ends of the device and a function that reads the rest; out: a [`Table`]. It always holds that
//! [`Table::Single`] lies on the device as a whole and past its table. The MBR is read here, the GPT in `gpt`. Not its
//! job: what is in the partition.

use super::ends::Ends;
use super::magics::matches_at;
use super::{Content, Read, gpt};
use crate::volumes::superblock;
use std::io;

const SECTOR: u64 = 512;
const SIGNATURE_AT: u64 = 510;

/// What partition table there is.
pub(super) enum Table {
    /// None at the beginning of the device.
    Absent,
    /// One with another number of partitions than one, or with a fault.
    Refused(Content),
    /// A sound one with one partition.
    Single { table: &'static str, number: u32, start_bytes: u64, size_bytes: u64 },
}

impl Table {
    pub(super) fn refused(what: impl Into<String>, at: u64) -> Table {
        Table::Refused(Content::Other { what: what.into(), at })
    }
}

/// One of the four entries of an MBR. UEFI specification, "Legacy Master Boot Record".
pub(super) struct Entry {
    active: u8,
    pub(super) kind: u8,
    first: u64,
    sectors: u64,
}

/// Covers the whole device, so that programs that know no GPT see no free space.
pub(super) const PROTECTIVE: u8 = 0xee;
/// Entries that lead to a chain of further tables.
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];

pub(super) fn read(ends: &Ends, read: &mut Read<'_>) -> io::Result<Table> {
    let entries = entries(ends);
    let protective = entries.iter().flatten().any(|entry| entry.kind == PROTECTIVE);
    if gpt::trace(ends).is_some() || protective {
        return gpt::read(ends, entries.as_deref().unwrap_or_default(), read);
    }
    Ok(entries.map_or(Table::Absent, |entries| mbr(ends.size, &entries)))
}

/// Where there is anything of a partition table, sound or not.
pub(super) fn trace(ends: &Ends) -> Option<u64> {
    gpt::trace(ends).or_else(|| entries(ends).map(|_| SIGNATURE_AT))
}

/// The entries that are not empty, in a boot sector that belongs to no FAT or NTFS.
fn entries(ends: &Ends) -> Option<Vec<Entry>> {
    const TABLE: std::ops::Range<usize> = 446..510;
    let signed = matches_at(&ends.head, SIGNATURE_AT, &[0x55, 0xaa]);
    if !signed || superblock::boot_sector(&ends.head).is_some() {
        return None;
    }
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let entry = |bytes: &[u8]| Entry {
        active: bytes[0],
        kind: bytes[4],
        first: number(&bytes[8..12]),
        sectors: number(&bytes[12..16]),
    };
    Some(ends.head.get(TABLE)?.chunks_exact(16).map(entry).collect())
}

fn mbr(size: u64, entries: &[Entry]) -> Table {
    let used = || (1_u32..).zip(entries).filter(|(_, entry)| entry.kind != 0);
    let sound = |entry: &Entry| {
        let end = (entry.first + entry.sectors).saturating_mul(SECTOR);
        [0x00, 0x80].contains(&entry.active) && entry.first > 0 && entry.sectors > 0 && end <= size
    };
    let refused = |what: String| Table::refused(what, SIGNATURE_AT);
    if used().next().is_none() || entries.iter().any(|entry| ![0x00, 0x80].contains(&entry.active)) {
        return refused("an MBR partition table without a partition, or a boot sector".to_owned());
    }
    if used().any(|(_, entry)| EXTENDED.contains(&entry.kind)) {
        return refused("an MBR partition table with an extended partition".to_owned());
    }
    if let Some((number, _)) = used().find(|(_, entry)| !sound(entry)) {
        return refused(format!(
            "an MBR partition table whose partition {number} does not lie on the device"
        ));
    }
    match used().collect::<Vec<_>>().as_slice() {
        [(number, entry)] => Table::Single {
            table: "MBR",
            number: *number,
            start_bytes: entry.first * SECTOR,
            size_bytes: entry.sectors * SECTOR,
        },
        several => refused(format!("an MBR partition table with {} partitions", several.len())),
    }
}
