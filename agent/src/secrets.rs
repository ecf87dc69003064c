//! Keeps the secrets of node.toml fresh on the node.
//!
//! In: what Secrets Manager says, every few minutes. Out: new versions in the store on tmpfs; their ids on a channel, on
//! which the loop sees that a container has to be made anew; names and versions on the board.
//! What holds: an answer that does not come leaves the last good version in use. A secret that bootstrap could not get
//! is tried soon and often, so that a service which waits for it starts without a reboot.
//! Not its job: which service uses which secret.

#![expect(clippy::disallowed_methods, reason = "a loop: it tells when it asked")]

use crate::board::{Board, Owner};
use crate::status;
use jiff::Timestamp;
use node::cloud::secrets_manager::SecretsManager;
use node::config::settings;
use node::problem::Problem;
use node::secrets::{SecretValue, Store};
use std::collections::BTreeMap;
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// From one look to the next while all is well; up to a tenth more, so that a fleet does not ask at once.
const INTERVAL: Duration = Duration::from_secs(300);
/// The first wait after a failure; it doubles up to [`INTERVAL`].
const FIRST_RETRY: Duration = Duration::from_secs(15);
/// Failures in a row of a secret that is there before anybody hears of it. One is a hiccup.
const FAILURES_TO_REPORT: u32 = 2;

/// Version ids of the secrets that are there, by `[secrets.NAME]`.
pub type Versions = BTreeMap<String, String>;

/// Where secrets come from. Secrets Manager is the real one.
pub trait SecretSource: Send + Sync + 'static {
    /// The current version, within a deadline of its own; or what to tell the operator.
    fn fetch(
        &self,
        name: &str,
        secret: &settings::Secret,
        now: Timestamp,
    ) -> impl Future<Output = Result<SecretValue, Problem>> + Send;
}

impl SecretSource for SecretsManager {
    async fn fetch(
        &self,
        name: &str,
        secret: &settings::Secret,
        now: Timestamp,
    ) -> Result<SecretValue, Problem> {
        let answer = SecretsManager::fetch(self, name, secret, now).await;
        answer.map_err(|error| Problem::from_error(error.code(), &error, now))
    }
}

/// What is known of one secret.
#[derive(Debug)]
struct Entry {
    secret: settings::Secret,
    version_id: Option<String>,
    fetched_at: Option<Timestamp>,
    failures: u32,
    problem: Option<Problem>,
}

impl Entry {
    /// A secret that is there and whose changes nobody wants needs no more questions.
    fn is_followed(&self) -> bool {
        self.version_id.is_none() || self.secret.restart_on_change
    }

    fn is_reported(&self) -> bool {
        self.version_id.is_none() || self.failures >= FAILURES_TO_REPORT
    }
}

/// The task.
#[derive(Debug)]
pub struct Refresh<S> {
    source: S,
    store: Store,
    board: Board,
    versions: watch::Sender<Versions>,
    entries: BTreeMap<String, Entry>,
}

impl<S: SecretSource> Refresh<S> {
    /// A task for `secrets`, beginning with what the store has. Publishes what it found there.
    pub fn new(
        source: S,
        store: Store,
        secrets: &BTreeMap<String, settings::Secret>,
        board: Board,
        versions: watch::Sender<Versions>,
    ) -> Refresh<S> {
        let now = Timestamp::now();
        let entries = secrets.iter().map(|(name, secret)| {
            let (current, problem) = match store.current(name) {
                Ok(current) => (current, None),
                Err(error) => (None, Some(unreadable(&error, now))),
            };
            let (version_id, fetched_at) = current.map(|value| (value.version_id, value.fetched_at)).unzip();
            (name.clone(), Entry { secret: secret.clone(), version_id, fetched_at, failures: 0, problem })
        });
        let entries = entries.collect();
        let refresh = Refresh { source, store, board, versions, entries };
        refresh.publish(now);
        refresh
    }

