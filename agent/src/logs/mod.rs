//! Ships what containers write to CloudWatch Logs, at least once and in order, in bounded memory.
//!
//! ```text
//! board -> one task per container: source -> batcher -> sink
//!                                      ^                 |
//!                                  position <- cursors <-+  after the answer
//! ```
//!
//! In: the board's list of containers, their lines from [`LogSource`]. Out: events to [`LogSink`], counters and problems
//! on the board, cursors on disk. What always holds:
//!
//! - an application never waits for us: the engine keeps its lines, and we read no further than we can deliver;
//! - a line is behind the cursor only after the answer that took it, or that refused it for good, which is counted;
//! - after a kill at most one batch per container is delivered again (more only after a clock was set back, or when
//!   the engine no longer has the lines that were counted, see [`position`]).
//!
//! Lines are lost, not counted, and said in the journal when a container is removed before its log was read to the
//! end; what the engine rotates away before it was read is lost unseen. A copy on disk ahead of both is to come.
//! What an application wrote never appears in our own journal, status or errors.

pub mod backoff;
pub mod batch;
#[cfg(test)]
mod cases;
pub mod container;
pub mod cursors;
mod deliver;
pub mod event;
pub mod glob;
pub mod multiline;
pub mod position;
#[cfg(test)]
mod scenarios;
pub mod shape;
pub mod sink;
pub mod source;
mod tally;

use crate::board::{Board, Owner};
use crate::clock::Clock;
use crate::status::Logs;
use container::{Presence, Reading};
use cursors::Cursors;
use deliver::Outlet;
use node::config::settings;
use node::fault::one_line;
use node::problem::Problem;
use sink::{Destination, LogSink};
use source::LogSource;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tally::Tally;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// How often cursors are written and counters published, if they changed.
pub const REPORT_EVERY: Duration = Duration::from_secs(2);

/// For what was read to be delivered when the agent stops. systemd gives a unit 90 s, and other tasks stop too.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// Calls at the same time over all streams. Each holds a second copy of its batch while the request is built: 4 MB.
const PUTS_AT_ONCE: usize = 4;

/// What the shipper needs.
pub struct Shipper<S, K> {
    /// Says which containers there are, and is told how shipping goes.
    pub board: Board,
    /// Where to.
    pub settings: settings::Logs,
    /// First part of the names of streams: `{instance_id}/{service}`.
    pub instance_id: String,
    /// Where lines come from.
    pub source: S,
    /// Where events go.
    pub sink: K,
    /// The agent's state directory, for the cursors.
    pub state: PathBuf,
    /// The time of day, for problems and the age of the backlog.
    pub clock: Clock,
}

/// What the tasks share.
struct Shared<S, K> {
    source: S,
    sink: K,
    cursors: Cursors,
    tally: Tally,
    clock: Clock,
    puts: Semaphore,
}

impl<S, K> Shared<S, K> {
    /// Writes the cursors unless those of `change` (all, without one) are on disk already.
    async fn save_cursors(&self, change: Option<u64>) {
        let result = match change {
            Some(change) => self.cursors.save_change(change).await,
            None => self.cursors.save().await,
        };
        if self.tally.cursors_written(&result, (self.clock)())
            && let Err(error) = &result
        {
            // Shipping goes on: lines that are delivered twice are better than lines that are not delivered.
            tracing::warn!(reason = one_line(error), "cannot remember which log lines were delivered");
        }
    }
}

