//! The seam to where events go. `cloud/logs.rs` is the real one.

use super::body::Body;
use std::future::Future;

/// A stream of a log group.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Destination {
    /// Log group.
    pub group: String,
    /// Log stream.
    pub stream: String,
}

/// How many of the events of a call were taken. The others are refused for good and not to be sent again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Answer {
    /// From the first event on: older than the group keeps events.
    pub expired: usize,
    /// The next ones: older than the service takes events (14 days).
    pub too_old: usize,
    /// Up to the last event: further in the future than the service takes events (2 hours).
    pub too_new: usize,
}

/// Why no event of a call is known to have been taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PutError {
    /// Too many calls: the same one works later, and fewer at the same time would.
    #[error("{reason}")]
    Throttled {
        /// One line.
        reason: String,
    },
    /// Out of order, out of reach, or no valid credentials: the same call may work later.
    #[error("{reason}")]
    Retry {
        /// One line.
        reason: String,
    },
    /// The instance may not do it. The same call works once somebody has allowed it.
    #[error("{reason}")]
    Denied {
        /// One line.
        reason: String,
    },
    /// Some of these events are not acceptable; fewer of them may be.
    #[error("{reason}")]
    Refused {
        /// One line that repeats no event.
        reason: String,
    },
}

/// Takes events.
pub trait LogSink: Send + Sync + 'static {
    /// Puts the events of a body, which was built for the destination, into its stream, which is made if it does not
    /// exist. Answers within a deadline of its own.
    fn put(
        &self,
        destination: &Destination,
        body: &Body,
    ) -> impl Future<Output = Result<Answer, PutError>> + Send;
}