    /// Runs until `shutdown`. `seed` spreads the nodes of a fleet over the interval.
    pub async fn run(mut self, seed: u64, shutdown: CancellationToken) {
        for round in 0.. {
            // Bootstrap has fetched them a moment ago; what it could not get is asked for at once.
            let missing_only = round == 0;
            // Cancelling between or in two fetches is safe: the store writes whole versions or nothing.
            let stopped = shutdown.run_until_cancelled(self.pass(missing_only)).await.is_none();
            let wait = self.wait(seed, round);
            if stopped || shutdown.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return;
            }
        }
    }

    async fn pass(&mut self, missing_only: bool) {
        let asked = self.entries.iter().filter(|(_, entry)| entry.is_followed());
        let asked = asked.filter(|(_, entry)| !missing_only || entry.version_id.is_none());
        let names: Vec<String> = asked.map(|(name, _)| name.clone()).collect();
        for name in names {
            let Some(entry) = self.entries.get(&name) else { continue };
            let now = Timestamp::now();
            let answer = self.source.fetch(&name, &entry.secret, now).await;
            let outcome = answer.and_then(|value| self.keep(value, now));
            self.note(&name, outcome);
        }
        self.publish(Timestamp::now());
    }

    /// Writes a version; returns its id and when it was fetched.
    fn keep(&self, value: SecretValue, now: Timestamp) -> Result<(String, Timestamp), Problem> {
        match self.store.write(&value) {
            Ok(changed) => {
                if changed {
                    let (secret, version) = (&value.name, &value.version_id);
                    tracing::info!(secret, version, "secret {secret} is now version {version}");
                }
                Ok((value.version_id, value.fetched_at))
            }
            Err(error) => Err(unreadable(&error, now)),
        }
    }

    fn note(&mut self, name: &str, outcome: Result<(String, Timestamp), Problem>) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        match outcome {
            Ok((version_id, fetched_at)) => {
                (entry.version_id, entry.fetched_at) = (Some(version_id), Some(fetched_at));
                (entry.failures, entry.problem) = (0, None);
            }
            Err(problem) => {
                tracing::warn!(secret = name, code = problem.code, "{}", problem.message);
                entry.failures += 1;
                entry.problem = Some(problem);
            }
        }
    }

    fn publish(&self, now: Timestamp) {
        let secrets = self.entries.iter().map(|(name, entry)| status::Secret {
            name: name.clone(),
            version_id: entry.version_id.clone(),
            fetched_at: entry.fetched_at,
        });
        self.board.publish_secrets(secrets.collect(), now);
        let problems = self.entries.values().filter(|entry| entry.is_reported());
        let problems = problems.filter_map(|entry| entry.problem.clone());
        self.board.publish_problems(Owner::Secrets, problems.collect(), now);
        let versions: Versions = self
            .entries
            .iter()
            .filter_map(|(name, entry)| Some((name.clone(), entry.version_id.clone()?)))
            .collect();
        self.versions.send_if_modified(|current| {
            let changed = *current != versions;
            *current = versions;
            changed
        });
    }

    fn wait(&self, seed: u64, round: u64) -> Duration {
        let failures = self.entries.values().filter(|entry| entry.problem.is_some());
        match failures.map(|entry| entry.failures).min() {
            None => INTERVAL + jitter(seed, round),
            Some(failures) => {
                let doubled = FIRST_RETRY * 2_u32.saturating_pow(failures.saturating_sub(1).min(8));
                doubled.min(INTERVAL)
                    + jitter(seed, round).mul_f64(doubled.min(INTERVAL).div_duration_f64(INTERVAL))
            }
        }
    }
}

fn unreadable(error: &node::secrets::StoreError, now: Timestamp) -> Problem {
    Problem {
        code: "secret_store_failed".to_owned(),
        message: node::fault::one_line(error),
        hint: Some("look whether /run has space left and is writable".to_owned()),
        since: now,
    }
}

/// Up to a tenth of the interval, the same for the same node and round.
fn jitter(seed: u64, round: u64) -> Duration {
    let mut hasher = DefaultHasher::new();
    (seed, round).hash(&mut hasher);
    let share = u32::try_from(hasher.finish() % 1000).unwrap_or_default();
    INTERVAL * share / 10_000
}

#[cfg(test)]
#[path = "secrets_tests.rs"]
mod tests;
