//! What goes wrong at the endpoint, for how long, and how many calls it hit.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What every call meets while it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// 503 with `ServiceUnavailableException`.
    Unavailable,
    /// 400 with `ThrottlingException`.
    Throttled,
    /// The connection is reset: every other time before the body was read.
    Reset,
    /// The call is taken, and the connection reset before the answer.
    AnswerLost,
    /// The call is read and never answered.
    Stall,
    /// 400 with `ExpiredTokenException`.
    Expired,
}

#[derive(Debug, Default)]
struct State {
    fault: Option<(Fault, Instant)>,
    hits: u64,
}

/// The fault of now.
#[derive(Debug, Default)]
pub(super) struct Faults {
    state: Mutex<State>,
    changed: Condvar,
}

impl Faults {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on; the hits begin anew.
    pub(super) fn begin(&self, fault: Fault, lasting: Duration) {
        let mut state = self.state();
        (state.fault, state.hits) = (Some((fault, now() + lasting)), 0);
        self.changed.notify_all();
    }

    /// Calls that the last fault hit.
    pub(super) fn hits(&self) -> u64 {
        self.state().hits
    }

    /// What a call meets that is made now, if anything.
    pub(super) fn hit(&self) -> Option<(Fault, u64)> {
        let mut state = self.state();
        let (fault, until) = state.fault?;
        if until <= now() {
            state.fault = None;
            return None;
        }
        state.hits += 1;
        Some((fault, state.hits))
    }

    pub(super) fn is_on(&self) -> bool {
        self.state().fault.is_some_and(|(_, until)| until > now())
    }

    /// Returns when the fault of now is over.
    pub(super) fn sit_out(&self) {
        let mut state = self.state();
        while let Some((_, until)) = state.fault {
            let left = until.saturating_duration_since(now());
            if left.is_zero() {
                return;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(super) fn end(&self) {
        self.state().fault = None;
        self.changed.notify_all();
    }
}

#[expect(clippy::disallowed_methods, reason = "a fault lasts for a time")]
fn now() -> Instant {
    Instant::now()
}
