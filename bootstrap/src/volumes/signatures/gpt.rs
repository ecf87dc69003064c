//! The GUID partition table. UEFI specification, chapter "GUID Partition Table (GPT) Disk Layout".
//!
//! In: both ends of the device, the entries of its MBR, and a function that reads the rest; out: a [`Table`]. It always
//! holds that a table is sound only when both headers and both arrays of entries bear their checksums and agree. The
//! backup may lie before the end of the device: so it does after the volume was enlarged.

use super::ends::Ends;
use super::magics::matches_at;
use super::partition_table::{Entry, PROTECTIVE, Table};
use super::{PROBE_BYTES, Read, read_aligned};
use std::io;

const SIGNATURE: &[u8] = b"EFI PART";
/// Logical blocks that devices have; the table does not say which it was made for.
const SECTORS: [u64; 2] = [512, 4096];
/// Length of a header as it has been in every version.
const HEADER_BYTES: usize = 92;

/// Where a primary header begins, sound or not.
pub(super) fn trace(ends: &Ends) -> Option<u64> {
    SECTORS.into_iter().find(|sector| matches_at(&ends.head, *sector, SIGNATURE))
}

/// A header whose checksum is right.
struct Header {
    sector: u64,
    other: u64,
    first_usable: u64,
    last_usable: u64,
    /// Disk GUID, number and size of the entries, and their checksum: the same in both headers.
    shared: Vec<u8>,
    entries_at: u64,
    count: usize,
    entry_bytes: usize,
    entries_checksum: u32,
}

pub(super) fn read(ends: &Ends, mbr: &[Entry], read: &mut Read<'_>) -> io::Result<Table> {
    let at = trace(ends).unwrap_or(SECTORS[0]);
    let refused = |what: &str| Ok(Table::refused(format!("a GPT partition table {what}"), at));
    let sectors = SECTORS.into_iter();
    let mut headers = sectors.filter_map(|sector| header(ends.head.get(to_usize(sector)..)?, sector, 1));
    let Some(primary) = headers.next() else { return refused("whose primary header is damaged") };
    if headers.next().is_some() {
        return refused("for 512 and one for 4096 bytes a sector");
    }
    match mbr.iter().filter(|entry| entry.kind != 0).collect::<Vec<_>>().as_slice() {
        [entry] if entry.kind == PROTECTIVE => {}
        [] => return refused("without its protective MBR"),
        _ => return refused("beside an MBR with partitions"),
    }
    let sectors = ends.size / primary.sector;
    if primary.other >= sectors || primary.last_usable >= sectors {
        return refused("that is larger than the device");
    }
    let Some(entries) = entries(&primary, ends.size, read)? else {
        return refused("whose entries are damaged");
    };
    if !agrees(&primary, ends.size, read)? {
        return refused("whose backup is damaged");
    }
    let at_the_end = (sectors - 1) * primary.sector;
    if primary.other != sectors - 1 && ends.tail_matches(at_the_end, SIGNATURE) {
        return refused("beside the backup of another one");
    }
    Ok(single(&primary, &entries, at))
}

/// The header at the beginning of these bytes, which lie at a logical block.
fn header(bytes: &[u8], sector: u64, block: u64) -> Option<Header> {
    let length = to_usize(u64::from(u32_at(bytes, 12)?));
    if !bytes.starts_with(SIGNATURE) || length < HEADER_BYTES || length > to_usize(sector) {
        return None;
    }
    let mut checked = bytes.get(..length)?.to_vec();
    checked.get_mut(16..20)?.fill(0);
    if checksum(&checked) != u32_at(bytes, 16)? || u64_at(bytes, 24)? != block {
        return None;
    }
    Some(Header {
        sector,
        other: u64_at(bytes, 32)?,
        first_usable: u64_at(bytes, 40)?,
        last_usable: u64_at(bytes, 48)?,
        shared: [bytes.get(40..72)?, bytes.get(80..92)?].concat(),
        entries_at: u64_at(bytes, 72)?.checked_mul(sector)?,
        count: to_usize(u64::from(u32_at(bytes, 80)?)),
        entry_bytes: to_usize(u64::from(u32_at(bytes, 84)?)),
        entries_checksum: u32_at(bytes, 88)?,
    })
}

