//! The kernel interfaces for block devices and file systems that nix has no safe wrapper for. Each call hands the kernel
//! one structure of ours of exactly the size that its request number says.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// `struct xfs_fsop_geom_v1`, up to the number of data blocks; the rest is not read.
#[repr(C)]
#[derive(Default)]
pub(super) struct XfsGeometry {
    block_bytes: u32,
    before_blocks: [u32; 7],
    data_blocks: u64,
    rest: [u64; 9],
}

/// `struct blkpg_partition`, linux/blkpg.h; bytes, the names stay empty.
#[repr(C)]
pub(super) struct BlockPartition {
    start: i64,
    length: i64,
    number: i32,
    names: [u8; 128],
}

/// `struct blkpg_ioctl_arg`, linux/blkpg.h
#[repr(C)]
pub(super) struct BlockPartitionArgument {
    operation: i32,
    flags: i32,
    length: i32,
    data: *const BlockPartition,
}

mod request {
    // The functions that these macros make are documented by the kernel's names.
    nix::ioctl_read!(xfs_geometry, b'X', 100, super::XfsGeometry);
    nix::ioctl_read!(device_bytes, 0x12, 114, u64);
    nix::ioctl_write_ptr_bad!(partition, nix::request_code_none!(0x12, 105), super::BlockPartitionArgument);
    nix::ioctl_read!(flags, b'f', 1, nix::libc::c_long);
    nix::ioctl_write_ptr!(set_flags, b'f', 2, nix::libc::c_long);
}

/// Size of a block device in bytes (`BLKGETSIZE64`).
pub(super) fn device_bytes(device: &File) -> io::Result<u64> {
    let mut bytes = 0;
    // SAFETY: the request writes one u64.
    unsafe { request::device_bytes(device.as_raw_fd(), &raw mut bytes) }?;
    Ok(bytes)
}

/// Tells the kernel of a partition that it has not found itself (`BLKPG_ADD_PARTITION`). Bytes.
pub(super) fn add_partition(disk: &File, number: u32, start: u64, length: u64) -> io::Result<()> {
    change_partition(disk, 1, number, start, length)
}

/// Tells the kernel the new size of a partition, which may be mounted (`BLKPG_RESIZE_PARTITION`). Bytes.
pub(super) fn resize_partition(disk: &File, number: u32, start: u64, length: u64) -> io::Result<()> {
    change_partition(disk, 3, number, start, length)
}

fn change_partition(disk: &File, operation: i32, number: u32, start: u64, length: u64) -> io::Result<()> {
    let partition = BlockPartition {
        start: i64::try_from(start).map_err(io::Error::other)?,
        length: i64::try_from(length).map_err(io::Error::other)?,
        number: i32::try_from(number).map_err(io::Error::other)?,
        names: [0; 128],
    };
    let bytes = i32::try_from(size_of::<BlockPartition>()).map_err(io::Error::other)?;
    let argument = BlockPartitionArgument { operation, flags: 0, length: bytes, data: &raw const partition };
    // SAFETY: `argument` is the structure of this request and points to one of the partition, which has the size that
    // it announces; both live until the call returns, and the kernel only reads them.
    unsafe { request::partition(disk.as_raw_fd(), &raw const argument) }?;
    Ok(())
}

/// Size of a mounted XFS by any file in it (`XFS_IOC_FSGEOMETRY_V1`); its superblock on the device may be older.
pub(super) fn xfs_bytes(file: &File) -> io::Result<u64> {
    let mut geometry = XfsGeometry::default();
    // SAFETY: the structure has the 112 bytes of this version of the request.
    unsafe { request::xfs_geometry(file.as_raw_fd(), &raw mut geometry) }?;
    Ok(geometry.data_blocks.saturating_mul(u64::from(geometry.block_bytes)))
}

/// Makes a folder immutable (`chattr +i`): nothing can be created in it, but it can be mounted over.
pub(super) fn make_immutable(folder: &File) -> io::Result<()> {
    const IMMUTABLE: nix::libc::c_long = 0x10;
    let mut flags = 0;
    // SAFETY: both requests take one long here (the kernel reads and writes an int of it).
    unsafe { request::flags(folder.as_raw_fd(), &raw mut flags) }?;
    if flags & IMMUTABLE == 0 {
        let wanted = flags | IMMUTABLE;
        // SAFETY: as above.
        unsafe { request::set_flags(folder.as_raw_fd(), &raw const wanted) }?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structures_have_the_sizes_that_the_kernel_expects() {
        assert_eq!(size_of::<XfsGeometry>(), 112);
        assert_eq!(size_of::<BlockPartition>(), 152);
        assert_eq!(size_of::<BlockPartitionArgument>(), 24);
    }
}
