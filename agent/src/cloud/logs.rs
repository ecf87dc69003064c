//! CloudWatch Logs: `PutLogEvents`, and the group and stream that it needs.
//!
//! In: events that are within the limits of one call. Out: which were taken, or what the caller is to do. What always
//! holds: one try per call, the caller decides when the next one is; nothing is described first (that costs a call
//! and a permission), a missing group or stream is made when the service says that it is missing; no error repeats
//! an event: the service's validation messages quote what they refuse.

use crate::logs::body::Body;
use crate::logs::sink::{Answer, Destination, LogSink, PutError};
use aws_config::SdkConfig;
use aws_sdk_cloudwatchlogs::Client;
use aws_sdk_cloudwatchlogs::config::Builder;
use aws_sdk_cloudwatchlogs::config::http::HttpResponse;
use aws_sdk_cloudwatchlogs::config::retry::RetryConfig;
use aws_sdk_cloudwatchlogs::config::timeout::TimeoutConfig;
use aws_sdk_cloudwatchlogs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_cloudwatchlogs::types::RejectedLogEventsInfo;
use aws_smithy_types::body::SdkBody;
use node::config::settings::Logs;
use node::fault::one_line;
use std::collections::HashMap;
use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// For one call. A megabyte at 64 kB/s, and then the answer.
const CALL_DEADLINE: Duration = Duration::from_secs(30);

/// An endpoint of AWS that takes longer than this is not there.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// Longest part of a service's message that is kept.
const LONGEST_MESSAGE: usize = 300;

/// The client.
#[derive(Debug)]
pub struct CloudWatchLogs {
    client: Client,
    retention_days: Option<i32>,
    tags: HashMap<String, String>,
    /// A group was made whose retention is not set yet.
    retention_owed: AtomicBool,
}

/// What an error answer means.
#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    /// Group or stream.
    Missing,
    /// The thing to be made is there.
    Exists,
    /// It was taken by an earlier call.
    Taken,
    /// For the caller.
    Failed(PutError),
}

impl CloudWatchLogs {
    /// A client; makes no call. Retention and tags are set on a group that we make and on no other.
    pub fn new(config: &SdkConfig, settings: &Logs) -> CloudWatchLogs {
        let deadlines = TimeoutConfig::builder()
            .connect_timeout(CONNECT_DEADLINE)
            .read_timeout(CALL_DEADLINE)
            .operation_attempt_timeout(CALL_DEADLINE)
            .operation_timeout(CALL_DEADLINE)
            .build();
        // The caller backs off for longer, and per stream, than the library would.
        let config =
            Builder::from(config).timeout_config(deadlines).retry_config(RetryConfig::disabled()).build();
        CloudWatchLogs {
            client: Client::from_conf(config),
            retention_days: settings.retention_days,
            tags: settings.tags.clone().into_iter().collect(),
            retention_owed: AtomicBool::new(false),
        }
    }

    /// The library names, signs and sends the call; its body is the one that was built while the log was read, for which
    /// no event is copied into a value of its own.
    async fn put_once(&self, destination: &Destination, body: &Body) -> Result<Answer, Meaning> {
        let json = body.json();
        let call = self
            .client
            .put_log_events()
            .log_group_name(&destination.group)
            .log_stream_name(&destination.stream)
            .set_log_events(Some(Vec::new()))
            .customize()
            .mutate_request(move |request| {
                request.headers_mut().insert("content-length", json.len().to_string());
                *request.body_mut() = SdkBody::from(json.clone());
            });
        match call.send().await {
            Ok(output) => Ok(answer(body.len(), output.rejected_log_events_info())),
            Err(error) => match meaning("PutLogEvents", &error) {
                Meaning::Taken => Ok(Answer::default()),
                other => Err(other),
            },
        }
    }

    /// Makes the stream, and the group if that is missing too.
    async fn make(&self, destination: &Destination) -> Result<(), PutError> {
        match self.make_stream(destination).await {
            Err(Meaning::Missing) => {}
            other => return other.or_else(settled),
        }
        let tags = Some(self.tags.clone()).filter(|tags| !tags.is_empty());
        let call = self.client.create_log_group().log_group_name(&destination.group).set_tags(tags);
        match call.send().await.map_err(|error| meaning("CreateLogGroup", &error)) {
            Ok(_) => {
                tracing::info!(group = %destination.group, "log group made");
                self.retention_owed.store(self.retention_days.is_some(), Ordering::Relaxed);
            }
            Err(other) => settled(other)?,
        }
        self.set_retention(&destination.group).await?;
        self.make_stream(destination).await.or_else(settled)
    }

    async fn make_stream(&self, destination: &Destination) -> Result<(), Meaning> {
        let call = self
            .client
            .create_log_stream()
            .log_group_name(&destination.group)
            .log_stream_name(&destination.stream);
        call.send().await.map(|_| ()).map_err(|error| meaning("CreateLogStream", &error))
    }

