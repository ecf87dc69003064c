//! Lines become batches that `PutLogEvents` takes.
//!
//! In: the lines of one container in the order of its log, each with the [`Position`] behind it. Out: batches within
//! the limits of one call, in time order inside. What always holds: the batches, one after the other, contain every
//! byte of every line once; [`Batch::upto`] is behind a line only when this batch and those before it contain that line
//! to its end. Values only; when a batch is old enough to go is decided by the loop that owns the clock.

use super::event::{LogEvent, events_of_line};
use super::position::Position;

/// What fits into one call of `PutLogEvents`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Sum over the events of message bytes in UTF-8 and overhead.
    pub bytes: usize,
    /// Number of events.
    pub events: usize,
    /// Milliseconds between the earliest and the latest event; less than this.
    pub span_ms: i64,
}

/// Source: API reference of `PutLogEvents`: 1,048,576 bytes, 10,000 events, 24 hours.
pub const PUT_LOG_EVENTS: Limits = Limits { bytes: 1_048_576, events: 10_000, span_ms: 24 * 60 * 60 * 1000 };

/// What goes out in one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// In time order; events of the same millisecond in the order of the log. Empty when only empty lines were read.
    pub events: Vec<LogEvent>,
    /// The sizes of the events, together.
    pub bytes: usize,
    /// Where reading goes on once this batch is delivered; `None` when it ends inside a first line that was split.
    pub upto: Option<Position>,
}

/// Collects the next batch of one stream.
#[derive(Debug)]
pub struct Batcher {
    limits: Limits,
    open: Batch,
    earliest_ms: i64,
    latest_ms: i64,
}

impl Batcher {
    /// An empty one.
    pub fn new(limits: Limits) -> Batcher {
        Batcher { limits, open: Batch::empty(), earliest_ms: i64::MAX, latest_ms: i64::MIN }
    }

    /// Adds a line. Returns the batches that became full by it, in the order in which they must go.
    pub fn add(&mut self, timestamp_ms: i64, line: &[u8], behind: Position) -> Vec<Batch> {
        let mut full = Vec::new();
        for event in events_of_line(timestamp_ms, line) {
            if !self.fits(&event) {
                full.extend(self.close());
            }
            self.push(event);
        }
        self.open.upto = Some(behind);
        full
    }

    /// Takes what there is, if anything.
    pub fn close(&mut self) -> Option<Batch> {
        let limits = self.limits;
        let mut batch = std::mem::replace(self, Batcher::new(limits)).open;
        // Stable: what was written within one millisecond stays in the order of the log.
        batch.events.sort_by_key(|event| event.timestamp_ms);
        (!batch.is_empty()).then_some(batch)
    }

    /// Whether there is nothing to take.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Sum of the sizes of the events that wait.
    pub fn bytes(&self) -> usize {
        self.open.bytes
    }

    /// The time of the earliest event that waits.
    pub fn earliest_ms(&self) -> Option<i64> {
        (!self.open.events.is_empty()).then_some(self.earliest_ms)
    }

    fn fits(&self, event: &LogEvent) -> bool {
        let earliest = self.earliest_ms.min(event.timestamp_ms);
        let latest = self.latest_ms.max(event.timestamp_ms);
        self.open.events.is_empty()
            || (self.open.bytes + event.size_bytes() <= self.limits.bytes
                && self.open.events.len() < self.limits.events
                && latest.saturating_sub(earliest) < self.limits.span_ms)
    }

    fn push(&mut self, event: LogEvent) {
        self.earliest_ms = self.earliest_ms.min(event.timestamp_ms);
        self.latest_ms = self.latest_ms.max(event.timestamp_ms);
        self.open.bytes += event.size_bytes();
        self.open.events.push(event);
    }
}

impl Batch {
    fn empty() -> Batch {
        Batch { events: Vec::new(), bytes: 0, upto: None }
    }

