//! The body of one `PutLogEvents`, built in one pass while lines are read.
//!
//! In: events with their time, as text or as the inside of a JSON string that is valid as it stands (what the engine
//! wrote is copied, not decoded and encoded again). Out: the request's JSON within the limits of one call, in time order,
//! and where each event lies in it, so that it can be halved. What always holds: events of one millisecond keep the
//! order in which they were added. Not its job: which lines there are, and sending. Values only.

use super::event::EVENT_OVERHEAD_BYTES;
use super::sink::Destination;
use bytes::Bytes;
use std::ops::Range;

/// What fits into one call of `PutLogEvents`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Sum over the events of message bytes in UTF-8 and overhead.
    pub bytes: usize,
    /// Number of events.
    pub events: usize,
    /// Milliseconds between the earliest and the latest event; less than this.
    pub span_ms: i64,
    /// Bytes of JSON. Not a limit of the service: it bounds our memory where a message is mostly escapes.
    pub json: usize,
}

/// Source: API reference of `PutLogEvents`: 1,048,576 bytes, 10,000 events, 24 hours.
pub const PUT_LOG_EVENTS: Limits =
    Limits { bytes: 1_048_576, events: 10_000, span_ms: 24 * 60 * 60 * 1000, json: 2 * 1024 * 1024 };

/// One event of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Placed {
    timestamp_ms: i64,
    /// The object of the event, without the comma behind it.
    json: Range<usize>,
    /// Of the message in UTF-8.
    message_bytes: usize,
}

/// A body that is being built.
#[derive(Debug)]
pub struct Builder {
    limits: Limits,
    prefix: usize,
    json: Vec<u8>,
    events: Vec<Placed>,
    bytes: usize,
    earliest_ms: i64,
    latest_ms: i64,
    in_order: bool,
    /// The digits of the time that was written last; neighbours mostly share it.
    digits: (i64, Vec<u8>),
}

/// A request's JSON.
#[derive(Clone, PartialEq, Eq)]
pub struct Body {
    json: Bytes,
    prefix: usize,
    events: Vec<Placed>,
}

const EVENT_TIME: &[u8] = br#"{"timestamp":"#;
const EVENT_MESSAGE: &[u8] = br#","message":""#;
const EVENT_END: &[u8] = br#""}"#;
const END: &[u8] = b"]}";

