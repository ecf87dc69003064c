//! Bytes that name something at a fixed place: data only, from the formats' own documents and blkid's sources.

/// What must be where, counted from the beginning of the device.
pub(super) type Magic = (&'static str, u64, &'static [u8]);

/// What holds other things, or is claimed by something that is no file system to mount. All in the first MiB.
pub(super) const CONTAINERS: [Magic; 31] = [
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

/// Past the first MiB, and without a UUID that could be compared with a mark's.
pub(super) const BETWEEN: [Magic; 4] = [
    ("a LUKS2 encrypted volume (second header)", 0x20_0000, b"SKUL\xba\xbe"),
    ("a LUKS2 encrypted volume (second header)", 0x40_0000, b"SKUL\xba\xbe"),
    ("a copy of a btrfs superblock", (64 << 20) + 64, b"_BHRfS_M"),
    ("a copy of a btrfs superblock", (256 << 30) + 64, b"_BHRfS_M"),
];

/// Magic number of an md superblock, little endian (`MD_SB_MAGIC`).
pub(super) const MD_MAGIC: [u8; 4] = 0xa92b_4efc_u32.to_le_bytes();
/// The same as a big endian host writes it in the format 0.90.
pub(super) const MD_MAGIC_BIG_ENDIAN: [u8; 4] = 0xa92b_4efc_u32.to_be_bytes();
/// Magic number of a ZFS uberblock.
pub(super) const ZFS_MAGIC: u64 = 0x00ba_b10c;

/// Whether the bytes at an offset are these.
pub(super) fn matches_at(bytes: &[u8], at: u64, magic: &[u8]) -> bool {
    let range = usize::try_from(at).ok().and_then(|start| Some(start..start.checked_add(magic.len())?));
    range.and_then(|range| bytes.get(range)) == Some(magic)
}