/// The array of entries; `None` when it is damaged, or larger than anything that a tool makes.
fn entries(header: &Header, size: u64, read: &mut Read<'_>) -> io::Result<Option<Vec<u8>>> {
    let length = header.count.checked_mul(header.entry_bytes).filter(|bytes| *bytes as u64 <= PROBE_BYTES);
    let (Some(length), 128..) = (length, header.entry_bytes) else { return Ok(None) };
    let bytes = bytes_at(header.entries_at, length, size, read)?;
    Ok(bytes.filter(|bytes| checksum(bytes) == header.entries_checksum))
}

/// Whether the backup is there and says the same.
fn agrees(primary: &Header, size: u64, read: &mut Read<'_>) -> io::Result<bool> {
    let at = primary.other.saturating_mul(primary.sector);
    let Some(bytes) = bytes_at(at, to_usize(primary.sector), size, read)? else { return Ok(false) };
    let Some(backup) = header(&bytes, primary.sector, primary.other) else { return Ok(false) };
    let same = backup.other == 1 && backup.shared == primary.shared;
    Ok(same && entries(&backup, size, read)?.is_some())
}

fn single(header: &Header, entries: &[u8], at: u64) -> Table {
    let entries = (1_u32..).zip(entries.chunks_exact(header.entry_bytes));
    let used = entries.filter(|(_, entry)| entry.iter().take(16).any(|byte| *byte != 0));
    let ranges: Vec<(u32, Option<(u64, u64)>)> =
        used.map(|(number, entry)| (number, range(header, entry))).collect();
    if let Some((number, _)) = ranges.iter().find(|(_, range)| range.is_none()) {
        return Table::refused(
            format!("a GPT partition table whose partition {number} lies outside of it"),
            at,
        );
    }
    match ranges.as_slice() {
        [(number, Some((start_bytes, size_bytes)))] => Table::Single {
            table: "GPT",
            number: *number,
            start_bytes: *start_bytes,
            size_bytes: *size_bytes,
        },
        [] => Table::refused("a GPT partition table without a partition", at),
        several => Table::refused(format!("a GPT partition table with {} partitions", several.len()), at),
    }
}

/// Offset and length in bytes of an entry, if it lies where partitions may.
fn range(header: &Header, entry: &[u8]) -> Option<(u64, u64)> {
    let (first, last) = (u64_at(entry, 32)?, u64_at(entry, 40)?);
    let table_end = header.entries_at.checked_add((header.count * header.entry_bytes) as u64)?;
    let start = first.checked_mul(header.sector)?;
    let past_the_table =
        start >= table_end || header.entries_at >= last.checked_add(1)?.checked_mul(header.sector)?;
    let inside = first >= header.first_usable.max(2) && first <= last && last <= header.last_usable;
    (inside && past_the_table).then(|| (start, (last - first + 1) * header.sector))
}

/// `None` past the end of the device.
fn bytes_at(at: u64, length: usize, size: u64, read: &mut Read<'_>) -> io::Result<Option<Vec<u8>>> {
    if at.checked_add(length as u64).is_none_or(|end| end > size) {
        return Ok(None);
    }
    let mut bytes = vec![0; length];
    read_aligned(at, &mut bytes, size, read)?;
    Ok(Some(bytes))
}

/// CRC-32 as gzip has it, too.
fn checksum(bytes: &[u8]) -> u32 {
    let mut checksum = flate2::Crc::new();
    checksum.update(bytes);
    checksum.sum()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// What does not fit is larger than anything that is compared with it.
fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
