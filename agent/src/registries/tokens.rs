//! ECR's tokens, kept and renewed early.
//!
//! What always holds: one request for a token is under way for a registry; who waited while it failed shares that
//! failure; a token is renewed 30 to 60 minutes before its end, and used to its end where that fails; a token whose end
//! makes no sense (in the past, missing) is neither asked for at every call nor kept for ever.

use crate::cloud::ecr::{EcrRegistry, Token};
use crate::registry::{Login, RegistryError};
use jiff::SignedDuration;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// What ECR grants; no token is believed to live longer.
const LONGEST_LIFETIME: Duration = Duration::from_secs(12 * 3600);
/// A token is used at least this long: the registry says so when it does not take it.
const SHORTEST_LIFETIME: Duration = Duration::from_secs(300);
/// Renewed at least this long before its end.
const MARGIN: Duration = Duration::from_secs(1800);
/// And up to this much earlier, so that nodes that booted together do not ask together.
const JITTER_SECONDS: u64 = 1800;
/// After a renewal that failed while the old token is good.
const NEXT_RENEWAL: Duration = Duration::from_secs(60);

/// Tokens by registry.
#[derive(Debug)]
pub(super) struct Tokens {
    /// What makes this node's jitter its own.
    seed: String,
    // A std mutex: it is held for a look into the map, never while waiting.
    slots: Mutex<BTreeMap<EcrRegistry, Arc<tokio::sync::Mutex<Slot>>>>,
}

#[derive(Debug, Default)]
struct Slot {
    kept: Option<Kept>,
    last_failure: Option<(RegistryError, Instant)>,
    /// Tokens received so far.
    count: u64,
}

#[derive(Debug)]
struct Kept {
    login: Login,
    renew_at: Instant,
    ends_at: Instant,
}

impl Tokens {
    /// `seed` differs from node to node.
    pub(super) fn new(seed: &str) -> Tokens {
        Tokens { seed: seed.to_owned(), slots: Mutex::default() }
    }

    /// The token in force, else the one that `ask` brings.
    pub(super) async fn login<F>(
        &self,
        registry: &EcrRegistry,
        ask: impl FnOnce() -> F,
    ) -> Result<Login, RegistryError>
    where
        F: Future<Output = Result<Token, RegistryError>>,
    {
        let waiting_since = Instant::now();
        let slot = self.slot(registry);
        let mut slot = slot.lock().await;
        if let Some(kept) = &slot.kept
            && Instant::now() < kept.renew_at
        {
            return Ok(kept.login.clone());
        }
        if let Some((error, at)) = &slot.last_failure
            && *at > waiting_since
        {
            return Err(error.clone());
        }
        match ask().await {
            Ok(token) => Ok(slot.keep(token, &format!("{} {registry:?}", self.seed))),
            Err(error) => slot.without(error),
        }
    }

    /// The registry refused the token: the next call asks for a new one.
    pub(super) fn forget(&self, registry: &EcrRegistry) {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).remove(registry);
    }

    fn slot(&self, registry: &EcrRegistry) -> Arc<tokio::sync::Mutex<Slot>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(registry.clone()).or_default())
    }
}

impl Slot {
    fn keep(&mut self, token: Token, seed: &str) -> Login {
        self.count += 1;
        let lifetime = believed_lifetime(token.claimed_lifetime);
        let now = Instant::now();
        let used_for = used_for(lifetime, jitter(&format!("{seed} {}", self.count)));
        self.kept =
            Some(Kept { login: token.login.clone(), renew_at: now + used_for, ends_at: now + lifetime });
        self.last_failure = None;
        token.login
    }

    /// No new token: the old one serves while it is good.
    fn without(&mut self, error: RegistryError) -> Result<Login, RegistryError> {
        let now = Instant::now();
        if let Some(kept) = self.kept.as_mut().filter(|kept| now < kept.ends_at) {
            tracing::warn!(%error, "the registry token could not be renewed; the old one is used to its end");
            kept.renew_at = (now + NEXT_RENEWAL).min(kept.ends_at);
            return Ok(kept.login.clone());
        }
        self.kept = None;
        self.last_failure = Some((error.clone(), now));
        Err(error)
    }
}

/// A token that ended before it came is no shorter-lived than others; our clock or its word is wrong. It gets the
/// shortest lifetime, which costs a call every five minutes and never a refused pull.
fn believed_lifetime(claimed: Option<SignedDuration>) -> Duration {
    let claimed = claimed.map_or(LONGEST_LIFETIME, |claimed| Duration::try_from(claimed).unwrap_or_default());
    claimed.clamp(SHORTEST_LIFETIME, LONGEST_LIFETIME)
}

/// From receipt to renewal. Of a short life, the second half is the margin.
fn used_for(lifetime: Duration, jitter: Duration) -> Duration {
    let margin = (MARGIN + jitter).min(lifetime / 2);
    (lifetime - margin).max(SHORTEST_LIFETIME)
}

