//! What became of a load, in numbers and in words.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::exchange::{Ended, Failure, Kind};

/// Failures whose story is kept; all are counted.
const STORIES: usize = 1000;

/// What became of a load.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Requests on connections of their own.
    pub new_connections: Tally,
    /// Requests on connections that are kept, without those of `cut`.
    pub kept_connections: Tally,
    /// Requests on kept connections that were on their way while the other side closed. Not failures of the service: a
    /// client sends them again.
    pub cut: Vec<Failure>,
    /// How often the clients that keep their connections have connected.
    pub connects: u64,
    /// Requests that were due while too many were open.
    pub not_sent: u64,
    /// How far the generator itself was behind the clock at most.
    pub behind: Duration,
    /// How long it was on; zero until it is finished.
    pub lasted: Duration,
}

/// Numbers of one kind of requests.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// All that have ended.
    pub sent: u64,
    /// Those that were answered whole with 200, by the version that answered.
    pub versions: BTreeMap<String, u64>,
    /// Those that were not, by kind.
    pub failed: BTreeMap<Kind, u64>,
    /// The slowest that was answered.
    pub slowest: Duration,
    /// The first failures, each with its story.
    pub failures: Vec<Failure>,
}

impl Tally {
    pub(super) fn count(&mut self, at: Duration, took: Duration, ended: Ended) {
        self.sent += 1;
        match ended {
            Ok(version) => {
                *self.versions.entry(version).or_default() += 1;
                self.slowest = self.slowest.max(took);
            }
            Err((kind, story)) => {
                *self.failed.entry(kind).or_default() += 1;
                if self.failures.len() < STORIES {
                    self.failures.push(Failure { at, took, kind, story });
                }
            }
        }
    }

    /// How many were answered.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.versions.values().sum()
    }

    /// How many were not.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }
}

impl Report {
    /// New connections each second, as it came out.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        let sent = u32::try_from(self.new_connections.sent).unwrap_or(u32::MAX);
        f64::from(sent) / self.lasted.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Failures of the service, whatever the connection.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.new_connections.failures() + self.kept_connections.failures()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sent, failed, slowest) = (self.sent, self.failures(), self.slowest.as_millis());
        write!(out, "{sent} requests, {failed} failed {:?}, slowest {slowest} ms", self.failed)?;
        write!(out, ", by version {:?}", self.versions)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (lasted, behind) = (self.lasted.as_secs_f64(), self.behind.as_millis());
        writeln!(
            out,
            "  new connections, {:.0}/s over {lasted:.1} s: {}",
            self.per_second(),
            self.new_connections
        )?;
        writeln!(out, "  generator: behind the clock by {behind} ms at most, {} not sent", self.not_sent)?;
        writeln!(out, "  kept connections ({} connects): {}", self.connects, self.kept_connections)?;
        write!(out, "  cut while a container stopped: {}", self.cut.len())?;
        let stories = self.new_connections.failures.iter().chain(&self.kept_connections.failures);
        for failure in stories.take(10).chain(self.cut.iter().take(3)) {
            let (at, took) = (failure.at.as_secs_f64(), failure.took.as_millis());
            write!(out, "\n    at {at:.3} s, {took} ms: {:?}: {}", failure.kind, failure.story)?;
        }
        Ok(())
    }
}
