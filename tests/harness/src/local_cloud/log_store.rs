//! CloudWatch Logs as a value: groups, streams, events and the limits that
//! PutLogEvents enforces. Pure: the time is given, the wire is in `logs`.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::answer::AwsError;

/// Largest batch, in bytes counted as [`EVENT_OVERHEAD`] plus UTF-8 length.
pub const BATCH_BYTES: usize = 1_048_576;
/// Bytes that the service adds for each event.
pub const EVENT_OVERHEAD: usize = 26;
/// Most events in one batch.
pub const BATCH_EVENTS: usize = 10_000;
const BATCH_SPAN: SignedDuration = SignedDuration::from_hours(24);
const TOO_NEW: SignedDuration = SignedDuration::from_hours(2);
const TOO_OLD: SignedDuration = SignedDuration::from_hours(14 * 24);
/// Retentions in days that the service takes.
const RETENTIONS: [i64; 22] =
    [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653];

/// One stored event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When it happened, milliseconds since the epoch.
    pub timestamp: i64,
    /// When it was stored, milliseconds since the epoch.
    pub ingestion_time: i64,
    /// The line.
    pub message: String,
}

/// A log stream with its events in the order they were stored.
#[derive(Default)]
pub struct Stream {
    /// When it was made, milliseconds since the epoch.
    pub created: i64,
    /// The events, sorted by time; equal times keep the order of arrival.
    pub events: Vec<Event>,
}

/// A log group.
#[derive(Default)]
pub struct Group {
    /// When it was made, milliseconds since the epoch.
    pub created: i64,
    /// Retention in days; `None` keeps for ever.
    pub retention_days: Option<i64>,
    /// Its streams by name.
    pub streams: BTreeMap<String, Stream>,
}

/// What PutLogEvents left out, as indexes into the batch.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rejected {
    /// First event that is more than two hours ahead.
    pub too_new_start: Option<usize>,
    /// One past the last event that is more than 14 days old.
    pub too_old_end: Option<usize>,
    /// One past the last event that is older than the retention.
    pub expired_end: Option<usize>,
}

/// All log groups of the account and region.
#[derive(Default)]
pub struct LogStore {
    /// The groups by name.
    pub groups: BTreeMap<String, Group>,
}

impl LogStore {
    /// The messages of a stream in order; empty when there is no such stream.
    #[must_use]
    pub fn messages(&self, group: &str, stream: &str) -> Vec<String> {
        let events = self.groups.get(group).and_then(|group| group.streams.get(stream));
        events.map_or_else(Vec::new, |stream| stream.events.iter().map(|e| e.message.clone()).collect())
    }

