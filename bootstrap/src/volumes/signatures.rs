//! What is on a device: our own reader, and the proof that there is nothing.
//!
//! In: the size of the device and a function that reads at an offset. Out: [`Content`]. It always holds that
//! [`Content::Blank`] is said only when no known signature was found AND every byte of the first and the last MiB was
//! read and is zero. What it does not know is never blank. Pure but for the reads that it is given; never panics on
//! any content. Not its job: deciding what to do about it (`plan`), and finding the device (`observe`).

use super::mark::Mark;
use super::superblock;
use std::io;

/// How much is read at either end and must be zero to be blank.
pub const PROBE_BYTES: u64 = 1 << 20;

/// What is on a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// No signature, and both ends are zero.
    Blank,
    /// Exactly one file system, directly on the device.
    Filesystem(Found),
    /// A sound partition table with exactly one partition.
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
                write!(formatter, "a {table} with one partition ({number}) that holds {content}")
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

/// Reads at a byte offset, the whole buffer or an error.
pub type Read<'read> = dyn FnMut(u64, &mut [u8]) -> io::Result<()> + 'read;

/// Reads both ends and, before it says blank, the places of superblock copies between them.
pub fn inspect(size: u64, read: &mut Read<'_>) -> io::Result<Content> {
    let ends = Ends::read(size, read)?;
    if let Some(place) = ends.container() {
        return Ok(place.content());
    }
    match ends.filesystems().as_slice() {
        [] => {}
        [(_, found)] => return Ok(Content::Filesystem(found.clone())),
        [(_, first), (at, second), ..] => {
            return Ok(Content::Other { what: format!("both {} and {}", first.kind, second.kind), at: *at });
        }
    }
    // A backup partition table or an old copy of a superblock says nothing against a file system that was made over
    // it, but where there is none it proves that the device is not blank.
    if let Some(place) = ends.backup_partition_table() {
        return Ok(place.content());
    }
    if let Some(place) = copies_between(size, read)? {
        return Ok(place.content());
    }
    Ok(match ends.first_not_zero() {
        Some(offset) => Content::NotBlank { offset },
        None => Content::Blank,
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

/// The first and the last MiB; one and the same on a device smaller than that.
struct Ends {
    size: u64,
    head: Vec<u8>,
    tail: Vec<u8>,
    tail_at: u64,
}

/// Bytes that name something, where they stand from the beginning of the device.
const MAGICS: [(&str, u64, &[u8]); 33] = [
    ("a LUKS encrypted volume", 0, b"LUKS\xba\xbe"),
    ("a LUKS2 encrypted volume (second header)", 0x4000, b"SKUL\xba\xbe"),
    ("a LUKS2 encrypted volume (second header)", 0x8000, b"SKUL\xba\xbe"),
    ("a LUKS2 encrypted volume (second header)", 0x1_0000, b"SKUL\xba\xbe"),
    ("a LUKS2 encrypted volume (second header)", 0x2_0000, b"SKUL\xba\xbe"),
    ("a LUKS2 encrypted volume (second header)", 0x4_0000, b"SKUL\xba\xbe"),
    ("a LUKS2 encrypted volume (second header)", 0x8_0000, b"SKUL\xba\xbe"),
    ("an LVM2 physical volume", 0, b"LABELONE"),
    ("an LVM2 physical volume", 512, b"LABELONE"),
    ("an LVM2 physical volume", 1024, b"LABELONE"),
    ("an LVM2 physical volume", 1536, b"LABELONE"),
    ("a member of an md RAID (1.1)", 0, &MD_MAGIC),
    ("a member of an md RAID (1.2)", 4096, &MD_MAGIC),
    ("a GPT partition table", 512, b"EFI PART"),
    ("a GPT partition table", 4096, b"EFI PART"),
    ("swap space", 4086, b"SWAPSPACE2"),
    ("swap space", 8182, b"SWAPSPACE2"),
    ("swap space", 16374, b"SWAPSPACE2"),
    ("swap space", 32758, b"SWAPSPACE2"),
    ("swap space", 65526, b"SWAPSPACE2"),
    ("old swap space", 4086, b"SWAP-SPACE"),
    ("a suspended system", 4086, b"S1SUSPEND"),
    ("a suspended system", 4086, b"S2SUSPEND"),
    ("a suspended system", 4086, b"LINHIB0001"),
    ("a bcache device", 4120, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"),
    ("a bcachefs device", 4120, b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef"),
    ("a file system udf", 32769, b"BEA01"),
    ("a file system reiserfs", 65588, b"ReIsErFs"),
    ("a file system reiserfs", 65588, b"ReIsEr2Fs"),
    ("a file system jfs", 32768, b"JFS1"),
    ("a file system squashfs", 0, b"hsqs"),
    ("a file system erofs", 1024, b"\xe2\xe1\xf5\xe0"),
    ("a file system ocfs2", 8192, b"OCFSV2"),
];

/// Magic number of an md superblock, little endian (`MD_SB_MAGIC`).
const MD_MAGIC: [u8; 4] = 0xa92b_4efc_u32.to_le_bytes();
/// Magic number of a ZFS uberblock.
const ZFS_MAGIC: u64 = 0x00ba_b10c;
const ZFS_LABEL: u64 = 256 << 10;

/// Superblock copies past the first MiB. They are left when only the beginning of a device was wiped, which is exactly
/// when both ends can be zero although the data is still there.
const BETWEEN: [(&str, u64, &[u8]); 6] = [
    ("a LUKS2 encrypted volume (second header)", 0x20_0000, b"SKUL\xba\xbe"),
    ("a LUKS2 encrypted volume (second header)", 0x40_0000, b"SKUL\xba\xbe"),
    ("a copy of a btrfs superblock", (64 << 20) + 64, b"_BHRfS_M"),
    ("a copy of an ext superblock", (8193 << 10) + 0x38, &[0x53, 0xef]),
    ("a copy of an ext superblock", (16384 << 11) + 0x38, &[0x53, 0xef]),
    ("a copy of an ext superblock", (32768 << 12) + 0x38, &[0x53, 0xef]),
];

const SECTOR: u64 = 512;

/// Byte offsets of what is read between the ends.
pub fn places_between(size: u64) -> Vec<u64> {
    BETWEEN.iter().map(|(_, at, _)| at / 4096 * 4096).filter(|at| at + 4096 <= size).collect()
}

fn copies_between(size: u64, read: &mut Read<'_>) -> io::Result<Option<Place>> {
    for (what, at, magic) in BETWEEN {
        if at + SECTOR > size {
            continue;
        }
        // Whole blocks: that is all that some devices can read.
        let start = at / BLOCK as u64 * BLOCK as u64;
        let mut block = vec![0; BLOCK.min(usize::try_from(size - start).unwrap_or(BLOCK))];
        read(start, &mut block)?;
        if matches_at(&block, at - start, magic) {
            return Ok(Some(Place { what, at }));
        }
    }
    Ok(None)
}

const BLOCK: usize = 4096;

/// From the bytes at a superblock's place to the file system.
type Reader = fn(&[u8]) -> Option<Found>;

impl Ends {
    fn read(size: u64, read: &mut Read<'_>) -> io::Result<Ends> {
        let length = size.min(PROBE_BYTES);
        let bytes = usize::try_from(length).map_err(io::Error::other)?;
        let tail_at = size - length;
        let (mut head, mut tail) = (vec![0; bytes], vec![0; bytes]);
        read(0, &mut head)?;
        read(tail_at, &mut tail)?;
        Ok(Ends { size, head, tail, tail_at })
    }

    /// What holds other things, or is claimed by something that is no file system.
    fn container(&self) -> Option<Place> {
        let magic = MAGICS.iter().find(|(_, at, magic)| matches_at(&self.head, *at, magic));
        magic
            .map(|(what, at, _)| Place { what, at: *at })
            .or_else(|| self.md_at_the_end())
            .or_else(|| self.zfs())
            .or_else(|| self.boot_sector())
    }

    /// md 0.90 and 1.0 keep their superblock near the end, so that a member looks like the file system on the array.
    fn md_at_the_end(&self) -> Option<Place> {
        const RESERVED: u64 = 64 << 10;
        let version_0 = (self.size / RESERVED).checked_sub(1).map(|blocks| blocks * RESERVED);
        let version_1 = (self.size / SECTOR).checked_sub(16).map(|sectors| (sectors & !7) * SECTOR);
        let big_endian = [MD_MAGIC[3], MD_MAGIC[2], MD_MAGIC[1], MD_MAGIC[0]];
        let found = |at: &u64| self.tail_matches(*at, &MD_MAGIC) || self.tail_matches(*at, &big_endian);
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

    /// A boot sector that belongs to no FAT or NTFS.
    fn boot_sector(&self) -> Option<Place> {
        let signed = matches_at(&self.head, 510, &[0x55, 0xaa]);
        let file_system = superblock::boot_sector(&self.head).is_some();
        (signed && !file_system).then_some(Place { what: "an MBR partition table or a boot sector", at: 510 })
    }

    fn backup_partition_table(&self) -> Option<Place> {
        [SECTOR, BLOCK as u64].into_iter().find_map(|sector| {
            let at = self.size.checked_sub(sector)?;
            self.tail_matches(at, b"EFI PART").then_some(Place { what: "a backup GPT partition table", at })
        })
    }

    fn filesystems(&self) -> Vec<(u64, Found)> {
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

    fn first_not_zero(&self) -> Option<u64> {
        let first = |bytes: &[u8]| bytes.iter().position(|byte| *byte != 0).map(|position| position as u64);
        first(&self.head).or_else(|| first(&self.tail).map(|position| self.tail_at + position))
    }

    fn tail_matches(&self, at: u64, magic: &[u8]) -> bool {
        at.checked_sub(self.tail_at).is_some_and(|at| matches_at(&self.tail, at, magic))
    }
}

fn matches_at(bytes: &[u8], at: u64, magic: &[u8]) -> bool {
    let range = usize::try_from(at).ok().and_then(|start| Some(start..start.checked_add(magic.len())?));
    range.and_then(|range| bytes.get(range)) == Some(magic)
}
