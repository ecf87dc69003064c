//! How bytes, digests and spans are put in words.

use std::time::Duration;

/// `sha256:` and twelve digits.
pub(super) fn short(digest: &str) -> String {
    const SHOWN: usize = "sha256:".len() + 12;
    digest.chars().take(SHOWN).collect()
}

/// `1.2 GiB`, `512 KiB`, `17 B`.
pub(super) fn bytes(count: u64) -> String {
    for (unit, name) in [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
        if count >= unit {
            let tenths = count.saturating_mul(10) / unit;
            return format!("{}.{} {name}", tenths / 10, tenths % 10);
        }
    }
    format!("{count} B")
}

/// `1h30m`, `90s` as `1m30s`.
pub(super) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let text: String =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count}{unit}")).collect();
    if text.is_empty() { "0s".to_owned() } else { text }
}
