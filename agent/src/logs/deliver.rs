//! Gets one batch answered, or says that it was not.
//!
//! In: a body and the permit under which it is sent. Out: nothing but the counters; every event was accepted, or refused
//! by the service for good and counted; or [`Undelivered`], and what is still owed is in `parts`. What always holds: events
//! go in their order, nothing is sent again after an answer. Dropping the future gives up, which is safe while the place in
//! the log has not moved.

use super::Shared;
use super::body::Body;
use super::pace::Went;
use super::sink::{Answer, Destination, LogSink, PutError};
use tokio::sync::OwnedSemaphorePermit;

/// Where the events of one source go.
#[derive(Debug)]
pub(super) struct Outlet {
    /// Name of the source among all: the id of a container.
    pub(super) source: String,
    pub(super) destination: Destination,
}

/// Not all events were taken; the reason is on the tally.
#[derive(Debug)]
pub(super) struct Undelivered;

/// Sends what is in `parts`, the next one last.
pub(super) async fn deliver<S, K: LogSink>(
    shared: &Shared<S, K>,
    outlet: &Outlet,
    parts: &mut Vec<Body>,
    permit: Option<OwnedSemaphorePermit>,
) -> Result<(), Undelivered> {
    let mut went = Went::Well;
    let mut result = Ok(());
    while let Some(part) = parts.pop() {
        if part.is_empty() {
            continue;
        }
        match shared.sink.put(&outlet.destination, &part).await {
            Ok(answer) => accepted(shared, outlet, &part, answer),
            Err(PutError::Refused { .. }) if part.len() > 1 => {
                // One bad event must not take the others with it: find it by halves.
                let (first, second) = part.halves();
                parts.extend([second, first]);
            }
            Err(PutError::Refused { reason }) => {
                shared.tally.refused();
                let (stream, bytes) = (&outlet.destination.stream, part.message_bytes(0..1));
                tracing::warn!(%stream, %reason, bytes, "a log event was refused and dropped");
            }
            Err(error) => {
                parts.push(part);
                failed(shared, outlet, &error);
                went = if matches!(error, PutError::Throttled { .. }) {
                    Went::Throttled
                } else {
                    Went::Otherwise
                };
                result = Err(Undelivered);
                break;
            }
        }
    }
    shared.pace.over(permit, went);
    result
}

fn accepted<S, K>(shared: &Shared<S, K>, outlet: &Outlet, part: &Body, answer: Answer) {
    let start = (answer.expired + answer.too_old).min(part.len());
    let end = part.len().saturating_sub(answer.too_new).max(start);
    let bytes = part.message_bytes(start..end);
    let events = end - start;
    let stream = &outlet.destination.stream;
    if shared.tally.answered(&outlet.source, events as u64, bytes as u64, answer) {
        tracing::info!(%stream, "log lines are delivered again");
    }
    if answer != Answer::default() {
        let Answer { expired, too_old, too_new } = answer;
        tracing::warn!(%stream, expired, too_old, too_new, "log events were refused for their time and dropped");
    }
}

fn failed<S, K>(shared: &Shared<S, K>, outlet: &Outlet, error: &PutError) {
    if shared.tally.undelivered(&outlet.source, error, (shared.clock)()) {
        let Destination { group, stream } = &outlet.destination;
        tracing::warn!(%group, %stream, reason = %error, "log lines cannot be delivered; trying again");
    }
}
