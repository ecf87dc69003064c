//! A rate in bytes a second: a bucket that fills with the times of the events. Pure.
//!
//! What always holds: in any stretch of times that go forward, no more is let through than the rate allows, ten seconds of
//! it besides, and one event; and a bucket with anything in it lets the next event through, however large that is.

/// What may come at once: a traceback, a start-up.
const HOLDS_SECONDS: i64 = 10;

/// By how much the times of one source may be out of order without being taken for a clock that was set back.
const DISORDER_MS: i64 = 1000;

/// A bucket. Its content is in thousandths of a byte, so that milliseconds fill it exactly; below nothing after a large
/// event.
#[derive(Debug, Clone)]
pub(super) struct Rate {
    bytes_a_second: i64,
    content: i64,
    /// The latest time so far.
    at_ms: Option<i64>,
}

impl Rate {
    /// A full one. Rates are held to 1 GiB a second by the check of the configuration, so nothing here overflows.
    pub(super) fn new(bytes_a_second: u64) -> Rate {
        let bytes_a_second = i64::try_from(bytes_a_second).unwrap_or(i64::MAX).min(1 << 40);
        Rate { bytes_a_second, content: bytes_a_second * 1000 * HOLDS_SECONDS, at_ms: None }
    }

    /// Whether there is anything in it at `at_ms`.
    pub(super) fn is_open(&mut self, at_ms: i64) -> bool {
        let before = self.at_ms.unwrap_or(at_ms);
        let was_set_back = at_ms < before.saturating_sub(DISORDER_MS);
        let passed = at_ms.saturating_sub(before).max(0);
        self.at_ms = Some(if was_set_back { at_ms } else { before.max(at_ms) });
        let holds = self.bytes_a_second * 1000 * HOLDS_SECONDS;
        self.content = self.content.saturating_add(passed.saturating_mul(self.bytes_a_second)).min(holds);
        self.content > 0
    }

    /// Takes what was let through.
    pub(super) fn take(&mut self, bytes: u64) {
        let thousandths = i64::try_from(bytes).unwrap_or(i64::MAX).saturating_mul(1000);
        self.content = self.content.saturating_sub(thousandths);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many events of `bytes` get through at these times.
    fn through(rate: &mut Rate, times: impl Iterator<Item = i64>, bytes: u64) -> u64 {
        let mut count = 0;
        for at in times {
            if rate.is_open(at) {
                rate.take(bytes);
                count += 1;
            }
        }
        count
    }

    #[test]
    fn ten_seconds_at_once_and_the_rate_from_then_on() {
        let mut rate = Rate::new(1000);
        assert_eq!(through(&mut rate, (0..1000).map(|_| 0), 100), 100, "10,000 bytes");
        assert_eq!(
            through(&mut rate, 0..10_000, 100),
            100,
            "10,000 bytes in ten seconds of one event a millisecond"
        );
    }

    #[test]
    fn an_event_larger_than_the_bucket_goes_through_and_is_paid_for() {
        let mut rate = Rate::new(1000);
        assert_eq!(
            through(&mut rate, [0, 1, 10_000, 10_001].into_iter(), 20_000),
            2,
            "the second after ten seconds"
        );
    }

    #[test]
    fn a_clock_that_is_set_back_stops_nothing_for_longer_than_it_takes_to_fill() {
        let mut rate = Rate::new(1000);
        assert_eq!(through(&mut rate, (0..200).map(|_| 3_600_000), 100), 100);
        assert_eq!(through(&mut rate, 0..1000, 100), 10, "an hour earlier: the rate");
    }

    #[test]
    fn times_in_disorder_fill_it_once() {
        let mut rate = Rate::new(1000);
        through(&mut rate, (0..200).map(|_| 0), 100);
        let zigzag = (0..100).map(|index| if index % 2 == 0 { 1000 } else { 500 });
        assert_eq!(through(&mut rate, zigzag, 100), 10, "one second has passed, however often");
    }
}