impl Builder {
    /// An empty one for a destination.
    pub fn new(destination: &Destination, limits: Limits) -> Builder {
        let mut json = Vec::new();
        json.extend_from_slice(br#"{"logGroupName":"#);
        push_string(&mut json, &destination.group);
        json.extend_from_slice(br#","logStreamName":"#);
        push_string(&mut json, &destination.stream);
        json.extend_from_slice(br#","logEvents":["#);
        Builder {
            limits,
            prefix: json.len(),
            json,
            events: Vec::new(),
            bytes: 0,
            earliest_ms: i64::MAX,
            latest_ms: i64::MIN,
            in_order: true,
            digits: (i64::MIN, Vec::new()),
        }
    }

    /// Makes room for what comes of so many bytes of a log at once, so that it need not be moved again and again.
    pub fn expecting(mut self, bytes: u64) -> Builder {
        let most = self.limits.bytes + self.limits.events * (EVENT_TIME.len() + EVENT_MESSAGE.len());
        let most = most.min(self.limits.json);
        self.json.reserve(usize::try_from(bytes).map_or(most, |bytes| bytes.min(most)));
        self
    }

    /// Whether `events` events of one time, whose messages have `message_bytes` in UTF-8 and `json_bytes` as JSON together,
    /// still have room. In an empty body everything has that one line of a log can be.
    pub fn room(&self, timestamp_ms: i64, message_bytes: usize, json_bytes: usize, events: usize) -> bool {
        let earliest = self.earliest_ms.min(timestamp_ms);
        let latest = self.latest_ms.max(timestamp_ms);
        self.events.is_empty()
            || (self.bytes + message_bytes + events * EVENT_OVERHEAD_BYTES <= self.limits.bytes
                && self.events.len() + events <= self.limits.events
                && self.json.len() + json_bytes < self.limits.json
                && latest.saturating_sub(earliest) < self.limits.span_ms)
    }

    /// Adds an event. `escaped` is the inside of a valid JSON string that stands for `message_bytes` bytes of UTF-8; it is
    /// not empty. The caller has asked [`Builder::room`].
    pub fn push(&mut self, timestamp_ms: i64, escaped: &[u8], message_bytes: usize) {
        let start = self.json.len();
        self.json.extend_from_slice(EVENT_TIME);
        if self.digits.0 != timestamp_ms {
            self.digits = (timestamp_ms, timestamp_ms.to_string().into_bytes());
        }
        self.json.extend_from_slice(&self.digits.1);
        self.json.extend_from_slice(EVENT_MESSAGE);
        self.json.extend_from_slice(escaped);
        self.json.extend_from_slice(EVENT_END);
        self.events.push(Placed { timestamp_ms, json: start..self.json.len(), message_bytes });
        self.json.push(b',');
        self.bytes += message_bytes + EVENT_OVERHEAD_BYTES;
        self.in_order &= timestamp_ms >= self.latest_ms;
        self.earliest_ms = self.earliest_ms.min(timestamp_ms);
        self.latest_ms = self.latest_ms.max(timestamp_ms);
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// How many events were added.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// The body, unless nothing was added.
    pub fn finish(mut self) -> Option<Body> {
        if self.events.is_empty() {
            return None;
        }
        // The comma behind the last event.
        self.json.pop();
        self.json.extend_from_slice(END);
        let body = Body { json: Bytes::from(self.json), prefix: self.prefix, events: self.events };
        Some(if self.in_order { body } else { body.sorted() })
    }
}

impl Body {
    /// The request's JSON.
    pub fn json(&self) -> Bytes {
        self.json.clone()
    }

    /// How many events are in it; at least one.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Never.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Bytes of the messages of some of the events, in UTF-8.
    pub fn message_bytes(&self, events: Range<usize>) -> usize {
        self.events[events].iter().map(|event| event.message_bytes).sum()
    }

    /// The time of the earliest event.
    pub fn earliest_ms(&self) -> i64 {
        self.events.first().map_or(0, |event| event.timestamp_ms)
    }

    /// The time of the latest event.
    pub fn latest_ms(&self) -> i64 {
        self.events.last().map_or(0, |event| event.timestamp_ms)
    }

    /// The first and the second half; the second is empty when there is only one event.
    pub fn halves(&self) -> (Body, Body) {
        let middle = self.events.len().div_ceil(2);
        (self.of(&self.events[..middle]), self.of(&self.events[middle..]))
    }

    fn sorted(&self) -> Body {
        let mut events = self.events.clone();
        // Stable: what was written within one millisecond stays in the order of the log.
        events.sort_by_key(|event| event.timestamp_ms);
        self.of(&events)
    }

    fn of(&self, events: &[Placed]) -> Body {
        let size: usize = events.iter().map(|event| event.json.len() + 1).sum();
        let mut json = Vec::with_capacity(self.prefix + size + END.len());
        json.extend_from_slice(&self.json[..self.prefix]);
        let mut placed = Vec::with_capacity(events.len());
        for event in events {
            if !placed.is_empty() {
                json.push(b',');
            }
            let start = json.len();
            json.extend_from_slice(&self.json[event.json.clone()]);
            placed.push(Placed { json: start..json.len(), ..event.clone() });
        }
        json.extend_from_slice(END);
        Body { json: Bytes::from(json), prefix: self.prefix, events: placed }
    }
}

/// What an application wrote is shipped and never printed, so that no trace or failed assertion can show it.
impl std::fmt::Debug for Body {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Body({} events, {} bytes)", self.events.len(), self.json.len())
    }
}

/// A text as a JSON string, quotes included.
fn push_string(json: &mut Vec<u8>, text: &str) {
    json.push(b'"');
    super::escape::push_escaped(json, text);
    json.push(b'"');
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
