//! A line of text as `PutLogEvents` takes it.
//!
//! In: the bytes of one line. Out: events whose message is valid UTF-8, not empty, and within the limit for one event;
//! joined again they are the line, with each invalid sequence replaced by U+FFFD. Values only.

/// Bytes that count for each event beside its message.
/// Source: API reference of `PutLogEvents`, "plus 26 bytes for each log event".
pub const EVENT_OVERHEAD_BYTES: usize = 26;

/// Largest message that is sent in one event: 256 KiB less the overhead. The reference says 1 MB since 2025, older
/// copies of it, and the regions that still follow them, 256 KiB; the smaller one is right everywhere.
pub const EVENT_MESSAGE_BYTES: usize = 262_144 - EVENT_OVERHEAD_BYTES;

/// One event.
#[derive(Clone, PartialEq, Eq)]
pub struct LogEvent {
    /// Milliseconds since 1970, UTC.
    pub timestamp_ms: i64,
    /// Not empty, [`EVENT_MESSAGE_BYTES`] at most.
    pub message: String,
}

impl LogEvent {
    /// What it counts towards the size of a batch.
    pub fn size_bytes(&self) -> usize {
        self.message.len() + EVENT_OVERHEAD_BYTES
    }
}

/// What an application wrote is shipped and never printed, so that no trace or failed assertion can show it.
impl std::fmt::Debug for LogEvent {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "LogEvent({} ms, {} bytes)", self.timestamp_ms, self.message.len())
    }
}

/// The events of one line. An empty line has none: `PutLogEvents` refuses empty messages, and leaving one out loses
/// nothing that was written, so it does not count as dropped.
pub fn events_of_line(timestamp_ms: i64, line: &[u8]) -> Vec<LogEvent> {
    let text = String::from_utf8_lossy(line);
    let mut rest = text.as_ref();
    let mut events = Vec::with_capacity(rest.len().div_ceil(EVENT_MESSAGE_BYTES));
    while !rest.is_empty() {
        let (message, tail) = rest.split_at(character_boundary(rest, EVENT_MESSAGE_BYTES));
        events.push(LogEvent { timestamp_ms, message: message.to_owned() });
        rest = tail;
    }
    events
}

/// The last boundary between characters of `text` at or before `index`.
fn character_boundary(text: &str, index: usize) -> usize {
    (0..=index.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_line_has_no_event() {
        assert_eq!(events_of_line(1, b""), Vec::new());
    }

    #[test]
    fn invalid_bytes_count_with_the_size_of_their_replacement() {
        let events = events_of_line(1, b"a\xffb");
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].message, "a\u{fffd}b");
        assert_eq!(events[0].size_bytes(), 5 + EVENT_OVERHEAD_BYTES);
    }

    #[test]
    fn a_line_over_the_limit_is_split_between_characters() {
        let line = "é".repeat(EVENT_MESSAGE_BYTES / 2 + 3);
        let odd = format!("a{line}");
        let events = events_of_line(1, odd.as_bytes());
        assert_eq!(events.len(), 2);
        assert_eq!(events[0].message.len(), EVENT_MESSAGE_BYTES - 1, "the limit falls inside a character");
        assert_eq!(events.iter().map(|event| event.message.as_str()).collect::<String>(), odd);
    }

    #[test]
    fn a_line_of_exactly_the_limit_is_one_event() {
        assert_eq!(events_of_line(1, "x".repeat(EVENT_MESSAGE_BYTES).as_bytes()).len(), 1);
        assert_eq!(events_of_line(1, "x".repeat(EVENT_MESSAGE_BYTES + 1).as_bytes()).len(), 2);
    }

    #[test]
    fn what_an_application_wrote_does_not_show_in_debug_output() {
        let shown = format!("{:?}", events_of_line(7, b"card 4111"));
        assert_eq!(shown, "[LogEvent(7 ms, 9 bytes)]");
    }
}
