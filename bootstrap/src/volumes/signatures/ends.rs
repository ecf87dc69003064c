//! The first and the last MiB of a device, and what is named there.
//!
//! In: their bytes; out: containers, file systems, our mark, the first byte that is not zero. Not its job: weighing one
//! against the other (the module above), and tables of partitions (`partition_table`).

use super::magics::{CONTAINERS, MD_MAGIC, MD_MAGIC_BIG_ENDIAN, ZFS_MAGIC, matches_at};
use super::{Found, PLACE_BYTES, PROBE_BYTES, Place, Read};
use crate::volumes::mark::{MARK_BYTES, Mark};
use crate::volumes::superblock;
use std::io;

const SECTOR: u64 = 512;
const ZFS_LABEL: u64 = 256 << 10;

/// The first and the last MiB; one and the same on a device smaller than that.
pub(super) struct Ends {
    pub(super) size: u64,
    pub(super) head: Vec<u8>,
    pub(super) tail: Vec<u8>,
    /// Where the tail begins: a multiple of 4 KiB, so that it begins with the mark on a device of any size.
    pub(super) tail_at: u64,
}

/// From the bytes at a superblock's place to the file system.
type Reader = fn(&[u8]) -> Option<Found>;

impl Ends {
    pub(super) fn read(size: u64, read: &mut Read<'_>) -> io::Result<Ends> {
        let length = |bytes: u64| usize::try_from(bytes).map_err(io::Error::other);
        let tail_at = size.saturating_sub(PROBE_BYTES) / PLACE_BYTES * PLACE_BYTES;
        let mut head = vec![0; length(size.min(PROBE_BYTES))?];
        let mut tail = vec![0; length(size - tail_at)?];
        read(0, &mut head)?;
        read(tail_at, &mut tail)?;
        Ok(Ends { size, head, tail, tail_at })
    }

    /// What holds other things, or is claimed by something that is no file system.
    pub(super) fn container(&self) -> Option<Place> {
        let magic = CONTAINERS.iter().find(|(_, at, magic)| matches_at(&self.head, *at, magic));
        magic
            .map(|(what, at, _)| Place { what, at: *at })
            .or_else(|| self.md_at_the_end())
            .or_else(|| self.zfs())
    }

    /// md 0.90 and 1.0 keep their superblock near the end, so that a member looks like the file system on the array.
    fn md_at_the_end(&self) -> Option<Place> {
        const RESERVED: u64 = 64 << 10;
        let version_0 = (self.size / RESERVED).checked_sub(1).map(|blocks| blocks * RESERVED);
        let version_1 = (self.size / SECTOR).checked_sub(16).map(|sectors| (sectors & !7) * SECTOR);
        let found =
            |at: &u64| self.tail_matches(*at, &MD_MAGIC) || self.tail_matches(*at, &MD_MAGIC_BIG_ENDIAN);
        let place = |what| move |at| Place { what, at };
        version_0
            .filter(found)
            .map(place("a member of an md RAID (0.90)"))
            .or_else(|| version_1.filter(found).map(place("a member of an md RAID (1.0)")))
    }

    /// Four labels, two at either end; the second half of each is an array of uberblocks.
    fn zfs(&self) -> Option<Place> {
        let end = self.size / ZFS_LABEL * ZFS_LABEL;
        let labels = [Some(0), Some(ZFS_LABEL), end.checked_sub(2 * ZFS_LABEL), end.checked_sub(ZFS_LABEL)];
        let uberblocks = |label: u64| (label + ZFS_LABEL / 2..label + ZFS_LABEL).step_by(1024);
        labels.into_iter().flatten().flat_map(uberblocks).find_map(|at| {
            let found = [ZFS_MAGIC.to_le_bytes(), ZFS_MAGIC.to_be_bytes()]
                .iter()
                .any(|magic| matches_at(&self.head, at, magic) || self.tail_matches(at, magic));
            found.then_some(Place { what: "a member of a ZFS pool", at })
        })
    }

    /// A backup of a table whose primary is not there at all.
    pub(super) fn backup_partition_table(&self) -> Option<Place> {
        [SECTOR, 4096].into_iter().find_map(|sector| {
            let at = self.size.checked_sub(sector)?;
            self.tail_matches(at, b"EFI PART").then_some(Place { what: "a backup GPT partition table", at })
        })
    }

    /// Every file system whose superblock is where it should be.
    pub(super) fn filesystems(&self) -> Vec<(u64, Found)> {
        let readers: [(u64, Reader); 6] = [
            (0, superblock::boot_sector),
            (0, superblock::xfs),
            (1024, superblock::ext),
            (1024, superblock::f2fs),
            (32768, superblock::iso9660),
            (65536, superblock::btrfs),
        ];
        let found = readers.into_iter().filter_map(|(at, reader)| {
            let start = usize::try_from(at).ok()?;
            Some((at, reader(self.head.get(start..)?)?))
        });
        found.collect()
    }

    /// The mark that lies where a device of this size bears one, and that was made for a device of this size.
    pub(super) fn mark(&self) -> Option<Mark> {
        let at = Mark::place(self.size)?.checked_sub(self.tail_at)?;
        let start = usize::try_from(at).ok()?;
        let mark = Mark::decode(self.tail.get(start..start.checked_add(MARK_BYTES)?)?)?;
        (mark.size_bytes == self.size).then_some(mark)
    }

    pub(super) fn first_not_zero(&self) -> Option<u64> {
        first_not_zero(&self.head)
            .or_else(|| first_not_zero(&self.tail).map(|position| self.tail_at + position))
    }

    pub(super) fn tail_matches(&self, at: u64, magic: &[u8]) -> bool {
        at.checked_sub(self.tail_at).is_some_and(|at| matches_at(&self.tail, at, magic))
    }
}

/// Position of the first byte that is not zero. Whole blocks are compared first: nearly all of them are zero.
pub(super) fn first_not_zero(bytes: &[u8]) -> Option<u64> {
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut position = 0;
    for block in bytes.chunks(ZEROS.len()) {
        if block != &ZEROS[..block.len()] {
            let inside = block.iter().position(|byte| *byte != 0);
            return inside.map(|inside| position + inside as u64);
        }
        position += block.len() as u64;
    }
    None
}