    pub(super) fn create_group(&mut self, name: &str, now: Timestamp) -> Result<(), AwsError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_/#".contains(c);
        if name.is_empty() || name.len() > 512 || !name.chars().all(allowed) {
            return Err(invalid(format!("1 validation error: Value '{name}' at 'logGroupName' failed")));
        }
        if self.groups.contains_key(name) {
            return Err(exists("The specified log group already exists"));
        }
        let group = Group { created: now.as_millisecond(), ..Group::default() };
        self.groups.insert(name.to_owned(), group);
        Ok(())
    }

    pub(super) fn create_stream(&mut self, group: &str, name: &str, now: Timestamp) -> Result<(), AwsError> {
        let streams = &mut self.group_mut(group)?.streams;
        if name.is_empty() || name.len() > 512 || name.contains([':', '*']) {
            return Err(invalid(format!("1 validation error: Value '{name}' at 'logStreamName' failed")));
        }
        if streams.contains_key(name) {
            return Err(exists("The specified log stream already exists"));
        }
        streams.insert(name.to_owned(), Stream { created: now.as_millisecond(), events: Vec::new() });
        Ok(())
    }

    pub(super) fn set_retention(&mut self, group: &str, days: i64) -> Result<(), AwsError> {
        let group = self.group_mut(group)?;
        if !RETENTIONS.contains(&days) {
            return Err(invalid(format!("{days} is not a valid retention")));
        }
        group.retention_days = Some(days);
        Ok(())
    }

    /// Stores what the limits allow and says what was left out.
    pub(super) fn put(
        &mut self,
        group: &str,
        stream: &str,
        batch: Vec<(i64, String)>,
        now: Timestamp,
    ) -> Result<Rejected, AwsError> {
        check_batch(&batch)?;
        let group = self.group_mut(group)?;
        let retention = group.retention_days.map(|days| SignedDuration::from_hours(24 * days));
        let stream = group.streams.get_mut(stream).ok_or_else(|| missing("log stream"))?;
        let now = now.as_millisecond();
        let newest = now + millis(TOO_NEW);
        let oldest = now - millis(TOO_OLD);
        let kept_since = retention.map_or(i64::MIN, |retention| now - millis(retention));
        let end_of = |limit: i64| batch.iter().rposition(|(time, _)| *time < limit).map(|last| last + 1);
        let rejected = Rejected {
            too_new_start: batch.iter().position(|(time, _)| *time > newest),
            too_old_end: end_of(oldest),
            expired_end: end_of(kept_since),
        };
        let good = |time: i64| time <= newest && time >= oldest.max(kept_since);
        let accepted = batch.into_iter().filter(|(time, _)| good(*time));
        stream.events.extend(accepted.map(|(timestamp, message)| Event {
            timestamp,
            ingestion_time: now,
            message,
        }));
        stream.events.sort_by_key(|event| event.timestamp);
        Ok(rejected)
    }

    pub(super) fn group(&self, name: &str) -> Result<&Group, AwsError> {
        self.groups.get(name).ok_or_else(|| missing("log group"))
    }

    fn group_mut(&mut self, name: &str) -> Result<&mut Group, AwsError> {
        self.groups.get_mut(name).ok_or_else(|| missing("log group"))
    }
}

fn check_batch(batch: &[(i64, String)]) -> Result<(), AwsError> {
    let (Some((first, _)), Some((last, _))) = (batch.first(), batch.last()) else {
        return Err(invalid("1 validation error: 'logEvents' must have length at least 1"));
    };
    if batch.len() > BATCH_EVENTS {
        return Err(invalid("1 validation error: 'logEvents' must have length at most 10000"));
    }
    if batch.iter().any(|(time, message)| message.is_empty() || *time < 0) {
        return Err(invalid("1 validation error: a message is empty or a timestamp negative"));
    }
    let bytes: usize = batch.iter().map(|(_, message)| message.len() + EVENT_OVERHEAD).sum();
    if bytes > BATCH_BYTES {
        return Err(invalid(format!("Upload too large: {bytes} bytes exceeds limit of {BATCH_BYTES}")));
    }
    if !batch.is_sorted_by_key(|(time, _)| *time) {
        return Err(invalid("Log events in a single PutLogEvents request must be in chronological order."));
    }
    if last - first > millis(BATCH_SPAN) {
        return Err(invalid("The batch of log events in a single request cannot span more than 24 hours."));
    }
    Ok(())
}

fn millis(duration: SignedDuration) -> i64 {
    duration.as_secs() * 1000
}

pub(super) fn invalid(message: impl Into<String>) -> AwsError {
    AwsError::new("InvalidParameterException", message)
}

fn exists(message: &str) -> AwsError {
    AwsError::new("ResourceAlreadyExistsException", message)
}

