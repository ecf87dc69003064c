//! Gets one batch accepted, however long it takes.
//!
//! In: events in time order. Out: nothing but the counters; it returns when every event was accepted, or refused by the
//! service for good and counted. What always holds: events of one stream go in their order, and nothing is sent again
//! after an answer. Dropping the future gives up, which is safe while the cursor has not moved.

use super::Shared;
use super::backoff;
use super::event::LogEvent;
use super::sink::{Answer, Destination, LogSink, PutError};

/// Where the events of one container go.
#[derive(Debug)]
pub(super) struct Outlet {
    pub(super) container_id: String,
    pub(super) destination: Destination,
}

/// Returns when no event of `events` is owed any more.
pub(super) async fn deliver<S, K: LogSink>(shared: &Shared<S, K>, outlet: &Outlet, events: &[LogEvent]) {
    // Parts of the batch, the next one last. There is more than one only after the service refused a larger one.
    let mut parts = vec![events];
    let mut failures = 0;
    while let Some(part) = parts.pop().filter(|part| !part.is_empty()) {
        match put(shared, outlet, part).await {
            Ok(answer) => {
                failures = 0;
                accepted(shared, outlet, part, answer);
            }
            Err(PutError::Refused { .. }) if part.len() > 1 => {
                // One bad event must not take the others with it: find it by halves.
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
            }
            Err(PutError::Refused { reason }) => {
                shared.tally.dropped_one();
                let stream = &outlet.destination.stream;
                tracing::warn!(%stream, %reason, bytes = part[0].message.len(), "a log event was refused and dropped");
            }
            Err(error) => {
                failures += 1;
                parts.push(part);
                failed(shared, outlet, &error);
                let seed = backoff::seed(&outlet.destination.stream);
                tokio::time::sleep(backoff::delay(failures, seed)).await;
            }
        }
    }
}

async fn put<S, K: LogSink>(
    shared: &Shared<S, K>,
    outlet: &Outlet,
    part: &[LogEvent],
) -> Result<Answer, PutError> {
    // The semaphore is never closed; were it, sending without a permit would only cost memory.
    let _permit = shared.puts.acquire().await.ok();
    shared.sink.put(&outlet.destination, part).await
}

fn accepted<S, K>(shared: &Shared<S, K>, outlet: &Outlet, part: &[LogEvent], answer: Answer) {
    let start = (answer.expired + answer.too_old).min(part.len());
    let end = part.len().saturating_sub(answer.too_new).max(start);
    let bytes: usize = part[start..end].iter().map(|event| event.message.len()).sum();
    let events = end - start;
    let stream = &outlet.destination.stream;
    if shared.tally.answered(&outlet.container_id, events as u64, bytes as u64, answer) {
        tracing::info!(%stream, "log lines are delivered again");
    }
    if answer != Answer::default() {
        let Answer { expired, too_old, too_new } = answer;
        tracing::warn!(%stream, expired, too_old, too_new, "log events were refused for their time and dropped");
    }
}

fn failed<S, K>(shared: &Shared<S, K>, outlet: &Outlet, error: &PutError) {
    if shared.tally.undelivered(&outlet.container_id, error, (shared.clock)()) {
        let Destination { group, stream } = &outlet.destination;
        tracing::warn!(%group, %stream, reason = %error, "log lines cannot be delivered; trying again");
    }
}
