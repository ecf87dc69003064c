//! Which pages of a file are in memory, and asking the kernel to bring or to drop some.
//!
//! What always holds: nothing of the file is touched through the mapping, which is there for mincore(2) alone; a page that
//! any process has mapped is not dropped by the kernel, whoever asks.

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::libc;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What the kernel takes from one request to read ahead where nothing is known of the device.
const REQUEST: u64 = 128 << 10;
/// More makes no request faster.
const REQUEST_AT_MOST: u64 = 2 << 20;

/// The pages of a file.
pub(super) struct Pages<'a> {
    file: &'a File,
    length: usize,
    /// Where it is mapped; as a number, because nothing is read there.
    address: usize,
    page: usize,
    request: u64,
}

impl<'a> Pages<'a> {
    /// Of the file as long as it is now.
    pub(super) fn of(file: &'a File) -> io::Result<Pages<'a>> {
        let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        // The kernel's own reading ahead would go past what was asked for, and past the rate with it.
        posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_RANDOM)?;
        let request = request_bytes(file).unwrap_or(REQUEST).clamp(REQUEST, REQUEST_AT_MOST);
        let mut pages = Pages { file, length, address: 0, page: page_size(), request };
        if length > 0 {
            let descriptor = file.as_raw_fd();
            // SAFETY: a new mapping without access, of a file that is open; nothing else has this address.
            let mapped = unsafe {
                libc::mmap(std::ptr::null_mut(), length, libc::PROT_NONE, libc::MAP_SHARED, descriptor, 0)
            };
            if mapped == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            pages.address = mapped.addr();
        }
        Ok(pages)
    }

    /// Stretches of this range that are not in memory, in order. `from` is a multiple of the page size.
    pub(super) fn missing(&self, range: &Range<u64>) -> io::Result<Vec<Range<u64>>> {
        let (from, to) = (self.within(range.start)?, self.within(range.end)?);
        let mut resident = vec![0_u8; to.saturating_sub(from).div_ceil(self.page)];
        if resident.is_empty() {
            return Ok(Vec::new());
        }
        let address = std::ptr::without_provenance_mut::<libc::c_void>(self.address + from);
        // SAFETY: the range is inside the mapping, and there is one byte for each page of it.
        let answer = unsafe { libc::mincore(address, to - from, resident.as_mut_ptr()) };
        if answer < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut stretches: Vec<Range<u64>> = Vec::new();
        for (index, _) in resident.iter().enumerate().filter(|(_, flags)| **flags & 1 == 0) {
            let start = (from + index * self.page) as u64;
            let end = (start + self.page as u64).min(to as u64);
            match stretches.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => stretches.push(start..end),
            }
        }
        Ok(stretches)
    }

    fn within(&self, offset: u64) -> io::Result<usize> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        if offset <= self.length {
            return Ok(offset);
        }
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter"))
    }

    /// Asks for them, and does not wait. The kernel takes no more than one request of the device at a time.
    pub(super) fn fetch(&self, range: &Range<u64>) -> io::Result<()> {
        let mut start = range.start;
        while start < range.end {
            let end = (start + self.request).min(range.end);
            advise(self.file, &(start..end), PosixFadviseAdvice::POSIX_FADV_WILLNEED)?;
            start = end;
        }
        Ok(())
    }
}

/// Lets these pages go, but for those that a process has mapped.
pub(super) fn let_go(file: &File, range: &Range<u64>) -> io::Result<()> {
    advise(file, range, PosixFadviseAdvice::POSIX_FADV_DONTNEED)
}

impl Drop for Pages<'_> {
    fn drop(&mut self) {
        if self.length > 0 {
            let address = std::ptr::without_provenance_mut::<libc::c_void>(self.address);
            // SAFETY: the mapping is ours, and nobody has a reference into it.
            let _ = unsafe { libc::munmap(address, self.length) };
        }
    }
}

fn advise(file: &File, range: &Range<u64>, advice: PosixFadviseAdvice) -> io::Result<()> {
    let start = libc::off_t::try_from(range.start).map_err(io::Error::other)?;
    let length = libc::off_t::try_from(range.end - range.start).map_err(io::Error::other)?;
    Ok(posix_fadvise(file, start, length, advice)?)
}

/// Bytes of a page.
pub(super) fn page_size() -> usize {
    let answer = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    answer.and_then(|size| usize::try_from(size).ok()).unwrap_or(4096)
}

/// What the kernel takes from one request to read ahead on the file's device: the larger one of the device's reading
/// ahead and of its largest transfer. `None` where the file system is not on one device.
fn request_bytes(file: &File) -> Option<u64> {
    let device = file.metadata().ok()?.dev();
    let numbers = format!("{}:{}", nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let device = Path::new("/sys/dev/block").join(numbers);
    // A partition has the queue of its disk.
    let queue = [device.join("queue"), device.join("../queue")].into_iter().find(|queue| queue.is_dir())?;
    let kibibytes =
        |name: &str| -> Option<u64> { std::fs::read_to_string(queue.join(name)).ok()?.trim().parse().ok() };
    let largest = kibibytes("max_sectors_kb")?.max(kibibytes("read_ahead_kb")?);
    Some(largest.saturating_mul(1024))
}

#[cfg(test)]
#[path = "pages_tests.rs"]
mod tests;
