//! The session token: one for all requests, asked for by one request at a time.
//!
//! What always holds: however many wait for a token, one PUT is under way; who waited while it failed shares that
//! failure and does not queue up to fail again, one deadline after the other.

use super::ImdsError;
use super::retry::Attempt;
use secrecy::SecretString;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// The longest that the service grants.
pub(super) const LIFETIME_SECONDS: u64 = 21_600;
/// A token is replaced this long before its end, so that none ends on its way.
const MARGIN: Duration = Duration::from_secs(60);

/// A token as the service gave it.
#[derive(Debug, Clone)]
pub(super) struct Token {
    /// The header's value.
    pub value: Arc<SecretString>,
    /// Which one it is, counted from the start of the program.
    serial: u64,
}

/// What a PUT brought: the token and its remaining lifetime.
pub(super) type Granted = (SecretString, Duration);

#[derive(Debug, Default)]
struct Slot {
    current: Option<(Token, Instant)>,
    last_failure: Option<(ImdsError, bool, Instant)>,
    serial: u64,
}

/// Where the token is kept.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    slot: Mutex<Slot>,
}

impl Keeper {
    /// The token in force, else the one that `ask` brings. A failure is to be read as an [`Attempt`]: final or passing.
    pub(super) async fn token<F>(&self, ask: impl FnOnce() -> F) -> Attempt<Token>
    where
        F: Future<Output = Attempt<Granted>>,
    {
        let waiting_since = Instant::now();
        let mut slot = self.slot.lock().await;
        if let Some((token, valid_until)) = &slot.current
            && Instant::now() < *valid_until
        {
            return Attempt::Answer(token.clone());
        }
        if let Some((error, passing, at)) = &slot.last_failure
            && *at > waiting_since
        {
            let error = error.clone();
            return if *passing { Attempt::Passing(error, None) } else { Attempt::Final(error) };
        }
        let (error, passing) = match ask().await {
            Attempt::Answer((value, lifetime)) => return Attempt::Answer(slot.keep(value, lifetime)),
            Attempt::Final(error) => (error, false),
            Attempt::Passing(error, _) => (error, true),
        };
        slot.last_failure = Some((error.clone(), passing, Instant::now()));
        if passing { Attempt::Passing(error, None) } else { Attempt::Final(error) }
    }

    /// The service refused this token; the next request asks for a new one, unless somebody already did.
    pub(super) async fn forget(&self, refused: &Token) {
        let mut slot = self.slot.lock().await;
        if slot.current.as_ref().is_some_and(|(token, _)| token.serial == refused.serial) {
            slot.current = None;
        }
    }
}

impl Slot {
    fn keep(&mut self, value: SecretString, lifetime: Duration) -> Token {
        self.serial += 1;
        let token = Token { value: Arc::new(value), serial: self.serial };
        // A very short lifetime is used to its half: with the whole margin off, it would be asked for at every request.
        let used_for = lifetime.saturating_sub(MARGIN).max(lifetime / 2);
        self.current = Some((token.clone(), Instant::now() + used_for));
        self.last_failure = None;
        token
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn granted(seconds: u64) -> Attempt<Granted> {
        Attempt::Answer((SecretString::from("token"), Duration::from_secs(seconds)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_kept_until_a_minute_before_its_end() {
        let keeper = Keeper::default();
        let asked = AtomicUsize::new(0);
        let ask = || async {
            asked.fetch_add(1, Ordering::Relaxed);
            granted(600)
        };
        let started = Instant::now();
        for (at_seconds, count) in [(0, 1), (539, 1), (541, 2), (1000, 2), (1082, 3)] {
            tokio::time::sleep_until(started + Duration::from_secs(at_seconds)).await;
            assert!(matches!(keeper.token(ask).await, Attempt::Answer(_)));
            assert_eq!(asked.load(Ordering::Relaxed), count, "after {at_seconds} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_very_short_lifetime_is_used_to_its_half() {
        let keeper = Keeper::default();
        let asked = AtomicUsize::new(0);
        let ask = || async {
            asked.fetch_add(1, Ordering::Relaxed);
            granted(2)
        };
        for _ in 0..5 {
            assert!(matches!(keeper.token(ask).await, Attempt::Answer(_)));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_waited_share_one_failure_and_who_comes_later_tries_again() {
        let keeper = Keeper::default();
        let asked = AtomicUsize::new(0);
        let ask = || async {
            asked.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(5)).await;
            let error = ImdsError::Denied { endpoint: "http://fake".into(), operation: "get".into() };
            Attempt::Passing(error, None)
        };
        let started = Instant::now();
        let (first, second, third) = tokio::join!(keeper.token(ask), keeper.token(ask), keeper.token(ask));
        for outcome in [first, second, third] {
            assert!(matches!(outcome, Attempt::Passing(..)));
        }
        assert_eq!((asked.load(Ordering::Relaxed), started.elapsed().as_secs()), (1, 5));
        let _ = keeper.token(ask).await;
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn forgetting_an_old_token_leaves_the_new_one() {
        let keeper = Keeper::default();
        let Attempt::Answer(old) = keeper.token(|| async { granted(600) }).await else { panic!("no token") };
        keeper.forget(&old).await;
        let Attempt::Answer(new) = keeper.token(|| async { granted(600) }).await else { panic!("no token") };
        keeper.forget(&old).await;
        let kept = keeper.token(|| async { panic!("asked although a token is in force") }).await;
        assert!(matches!(kept, Attempt::Answer(token) if token.serial == new.serial));
    }
}