    /// Sets the retention of a group that we made. Where that is not allowed, events are kept for ever, which is said
    /// and does not stop them.
    async fn set_retention(&self, group: &str) -> Result<(), PutError> {
        let Some(days) = self.retention_days.filter(|_| self.retention_owed.load(Ordering::Relaxed)) else {
            return Ok(());
        };
        let call = self.client.put_retention_policy().log_group_name(group).retention_in_days(days);
        match call.send().await.map_err(|error| meaning("PutRetentionPolicy", &error)) {
            Ok(_) => {}
            Err(Meaning::Failed(error @ (PutError::Retry { .. } | PutError::Throttled { .. }))) => {
                return Err(error);
            }
            Err(other) => {
                let reason = settled(other).err().map(|error| error.to_string());
                tracing::warn!(%group, days, reason, "the retention of the new log group could not be set");
            }
        }
        self.retention_owed.store(false, Ordering::Relaxed);
        Ok(())
    }
}

impl LogSink for CloudWatchLogs {
    async fn put(&self, destination: &Destination, body: &Body) -> Result<Answer, PutError> {
        let first = match self.put_once(destination, body).await {
            Err(Meaning::Missing) => {
                self.make(destination).await?;
                self.put_once(destination, body).await
            }
            other => other,
        };
        first.map_err(|meaning| match settled(meaning) {
            Err(error) => error,
            // Deleted again behind our back, or not yet known everywhere.
            Ok(()) => PutError::Retry { reason: "PutLogEvents: the stream was just made".to_owned() },
        })
    }
}

/// What stands in the way of going on, if anything.
fn settled(meaning: Meaning) -> Result<(), PutError> {
    match meaning {
        Meaning::Exists | Meaning::Taken => Ok(()),
        Meaning::Missing => Err(PutError::Retry { reason: "the log group or stream was deleted".to_owned() }),
        Meaning::Failed(error) => Err(error),
    }
}

/// `tooNewLogEventStartIndex` is the first refused event, the other two are one past the last refused event. Events
/// that have expired are too old as well; each counts once.
fn answer(events: usize, rejected: Option<&RejectedLogEventsInfo>) -> Answer {
    let Some(rejected) = rejected else { return Answer::default() };
    let index = |index: Option<i32>| index.map(|index| usize::try_from(index).unwrap_or(0).min(events));
    let expired = index(rejected.expired_log_event_end_index()).unwrap_or(0);
    let old = index(rejected.too_old_log_event_end_index()).unwrap_or(0).max(expired);
    let new = index(rejected.too_new_log_event_start_index()).unwrap_or(events).max(old);
    Answer { expired, too_old: old - expired, too_new: events - new }
}

fn meaning<E>(operation: &str, error: &SdkError<E, HttpResponse>) -> Meaning
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let retry =
        |reason: String| Meaning::Failed(PutError::Retry { reason: format!("{operation}: {reason}") });
    match error {
        SdkError::ServiceError(service) => {
            let (code, message) = (service.err().code(), service.err().message().unwrap_or_default());
            answered(operation, code, message, service.raw().status().as_u16())
        }
        SdkError::TimeoutError(_) => retry(format!("no answer within {} s", CALL_DEADLINE.as_secs())),
        SdkError::DispatchFailure(failure) => {
            retry(failure.as_connector_error().map_or_else(|| one_line(error), |cause| one_line(cause)))
        }
        other => retry(one_line(other)),
    }
}

fn answered(operation: &str, code: Option<&str>, message: &str, status: u16) -> Meaning {
    let code = code.unwrap_or_default();
    match code {
        "ResourceNotFoundException" => return Meaning::Missing,
        "ResourceAlreadyExistsException" => return Meaning::Exists,
        "DataAlreadyAcceptedException" => return Meaning::Taken,
        _ => {}
    }
    let name = if code.is_empty() { format!("HTTP {status}") } else { code.to_owned() };
    let invalid = matches!(
        code,
        "InvalidParameterException"
            | "ValidationException"
            | "SerializationException"
            | "RequestEntityTooLargeException"
    );
    // A wrong name is nobody's event's fault: splitting batches over it would drop them all.
    let names = message.contains("logGroupName") || message.contains("logStreamName");
    if (invalid || status == 413) && !names && operation == "PutLogEvents" {
        return Meaning::Failed(PutError::Refused { reason: format!("{operation}: {name}") });
    }
    let reason = format!("{operation}: {}", with_message(&name, message));
    match code {
        "AccessDeniedException" | "AccessDenied" => Meaning::Failed(PutError::Denied { reason }),
        "ThrottlingException" | "Throttling" | "TooManyRequestsException" | "RequestLimitExceeded" => {
            Meaning::Failed(PutError::Throttled { reason })
        }
        _ if status == 429 => Meaning::Failed(PutError::Throttled { reason }),
        _ => Meaning::Failed(PutError::Retry { reason }),
    }
}

fn with_message(name: &str, message: &str) -> String {
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    // What quotes events is not repeated.
    if message.is_empty() || message.contains("logEvents") {
        return name.to_owned();
    }
    match message.char_indices().nth(LONGEST_MESSAGE) {
        Some((end, _)) => format!("{name}: {}…", &message[..end]),
        None => format!("{name}: {message}"),
    }
}

#[cfg(test)]
#[path = "logs_tests.rs"]
mod tests;
