//! Groups, streams, and what was sent to them. In: operations with their bodies. Out: status and answer.

use super::body::Put;
use super::seen::Seen;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Offences that are kept: one is enough for a test to fail.
const OFFENCES_KEPT: usize = 20;

/// An answer.
pub(super) type Answer = (u16, Value);

/// Group and stream.
pub(super) type Name = (String, String);

type Streams = BTreeMap<Name, Arc<Mutex<Seen>>>;

#[derive(Debug, Default)]
struct Content {
    /// What exists now, by group.
    groups: BTreeMap<String, BTreeSet<String>>,
    /// What arrived, also where the group was deleted since.
    seen: Streams,
    offences: Vec<String>,
    operations: BTreeMap<String, u64>,
    /// Of the first call with events that was accepted, and of the last.
    accepted: Option<(Instant, Instant)>,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Store(Mutex<Content>);

impl Store {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What arrived in a stream so far.
    pub(super) fn seen(&self, group: &str, stream: &str) -> Option<Arc<Mutex<Seen>>> {
        self.content().seen.get(&(group.to_owned(), stream.to_owned())).cloned()
    }

    pub(super) fn streams(&self) -> Vec<(Name, Arc<Mutex<Seen>>)> {
        self.content().seen.iter().map(|(place, seen)| (place.clone(), Arc::clone(seen))).collect()
    }

    pub(super) fn offences(&self) -> Vec<String> {
        self.content().offences.clone()
    }

    pub(super) fn operations(&self) -> BTreeMap<String, u64> {
        self.content().operations.clone()
    }

    pub(super) fn delete_group(&self, group: &str) -> bool {
        self.content().groups.remove(group).is_some()
    }

    /// From the first call with events to the last, as far as they were accepted.
    pub(super) fn span(&self) -> Duration {
        self.content().accepted.map(|(first, last)| last.duration_since(first)).unwrap_or_default()
    }

    pub(super) fn forget_span(&self) {
        self.content().accepted = None;
    }

    pub(super) fn forget(&self) {
        *self.content() = Content::default();
    }

    pub(super) fn count(&self, operation: &str) {
        *self.content().operations.entry(operation.to_owned()).or_default() += 1;
    }

    /// PutLogEvents.
    pub(super) fn put(&self, body: &[u8]) -> Answer {
        let began = now();
        let put = match Put::read(body) {
            Ok(put) => put,
            Err(error) => {
                self.offend(&[error.to_string()]);
                return fault("SerializationException", &error.to_string());
            }
        };
        if !put.offences.is_empty() {
            self.offend(&put.offences);
            return fault("InvalidParameterException", &put.offences.join("; "));
        }
        let Put { group, stream, events, message_bytes, .. } = put;
        let seen = {
            let mut content = self.content();
            if !content.groups.get(&group).is_some_and(|streams| streams.contains(&stream)) {
                return fault(
                    "ResourceNotFoundException",
                    "The specified log group or stream does not exist.",
                );
            }
            Arc::clone(content.seen.entry((group, stream)).or_default())
        };
        seen.lock().unwrap_or_else(PoisonError::into_inner).take(&events, message_bytes);
        let first = self.content().accepted.map_or(began, |(first, _)| first);
        self.content().accepted = Some((first, now()));
        (200, json!({"nextSequenceToken": "1"}))
    }

    fn offend(&self, offences: &[String]) {
        let mut content = self.content();
        let room = OFFENCES_KEPT.saturating_sub(content.offences.len());
        content.offences.extend(offences.iter().take(room).cloned());
    }

    /// Every other operation.
    pub(super) fn operate(&self, operation: &str, body: &[u8]) -> Answer {
        let input: Value = serde_json::from_slice(body).unwrap_or_default();
        let word = |name: &str| input[name].as_str().unwrap_or_default().to_owned();
        let (group, stream) = (word("logGroupName"), word("logStreamName"));
        let mut content = self.content();
        let exists = fault("ResourceAlreadyExistsException", "The specified resource already exists");
        let missing = fault("ResourceNotFoundException", "The specified log group does not exist.");
        match operation {
            "CreateLogGroup" if content.groups.contains_key(&group) => exists,
            "CreateLogGroup" => {
                content.groups.insert(group, BTreeSet::new());
                (200, json!({}))
            }
            "CreateLogStream" => match content.groups.get_mut(&group) {
                None => missing,
                Some(streams) => {
                    if streams.insert(stream) {
                        (200, json!({}))
                    } else {
                        exists
                    }
                }
            },
            "DescribeLogGroups" => {
                let names =
                    content.groups.keys().filter(|name| name.starts_with(&word("logGroupNamePrefix")));
                (
                    200,
                    json!({"logGroups": names.map(|name| json!({"logGroupName": name})).collect::<Vec<_>>()}),
                )
            }
            "DescribeLogStreams" => {
                let names = content.groups.get(&group).into_iter().flatten();
                let names = names.filter(|name| name.starts_with(&word("logStreamNamePrefix")));
                (
                    200,
                    json!({"logStreams": names.map(|name| json!({"logStreamName": name})).collect::<Vec<_>>()}),
                )
            }
            _ => (200, json!({})),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "what takes how long is measured here")]
fn now() -> Instant {
    Instant::now()
}

/// A refusal as JSON 1.1 has it.
pub(super) fn fault(code: &str, message: &str) -> Answer {
    (400, json!({"__type": code, "message": message}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operate(store: &Store, operation: &str, input: &Value) -> String {
        let (_, answer) = store.operate(operation, input.to_string().as_bytes());
        answer["__type"].as_str().unwrap_or("done").to_owned()
    }

    #[test]
    fn events_are_taken_once_group_and_stream_were_made_and_until_they_are_deleted() {
        let store = Store::default();
        let place = json!({"logGroupName": "g", "logStreamName": "s"});
        let mut body = place.clone();
        body["logEvents"] = json!([{"timestamp": 1, "message": "m"}]);
        let put = || store.put(body.to_string().as_bytes()).0;
        assert_eq!(put(), 400);
        assert_eq!(operate(&store, "CreateLogStream", &place), "ResourceNotFoundException");
        assert_eq!(operate(&store, "CreateLogGroup", &place), "done");
        assert_eq!(operate(&store, "CreateLogGroup", &place), "ResourceAlreadyExistsException");
        assert_eq!(operate(&store, "PutRetentionPolicy", &place), "done");
        assert_eq!(put(), 400);
        assert_eq!(operate(&store, "CreateLogStream", &place), "done");
        assert_eq!(operate(&store, "CreateLogStream", &place), "ResourceAlreadyExistsException");
        assert_eq!(put(), 200);
        assert!(store.delete_group("g"));
        assert_eq!(put(), 400);
        assert_eq!(store.seen("g", "s").unwrap().lock().unwrap().events, 1);
        assert_eq!(store.offences(), [""; 0]);
        body["logEvents"] = json!([]);
        assert_eq!(store.put(body.to_string().as_bytes()).0, 400);
        assert_eq!(store.offences(), ["no events"]);
    }
}