/// Zero to half an hour, evenly spread over seeds.
fn jitter(seed: &str) -> Duration {
    let hash = Sha256::digest(seed);
    let number = hash.iter().take(8).fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
    Duration::from_secs(number % JITTER_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::SecretString;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const HOUR: u64 = 3600;

    fn registry() -> EcrRegistry {
        EcrRegistry { account: "123456789012".into(), region: "eu-north-1".into(), fips: false }
    }

    fn failure() -> RegistryError {
        RegistryError { code: "registry_unreachable", message: "no answer".into(), hint: None }
    }

    /// Tokens whose passwords count the requests for them.
    struct Fake {
        tokens: Tokens,
        asked: AtomicUsize,
        claims: Option<SignedDuration>,
        fails: std::sync::atomic::AtomicBool,
    }

    impl Fake {
        fn claiming(claims: Option<SignedDuration>) -> Fake {
            Fake { tokens: Tokens::new("i-1"), asked: 0.into(), claims, fails: false.into() }
        }

        async fn login(&self) -> Result<usize, RegistryError> {
            self.tokens
                .login(&registry(), || self.answer())
                .await
                .map(|login| login.username.parse().unwrap())
        }

        async fn answer(&self) -> Result<Token, RegistryError> {
            let number = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
            tokio::time::sleep(Duration::from_secs(1)).await;
            if self.fails.load(Ordering::Relaxed) {
                return Err(failure());
            }
            let login = Login { username: number.to_string(), password: SecretString::from("p") };
            Ok(Token { login, claimed_lifetime: self.claims })
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::Relaxed)
        }
    }

    async fn after(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_of_twelve_hours_is_renewed_an_hour_to_half_an_hour_before_its_end() {
        let fake = Fake::claiming(Some(SignedDuration::from_hours(12)));
        assert_eq!(fake.login().await, Ok(1));
        after(11 * HOUR - 2).await;
        assert_eq!(fake.login().await, Ok(1));
        after(HOUR / 2 + 2).await;
        assert_eq!(fake.login().await, Ok(2));
    }

    #[tokio::test(start_paused = true)]
    async fn fifty_at_once_ask_for_one_token() {
        let fake = Arc::new(Fake::claiming(Some(SignedDuration::from_hours(12))));
        let calls: Vec<_> = (0..50)
            .map(|_| Arc::clone(&fake))
            .map(|fake| tokio::spawn(async move { fake.login().await }))
            .collect();
        for call in calls {
            assert_eq!(call.await.unwrap(), Ok(1));
        }
        assert_eq!(fake.asked(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_ended_in_2015_is_neither_asked_for_at_each_call_nor_kept_for_ever() {
        let fake = Fake::claiming(Some(SignedDuration::from_hours(-11 * 365 * 24)));
        for _ in 0..10 {
            assert_eq!(fake.login().await, Ok(1));
            after(20).await;
        }
        after(200).await;
        assert_eq!(fake.login().await, Ok(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_without_an_end_or_with_one_next_year_is_kept_for_twelve_hours_at_most() {
        for claims in [None, Some(SignedDuration::from_hours(365 * 24))] {
            let fake = Fake::claiming(claims);
            assert_eq!(fake.login().await, Ok(1));
            after(10 * HOUR).await;
            assert_eq!(fake.login().await, Ok(1));
            after(2 * HOUR).await;
            assert_eq!(fake.login().await, Ok(2));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_that_fails_leaves_the_old_token_until_its_end() {
        let fake = Fake::claiming(Some(SignedDuration::from_hours(12)));
        assert_eq!(fake.login().await, Ok(1));
        fake.fails.store(true, Ordering::Relaxed);
        after(11 * HOUR + HOUR / 2).await;
        assert_eq!(fake.login().await, Ok(1));
        assert_eq!(fake.login().await, Ok(1));
        assert_eq!(fake.asked(), 2, "the second call came within the minute");
        after(61).await;
        assert_eq!(fake.login().await, Ok(1));
        assert_eq!(fake.asked(), 3);
        after(HOUR / 2).await;
        assert_eq!(fake.login().await, Err(failure()));
        fake.fails.store(false, Ordering::Relaxed);
        assert_eq!(fake.login().await, Ok(5));
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_waited_share_one_failure() {
        let fake = Arc::new(Fake::claiming(None));
        fake.fails.store(true, Ordering::Relaxed);
        let (first, second, third) = tokio::join!(fake.login(), fake.login(), fake.login());
        assert!(first.is_err() && second.is_err() && third.is_err());
        assert_eq!(fake.asked(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_token_is_replaced_at_the_next_call() {
        let fake = Fake::claiming(None);
        assert_eq!(fake.login().await, Ok(1));
        fake.tokens.forget(&registry());
        assert_eq!(fake.login().await, Ok(2));
    }

    #[test]
    fn short_lives_are_used_to_their_half_and_jitter_is_spread() {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        assert_eq!(used_for(minutes(720), minutes(0)), minutes(690));
        assert_eq!(used_for(minutes(720), minutes(30)), minutes(660));
        assert_eq!(used_for(minutes(40), minutes(7)), minutes(20));
        assert_eq!(used_for(minutes(5), minutes(7)), minutes(5));
        let early = (0..1000).filter(|node| jitter(&format!("i-{node}")) < minutes(15)).count();
        assert!((400..600).contains(&early), "{early} of 1000 in the first half");
    }
}
