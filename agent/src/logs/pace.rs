//! How many calls may be under way at the same time: one more for each round without complaint, half after each one.
//!
//! In: how calls went. Out: a permit for each. Additive increase and multiplicative decrease, as TCP does: all nodes of an
//! account share one rate at the service, and know of each other only by being throttled.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// At most: what is built and on its way is held in memory, two megabytes each. Four keep a core busy, and with the
/// service 50 ms away ship 80 MB/s.
pub const MOST: usize = 4;

/// Permits for calls.
#[derive(Debug)]
pub struct Pace {
    permits: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    allowed: usize,
    /// Calls that went well since the last change.
    good: usize,
    /// Permits that are to be taken away when they come back.
    owed: usize,
}

/// How a call went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Went {
    /// It was answered.
    Well,
    /// The service wants fewer.
    Throttled,
    /// It says nothing about the pace.
    Otherwise,
}

impl Pace {
    /// As many calls as may be.
    pub fn new() -> Pace {
        let state = State { allowed: MOST, good: 0, owed: 0 };
        Pace { permits: Arc::new(Semaphore::new(MOST)), state: Mutex::new(state) }
    }

    /// Waits for its turn.
    pub async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed; were it, going on without a permit would only cost memory.
        Arc::clone(&self.permits).acquire_owned().await.ok()
    }

    /// How many calls may be under way.
    pub fn allowed(&self) -> usize {
        self.state().allowed
    }

    /// A call is over; its permit comes back.
    pub fn over(&self, permit: Option<OwnedSemaphorePermit>, went: Went) {
        let mut state = self.state();
        match went {
            Went::Throttled => {
                let less = (state.allowed / 2).max(1);
                state.owed += state.allowed - less;
                state.allowed = less;
                state.good = 0;
            }
            Went::Well => {
                state.good += 1;
                if state.good >= state.allowed && state.allowed < MOST {
                    state.allowed += 1;
                    state.good = 0;
                    if state.owed > 0 { state.owed -= 1 } else { self.permits.add_permits(1) }
                }
            }
            Went::Otherwise => {}
        }
        if state.owed > 0
            && let Some(permit) = permit
        {
            permit.forget();
            state.owed -= 1;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Plain numbers; whatever a panic left behind is still a pace.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Pace {
    fn default() -> Pace {
        Pace::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_complaint_halves_the_pace_and_answers_bring_it_back_by_ones() {
        let pace = Pace::new();
        let permit = pace.turn().await;
        pace.over(permit, Went::Throttled);
        assert_eq!(pace.allowed(), MOST / 2);
        assert_eq!(
            pace.permits.available_permits(),
            MOST - 1,
            "the others come back when their calls are over"
        );
        let mut answers = 0;
        while pace.allowed() < MOST {
            let permit = pace.turn().await;
            pace.over(permit, Went::Well);
            answers += 1;
            assert!(answers < 100, "the pace never comes back");
        }
        assert_eq!(answers, (MOST / 2..MOST).sum::<usize>());
        assert_eq!(pace.permits.available_permits(), MOST);
    }

    #[tokio::test]
    async fn one_call_is_always_allowed() {
        let pace = Pace::new();
        for _ in 0..10 {
            let permit = pace.turn().await;
            pace.over(permit, Went::Throttled);
        }
        assert_eq!((pace.allowed(), pace.permits.available_permits()), (1, 1));
    }
}
