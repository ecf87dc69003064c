//! The one place in bootstrap that reads a clock: when it started, how long ago that was, and what time it is now.

#![expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]

use jiff::Timestamp;
use std::time::{Duration, Instant};

/// Started once, at the beginning of `run` or `plan`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    started_at: Timestamp,
    started: Instant,
}

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock { started_at: Timestamp::now(), started: Instant::now() }
    }

    pub(crate) fn started_at(&self) -> Timestamp {
        self.started_at
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// Since the start, on a clock that never jumps.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// [`Clock::elapsed`] in milliseconds.
    pub(crate) fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
