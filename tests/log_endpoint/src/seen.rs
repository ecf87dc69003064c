//! What arrived in one stream: which numbers, how often, with what time and in which order.
//!
//! In: the events of calls that were accepted, in the order of the answers. Out: what is missing, what came twice, and
//! whether a reader of the stream sees the lines in the order of their numbers: the service shows events by their times,
//! and those of one time as they arrived. Values only.

use super::body::Event;
use crate::numbered::Line;
use std::ops::Range;

/// Numbers that are kept track of: 12 bytes each.
const HIGHEST: u64 = 1 << 26;

/// One number. Arrivals count from 1; 0 is not yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Arrival {
    count: u32,
    timestamp_ms: i64,
}

/// One stream.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    arrivals: Vec<Arrival>,
    /// Events of all kinds.
    pub events: u64,
    /// Different numbered lines.
    pub distinct: u64,
    /// Numbered lines that were there already.
    pub duplicates: u64,
    /// Numbered lines with something around them.
    pub wrapped: u64,
    /// Lines that begin as a numbered one and are none.
    pub damaged: u64,
    /// Everything else.
    pub other: u64,
    /// Of the messages.
    pub message_bytes: u64,
    /// Calls that were accepted.
    pub puts: u64,
}

impl Seen {
    pub(super) fn take(&mut self, events: &[Event], message_bytes: usize) {
        self.puts += 1;
        self.events += events.len() as u64;
        self.message_bytes += message_bytes as u64;
        for event in events {
            match event.line {
                Line::Whole(number) if number < HIGHEST => self.arrive(number, event.timestamp_ms),
                Line::Wrapped(number) if number < HIGHEST => {
                    self.wrapped += 1;
                    self.arrive(number, event.timestamp_ms);
                }
                Line::Damaged => self.damaged += 1,
                _ => self.other += 1,
            }
        }
    }

    fn arrive(&mut self, number: u64, timestamp_ms: i64) {
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        if index >= self.arrivals.len() {
            self.arrivals.resize(index + 1, Arrival::default());
        }
        if self.arrivals[index].count > 0 {
            self.duplicates += 1;
            return;
        }
        self.distinct += 1;
        let count = u32::try_from(self.distinct).unwrap_or(u32::MAX);
        self.arrivals[index] = Arrival { count, timestamp_ms };
    }

    /// Whether a line has arrived.
    #[must_use]
    pub fn has(&self, number: u64) -> bool {
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        self.arrivals.get(index).is_some_and(|arrival| arrival.count > 0)
    }

    /// Those that have not, as ranges.
    #[must_use]
    pub fn missing(&self, numbers: Range<u64>) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for number in numbers.filter(|number| !self.has(*number)) {
            match ranges.last_mut().filter(|range| range.end == number) {
                Some(range) => range.end += 1,
                None => ranges.push(number..number + 1),
            }
        }
        ranges
    }

    /// Pairs of neighbours, `stride` numbers apart, that a reader of the stream sees the wrong way round.
    #[must_use]
    pub fn out_of_order(&self, stride: usize) -> u64 {
        let of_one = |first: usize| {
            let there = self.arrivals.iter().skip(first).step_by(stride).filter(|arrival| arrival.count > 0);
            let keys: Vec<(i64, u32)> = there.map(|arrival| (arrival.timestamp_ms, arrival.count)).collect();
            keys.windows(2).filter(|pair| pair[0] > pair[1]).count() as u64
        };
        (0..stride).map(of_one).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(puts: &[&[(i64, u64)]]) -> Seen {
        let mut seen = Seen::default();
        for put in puts {
            let event =
                |(time, number): &(i64, u64)| Event { timestamp_ms: *time, line: Line::Whole(*number) };
            seen.take(&put.iter().map(event).collect::<Vec<_>>(), 0);
        }
        seen
    }

    #[test]
    fn what_is_missing_and_what_came_twice_is_counted() {
        let seen = seen(&[&[(1, 0), (1, 1), (2, 4)], &[(2, 4), (2, 5)]]);
        assert_eq!(seen.missing(0..8), [2..4, 6..8]);
        assert_eq!((seen.distinct, seen.duplicates, seen.events, seen.puts), (4, 1, 5, 2));
    }

    #[test]
    fn the_order_is_that_of_the_times_and_within_one_time_that_of_arrival() {
        assert_eq!(seen(&[&[(1, 0), (2, 1)], &[(2, 2)]]).out_of_order(1), 0);
        assert_eq!(seen(&[&[(2, 2)], &[(1, 0), (1, 1)]]).out_of_order(1), 0, "its time is later");
        assert_eq!(seen(&[&[(2, 1)], &[(2, 0)]]).out_of_order(1), 1, "the same time");
        assert_eq!(seen(&[&[(3, 0)], &[(2, 1)]]).out_of_order(1), 1, "the later one has the earlier time");
        assert_eq!(seen(&[&[(3, 0)], &[(2, 1), (3, 2), (3, 3)]]).out_of_order(2), 0, "two outputs");
        assert_eq!(seen(&[&[(1, 0), (1, 1)], &[(1, 0), (1, 1)]]).out_of_order(1), 0, "again");
    }
}
