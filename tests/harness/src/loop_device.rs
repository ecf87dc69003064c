//! Loop devices by the kernel's own requests. In: an image; out: a block device with a number that nobody else looks
//! for, and a node of its own.
//!
//! It always holds that a device goes with its value, and with the process if that is killed: the kernel detaches it
//! when its last descriptor is closed (`LO_FLAGS_AUTOCLEAR`), and one is held as long as the value lives. Numbers are
//! high and differ by process, so that `losetup --find` elsewhere gets others.

use nix::libc;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// linux/loop.h
const LOOP_CTL_ADD: libc::Ioctl = 0x4c80;
const LOOP_CTL_REMOVE: libc::Ioctl = 0x4c81;
const LOOP_CONFIGURE: libc::Ioctl = 0x4c0a;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const MAJOR: u64 = 7;

/// Numbers that nobody needs any more.
static DONE_WITH: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// `struct loop_config` with `struct loop_info64` in it; names as in linux/loop.h.
#[repr(C)]
struct Config {
    descriptor: u32,
    block_size: u32,
    before_flags: [u64; 5],
    number_and_encryption: [u32; 3],
    flags: u32,
    names_and_keys: [u8; 160],
    init: [u64; 2],
    reserved: [u64; 8],
}

/// A loop device.
#[derive(Debug)]
pub struct LoopDevice {
    number: u32,
    folder: tempfile::TempDir,
    held: Mutex<Option<File>>,
}

impl LoopDevice {
    /// A new device over this image.
    pub fn new(image: &File) -> io::Result<LoopDevice> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        const FIRST: u32 = 1024;
        const OF_A_PROCESS: u32 = 256;
        loop {
            let turn = NEXT.fetch_add(1, Ordering::Relaxed);
            let number = FIRST + (std::process::id() % 4000) * OF_A_PROCESS + turn % OF_A_PROCESS;
            match control(LOOP_CTL_ADD, number) {
                Err(error) if error.raw_os_error() == Some(libc::EEXIST) && turn < 2 * OF_A_PROCESS => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    let device = LoopDevice { number, folder: tempfile::tempdir()?, held: Mutex::new(None) };
                    let kind = nix::sys::stat::SFlag::S_IFBLK;
                    let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
                    nix::sys::stat::mknod(&device.node(), kind, mode, device.device_number())?;
                    device.attach(image)?;
                    return Ok(device);
                }
            }
        }
    }

    /// The kernel's name, such as `loop1024`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("loop{}", self.number)
    }

    /// Where it can be opened.
    #[must_use]
    pub fn node(&self) -> PathBuf {
        self.folder.path().join("device")
    }

    /// As `mknod` and `stat` know it.
    #[must_use]
    pub fn device_number(&self) -> u64 {
        nix::sys::stat::makedev(MAJOR, u64::from(self.number))
    }

    /// Lets it lead to nothing; at once, or when the last one who uses it has closed it.
    pub fn detach(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<File>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets it lead to this image. An error when it still leads to another one.
    pub fn attach(&self, image: &File) -> io::Result<()> {
        let held = open(&self.node())?;
        let config = Config {
            descriptor: image.as_raw_fd().cast_unsigned(),
            block_size: 0,
            before_flags: [0; 5],
            number_and_encryption: [0; 3],
            flags: LO_FLAGS_AUTOCLEAR,
            names_and_keys: [0; 160],
            init: [0; 2],
            reserved: [0; 8],
        };
        // SAFETY: the structure of this request, which lives until the call returns.
        let answer = unsafe { libc::ioctl(held.as_raw_fd(), LOOP_CONFIGURE, &raw const config) };
        if answer < 0 {
            return Err(io::Error::last_os_error());
        }
        *self.lock() = Some(held);
        Ok(())
    }

    /// What was written to the device and is only in memory so far is written to the image.
    pub fn flush(&self) -> io::Result<()> {
        self.lock().as_ref().map_or(Ok(()), File::sync_all)
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        self.detach();
        // A mount may go a little later than its namespace: what is in use yet is removed when the next one is done with.
        let mut done_with = DONE_WITH.lock().unwrap_or_else(PoisonError::into_inner);
        done_with.push(self.number);
        done_with.retain(|number| control(LOOP_CTL_REMOVE, *number).is_err());
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

fn control(request: libc::Ioctl, number: u32) -> io::Result<()> {
    let control = open(Path::new("/dev/loop-control"))?;
    // SAFETY: the request takes a number, and no pointer.
    let answer = unsafe { libc::ioctl(control.as_raw_fd(), request, libc::c_ulong::from(number)) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structure_has_the_size_that_the_kernel_expects() {
        assert_eq!(size_of::<Config>(), 304);
        assert_eq!(std::mem::offset_of!(Config, flags), 60);
    }
}
