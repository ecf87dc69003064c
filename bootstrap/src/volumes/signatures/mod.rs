//! What is on a device: our own reader, and the proof that there is nothing.
//!
//! In: the size of the device and a function that reads at an offset. Out: [`Content`]. It always holds that
//! [`Content::Blank`] is said only when no known signature was found AND every byte of the first and the last MiB and
//! of all [`places_between`] was read and is zero; and that [`Content::HalfMade`] is said only beside our mark, when
//! nothing bears another name. What it does not know is never blank. Pure but for the reads that it is given; never
//! panics on any content. Not its job: deciding what to do about it (`plan`), and finding the device (`observe`).

mod between;
mod ends;
mod gpt;
mod magics;
mod partition_table;

pub use between::{PLACE_BYTES, places_between};

use super::mark::Mark;
use ends::Ends;
use partition_table::Table;
use std::io;

/// How much is read at either end and must be zero to be blank.
pub const PROBE_BYTES: u64 = 1 << 20;

/// What is on a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// No signature, and everything that was read is zero.
    Blank,
    /// Exactly one file system, directly on the device.
    Filesystem(Found),
    /// A sound partition table with exactly one partition, and a file system in that.
    Partition(Partition),
    /// Our mark lies on the device, and beside it nothing but what a `mkfs` of ours can have left behind before it was
    /// done: everything that has a UUID bears the mark's. It may be made anew.
    HalfMade(Mark),
    /// Something that is known and is no single file system.
    Other {
        /// E.g. `LVM2 physical volume`.
        what: String,
        /// Byte offset of the signature.
        at: u64,
    },
    /// No known signature, but not empty either.
    NotBlank {
        /// Of the first byte that is not zero.
        offset: u64,
    },
}

/// A file system that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The kernel's name, e.g. `xfs`.
    pub kind: &'static str,
    /// As blkid prints it; read for ext2/3/4 and xfs.
    pub uuid: Option<String>,
    /// Read for ext2/3/4 and xfs; absent when empty.
    pub label: Option<String>,
    /// Size of the file system by its superblock; read for ext2/3/4 and xfs.
    pub size_bytes: Option<u64>,
    /// In which state it was left; read for ext2/3/4 and xfs.
    pub condition: Condition,
    /// Our mark, when it still lies beside the file system whose UUID it bears: `mkfs` has come to its end, and the
    /// run that began it has not.
    pub mark: Option<Mark>,
}

/// What a superblock says of the state in which the file system was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Condition {
    /// `mkfs` has not come to its end (xfs: `sb_inprogress`).
    pub unfinished: bool,
    /// Never mounted since it was made (ext: no time and no count of mounts). `false` where that is not known.
    pub never_mounted: bool,
    /// The kernel or a check has noted damage (ext: `EXT2_ERROR_FS`).
    pub has_errors: bool,
    /// Not left in order, and no journal that the kernel would replay (ext: not `EXT2_VALID_FS`).
    pub needs_check: bool,
}

/// The only partition of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// `GPT` or `MBR`.
    pub table: &'static str,
    /// Its number, counted from 1.
    pub number: u32,
    /// Where it begins, bytes.
    pub start_bytes: u64,
    /// Its length, bytes.
    pub size_bytes: u64,
    /// What is in it; never a partition again.
    pub content: Box<Content>,
}

impl std::fmt::Display for Content {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Content::Blank => formatter.write_str("nothing"),
            Content::Filesystem(found) => {
                write!(formatter, "a file system {}", found.kind)?;
                found.label.iter().try_for_each(|label| write!(formatter, " labelled {label:?}"))?;
                found.uuid.iter().try_for_each(|uuid| write!(formatter, " with UUID {uuid}"))
            }
            Content::Partition(Partition { table, number, content, .. }) => {
                write!(
                    formatter,
                    "{} partition table with one partition ({number}) that holds {content}",
                    with_article(table)
                )
            }
            Content::HalfMade(mark) => {
                write!(formatter, "a file system {} that was begun and not finished", mark.filesystem)
            }
            Content::Other { what, at } => write!(formatter, "{what} (at byte {at})"),
            Content::NotBlank { offset } => {
                write!(formatter, "unknown data (the first byte that is not zero is byte {offset})")
            }
        }
    }
}

fn with_article(table: &str) -> String {
    format!("{} {table}", if table == "MBR" { "an" } else { "a" })
}

