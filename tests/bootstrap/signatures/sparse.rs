//! A device in memory of which only the 4 KiB pages that are not zero are kept, so that ten thousand of them take
//! seconds.

use bootstrap::volumes::signatures::{Content, inspect};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::rc::Rc;

pub(crate) const PAGE: u64 = 4096;
const ZEROS: [u8; 4096] = [0; 4096];

#[derive(Clone, Default)]
pub(crate) struct Sparse {
    pub(crate) size: u64,
    pages: BTreeMap<u64, Rc<[u8; 4096]>>,
}

impl Sparse {
    pub(crate) fn of(size: u64) -> Sparse {
        Sparse { size, pages: BTreeMap::new() }
    }

    /// Only what was ever written is read: the images are files with holes.
    pub(crate) fn from_file(path: &Path) -> Sparse {
        use nix::unistd::{Whence, lseek};
        let file = File::open(path).unwrap();
        let mut device = Sparse::of(file.metadata().unwrap().len());
        let mut at = 0_i64;
        while let Ok(data) = lseek(&file, at, Whence::SeekData) {
            let hole = lseek(&file, data, Whence::SeekHole).unwrap();
            let mut page = u64::try_from(data).unwrap() / PAGE * PAGE;
            while page < u64::try_from(hole).unwrap() {
                let length = PAGE.min(device.size - page);
                let mut bytes = vec![0; usize::try_from(length).unwrap()];
                file.read_exact_at(&mut bytes, page).unwrap();
                device.write(page, &bytes);
                page += PAGE;
            }
            at = hole;
        }
        device
    }

    pub(crate) fn to_file(&self) -> tempfile::NamedTempFile {
        let image = super::image(self.size);
        for (at, page) in &self.pages {
            let length = usize::try_from(PAGE.min(self.size - at)).unwrap();
            image.as_file().write_all_at(&page[..length], *at).unwrap();
        }
        image
    }

    pub(crate) fn read(&self, offset: u64, buffer: &mut [u8]) {
        buffer.fill(0);
        let end = offset + buffer.len() as u64;
        assert!(end <= self.size, "a read of {} bytes at {offset} past the end {}", buffer.len(), self.size);
        for (at, page) in self.pages.range(offset.saturating_sub(PAGE - 1)..end) {
            let (from, until) = ((*at).max(offset), (at + PAGE).min(end));
            let place = |position: u64, base: u64| usize::try_from(position - base).unwrap();
            buffer[place(from, offset)..place(until, offset)]
                .copy_from_slice(&page[place(from, *at)..place(until, *at)]);
        }
    }

    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) {
        let mut done = 0;
        while done < bytes.len() && offset + (done as u64) < self.size {
            let at = offset + done as u64;
            let (base, inside) = (at / PAGE * PAGE, usize::try_from(at % PAGE).unwrap());
            let length = (4096 - inside).min(bytes.len() - done);
            let mut page = self.pages.get(&base).map_or(ZEROS, |page| **page);
            page[inside..inside + length].copy_from_slice(&bytes[done..done + length]);
            // What was written past the end is no byte of the device.
            let last = usize::try_from((self.size - base).min(PAGE)).unwrap();
            page[last..].fill(0);
            if page == ZEROS {
                self.pages.remove(&base);
            } else {
                self.pages.insert(base, Rc::new(page));
            }
            done += length;
        }
    }

    /// As `dd if=/dev/zero` does.
    pub(crate) fn zero(&mut self, from: u64, until: u64) {
        let until = until.min(self.size);
        let touched: Vec<u64> =
            self.pages.range(from.saturating_sub(PAGE - 1)..until).map(|(at, _)| *at).collect();
        for at in touched {
            let (from, until) = (at.max(from), (at + PAGE).min(until));
            self.write(from, &ZEROS[..usize::try_from(until - from).unwrap()]);
        }
    }

    pub(crate) fn resize(&mut self, size: u64) {
        if size < self.size {
            self.zero(size, self.size);
        }
        self.size = size;
    }

    /// Puts another one into this one, at a multiple of a page.
    pub(crate) fn lay_over(&mut self, at: u64, other: &Sparse) {
        other.pages.iter().for_each(|(page, bytes)| self.write(at + page, bytes.as_slice()));
    }

    /// Offset of every page that is not zero.
    pub(crate) fn not_zero(&self) -> impl Iterator<Item = u64> {
        self.pages.keys().copied()
    }

    pub(crate) fn is_zero(&self, from: u64, until: u64) -> bool {
        let mut pages = self.pages.range(from.saturating_sub(PAGE - 1)..until.min(self.size));
        pages.all(|(at, page)| {
            let (from, until) = (from.max(*at) - at, until.min(at + PAGE) - at);
            page[usize::try_from(from).unwrap()..usize::try_from(until).unwrap()]
                .iter()
                .all(|byte| *byte == 0)
        })
    }

    pub(crate) fn inspect(&self) -> Content {
        let read = &mut |offset: u64, buffer: &mut [u8]| {
            self.read(offset, buffer);
            Ok(())
        };
        inspect(self.size, read).unwrap()
    }
}
