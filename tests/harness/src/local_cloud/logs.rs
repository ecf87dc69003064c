//! CloudWatch Logs on the wire; the rules are in `log_store`.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::AwsError;
use super::aws;
use super::log_store::{Event, Group, missing};
use super::state::State;

/// Most events that GetLogEvents gives at once.
const PAGE_EVENTS: usize = 10_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    #[serde(default)]
    log_group_name: String,
    #[serde(default)]
    log_stream_name: String,
    #[serde(default)]
    log_events: Vec<InputEvent>,
    #[serde(default)]
    retention_in_days: i64,
    start_time: Option<i64>,
    end_time: Option<i64>,
    limit: Option<usize>,
    next_token: Option<String>,
    #[serde(default)]
    start_from_head: bool,
    log_group_name_prefix: Option<String>,
    log_stream_name_prefix: Option<String>,
}

#[derive(Deserialize)]
struct InputEvent {
    timestamp: i64,
    message: String,
}

/// Answers one operation.
pub(super) fn respond(
    state: &mut State,
    operation: &str,
    input: Value,
    now: Timestamp,
) -> Result<Value, AwsError> {
    let mut input: Input = aws::input(input)?;
    let action = format!("logs:{operation}");
    if state.denies(&action, &input.log_group_name) {
        return Err(aws::denied(&action, &input.log_group_name));
    }
    let place = format!("arn:aws:logs:{}:{}:log-group:", state.instance.region, state.instance.account);
    let (group, stream) = (&input.log_group_name, &input.log_stream_name);
    let store = &mut state.logs;
    let done = |()| json!({});
    match operation {
        "CreateLogGroup" => store.create_group(group, now).map(done),
        "CreateLogStream" => store.create_stream(group, stream, now).map(done),
        "PutRetentionPolicy" => store.set_retention(group, input.retention_in_days).map(done),
        "DescribeLogGroups" => {
            let prefix = input.log_group_name_prefix.unwrap_or_default();
            let matching = store.groups.iter().filter(|(name, _)| name.starts_with(&prefix));
            let groups: Vec<Value> =
                matching.map(|(name, group)| describe_group(&place, name, group)).collect();
            Ok(json!({"logGroups": groups}))
        }
        "DescribeLogStreams" => {
            let streams =
                describe_streams(store.group(group)?, &input.log_stream_name_prefix.unwrap_or_default());
            Ok(json!({"logStreams": streams}))
        }
        "PutLogEvents" => {
            let batch = std::mem::take(&mut input.log_events);
            let batch = batch.into_iter().map(|event| (event.timestamp, event.message)).collect();
            let rejected = store.put(group, stream, batch, now)?;
            let info = [
                ("tooNewLogEventStartIndex", rejected.too_new_start),
                ("tooOldLogEventEndIndex", rejected.too_old_end),
                ("expiredLogEventEndIndex", rejected.expired_end),
            ];
            let info: serde_json::Map<String, Value> =
                info.into_iter().filter_map(|(name, at)| Some((name.to_owned(), json!(at?)))).collect();
            let mut output = json!({"nextSequenceToken": "0"});
            if !info.is_empty() {
                output["rejectedLogEventsInfo"] = Value::Object(info);
            }
            Ok(output)
        }
        "GetLogEvents" => {
            let stream = store.group(group)?.streams.get(stream).ok_or_else(|| missing("log stream"))?;
            Ok(page(&stream.events, &input))
        }
        _ => Err(aws::unknown_operation(operation)),
    }
}

/// One page of events. Tokens are positions: `f/N` goes on at N, `b/N` ends
/// before N; the end of the stream is reached when a token repeats.
fn page(events: &[Event], input: &Input) -> Value {
    let events: Vec<&Event> = events
        .iter()
        .filter(|event| input.start_time.is_none_or(|start| event.timestamp >= start))
        .filter(|event| input.end_time.is_none_or(|end| event.timestamp < end))
        .collect();
    let limit = input.limit.unwrap_or(PAGE_EVENTS).clamp(1, PAGE_EVENTS);
    let position = |prefix: &str| -> Option<usize> {
        let at = input.next_token.as_deref()?.strip_prefix(prefix)?.parse().ok()?;
        Some(events.len().min(at))
    };
    let (start, end) = match (position("f/"), position("b/")) {
        (Some(start), _) => (start, (start + limit).min(events.len())),
        (None, Some(end)) => (end.saturating_sub(limit), end),
        (None, None) if input.start_from_head => (0, limit.min(events.len())),
        (None, None) => (events.len().saturating_sub(limit), events.len()),
    };
    let shown: Vec<Value> = events[start..end]
        .iter()
        .map(|event| {
            json!({"timestamp": event.timestamp, "ingestionTime": event.ingestion_time, "message": event.message})
        })
        .collect();
    json!({
        "events": shown,
        "nextForwardToken": format!("f/{end}"),
        "nextBackwardToken": format!("b/{start}"),
    })
}

fn describe_group(place: &str, name: &str, group: &Group) -> Value {
    let mut output = json!({
        "logGroupName": name, "creationTime": group.created, "arn": format!("{place}{name}:*"),
        "metricFilterCount": 0, "storedBytes": 0,
    });
    if let Some(days) = group.retention_days {
        output["retentionInDays"] = json!(days);
    }
    output
}

fn describe_streams(group: &Group, prefix: &str) -> Vec<Value> {
    let matching = group.streams.iter().filter(|(name, _)| name.starts_with(prefix));
    matching
        .map(|(name, stream)| {
            json!({
                "logStreamName": name, "creationTime": stream.created,
                "firstEventTimestamp": stream.events.first().map(|event| event.timestamp),
                "lastEventTimestamp": stream.events.last().map(|event| event.timestamp),
            })
        })
        .collect()
}
