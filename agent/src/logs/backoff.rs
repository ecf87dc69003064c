//! How long to wait before trying again: doubling, bounded, and spread by a seed so that the streams of a node (and the
//! nodes of a fleet) do not come back all at once. A pure function.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// Before the second try. Source: our bar, one batch a second and stream while throttled.
pub const FIRST: Duration = Duration::from_secs(1);

/// At most. Credentials that come back, and a network that does, are noticed within a minute.
pub const LONGEST: Duration = Duration::from_secs(60);

/// The wait after `failures` failures in a row (from 1), between half and all of the doubled step.
pub fn delay(failures: u32, seed: u64) -> Duration {
    let doublings = failures.saturating_sub(1).min(LONGEST.as_secs().ilog2() + 1);
    let step = (FIRST * 2u32.pow(doublings)).min(LONGEST);
    let mut hasher = DefaultHasher::new();
    (seed, failures).hash(&mut hasher);
    let [low, high, ..] = hasher.finish().to_le_bytes();
    let share = u32::from(u16::from_le_bytes([low, high]));
    step / 2 + step / 2 * share / u32::from(u16::MAX)
}

/// A seed that is the same for the same name.
pub fn seed(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute_and_are_spread_over_their_upper_half() {
        let steps = [1, 2, 4, 8, 16, 32, 60, 60, 60];
        for name in ["i-1/api", "i-2/api", "i-1/worker"] {
            for (failures, step) in (1u32..).zip(steps) {
                let (wait, step) = (delay(failures, seed(name)), Duration::from_secs(step));
                assert!(step / 2 <= wait && wait <= step, "{name}: {wait:?} after {failures} failures");
            }
        }
        assert_ne!(delay(3, seed("i-1/api")), delay(3, seed("i-2/api")));
        assert!(delay(u32::MAX, 1) <= LONGEST);
    }

    #[test]
    fn the_same_seed_gives_the_same_waits() {
        assert_eq!(delay(5, seed("i-1/api")), delay(5, seed("i-1/api")));
    }
}
