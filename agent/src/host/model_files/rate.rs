//! The cap on bytes read from the device: a bucket that fills with the time. Pure: it is given the time.
//!
//! What always holds: in any stretch of time no more is let through than the rate allows and a tenth of a second's worth
//! on top, which is 5 % over 2 s; whoever comes late by less than that tenth loses nothing.

use std::time::Duration;

/// What it holds: so many seconds of the rate.
const HOLDS: f64 = 0.1;
/// No piece is smaller, so no rate is smaller than what lets one through in a minute or so.
const SMALLEST: f64 = 4096.0;

/// A bucket of bytes.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    bytes_per_second: f64,
    filled: f64,
    at: Duration,
}

impl Bucket {
    /// Empty at `now`, which counts from any moment.
    pub(super) fn new(bytes_per_second: u64, now: Duration) -> Bucket {
        #[expect(clippy::cast_precision_loss, reason = "a rate of 2^53 bytes a second is none")]
        let bytes_per_second = (bytes_per_second as f64).max(1.0);
        Bucket { bytes_per_second, filled: 0.0, at: now }
    }

    /// The most that may be asked for at once.
    pub(super) fn piece(&self) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, below a rate of u64"
        )]
        let half = (self.holds() / 2.0) as u64;
        half
    }

    fn holds(&self) -> f64 {
        (self.bytes_per_second * HOLDS).max(2.0 * SMALLEST)
    }

    /// Takes so many bytes if it has them; else how long it will not. Never more than it can hold are asked for.
    pub(super) fn take(&mut self, bytes: u64, now: Duration) -> Result<(), Duration> {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.filled = (self.filled + passed * self.bytes_per_second).min(self.holds());
        #[expect(clippy::cast_precision_loss, reason = "a piece of a file")]
        let wanted = (bytes as f64).min(self.holds());
        if wanted <= self.filled {
            self.filled -= wanted;
            return Ok(());
        }
        Err(Duration::from_secs_f64((wanted - self.filled) / self.bytes_per_second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets through as much as it can for ten seconds, being late by `late` each time; when, and how much.
    fn let_through(rate: u64, late: Duration) -> Vec<(Duration, u64)> {
        let mut bucket = Bucket::new(rate, Duration::ZERO);
        let (mut now, mut seen) = (Duration::ZERO, Vec::new());
        while now < Duration::from_secs(10) {
            match bucket.take(bucket.piece(), now) {
                Ok(()) => seen.push((now, bucket.piece())),
                Err(wait) => now += wait + late,
            }
        }
        seen
    }

    #[test]
    fn any_two_seconds_are_within_a_tenth_of_the_rate() {
        const WINDOW: Duration = Duration::from_secs(2);
        for rate in [200_000, 10 << 20, 100_000_000, 5_000_000_000] {
            for late in [Duration::ZERO, Duration::from_millis(1), Duration::from_millis(40)] {
                let seen = let_through(rate, late);
                assert!(seen.len() > 50, "{rate}: {}", seen.len());
                for (start, _) in seen.iter().filter(|(start, _)| *start + WINDOW < Duration::from_secs(10)) {
                    let within = seen.iter().filter(|(at, _)| at >= start && *at < *start + WINDOW);
                    let ratio = within.map(|(_, bytes)| *bytes as f64).sum::<f64>() / (2.0 * rate as f64);
                    assert!((0.9..=1.1).contains(&ratio), "{rate} late {late:?} at {start:?}: {ratio}");
                }
            }
        }
    }

    #[test]
    fn a_pause_is_not_made_up_for() {
        let mut bucket = Bucket::new(1 << 20, Duration::ZERO);
        let hour = Duration::from_secs(3600);
        let mut taken = 0;
        while bucket.take(bucket.piece(), hour).is_ok() {
            taken += bucket.piece();
        }
        assert!(taken <= (1 << 20) / 10, "{taken}");
    }

    #[test]
    fn time_that_goes_back_and_a_rate_of_next_to_nothing_do_no_harm() {
        let mut bucket = Bucket::new(1, Duration::from_secs(5));
        assert!(bucket.take(4096, Duration::from_secs(1)).is_err());
        assert!(bucket.take(4096, Duration::from_secs(5 + 4097)).is_ok());
    }
}
