//! The body of PutLogEvents read in one pass, without a tree of it: an endpoint that is slower than who sends measures
//! itself.
//!
//! In: bytes. Out: group, stream, and of each event its time and what its message is; and every rule of the service that the
//! body breaks. Rules: API reference of PutLogEvents.

use super::scan::{Malformed, Scanner, Text};
use crate::numbered::{Line, recognise};

/// Most events of a call.
const EVENTS: usize = 10_000;
/// Most bytes of a call: the messages in UTF-8, and for each event the overhead.
const BYTES: usize = 1_048_576;
const OVERHEAD: usize = 26;
/// Between the first and the last event.
const SPAN_MS: i64 = 24 * 60 * 60 * 1000;

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) timestamp_ms: i64,
    pub(super) line: Line,
}

/// One call.
#[derive(Debug, Default)]
pub(super) struct Put {
    pub(super) group: String,
    pub(super) stream: String,
    pub(super) events: Vec<Event>,
    /// Of the messages alone.
    pub(super) message_bytes: usize,
    /// What the service would not have taken.
    pub(super) offences: Vec<String>,
}

impl Put {
    /// Reads a body.
    pub(super) fn read(body: &[u8]) -> Result<Put, Malformed> {
        let text =
            std::str::from_utf8(body).map_err(|error| Malformed::at(error.valid_up_to(), "no UTF-8"))?;
        let (mut put, mut scratch) = (Put::default(), Vec::new());
        let mut scanner = Scanner::new(text.as_bytes());
        scanner.object(|scanner, key| match key {
            b"logGroupName" => scanner.text().map(|text| put.group = text.to_string_lossy()),
            b"logStreamName" => scanner.text().map(|text| put.stream = text.to_string_lossy()),
            b"logEvents" => scanner.array(|scanner| put.event(scanner, &mut scratch)),
            _ => scanner.skip(),
        })?;
        scanner.end()?;
        put.judge();
        Ok(put)
    }

    fn event(&mut self, scanner: &mut Scanner<'_>, scratch: &mut Vec<u8>) -> Result<(), Malformed> {
        let (mut timestamp, mut message) = (None, None);
        scanner.object(|scanner, key| match key {
            b"timestamp" => scanner.integer().map(|number| timestamp = Some(number)),
            b"message" => scanner.text().map(|text| message = Some(text)),
            _ => scanner.skip(),
        })?;
        let Some(timestamp_ms) = timestamp else {
            return Err(scanner.malformed("an event without timestamp"));
        };
        let Some(message) = message else { return Err(scanner.malformed("an event without message")) };
        let bytes = plain(&message, scratch);
        self.message_bytes += bytes.len();
        if bytes.is_empty() {
            self.offences.push("an empty message".to_owned());
        }
        self.events.push(Event { timestamp_ms, line: recognise(bytes) });
        Ok(())
    }

    fn judge(&mut self) {
        let count = self.events.len();
        let bytes = self.message_bytes + count * OVERHEAD;
        let mut offend = |broken: bool, what: String| {
            if broken {
                self.offences.push(what);
            }
        };
        offend(count == 0, "no events".to_owned());
        offend(count > EVENTS, format!("{count} events"));
        offend(bytes > BYTES, format!("{bytes} bytes"));
        offend(!self.events.is_sorted_by_key(|event| event.timestamp_ms), "not chronological".to_owned());
        let times = || self.events.iter().map(|event| event.timestamp_ms);
        let span = times().max().unwrap_or_default().saturating_sub(times().min().unwrap_or_default());
        offend(span >= SPAN_MS, format!("a span of {span} ms"));
    }
}

fn plain<'a>(message: &Text<'a>, scratch: &'a mut Vec<u8>) -> &'a [u8] {
    match message.plain() {
        Some(bytes) => bytes,
        None => {
            scratch.clear();
            message.unescape(scratch);
            scratch
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbered::line_text;
    use serde_json::json;

    fn read(value: &serde_json::Value) -> Put {
        Put::read(value.to_string().as_bytes()).unwrap()
    }

    fn body(events: &[(i64, &str)]) -> serde_json::Value {
        let events: Vec<_> =
            events.iter().map(|(time, text)| json!({"timestamp": time, "message": text})).collect();
        json!({"logGroupName": "a \"group\"", "logStreamName": "i/s", "logEvents": events, "sequenceToken": null,
               "entity": {"keyAttributes": {"Type": "Service"}, "list": [1, -2.5e3, true, "]"]}})
    }

    #[test]
    fn events_are_read_whatever_else_is_in_the_body_and_whatever_the_order_of_the_keys() {
        let (plain, escaped) = (line_text(7), line_text(16));
        let put = read(&body(&[(1, &plain), (2, &escaped), (3, "other \u{e9}\u{1f600}\n")]));
        assert_eq!((put.group.as_str(), put.stream.as_str()), ("a \"group\"", "i/s"));
        let lines: Vec<Line> = put.events.iter().map(|event| event.line).collect();
        assert_eq!(lines, [Line::Whole(7), Line::Whole(16), Line::Other]);
        assert_eq!(put.message_bytes, 200 + 200 + "other é😀\n".len());
        assert_eq!(put.offences, [""; 0]);
        let compact = br#" { "logEvents" : [ {"message":"\ud83d\ude00\u00e9x","timestamp": 5 } ] , "logGroupName":"g" } "#;
        assert_eq!(Put::read(compact).unwrap().message_bytes, 4 + 2 + 1);
    }

    #[test]
    fn what_the_service_refuses_is_an_offence() {
        let big = "x".repeat(BYTES - OVERHEAD + 1);
        let (long, many): (i64, Vec<(i64, &str)>) = (SPAN_MS, vec![(1, "m"); EVENTS + 1]);
        for (events, word) in [
            (vec![(2, "a"), (1, "b")], "chronological"),
            (vec![(1, "a"), (1 + long, "b")], "span"),
            (vec![(1, "")], "empty"),
            (vec![], "no events"),
            (vec![(1, big.as_str())], "bytes"),
            (many, "10001 events"),
        ] {
            let put = read(&body(&events));
            assert_eq!(put.offences.len(), 1, "{word}: {:?}", put.offences);
            assert!(put.offences[0].contains(word), "{word}: {:?}", put.offences);
        }
        let full = "x".repeat(BYTES - OVERHEAD);
        assert_eq!(read(&body(&[(1, &full)])).offences, [""; 0]);
    }

    #[test]
    fn what_is_no_body_is_refused_and_nothing_panics() {
        let whole = body(&[(1, &line_text(16)), (2, "b")]).to_string();
        for end in 0..whole.len() {
            assert!(Put::read(&whole.as_bytes()[..end]).is_err(), "{end}");
        }
        for text in
            ["{} x", r#"{"logEvents":[{"timestamp":1}]}"#, r#"{"logEvents":[{"message":"m"}]}"#, "\u{1}"]
        {
            assert!(Put::read(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Put::read(b"{\"logGroupName\":\"\xff\"}").is_err());
    }
}
