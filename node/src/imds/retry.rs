//! When to ask the metadata service again: Fibonacci delays from 250 ms to 10 s, within a budget of time.
//!
//! Its own, and not the SDK's: a boot without metadata is worth minutes, and a few refused tokens must not use up the
//! retries that the calls to AWS share.

use super::ImdsError;
use std::future::Future;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const FIRST_DELAY: Duration = Duration::from_millis(250);
const LONGEST_DELAY: Duration = Duration::from_secs(10);

/// For how long failures are tried again. No try begins after the budget; the last one may end one request's deadline
/// later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    budget: Duration,
}

impl Patience {
    /// Five minutes: at boot, when the network or the service may not be up yet and nothing goes on without them.
    pub const BOOT: Patience = Patience::of(Duration::from_secs(300));
    /// Five seconds: while the node runs, when the caller has a last value or asks again soon.
    pub const BRIEF: Patience = Patience::of(Duration::from_secs(5));

    /// Tries for `budget`; zero tries once.
    pub const fn of(budget: Duration) -> Patience {
        Patience { budget }
    }
}

/// What one try came to.
pub(super) enum Attempt<T> {
    /// An answer.
    Answer(T),
    /// Asking again would give the same.
    Final(ImdsError),
    /// It may pass; worth trying for the whole budget, or for the given part of it.
    Passing(ImdsError, Option<Duration>),
}

/// Tries until there is an answer, a final failure, or no budget left; then the last failure is the result.
pub(super) async fn retry<T, F>(patience: Patience, mut attempt: impl FnMut() -> F) -> Result<T, ImdsError>
where
    F: Future<Output = Attempt<T>>,
{
    let started = Instant::now();
    let (mut delay, mut next_delay) = (FIRST_DELAY, FIRST_DELAY);
    loop {
        let (error, limit) = match attempt().await {
            Attempt::Answer(answer) => return Ok(answer),
            Attempt::Final(error) => return Err(error),
            Attempt::Passing(error, limit) => (error, limit),
        };
        let budget = limit.map_or(patience.budget, |limit| limit.min(patience.budget));
        if started.elapsed() + delay > budget {
            return Err(error);
        }
        tracing::debug!(delay_ms = delay.as_millis(), %error, "the metadata service will be asked again");
        sleep(delay).await;
        (delay, next_delay) = (next_delay, (delay + next_delay).min(LONGEST_DELAY));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    fn refused() -> ImdsError {
        ImdsError::Status { endpoint: "http://fake".into(), operation: "read x".into(), status: 503 }
    }

    /// Runs `retry` in virtual time and says at which milliseconds it tried.
    async fn tries(
        patience: Patience,
        answer: impl Fn(usize) -> Attempt<()>,
    ) -> (Result<(), ImdsError>, Vec<u128>) {
        let started = Instant::now();
        let times = RefCell::new(Vec::new());
        let result = retry(patience, || async {
            times.borrow_mut().push(started.elapsed().as_millis());
            answer(times.borrow().len())
        })
        .await;
        (result, times.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn the_delays_grow_like_fibonacci_to_ten_seconds_and_end_with_the_budget() {
        let (result, times) = tries(Patience::BOOT, |_| Attempt::Passing(refused(), None)).await;
        assert!(result.is_err());
        let delays: Vec<u128> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(
            delays[..11],
            [250, 250, 500, 750, 1250, 2000, 3250, 5250, 8500, 10_000, 10_000],
            "{times:?}"
        );
        let last = *times.last().unwrap();
        assert!((290_000..=300_000).contains(&last), "the last try began at {last} ms");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_after_failures_is_the_result() {
        let (result, times) = tries(Patience::BOOT, |count| match count {
            4 => Attempt::Answer(()),
            _ => Attempt::Passing(refused(), None),
        })
        .await;
        assert!(result.is_ok());
        assert_eq!(times, [0, 250, 500, 1000]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_final_failure_and_a_spent_budget_are_not_tried_again() {
        let (result, times) = tries(Patience::BOOT, |_| Attempt::Final(refused())).await;
        assert!(result.is_err());
        assert_eq!(times, [0]);
        let (result, times) =
            tries(Patience::of(Duration::ZERO), |_| Attempt::Passing(refused(), None)).await;
        assert!(result.is_err());
        assert_eq!(times, [0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_with_a_limit_of_its_own_is_given_up_earlier_than_the_budget() {
        let limit = Some(Duration::from_secs(30));
        let (result, times) = tries(Patience::BOOT, |_| Attempt::Passing(refused(), limit)).await;
        assert!(result.is_err());
        let last = *times.last().unwrap();
        assert!((20_000..=30_000).contains(&last), "the last try began at {last} ms");
    }
}
