//! Whether the pages of a model have room in memory. Pure but for reading /proc/meminfo.
//!
//! What always holds: a model is kept only where all of it fits beside what processes have mapped and a reserve. Linux
//! counts every page of a file as available, so reading a model in does not change that number, and what must not be
//! pushed out by it has to be taken off: the pages of running models, which they have mapped. As long as this holds there
//! are always enough unmapped pages for the kernel to take first, and it need not touch the mapped ones.

use std::io;

/// Of all memory.
const RESERVE_ONE_IN: u64 = 10;
/// At least.
const RESERVE: u64 = 256 << 20;

/// Memory of the machine, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Memory {
    /// `MemTotal`
    pub(super) total: u64,
    /// `MemAvailable`: what can be had without swapping, pages of files included.
    pub(super) available: u64,
    /// `Mapped`: pages of files that processes have mapped.
    pub(super) mapped: u64,
}

impl Memory {
    /// As it is.
    pub(super) fn now() -> io::Result<Memory> {
        let text = std::fs::read_to_string("/proc/meminfo")?;
        parse(&text)
            .ok_or_else(|| io::Error::other("/proc/meminfo does not say how much memory is available"))
    }

    fn reserve(&self) -> u64 {
        (self.total / RESERVE_ONE_IN).max(RESERVE)
    }

    /// Why a model of so many bytes would not stay, if it would not.
    pub(super) fn shortage(&self, model_bytes: u64) -> Option<String> {
        let free = self.available.saturating_sub(self.mapped);
        if free.saturating_sub(self.reserve()) >= model_bytes {
            return None;
        }
        Some(format!(
            "memory is short: the model has {}, {} can be had without pushing out what processes use, and {} of it stay \
             free",
            mebibytes(model_bytes),
            mebibytes(free),
            mebibytes(self.reserve()),
        ))
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

fn parse(text: &str) -> Option<Memory> {
    let field = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(Memory { total: field("MemTotal")?, available: field("MemAvailable")?, mapped: field("Mapped")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn the_numbers_of_the_kernel_are_read() {
        let text = "MemTotal:       24683520 kB\nMemFree:          100 kB\nMemAvailable:   23000000 kB\n\
                    Mapped:           321000 kB\nHugePages_Total:       0\n";
        let memory = parse(text).unwrap();
        let kibibytes = [memory.total, memory.available, memory.mapped].map(|bytes| bytes / 1024);
        assert_eq!(kibibytes, [24_683_520, 23_000_000, 321_000]);
        assert_eq!(parse("MemTotal: 1 kB\nMapped: 1 kB\n"), None, "a kernel that does not tell");
        assert!(Memory::now().is_ok_and(|memory| memory.total > memory.available));
    }

    #[test]
    fn a_model_is_kept_while_all_of_it_fits_beside_what_is_mapped_and_the_reserve() {
        for (available, mapped, model, fits) in [
            (30 * GIB, GIB, 20 * GIB, true),
            (30 * GIB, GIB, 26 * GIB, false),      // 3.2 GiB of 32 stay free
            (30 * GIB, 12 * GIB, 20 * GIB, false), // a running model has 12 of them mapped
            (2 * GIB, 0, GIB, false),
            (0, GIB, 1, false),
        ] {
            let memory = Memory { total: 32 * GIB, available, mapped };
            assert_eq!(memory.shortage(model).is_none(), fits, "{memory:?} {model}");
        }
    }

    #[test]
    fn a_small_machine_keeps_a_quarter_of_a_gibibyte_and_says_the_numbers() {
        let memory = Memory { total: GIB, available: 600 << 20, mapped: 0 };
        assert_eq!(memory.shortage(344 << 20), None);
        let why = memory.shortage(345 << 20).unwrap();
        assert!(["345 MiB", "600 MiB", "256 MiB"].iter().all(|number| why.contains(number)), "{why}");
    }
}