/// Ships until `shutdown`; then delivers what was read, and of containers that have ended all that they wrote, for
/// [`DRAIN_LIMIT`] at most, and returns. A container that runs on is read on at the next start; one that has ended may
/// have done so with the machine, and its last lines would otherwise never leave an instance that is terminated.
pub async fn run<S: LogSource, K: LogSink>(shipper: Shipper<S, K>, shutdown: CancellationToken) {
    let mut changes = shipper.board.changes();
    let mut fleet = Fleet::new(shipper);
    let mut tick = tokio::time::interval(REPORT_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    fleet.look();
    loop {
        // Each arm waits for something that stays as it is when the wait is dropped.
        tokio::select! {
            () = shutdown.cancelled() => break,
            there = changes.next() => match there {
                true => fleet.look(),
                false => break,
            },
            _ = tick.tick() => fleet.report().await,
            Some(ended) = fleet.tasks.join_next(), if !fleet.tasks.is_empty() => {
                if let Err(error) = ended {
                    tracing::error!(reason = one_line(&error), "a log reader ended unexpectedly");
                }
            }
        }
    }
    // The board may have changed together with the word to stop: how containers ended is on it.
    fleet.look();
    fleet.drain().await;
    fleet.report().await;
}

/// The tasks of all containers.
struct Fleet<S, K> {
    board: Board,
    group: String,
    instance_id: String,
    shared: Arc<Shared<S, K>>,
    /// By container id. Closed when its task has ended.
    known: BTreeMap<String, watch::Sender<Presence>>,
    tasks: JoinSet<()>,
    stop: CancellationToken,
    published: Option<(Logs, Vec<Problem>)>,
}

impl<S: LogSource, K: LogSink> Fleet<S, K> {
    fn new(shipper: Shipper<S, K>) -> Self {
        let (cursors, error) = Cursors::load(&shipper.state);
        if let Some(error) = error {
            tracing::warn!(reason = one_line(&error), "all logs are delivered from their beginning");
        }
        let group = shipper.settings.group;
        let shared = Shared {
            source: shipper.source,
            sink: shipper.sink,
            cursors,
            tally: Tally::new(&group),
            clock: shipper.clock,
            puts: Semaphore::new(PUTS_AT_ONCE),
        };
        Fleet {
            board: shipper.board,
            group,
            instance_id: shipper.instance_id,
            shared: Arc::new(shared),
            known: BTreeMap::new(),
            tasks: JoinSet::new(),
            stop: CancellationToken::new(),
            published: None,
        }
    }

    /// Takes note of the containers on the board.
    fn look(&mut self) {
        self.known.retain(|_, presence| !presence.is_closed());
        let containers = self.board.containers();
        for container in &containers {
            let presence = Presence::from(&container.state);
            match self.known.get(&container.id) {
                Some(known) => announce(known, presence),
                None => self.start(&container.id, &container.service, presence),
            }
        }
        let listed = |id: &str| containers.iter().any(|container| container.id == id);
        for (_, removed) in self.known.iter().filter(|(id, _)| !listed(id)) {
            announce(removed, Presence::Removed);
        }
        // An empty board is one on which nothing was written yet: what it does not name may still exist.
        if !containers.is_empty() {
            self.shared.cursors.retain(|id| listed(id) || self.known.contains_key(id));
        }
    }

    fn start(&mut self, container_id: &str, service: &str, presence: Presence) {
        let stream = format!("{}/{service}", self.instance_id);
        let destination = Destination { group: self.group.clone(), stream };
        let outlet = Outlet { container_id: container_id.to_owned(), destination };
        let (sender, receiver) = watch::channel(presence);
        let reading = Reading::new(Arc::clone(&self.shared), outlet, receiver, self.stop.clone());
        self.tasks.spawn(reading.run());
        self.known.insert(container_id.to_owned(), sender);
    }

    /// Cursors to disk, counters and problems to the board; nothing when nothing changed.
    async fn report(&mut self) {
        self.shared.save_cursors(None).await;
        let now = (self.shared.clock)();
        let current = self.shared.tally.report(now);
        let before = self.published.as_ref();
        if before.is_none_or(|(logs, _)| *logs != current.0) {
            self.board.publish_logs(current.0.clone(), now);
        }
        if before.is_none_or(|(_, problems)| *problems != current.1) {
            self.board.publish_problems(Owner::Logs, current.1.clone(), now);
        }
        self.published = Some(current);
    }

    async fn drain(&mut self) {
        self.stop.cancel();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN_LIMIT, all).await.is_err() {
            let (logs, _) = self.shared.tally.report((self.shared.clock)());
            tracing::warn!(
                limit_seconds = DRAIN_LIMIT.as_secs(),
                bytes = logs.backlog_bytes,
                "log lines that were read could not be delivered in time; they are read again at the next start"
            );
            self.tasks.shutdown().await;
        }
    }
}

fn announce(known: &watch::Sender<Presence>, presence: Presence) {
    known.send_if_modified(|current| std::mem::replace(current, presence) != presence);
}
