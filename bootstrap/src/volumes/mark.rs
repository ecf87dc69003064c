//! The mark that lies on a device from before `mkfs` begins until it has ended: who makes which file system there.
//!
//! A `mkfs` that is killed leaves a device that is neither blank nor a file system. Only with this mark is such a device
//! known as ours; the truth is on the disk, so that it holds for the next instance, too. In: bytes; out: a [`Mark`], or
//! nothing. It always holds that bytes which are not exactly what [`Mark::encode`] writes are no mark. Pure. Not its
//! job: reading and writing the device (`apply`), and what else lies there (`signatures`).
//!
//! One sector of 512 bytes, which a device writes whole or not at all, at the beginning of the last MiB: free space of
//! either file system, and inside what must be zero to be blank.

use node::hexadecimal::hexadecimal;
use sha2::{Digest, Sha256};

/// Length of a mark: one sector.
pub const MARK_BYTES: usize = 512;

/// What a mark says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Which file system is being made.
    pub filesystem: &'static str,
    /// Its UUID, chosen before `mkfs` begins and given to it.
    pub uuid: String,
    /// Size of the device.
    pub size_bytes: u64,
    /// Serial number of the device, where it has one; else empty.
    pub serial: String,
}

impl Mark {
    /// Where a mark lies on a device of this size; `None` when it is too small to bear one.
    pub fn place(size_bytes: u64) -> Option<u64> {
        const SMALLEST: u64 = 4 << 20;
        (size_bytes >= SMALLEST).then(|| (size_bytes - super::signatures::PROBE_BYTES) & !4095)
    }

    /// The sector: lines of text, the SHA-256 of the lines before it, zeros. `None` when the serial number does not fit
    /// into it or could not be read back.
    pub fn encode(&self) -> Option<[u8; MARK_BYTES]> {
        let Mark { filesystem, uuid, size_bytes, serial } = self;
        let lines =
            format!("{HEADING}\nfilesystem {filesystem}\nuuid {uuid}\nsize {size_bytes}\nserial {serial}\n");
        let text = format!("{lines}sha256 {}\n", checksum(&lines));
        let mut sector = [0; MARK_BYTES];
        sector.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        let plain = |text: &str| !text.contains(char::is_control);
        (plain(serial) && plain(uuid)).then_some(sector)
    }

    /// The mark in a sector, if there is exactly one.
    pub fn decode(sector: &[u8]) -> Option<Mark> {
        let text = std::str::from_utf8(sector).ok()?.trim_end_matches('\0');
        let mut lines = text.lines().skip(1);
        let mut value = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned);
        let filesystem = value("filesystem")?;
        let mark = Mark {
            filesystem: ["xfs", "ext4"].into_iter().find(|known| *known == filesystem)?,
            uuid: value("uuid")?,
            size_bytes: value("size")?.parse().ok()?,
            serial: value("serial")?,
        };
        (mark.encode()?.as_slice() == sector).then_some(mark)
    }
}

/// A person who looks at the sector reads it, too.
const HEADING: &str = "node-agent: a file system is being made here";

fn checksum(lines: &str) -> String {
    hexadecimal(&Sha256::digest(lines.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mark() -> Mark {
        Mark {
            filesystem: "xfs",
            uuid: "0b6f5a0e-7a3c-4f52-9f1e-2f6c3b8d9a10".to_owned(),
            size_bytes: 20 << 30,
            serial: "vol0a1b2c3d4e5f60718".to_owned(),
        }
    }

    #[test]
    fn a_mark_is_read_as_it_was_written_and_lies_in_the_last_mib() {
        for serial in ["vol0a1b2c3d4e5f60718", ""] {
            let mark = Mark { serial: serial.to_owned(), ..mark() };
            assert_eq!(Mark::decode(&mark.encode().unwrap()), Some(mark));
        }
        assert_eq!(Mark::place((20 << 30) + 512), Some((20 << 30) - (1 << 20)));
        assert_eq!(Mark::place(1 << 20), None);
        assert_eq!(Mark { serial: "v".repeat(500), ..mark() }.encode(), None);
    }

    proptest! {
        #[test]
        fn one_changed_byte_is_no_mark(at in 0..MARK_BYTES, flip in 1_u8..) {
            let mut sector = mark().encode().unwrap();
            sector[at] ^= flip;
            prop_assert_eq!(Mark::decode(&sector), None);
        }

        #[test]
        fn no_sector_makes_it_panic(sector in proptest::collection::vec(any::<u8>(), 0..600)) {
            prop_assert_eq!(Mark::decode(&sector), None);
        }
    }
}
