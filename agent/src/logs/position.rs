//! Where the reading of one container's log stands, so that a restart goes on behind the last delivered line.
//!
//! In: the engine's timestamp of each line, in the order of the log. Out: the position behind that line; and, on
//! resuming, which of the lines that the engine gives again are new.
//!
//! The engine can only be asked for lines *since a second*, and its timestamps are not quite in order: stdout and
//! stderr are stamped before they meet, and clocks are set back. So a position is a place in the order of the log, not
//! a time: *the n-th line, counted from the first one that is not older than the anchor*. What always holds:
//!
//! - lines whose times are out of order by less than [`DISORDER_SECONDS`] are neither lost nor repeated;
//! - after a larger step back, nothing that the engine still gives is lost, and lines may be repeated;
//! - when the log is not what it was (rotated away, truncated), lines are repeated rather than skipped.
//!
//! Not its job: reading or remembering anything. Known limit: engines before 23 drop every line older than `since`, so
//! lines written after a clock went back by more than a second *while no agent read them* are beyond its reach; reading
//! the file by its offset is the cure.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// By how much neighbouring lines of one log may be out of order without being taken for a clock that was set. The
/// engine's two copying threads are microseconds apart.
pub const DISORDER_SECONDS: i64 = 1;

/// A place in a container's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Counting begins at the first line that is not older than this, in seconds since 1970.
    anchor_second: i64,
    /// How many lines from there on are behind us.
    lines: u64,
    /// The time of the last of them.
    last: Timestamp,
    /// The latest second of all lines so far; later than the anchor only while a clock that was set back catches up.
    latest_second: i64,
}

impl Position {
    /// The position behind a line that was stamped `timestamp` and follows `before`.
    pub fn after(before: Option<Position>, timestamp: Timestamp) -> Position {
        let second = timestamp.as_second();
        match before {
            Some(position) if second <= position.latest_second => position.not_later(timestamp),
            _ => Position { anchor_second: second, lines: 1, last: timestamp, latest_second: second },
        }
    }

    fn not_later(self, timestamp: Timestamp) -> Position {
        let second = timestamp.as_second();
        if self.catching_up() || second < self.anchor_second - DISORDER_SECONDS {
            // The clock was set back: lines before the step are newer than the anchor now, so a count that begins at
            // the anchor would begin at one of them. Everything from the anchor on is read again instead.
            let anchor_second = self.anchor_second.min(second);
            return Position { anchor_second, lines: 0, last: timestamp, latest_second: self.latest_second };
        }
        Position { lines: self.lines + 1, last: timestamp, ..self }
    }

    fn catching_up(&self) -> bool {
        self.anchor_second < self.latest_second
    }

    /// From where the engine must be asked to give the log again.
    pub fn since(&self) -> Timestamp {
        // Only a position read from a damaged file is out of range; then all of the log is read.
        Timestamp::from_second(self.anchor_second - DISORDER_SECONDS).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// The same place in a log that no longer holds the lines that were counted: all from the last line's second on
    /// is taken as new.
    pub fn recounted(self) -> Position {
        let anchor_second = self.last.as_second();
        Position { anchor_second, lines: 0, last: self.last, latest_second: anchor_second - 1 }
    }
}

/// What a line that the engine gave again is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Delivered before.
    Before,
    /// Behind the position.
    New,
    /// This is not the log that was counted: read again from [`Position::recounted`].
    Changed,
}

/// Sorts out the lines of a resumed log.
#[derive(Debug)]
pub struct Resume {
    position: Option<Position>,
    counting: bool,
    counted: u64,
}

impl Resume {
    /// Resumes behind `position`; without one everything is new.
    pub fn behind(position: Option<Position>) -> Resume {
        Resume { position, counting: false, counted: 0 }
    }

    /// The next line in the order of the log.
    pub fn line(&mut self, timestamp: Timestamp) -> Seen {
        let Some(position) = self.position else { return Seen::New };
        self.counting |= timestamp.as_second() >= position.anchor_second;
        if !self.counting {
            return Seen::Before;
        }
        if self.counted >= position.lines {
            return Seen::New;
        }
        self.counted += 1;
        let beyond = timestamp.as_second() > position.last.as_second() + DISORDER_SECONDS;
        let wrong_last = self.counted == position.lines && timestamp != position.last;
        if beyond || wrong_last { Seen::Changed } else { Seen::Before }
    }

