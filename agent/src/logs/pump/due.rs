//! When a source is read, and when it is done.
//!
//! In: what lies ahead, what is under way, whether its container still writes and whether the agent stops. Out: a time, or
//! none while there is nothing to do. What always holds: nothing here reads or sends.

use super::{Ahead, Flight, Presence, Pump};
use crate::logs::sink::LogSink;
use crate::logs::source::LogSource;
use std::time::Duration;
use tokio::time::Instant;

/// Longest time that a line waits for others to share its batch.
const BATCH_AGE: Duration = Duration::from_secs(2);

/// With so many bytes unread a batch is sent at once: about what one call takes.
const ENOUGH: u64 = 1024 * 1024;

/// An answer that takes longer than this was mostly on its way: more batches may be on theirs meanwhile.
const FAR: Duration = Duration::from_millis(25);

/// Batches of one source under way at the same time.
const MOST_AT_ONCE: usize = 4;

impl<S: LogSource, K: LogSink> Pump<S, K> {
    /// When the next batch is to be read; `None` while there is nothing to read, or enough is under way.
    pub(super) fn due(&mut self, ahead: Ahead, flight: &Flight) -> Option<Instant> {
        let open = ahead.unread == 0 && flight.is_empty() && ahead.owed > 0;
        if ahead.unread == 0 && !open {
            self.since = None;
            return ahead.says_at_ms.filter(|_| flight.is_empty()).map(|at_ms| self.says_at(at_ms));
        }
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        if flight.len() >= self.at_once() {
            return None;
        }
        let at_once = ahead.unread >= ENOUGH || self.is_ending();
        Some(self.after_pause(if at_once { now } else { since + BATCH_AGE }))
    }

    /// When what was left out is to be told, where all is read: once it was silent for a while, or nothing more will come.
    fn says_at(&self, at_ms: i64) -> Instant {
        let now = Instant::now();
        let left_ms = at_ms.saturating_sub((self.shared.clock)().as_millisecond());
        let left = Duration::from_millis(u64::try_from(left_ms).unwrap_or_default());
        self.after_pause(if self.is_ending() { now } else { now + left })
    }

    /// Not before a service that failed is to be tried again.
    fn after_pause(&self, at: Instant) -> Instant {
        self.pause.map_or(at, |pause| pause.max(at))
    }

    /// Nothing is to be waited for: its container writes no more, or the agent stops.
    fn is_ending(&self) -> bool {
        self.will_not_go_on() || self.stop.is_cancelled()
    }

    /// Whether there is no more to do for an agent that stops. The beginning of a message waits for its end at the next
    /// start, and a service that does not answer is asked twice. What was left out and not told would be forgotten.
    pub(super) fn is_done(&self, ahead: Ahead) -> bool {
        let is_told = ahead.owed > 0 || ahead.says_at_ms.is_none();
        let read = ahead.owed == 0 || (ahead.unread == 0 && !self.will_not_go_on());
        (is_told && (read || self.caught_up)) || self.failures > 1
    }

    fn at_once(&self) -> usize {
        if self.round_trip > FAR && self.failures == 0 { MOST_AT_ONCE } else { 1 }
    }

    /// Its container writes no more.
    pub(super) fn will_not_go_on(&self) -> bool {
        matches!(*self.presence.borrow(), Presence::Ended(_) | Presence::Removed)
    }
}
