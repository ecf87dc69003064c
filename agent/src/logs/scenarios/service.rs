//! A log service that answers as the story says.

use crate::logs::body::{Body, PUT_LOG_EVENTS};
use crate::logs::event::LogEvent;
use crate::logs::sink::{Answer, Destination, LogSink, PutError};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// An answer to one call.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    /// All events are taken.
    Accept,
    /// All but those that the answer names.
    Reject(Answer),
    /// None is taken.
    Fail(PutError),
    /// No answer comes.
    Hang,
    /// None is taken while any of them contains this text.
    RefuseText(&'static str),
}

#[derive(Debug)]
struct State {
    next: VecDeque<Reply>,
    otherwise: Reply,
    /// A call takes twice this long; its events are taken in the middle of it.
    half: Duration,
    streams: BTreeMap<String, Vec<String>>,
    /// Time and number of events of each call.
    calls: Vec<(Instant, usize)>,
    refused: Vec<String>,
}

/// Clones share it.
#[derive(Debug, Clone)]
pub(super) struct ScriptedService {
    state: Arc<Mutex<State>>,
}

impl Default for ScriptedService {
    fn default() -> Self {
        let state = State {
            next: VecDeque::new(),
            otherwise: Reply::Accept,
            half: Duration::from_millis(20),
            streams: BTreeMap::new(),
            calls: Vec::new(),
            refused: Vec::new(),
        };
        ScriptedService { state: Arc::new(Mutex::new(state)) }
    }
}

impl ScriptedService {
    /// The answers to the next calls.
    pub(super) fn next(&self, replies: impl IntoIterator<Item = Reply>) {
        self.state.lock().unwrap().next.extend(replies);
    }

    /// The answer to every call after these.
    pub(super) fn otherwise(&self, reply: Reply) {
        self.state.lock().unwrap().otherwise = reply;
    }

    /// How long a call takes.
    pub(super) fn latency(&self, latency: Duration) {
        self.state.lock().unwrap().half = latency / 2;
    }

    /// What was taken, in the order in which it was.
    pub(super) fn messages(&self, stream: &str) -> Vec<String> {
        self.state.lock().unwrap().streams.get(stream).cloned().unwrap_or_default()
    }

    pub(super) fn count(&self, stream: &str) -> usize {
        self.state.lock().unwrap().streams.get(stream).map_or(0, Vec::len)
    }

    pub(super) fn last(&self, stream: &str) -> Option<String> {
        self.state.lock().unwrap().streams.get(stream)?.last().cloned()
    }

    /// The calls so far.
    pub(super) fn calls(&self) -> Vec<(Instant, usize)> {
        self.state.lock().unwrap().calls.clone()
    }

    /// The messages of the calls with a single event that were refused.
    pub(super) fn refused(&self) -> Vec<String> {
        self.state.lock().unwrap().refused.clone()
    }

    fn ask(&self, events: &[LogEvent]) -> (Reply, Duration) {
        let mut state = self.state.lock().unwrap();
        state.calls.push((Instant::now(), events.len()));
        let reply = state.next.pop_front().unwrap_or_else(|| state.otherwise.clone());
        (reply, state.half)
    }

    fn take(&self, stream: &str, events: &[LogEvent]) {
        let messages = events.iter().map(|event| event.message.clone());
        self.state.lock().unwrap().streams.entry(stream.to_owned()).or_default().extend(messages);
    }
}

/// What a service reads from the wire.
fn events_of(body: &Body, destination: &Destination) -> Vec<LogEvent> {
    let request: serde_json::Value = serde_json::from_slice(&body.json()).expect("a request is JSON");
    assert_eq!(request["logGroupName"], destination.group);
    assert_eq!(request["logStreamName"], destination.stream);
    let event = |event: &serde_json::Value| LogEvent {
        timestamp_ms: event["timestamp"].as_i64().expect("a time"),
        message: event["message"].as_str().expect("a text").to_owned(),
    };
    let events: Vec<LogEvent> = request["logEvents"].as_array().expect("events").iter().map(event).collect();
    assert_eq!(events.len(), body.len());
    assert_eq!(
        events.iter().map(|event| event.message.len()).sum::<usize>(),
        body.message_bytes(0..body.len())
    );
    events
}

/// What the service demands of every call.
fn check(events: &[LogEvent]) {
    let bytes: usize = events.iter().map(LogEvent::size_bytes).sum();
    assert!(!events.is_empty() && events.len() <= PUT_LOG_EVENTS.events, "{} events", events.len());
    assert!(bytes <= PUT_LOG_EVENTS.bytes, "{bytes} bytes in one call");
    assert!(events.is_sorted_by_key(|event| event.timestamp_ms), "out of order: {events:?}");
}

impl LogSink for ScriptedService {
    async fn put(&self, destination: &Destination, body: &Body) -> Result<Answer, PutError> {
        let events = &events_of(body, destination)[..];
        check(events);
        let (reply, half) = self.ask(events);
        tokio::time::sleep(half).await;
        let answer = match reply {
            Reply::Hang => std::future::pending().await,
            Reply::Fail(error) => Err(error),
            Reply::RefuseText(text) if events.iter().any(|event| event.message.contains(text)) => {
                if let [event] = events {
                    self.state.lock().unwrap().refused.push(event.message.clone());
                }
                Err(PutError::Refused { reason: "InvalidParameterException".to_owned() })
            }
            Reply::Reject(answer) => {
                let taken = answer.expired + answer.too_old..events.len() - answer.too_new;
                self.take(&destination.stream, &events[taken]);
                Ok(answer)
            }
            Reply::Accept | Reply::RefuseText(_) => {
                self.take(&destination.stream, events);
                Ok(Answer::default())
            }
        };
        tokio::time::sleep(half).await;
        answer
    }
}
