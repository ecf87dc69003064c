//! Ships what containers write to CloudWatch Logs, at least once and in order, in bounded memory.
//!
//! ```text
//! board -> one task per container:  feed -> builder -> sink         files on this host (`pump`)
//!                                    ^                   |
//!                                  place  <-  places  <-+  after the answer
//!                                   source -> batcher -> sink       through the engine (`container`)
//! ```
//!
//! In: the board's list of containers, their logs from [`LogSource`]. Out: events to [`LogSink`], counters and problems
//! on the board, places on disk. What always holds:
//!
//! - an application never waits for us: its log stays where it is until it was delivered, and only what is on its way is
//!   in memory;
//! - a line is behind the place only after the answer that took it, or that refused it for good, which is counted;
//! - a file that was seen once is kept until it was delivered, whatever becomes of its container, within a bound; what is
//!   given up over the bound is counted;
//! - after a kill what was under way is delivered again, mostly one batch.
//!
//! What the engine rotates away, or somebody removes, before it was seen once is lost unseen; that takes an agent that is
//! dead. What an application wrote never appears in our own journal, status or errors.

pub mod assemble;
pub mod backoff;
pub mod batch;
pub mod body;
#[cfg(test)]
mod cases;
pub mod container;
pub mod cursors;
mod deliver;
pub mod escape;
pub mod event;
pub mod feed;
pub mod glob;
pub mod held;
pub mod json_file;
pub mod lines;
pub mod multiline;
pub mod pace;
pub mod places;
pub mod position;
mod pump;
pub mod refine;
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
use feed::{Feed, Place};
use node::config::settings::{self, StreamName, StreamParts};
use node::fault::{one_line, with_hint};
use node::problem::Problem;
use pace::Pace;
use places::Places;
use pump::Pump;
use sink::{Destination, LogSink};
use source::{Left, LogSource, SourceError};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tally::Tally;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// How often cursors are written and counters published, if they changed.
pub const REPORT_EVERY: Duration = Duration::from_secs(2);

/// For what was read to be delivered when the agent stops. systemd gives a unit 90 s, and other tasks stop too.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// How often it is asked for logs that nobody reads, in reports: a container that was made and removed between two looks at
/// the engine leaves one, and files of the node come and go.
const ASK_FOR_LEFT_EVERY: u32 = 5;

/// What the shipper needs.
pub struct Shipper<S, K> {
    /// Says which containers there are, and is told how shipping goes.
    pub board: Board,
    /// Where to.
    pub settings: settings::Logs,
    /// For the names of streams.
    pub instance_id: String,
    /// The same.
    pub node_name: String,
    /// Where lines come from.
    pub source: S,
    /// Where events go.
    pub sink: K,
    /// What is shipped beside that, from the beginning.
    pub beside: Vec<Left>,
    /// The agent's state directory, for the places.
    pub state: PathBuf,
    /// The time of day, for problems and the age of the backlog.
    pub clock: Clock,
}

/// What the tasks share.
struct Shared<S, K> {
    source: S,
    sink: K,
    cursors: Cursors,
    places: Places,
    tally: Tally,
    clock: Clock,
    pace: Pace,
    bound: u64,
}

impl<S, K> Shared<S, K> {
    /// Everything of a source before a place was delivered.
    fn remember(&self, source: &str, place: Place) {
        self.noted(&self.places.delivered(source, place));
    }

    /// A source is gone and delivered.
    fn forget(&self, source: &str) {
        self.noted(&self.places.forget(source));
    }

    fn noted(&self, result: &io::Result<()>) {
        if self.tally.cursors_written(result, (self.clock)())
            && let Err(error) = result
        {
            // Shipping goes on: lines that are delivered twice are better than lines that are not delivered.
            tracing::warn!(reason = one_line(error), "cannot remember which log lines were delivered");
        }
    }