pub(super) fn missing(what: &str) -> AwsError {
    AwsError::new("ResourceNotFoundException", format!("The specified {what} does not exist."))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_750_000_000_000;
    const HOUR: i64 = 3_600_000;

    fn now() -> Timestamp {
        Timestamp::from_millisecond(NOW).unwrap()
    }

    fn store() -> LogStore {
        let mut store = LogStore::default();
        store.create_group("/aws/ec2/app", now()).unwrap();
        store.create_stream("/aws/ec2/app", "i-1", now()).unwrap();
        store
    }

    fn put(store: &mut LogStore, batch: Vec<(i64, String)>) -> Result<Rejected, AwsError> {
        store.put("/aws/ec2/app", "i-1", batch, now())
    }

    fn refusal(batch: Vec<(i64, String)>) -> String {
        let error = put(&mut store(), batch).unwrap_err();
        assert_eq!(error.code, "InvalidParameterException", "{error:?}");
        error.message
    }

    #[test]
    fn a_batch_of_exactly_the_limit_passes_and_one_byte_more_does_not() {
        let full = BATCH_BYTES - EVENT_OVERHEAD;
        assert_eq!(put(&mut store(), vec![(NOW, "x".repeat(full))]), Ok(Rejected::default()));
        assert!(refusal(vec![(NOW, "x".repeat(full + 1))]).contains("1048577 bytes"));
        // Bytes count, not characters.
        assert!(refusal(vec![(NOW, "é".repeat(full / 2 + 1))]).contains("too large"));
    }

    #[test]
    fn the_overhead_counts_for_every_event() {
        let each = BATCH_BYTES / 8192 - EVENT_OVERHEAD;
        assert!(put(&mut store(), vec![(NOW, "x".repeat(each)); 8192]).is_ok());
        assert!(refusal(vec![(NOW, "x".repeat(each + 1)); 8192]).contains("too large"));
    }

    #[test]
    fn ten_thousand_events_pass_and_one_more_does_not() {
        assert!(put(&mut store(), vec![(NOW, "x".into()); BATCH_EVENTS]).is_ok());
        assert!(refusal(vec![(NOW, "x".into()); BATCH_EVENTS + 1]).contains("10000"));
    }

    #[test]
    fn disorder_too_wide_a_span_and_emptiness_are_refused() {
        assert!(refusal(vec![(NOW, "b".into()), (NOW - 1, "a".into())]).contains("chronological"));
        assert!(refusal(vec![(NOW - 25 * HOUR, "a".into()), (NOW, "b".into())]).contains("24 hours"));
        assert!(refusal(vec![]).contains("at least 1"));
        assert!(refusal(vec![(NOW, String::new())]).contains("empty"));
    }

    #[test]
    fn what_is_too_new_is_left_out_and_the_rest_is_kept() {
        let mut store = store();
        let batch = vec![(NOW, "good".into()), (NOW + 2 * HOUR + 1, "new".into())];
        let rejected = put(&mut store, batch).unwrap();
        assert_eq!(rejected, Rejected { too_new_start: Some(1), ..Rejected::default() });
        assert_eq!(store.messages("/aws/ec2/app", "i-1"), ["good"]);
    }

    #[test]
    fn what_is_too_old_or_past_the_retention_is_left_out() {
        let mut store = store();
        let old = NOW - 14 * 24 * HOUR - 1;
        let batch = vec![(old, "old".into()), (old + 2, "good".into())];
        let rejected = put(&mut store, batch.clone()).unwrap();
        assert_eq!(rejected, Rejected { too_old_end: Some(1), ..Rejected::default() });
        assert_eq!(store.messages("/aws/ec2/app", "i-1"), ["good"]);
        store.set_retention("/aws/ec2/app", 7).unwrap();
        assert_eq!(put(&mut store, batch).unwrap().expired_end, Some(2));
    }

    #[test]
    fn missing_groups_and_streams_are_told_apart_from_existing_ones() {
        let mut store = store();
        let put = |store: &mut LogStore, group: &str, stream: &str| {
            store.put(group, stream, vec![(NOW, "x".into())], now()).unwrap_err()
        };
        assert!(put(&mut store, "none", "i-1").message.contains("log group"));
        assert!(put(&mut store, "/aws/ec2/app", "none").message.contains("log stream"));
        assert_eq!(
            store.create_group("/aws/ec2/app", now()).unwrap_err().code,
            "ResourceAlreadyExistsException"
        );
        assert_eq!(store.create_group("with space", now()).unwrap_err().code, "InvalidParameterException");
        assert!(store.set_retention("/aws/ec2/app", 2).is_err());
    }
}
