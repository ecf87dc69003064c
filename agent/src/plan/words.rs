//! How digests, durations and gates are put in words.

use node::config::settings::{self, Probe};
use std::time::Duration;

/// `sha256:` and twelve digits: what fits a line and still can be found.
pub(super) fn short(digest: &str) -> String {
    const SHOWN: usize = "sha256:".len() + 12;
    digest.chars().take(SHOWN).collect()
}

/// `1h30m`, `90s` as `1m30s`, `250ms`.
pub(super) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds == 0 {
        return format!("{}ms", duration.as_millis());
    }
    let parts = [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    parts.iter().filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count}{unit}")).collect()
}

/// Which gate is in force. `has_healthcheck` is `None` while the image is not there to be asked.
pub(super) fn gate(service: &settings::Service, has_healthcheck: Option<bool>) -> String {
    let settings::Health { probe, interval, retries, start_period, .. } = &service.health;
    let stayed_up = format!("stayed up for {}", span(service.update.min_healthy));
    let asked = match probe {
        Probe::Http { port, path } => format!("http GET {path} on port {port}"),
        Probe::Tcp { port } => format!("tcp connection to port {port}"),
        Probe::Exec(command) => format!("exec `{}`", command.join(" ")),
        Probe::ImageOrStayedUp => {
            return match has_healthcheck {
                Some(true) => "the image's HEALTHCHECK".to_owned(),
                Some(false) => format!("{stayed_up} (the image has no HEALTHCHECK)"),
                None => format!("the image's HEALTHCHECK, else {stayed_up}"),
            };
        }
    };
    let start = match start_period.is_zero() {
        true => String::new(),
        false => format!(", {} to start", span(*start_period)),
    };
    format!("{asked} every {}, failing after {retries} failures in a row{start}", span(*interval))
}

/// Bytes as `12.3 MB`.
pub(super) fn megabytes(bytes: u64) -> String {
    const TENTH: u64 = 100_000;
    let tenths = bytes / TENTH;
    format!("{}.{} MB", tenths / 10, tenths % 10)
}