    /// Writes the cursors unless those of `change` (all, without one) are on disk already.
    async fn save_cursors(&self, change: Option<u64>) {
        let result = match change {
            Some(change) => self.cursors.save_change(change).await,
            None => self.cursors.save().await,
        };
        self.noted(&result);
    }
}

/// Ships until `shutdown`; then delivers what was read, and of containers that have ended all that they wrote, for
/// [`DRAIN_LIMIT`] at most, and returns. A container that runs on is read on at the next start; one that has ended may
/// have done so with the machine, and its last lines would otherwise never leave an instance that is terminated.
pub async fn run<S: LogSource, K: LogSink>(shipper: Shipper<S, K>, shutdown: CancellationToken) {
    let mut changes = shipper.board.changes();
    let mut shipper = shipper;
    let beside = std::mem::take(&mut shipper.beside);
    let mut fleet = Fleet::new(shipper);
    beside.into_iter().for_each(|left| fleet.take_up(left));
    let mut tick = tokio::time::interval(REPORT_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    fleet.look_for_left().await;
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

/// A source that has a task.
struct Known {
    /// Closed when its task has ended.
    presence: watch::Sender<Presence>,
    /// It is of a container, which the board shows or not.
    of_container: bool,
}

/// The tasks of all sources.
struct Fleet<S, K> {
    board: Board,
    settings: settings::Logs,
    instance_id: String,
    node_name: String,
    shared: Arc<Shared<S, K>>,
    /// By source.
    known: BTreeMap<String, Known>,
    tasks: JoinSet<()>,
    /// Reports so far.
    reports: u32,
    stop: CancellationToken,
    published: Option<(Logs, Vec<Problem>)>,
}

impl<S: LogSource, K: LogSink> Fleet<S, K> {
    fn new(shipper: Shipper<S, K>) -> Self {
        let (cursors, error) = Cursors::load(&shipper.state);
        if let Some(error) = error {
            tracing::warn!(reason = with_hint(&error), "logs are delivered from their beginning");
        }
        let (places, error) = Places::load(&shipper.state);
        if let Some(error) = error {
            tracing::warn!(reason = one_line(&error), "logs are delivered from their beginning");
        }
        let shared = Shared {
            source: shipper.source,
            sink: shipper.sink,
            cursors,
            tally: Tally::new(&shipper.settings.group),
            clock: shipper.clock,
            places,
            pace: Pace::new(),
            bound: shipper.settings.queue_bytes,
        };
        Fleet {
            board: shipper.board,
            settings: shipper.settings,
            instance_id: shipper.instance_id,
            node_name: shipper.node_name,
            shared: Arc::new(shared),
            known: BTreeMap::new(),
            tasks: JoinSet::new(),
            reports: 0,
            stop: CancellationToken::new(),
            published: None,
        }
    }

    /// Takes note of the containers on the board.
    fn look(&mut self) {
        self.known.retain(|_, known| !known.presence.is_closed());
        let containers = self.board.containers();
        for container in &containers {
            let presence = Presence::from(&container.state);
            match self.known.get(&container.id) {
                Some(known) => announce(&known.presence, presence),
                None => self.start(&container.id, &container.service, presence),
            }
        }
        let listed = |id: &str| containers.iter().any(|container| container.id == id);
        for (_, removed) in self.known.iter().filter(|(id, known)| known.of_container && !listed(id)) {
            announce(&removed.presence, Presence::Removed);
        }
        // An empty board is one on which nothing was written yet: what it does not name may still exist.
        if !containers.is_empty() {
            self.shared.cursors.retain(|id| listed(id) || self.known.contains_key(id));
        }
    }

    fn start(&mut self, container_id: &str, service: &str, presence: Presence) {
        let (task, presence) = self.task(container_id, service, &self.settings.stream, presence);
        self.tasks.spawn(task.run(None));
        self.known.insert(container_id.to_owned(), Known { presence, of_container: true });
    }

    /// Begins with what earlier runs left, before anybody has seen the engine.
    async fn look_for_left(&mut self) {
        let shared = Arc::clone(&self.shared);
        self.known.retain(|_, known| !known.presence.is_closed());
        for left in shared.source.left(self.known.keys().cloned().collect()).await {
            self.take_up(left);
        }
    }

    fn take_up(&mut self, left: Left) {
        let Left { source, name, stream, of_container, feed } = left;
        let stream = stream.as_ref().unwrap_or(&self.settings.stream);
        let (task, presence) = self.task(&source, &name, stream, Presence::Alive);
        self.tasks.spawn(task.run(Some(feed)));
        self.known.insert(source, Known { presence, of_container });
    }

    fn task(
        &self,
        source: &str,
        service: &str,
        stream: &StreamName,
        presence: Presence,
    ) -> (Task<S, K>, watch::Sender<Presence>) {
        let parts = StreamParts { instance_id: &self.instance_id, node: &self.node_name, service };
        let stream = stream.of(&parts);
        let destination = Destination { group: self.settings.group.clone(), stream };
        let outlet = Outlet { source: source.to_owned(), destination };
        self.shared.tally.begins(source, &outlet.destination.stream);
        let (sender, presence) = watch::channel(presence);
        (Task { shared: Arc::clone(&self.shared), outlet, presence, stop: self.stop.clone() }, sender)
    }

    /// Cursors to disk, counters and problems to the board; nothing when nothing changed.
    async fn report(&mut self) {
        self.shared.save_cursors(None).await;
        if !self.shared.places.is_synced() {
            let shared = Arc::clone(&self.shared);
            let _ = tokio::task::spawn_blocking(move || shared.noted(&shared.places.sync())).await;
        }
        self.reports = self.reports.wrapping_add(1);
        if self.reports.is_multiple_of(ASK_FOR_LEFT_EVERY) && !self.stop.is_cancelled() {
            self.look_for_left().await;
        }
        let now = (self.shared.clock)();
        let mut current = self.shared.tally.report(now);
        current.0.budgets = self.shared.source.budgets(now);
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

/// What a task needs to read one container's log.
struct Task<S, K> {
    shared: Arc<Shared<S, K>>,
    outlet: Outlet,
    presence: watch::Receiver<Presence>,
    stop: CancellationToken,
}

impl<S: LogSource, K: LogSink> Task<S, K> {
    async fn run(mut self, feed: Option<Box<dyn Feed>>) {
        let feed = match feed {
            Some(feed) => Some(feed),
            None => match self.open().await {
                Ok(feed) => feed,
                Err(Gone) => return self.shared.tally.forget(&self.outlet.source),
            },
        };
        let Task { shared, outlet, presence, stop } = self;
        match feed {
            Some(mut feed) => {
                feed.begin(shared.places.of(&outlet.source));
                Pump::new(shared, outlet, feed, presence, stop).run().await;
            }
            None => Reading::new(shared, outlet, presence, stop).run().await,
        }
    }

    /// Asks where the log is, for as long as it takes.
    async fn open(&mut self) -> Result<Option<Box<dyn Feed>>, Gone> {
        let mut failures = 0;
        loop {
            if *self.presence.borrow_and_update() != Presence::NotStarted {
                match self.shared.source.open(&self.outlet.source).await {
                    Ok(feed) => return Ok(feed),
                    Err(SourceError::Gone { .. }) => return Err(Gone),
                    // An engine that is away is the reconcile loop's to report, once for all containers.
                    Err(SourceError::Engine(_)) => failures += 1,
                }
            }
            let pause = backoff::delay(failures.max(1), backoff::seed(&self.outlet.destination.stream));
            // Nothing is taken by waiting.
            tokio::select! {
                () = self.stop.cancelled() => return Err(Gone),
                () = tokio::time::sleep(pause) => {}
                Ok(()) = self.presence.changed() => {}
            }
        }
    }
}

/// There is no log to read.
struct Gone;

fn announce(known: &watch::Sender<Presence>, presence: Presence) {
    known.send_if_modified(|current| std::mem::replace(current, presence) != presence);
}
