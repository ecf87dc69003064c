//! How much memory the machine has.

use std::path::Path;

/// Bytes of memory in all, as the kernel counts them; `None` where it does not say. Read from `meminfo`, as a rule
/// `/proc/meminfo`, which no device can hold up.
pub fn total_bytes(meminfo: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(meminfo).ok()?;
    let field = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = field.trim().strip_suffix(" kB")?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_how_much_there_is() {
        let total = total_bytes(Path::new("/proc/meminfo")).unwrap();
        assert!(total > 64 << 20, "{total}");
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("meminfo");
        node::files::replace(&path, b"MemTotal:       16384 kB\nMemFree: 1 kB\n", 0o644).unwrap();
        assert_eq!(total_bytes(&path), Some(16384 * 1024));
        node::files::replace(&path, b"nothing", 0o644).unwrap();
        assert_eq!(total_bytes(&path), None);
        assert_eq!(total_bytes(&root.path().join("missing")), None);
    }
}