    fn is_empty(&self) -> bool {
        self.events.is_empty() && self.upto.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::cases::check;
    use crate::logs::event::{EVENT_MESSAGE_BYTES, EVENT_OVERHEAD_BYTES};
    use jiff::Timestamp;
    use proptest::prelude::*;

    /// The n-th position, told apart from all others by its time.
    fn position(number: usize) -> Position {
        Position::after(None, Timestamp::from_second(i64::try_from(number).unwrap()).unwrap())
    }

    fn batches(limits: Limits, lines: &[(i64, Vec<u8>)]) -> Vec<Batch> {
        let mut batcher = Batcher::new(limits);
        let mut all: Vec<Batch> = Vec::new();
        for (number, (time, line)) in lines.iter().enumerate() {
            all.extend(batcher.add(*time, line, position(number)));
        }
        all.extend(batcher.close());
        assert!(batcher.is_empty());
        all
    }

    /// The obvious way: all events in a row; before each one, ask of the whole batch so far whether it would still be
    /// within the limits; sort at the end.
    fn model(limits: Limits, lines: &[(i64, Vec<u8>)]) -> Vec<Vec<(i64, String)>> {
        let mut rows: Vec<Vec<(i64, String)>> = Vec::new();
        for (time, line) in lines {
            let mut text: Vec<char> = String::from_utf8_lossy(line).chars().collect();
            while !text.is_empty() {
                let mut piece = String::new();
                while text.first().is_some_and(|next| piece.len() + next.len_utf8() <= EVENT_MESSAGE_BYTES) {
                    piece.push(text.remove(0));
                }
                let mut tried = rows.last().cloned().unwrap_or_default();
                tried.push((*time, piece.clone()));
                match rows.last_mut() {
                    Some(row) if within(limits, &tried) => row.push((*time, piece)),
                    _ => rows.push(vec![(*time, piece)]),
                }
            }
        }
        rows.iter_mut().for_each(|row| row.sort_by_key(|(time, _)| *time));
        rows
    }

    fn within(limits: Limits, row: &[(i64, String)]) -> bool {
        let bytes: usize = row.iter().map(|(_, text)| text.len() + EVENT_OVERHEAD_BYTES).sum();
        let times = || row.iter().map(|(time, _)| *time);
        let span = times().max().unwrap_or(0) - times().min().unwrap_or(0);
        bytes <= limits.bytes && row.len() <= limits.events && span < limits.span_ms
    }

    fn rows(batches: &[Batch]) -> Vec<Vec<(i64, String)>> {
        batches
            .iter()
            .filter(|batch| !batch.events.is_empty())
            .map(|batch| {
                batch.events.iter().map(|event| (event.timestamp_ms, event.message.clone())).collect()
            })
            .collect()
    }

    fn line() -> impl Strategy<Value = (i64, Vec<u8>)> {
        let text = prop_oneof![
            Just(Vec::new()),
            prop::collection::vec(any::<u8>(), 0..40),
            "[aé€😀]{0,20}".prop_map(String::into_bytes),
        ];
        (-50i64..150, text)
    }

    #[test]
    fn batches_are_those_of_the_obvious_model_and_within_the_limits() {
        let limits = (60usize..400, 1usize..8, 1i64..100).prop_map(|(bytes, events, span_ms)| Limits {
            bytes: bytes.max(200),
            events,
            span_ms,
        });
        let story = (limits, prop::collection::vec(line(), 0..60));
        check("batcher against a model, small limits", 3_000, story, |(limits, lines)| {
            let batches = batches(limits, &lines);
            let rows = rows(&batches);
            prop_assert_eq!(&rows, &model(limits, &lines));
            prop_assert!(rows.iter().all(|row| within(limits, row)), "over the limits: {:?}", rows);
            for batch in &batches {
                prop_assert_eq!(batch.bytes, batch.events.iter().map(LogEvent::size_bytes).sum::<usize>());
            }
            let last = batches.last().and_then(|batch| batch.upto);
            prop_assert_eq!(
                last,
                lines.len().checked_sub(1).map(position),
                "the last line is not accounted for"
            );
            Ok(())
        });
    }

    #[test]
    fn a_position_is_never_ahead_of_the_lines_that_went_out() {
        let limits = Limits { bytes: 300, events: 5, span_ms: 60 };
        let story = prop::collection::vec((0i64..100, 1usize..60), 1..60);
        check("positions against counted lines", 2_000, story, |sizes| {
            let lines: Vec<_> = sizes.iter().map(|(time, size)| (*time, vec![b'x'; *size])).collect();
            let mut out = 0;
            for batch in batches(limits, &lines) {
                out += batch.events.len();
                prop_assert_eq!(batch.upto, Some(position(out - 1)), "every line here is one event");
            }
            prop_assert_eq!(out, lines.len());
            Ok(())
        });
    }

    #[test]
    fn a_line_of_several_megabytes_fills_batches_up_to_the_real_limit() {
        let line = vec![b'x'; 3_000_000];
        let batches =
            batches(PUT_LOG_EVENTS, &[(1, b"before".to_vec()), (2, line.clone()), (3, b"after".to_vec())]);
        let text: String = rows(&batches).concat().into_iter().map(|(_, text)| text).collect();
        assert_eq!(text.len(), line.len() + "before".len() + "after".len());
        assert!(rows(&batches).iter().all(|row| within(PUT_LOG_EVENTS, row)));
        let marks: Vec<_> = batches.iter().map(|batch| batch.upto).collect();
        assert_eq!(marks, vec![Some(position(0)), None, None, Some(position(2))], "{batches:?}");
    }

    #[test]
    fn events_a_day_apart_are_not_sent_together() {
        let day = PUT_LOG_EVENTS.span_ms;
        let lines = [(0, b"a".to_vec()), (day - 1, b"b".to_vec()), (day, b"c".to_vec())];
        assert_eq!(batches(PUT_LOG_EVENTS, &lines).len(), 2);
    }

    #[test]
    fn ten_thousand_and_one_events_are_two_batches() {
        let lines = vec![(0, b"a".to_vec()); PUT_LOG_EVENTS.events + 1];
        assert_eq!(batches(PUT_LOG_EVENTS, &lines).len(), 2);
    }

    #[test]
    fn empty_lines_alone_move_the_position_and_send_nothing() {
        let batches = batches(PUT_LOG_EVENTS, &[(0, Vec::new()), (1, Vec::new())]);
        assert_eq!(batches, vec![Batch { events: Vec::new(), bytes: 0, upto: Some(position(1)) }]);
    }
}