    /// Whether all that was counted before was seen again. If not at the end of the log, it has changed.
    pub fn complete(&self) -> bool {
        self.position.is_none_or(|position| self.counted >= position.lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::cases::check;
    use proptest::prelude::*;

    /// A log as an engine keeps it: nanoseconds of each line, in the order of the file.
    type Log = Vec<i64>;

    /// What the engine gives: 20.10 drops every older line, later ones only those before the first newer one.
    fn given(log: &Log, since: Option<Timestamp>, drops_every_older_line: bool) -> Vec<(usize, Timestamp)> {
        let lines =
            log.iter().map(|nanos| Timestamp::from_nanosecond(i128::from(*nanos)).unwrap()).enumerate();
        let Some(since) = since else { return lines.collect() };
        if drops_every_older_line {
            return lines.filter(|(_, time)| *time >= since).collect();
        }
        lines.skip_while(|(_, time)| *time < since).collect()
    }

    /// Delivers at most `budget` lines from `position`; returns which ones, and the position behind them.
    fn read(
        log: &Log,
        position: Option<Position>,
        budget: usize,
        old: bool,
    ) -> (Vec<usize>, Option<Position>) {
        let mut position = position;
        loop {
            let mut resume = Resume::behind(position);
            let (mut taken, mut behind, mut changed) = (Vec::new(), position, false);
            for (index, time) in given(log, position.map(|position| position.since()), old) {
                match resume.line(time) {
                    Seen::Before => {}
                    Seen::Changed => changed = true,
                    Seen::New if taken.len() < budget => {
                        behind = Some(Position::after(behind, time));
                        taken.push(index);
                    }
                    Seen::New => break,
                }
                if changed {
                    break;
                }
            }
            if !changed && resume.complete() {
                return (taken, behind);
            }
            position = position.map(Position::recounted);
        }
    }

    const SECOND: i64 = 1_000_000_000;

    /// Lines with steps from `step`, and the numbers of lines delivered between restarts.
    fn story(step: std::ops::Range<i64>) -> impl Strategy<Value = (Log, Vec<usize>)> {
        (prop::collection::vec(step, 1..60), prop::collection::vec(0usize..20, 0..12)).prop_map(
            |(steps, budgets)| {
                let start = 1_700_000_000 * SECOND;
                let log = steps
                    .iter()
                    .scan(start, |time, step| {
                        *time += step;
                        Some(*time)
                    })
                    .collect();
                (log, budgets)
            },
        )
    }

    /// Every life delivers a few lines, the last one the rest.
    fn delivered(log: &Log, budgets: &[usize], old: bool) -> Vec<usize> {
        let (mut all, mut position) = (Vec::new(), None);
        for budget in budgets.iter().copied().chain([usize::MAX]) {
            let (taken, behind) = read(log, position, budget, old);
            all.extend(taken);
            position = behind;
        }
        all
    }

    /// Times in order but for less than the disorder that is allowed for: each line exactly once, in order.
    #[test]
    fn with_slight_disorder_every_line_is_delivered_once() {
        let jitter = prop::collection::vec(0..SECOND, 60);
        check(
            "slight disorder",
            3_000,
            (story(0..SECOND), jitter, any::<bool>()),
            |((base, budgets), jitter, old)| {
                let log: Log = base.iter().zip(&jitter).map(|(time, jitter)| time - jitter).collect();
                prop_assert_eq!(delivered(&log, &budgets, old), (0..log.len()).collect::<Vec<_>>());
                Ok(())
            },
        );
    }

    /// A clock that is set back and forth: every line at least once.
    #[test]
    fn with_a_clock_that_is_set_no_line_is_lost() {
        check("a clock that is set", 3_000, story(-20 * SECOND..30 * SECOND), |(log, budgets)| {
            let all = delivered(&log, &budgets, false);
            let missing: Vec<usize> = (0..log.len()).filter(|index| !all.contains(index)).collect();
            prop_assert!(missing.is_empty(), "missing {:?} of {:?}", missing, all);
            Ok(())
        });
    }

    /// Old lines were rotated away between two lives: of those left, none that was not delivered is skipped.
    #[test]
    fn after_a_rotation_no_line_that_is_left_is_skipped() {
        let cases = (story(0..SECOND / 4), 0usize..60, any::<bool>());
        check("rotation", 3_000, cases, |((log, budgets), gone, old)| {
            let budget = budgets.first().copied().unwrap_or(0);
            let (first, position) = read(&log, None, budget, old);
            let gone = gone.min(log.len());
            let rest: Log = log[gone..].to_vec();
            let (second, _) = read(&rest, position, usize::MAX, old);
            let seen: Vec<usize> =
                first.into_iter().chain(second.into_iter().map(|index| index + gone)).collect();
            let missing: Vec<usize> = (gone..log.len()).filter(|index| !seen.contains(index)).collect();
            prop_assert!(missing.is_empty(), "missing {:?}, {} of {} gone", missing, gone, log.len());
            Ok(())
        });
    }

    #[test]
    fn lines_with_the_same_time_are_told_apart_by_their_count() {
        let log = vec![5 * SECOND; 4];
        let (first, position) = read(&log, None, 3, true);
        assert_eq!(first, vec![0, 1, 2]);
        assert_eq!(read(&log, position, usize::MAX, true).0, vec![3]);
    }
}
