//! The places between the ends that are read before a device is called blank.
//!
//! A device whose both ends were wiped still holds its data. So 4 KiB are read wherever the tools of today put
//! something that is never zero: superblock copies, allocation group headers, bitmaps. In: the size of the device and a
//! function that reads; out: what is named there, or the first byte that is not zero. It always holds that every place
//! lies on the device, outside both ends, at a multiple of 4 KiB, and that there are 256 at most. The cost is one read
//! each, and only where no file system was found: about 0.2 s on a volume that answers in a millisecond.

use super::ends::{Ends, first_not_zero};
use super::magics::{BETWEEN, matches_at};
use super::{PROBE_BYTES, Place, Read};
use crate::volumes::mark::Mark;
use crate::volumes::superblock;
use std::collections::BTreeSet;
use std::io;

/// How much is read at each place, and what its offset is a multiple of.
pub const PLACE_BYTES: u64 = 4096;
const MOST_PLACES: usize = 256;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// Byte offsets of the places on a device of this size, ascending.
pub fn places_between(size: u64) -> Vec<u64> {
    let last = (size.saturating_sub(PROBE_BYTES) / PLACE_BYTES * PLACE_BYTES).checked_sub(PLACE_BYTES);
    let inside = |at: &u64| *at >= PROBE_BYTES && last.is_some_and(|last| *at <= last);
    let all = ext_groups(size).chain(xfs_groups(size)).chain(in_a_partition(size)).chain(round_numbers());
    let aligned = all.map(|at| at / PLACE_BYTES * PLACE_BYTES).filter(inside);
    let mut places = BTreeSet::new();
    for at in aligned {
        if places.len() < MOST_PLACES {
            places.insert(at);
        }
    }
    places.into_iter().collect()
}

/// Where ext keeps copies of its superblock: groups 1 and the powers of 3, 5 and 7 (`sparse_super`); a group is as many
/// blocks as one block has bits. Blocks of 4 KiB are what `mkfs` chooses from 512 MiB on, 1 KiB below; with those the
/// copy lies one block into the group, in the same 4 KiB.
fn ext_groups(size: u64) -> impl Iterator<Item = u64> {
    let powers = |base: u64| std::iter::successors(Some(base), move |power| power.checked_mul(base));
    let of_blocks = move |block: u64, until: u64| {
        let group = block * 8 * block;
        let groups = [3, 5, 7].into_iter().flat_map(move |base| {
            powers(base).map(move |number| number.saturating_mul(group)).take_while(move |at| *at < until)
        });
        std::iter::once(group).chain(groups)
    };
    const SMALL_BLOCKS: u64 = 16 * GIB;
    of_blocks(4096, size)
        .chain(of_blocks(1024, size.min(SMALL_BLOCKS)))
        .chain(of_blocks(2048, size.min(SMALL_BLOCKS)))
}

/// Where the allocation groups of xfs begin: four of equal size on a plain device, 16 or 32 on a striped one, there less
/// one stripe unit so that the headers do not all lie on the same disk, and at most 1 TiB less one block each on a large
/// one. Near an eighth lies the file table of ntfs, too.
fn xfs_groups(size: u64) -> impl Iterator<Item = u64> {
    let group = move |parts: u64| (size / PLACE_BYTES).div_ceil(parts) * PLACE_BYTES;
    let equal = [4, 8, 16, 32]
        .into_iter()
        .flat_map(move |parts: u64| (1..parts).map(move |number| number * group(parts)));
    let striped = [16, 32]
        .into_iter()
        .flat_map(move |parts| (3..=8).map(move |power| group(parts).saturating_sub(PLACE_BYTES << power)));
    let large = (1..=16).flat_map(|number| [number * (TIB - PLACE_BYTES), number * TIB]);
    let ntfs = size / 8 + 4 * PLACE_BYTES;
    std::iter::once(ntfs).chain(equal).chain(striped).chain(large)
}

/// The same of a file system in the only partition, which begins at 1 MiB and goes to the end, or to the backup of its
/// table: a device whose table was wiped looks blank at both ends.
fn in_a_partition(size: u64) -> impl Iterator<Item = u64> {
    const BACKUP: u64 = 33 * 512;
    let ext = [8, 24, 40, 128, 384, 640, 896].map(|group| MIB + group * MIB);
    let groups = [0, BACKUP].into_iter().flat_map(move |left_out| {
        let group = (size.saturating_sub(MIB + left_out) / PLACE_BYTES).div_ceil(4) * PLACE_BYTES;
        (1..4).map(move |number| MIB + number * group)
    });
    ext.into_iter().chain(groups)
}

/// What does not depend on the size: a volume may have been enlarged since its file system was made. btrfs and f2fs
/// begin at whole MiB, xfs on a volume of 4 GiB has a group at each; EBS volumes have round sizes.
fn round_numbers() -> impl Iterator<Item = u64> {
    let btrfs = [64 * MIB, 256 * GIB];
    let mib = (1..=16).map(|number| number * MIB);
    let gib = (1..=64).map(|number| number * GIB);
    let hundreds = (1..=16).map(|number| number * 100 * GIB);
    btrfs.into_iter().chain(mib).chain(gib).chain(hundreds)
}

/// What is there.
pub(super) enum Between {
    /// A signature that does not bear the UUID of the mark.
    Foreign(Place),
    /// None such.
    Unnamed {
        /// Offset of the first byte that is not zero, if there is one.
        not_zero: Option<u64>,
    },
}

/// Reads all places. A name counts more than a byte that merely is not zero.
pub(super) fn read(ends: &Ends, mark: Option<&Mark>, read: &mut Read<'_>) -> io::Result<Between> {
    let mut not_zero = None;
    let mut bytes = [0; 4096];
    for at in places_between(ends.size) {
        read(at, &mut bytes)?;
        let Some(position) = first_not_zero(&bytes) else { continue };
        not_zero = not_zero.or(Some(at + position));
        if let Some(place) = foreign(at, &bytes, mark) {
            return Ok(Between::Foreign(place));
        }
    }
    Ok(Between::Unnamed { not_zero })
}

fn foreign(at: u64, bytes: &[u8], mark: Option<&Mark>) -> Option<Place> {
    let magic = BETWEEN.iter().find(|(_, magic_at, magic)| {
        magic_at.checked_sub(at).is_some_and(|position| matches_at(bytes, position, magic))
    });
    if let Some((what, at, _)) = magic {
        return Some(Place { what, at: *at });
    }
    let copies = [
        ("a copy of an ext superblock", 0, superblock::ext(bytes)),
        ("a copy of an ext superblock", 1024, bytes.get(1024..).and_then(superblock::ext)),
        ("an allocation group of xfs", 0, superblock::xfs(bytes)),
    ];
    let is_the_marks = |uuid: &Option<String>| mark.is_some_and(|mark| uuid.as_ref() == Some(&mark.uuid));
    let foreign = |copy: &Option<super::Found>| copy.as_ref().is_some_and(|found| !is_the_marks(&found.uuid));
    let place = copies.into_iter().find(|(_, _, copy)| foreign(copy));
    place.map(|(what, offset, _)| Place { what, at: at + offset })
}