/// Reads at a byte offset, the whole buffer or an error.
pub type Read<'read> = dyn FnMut(u64, &mut [u8]) -> io::Result<()> + 'read;

/// Reads both ends, the range of the only partition and, before it says blank, the places between the ends: two MiB,
/// and at most 256 reads of 4 KiB.
pub fn inspect(size: u64, read: &mut Read<'_>) -> io::Result<Content> {
    let ends = Ends::read(size, read)?;
    if let Some(place) = ends.container() {
        return Ok(place.content());
    }
    match partition_table::read(&ends, read)? {
        Table::Absent => without_table(&ends, ends.mark(), read),
        Table::Refused(place) => Ok(place),
        Table::Single { table, number, start_bytes, size_bytes } => {
            if let Some((at, found)) = ends.filesystems().into_iter().next() {
                let what =
                    format!("both {} partition table and a file system {}", with_article(table), found.kind);
                return Ok(Content::Other { what, at });
            }
            let inner = inspect_partition(start_bytes, size_bytes, size, read)?;
            if matches!(inner, Content::Filesystem(_)) {
                let content = Box::new(inner);
                return Ok(Content::Partition(Partition { table, number, start_bytes, size_bytes, content }));
            }
            let what =
                format!("{} partition table with one partition that holds {inner}", with_article(table));
            Ok(Content::Other { what, at: start_bytes })
        }
    }
}

/// The same over a range of the device, where neither a table nor a mark of ours counts.
fn inspect_partition(start: u64, length: u64, size: u64, read: &mut Read<'_>) -> io::Result<Content> {
    let mut inside = |offset: u64, buffer: &mut [u8]| read_aligned(start + offset, buffer, size, read);
    let ends = Ends::read(length, &mut inside)?;
    if let Some(place) = ends.container() {
        return Ok(place.content());
    }
    if let Some(at) = partition_table::trace(&ends) {
        return Ok(Content::Other { what: "a partition table or a boot sector".to_owned(), at });
    }
    without_table(&ends, None, &mut inside)
}

/// Whole blocks are read: that is all that some devices can.
fn read_aligned(offset: u64, buffer: &mut [u8], size: u64, read: &mut Read<'_>) -> io::Result<()> {
    let start = offset / PLACE_BYTES * PLACE_BYTES;
    let end = (offset + buffer.len() as u64).next_multiple_of(PLACE_BYTES).min(size);
    let length = usize::try_from(end.saturating_sub(start)).map_err(io::Error::other)?;
    let skipped = usize::try_from(offset - start).map_err(io::Error::other)?;
    let mut blocks = vec![0; length];
    read(start, &mut blocks)?;
    let wanted = blocks.get(skipped..skipped + buffer.len());
    buffer.copy_from_slice(wanted.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?);
    Ok(())
}

fn without_table(ends: &Ends, mark: Option<Mark>, read: &mut Read<'_>) -> io::Result<Content> {
    match ends.filesystems().as_slice() {
        [] => {}
        [(_, found)] => {
            let its_own =
                |mark: &Mark| found.kind == mark.filesystem && found.uuid.as_ref() == Some(&mark.uuid);
            let ours = mark.clone().filter(its_own);
            if ours.is_none() || !found.condition.unfinished {
                return Ok(Content::Filesystem(Found { mark: ours, ..found.clone() }));
            }
        }
        [(_, first), (at, second), ..] => {
            return Ok(Content::Other { what: format!("both {} and {}", first.kind, second.kind), at: *at });
        }
    }
    // A backup partition table or an old copy of a superblock says nothing against a file system that was made over
    // it, but where there is none it proves that the device is not blank.
    if let Some(place) = ends.backup_partition_table() {
        return Ok(place.content());
    }
    let between = between::read(ends, mark.as_ref(), read)?;
    Ok(match (between, mark) {
        (between::Between::Foreign(place), _) => place.content(),
        (_, Some(mark)) => Content::HalfMade(mark),
        (between::Between::Unnamed { not_zero }, None) => match ends.first_not_zero().or(not_zero) {
            Some(offset) => Content::NotBlank { offset },
            None => Content::Blank,
        },
    })
}

/// A signature that was found.
struct Place {
    what: &'static str,
    at: u64,
}

impl Place {
    fn content(&self) -> Content {
        Content::Other { what: self.what.to_owned(), at: self.at }
    }
}
