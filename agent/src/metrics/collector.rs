//! Measures when it is asked, at most once a second: whoever asks meanwhile gets the same collection.
//!
//! What always holds: the answer comes within [`DEADLINE`], with what was measured by then; of each part there is at most
//! one measurement under way, so that a device that hangs holds one thread and not one more with every question.

use super::Source;
use super::collection::{Collection, EbsVolume, FileSystem, Kernel};
use crate::board::Board;
use crate::clock::Clock;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// For this long a collection is new enough.
pub const FRESH: Duration = Duration::from_secs(1);
/// For all parts together. A scrape has ten seconds as a rule.
pub const DEADLINE: Duration = Duration::from_secs(2);

/// Measures; shared by all who show.
pub struct Collector {
    source: Arc<dyn Source>,
    board: Board,
    clock: Clock,
    lines_dropped: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last: Option<(Instant, Arc<Collection>)>,
    kernel: Part<Kernel>,
    file_systems: Part<Vec<FileSystem>>,
    ebs: Part<Vec<EbsVolume>>,
}

impl Collector {
    /// Measures nothing yet.
    pub fn new(source: Arc<dyn Source>, board: Board, clock: Clock) -> Collector {
        let (lines_dropped, state) = (AtomicU64::new(0), Mutex::new(State::default()));
        Collector { source, board, clock, lines_dropped, state }
    }

    /// The newest collection. Cancel safe: what is under way is taken up by the next call.
    pub async fn collect(&self) -> Arc<Collection> {
        let mut state = self.state.lock().await;
        if let Some((at, collection)) = &state.last
            && at.elapsed() < FRESH
        {
            return Arc::clone(collection);
        }
        let collection = Arc::new(self.measure(&mut state).await);
        state.last = Some((Instant::now(), Arc::clone(&collection)));
        collection
    }

    /// A line for CloudWatch that nobody took.
    pub fn line_was_dropped(&self) {
        self.lines_dropped.fetch_add(1, Ordering::Relaxed);
    }

    async fn measure(&self, state: &mut State) -> Collection {
        let begun = Instant::now();
        let until = begun + DEADLINE;
        let (containers, volumes) = (self.board.containers(), self.board.status().volumes);
        let source = || Arc::clone(&self.source);
        let (kernel, file_systems, ebs) = (source(), source(), source());
        let (kernel, file_systems, ebs) = tokio::join!(
            state.kernel.measure(until, move || kernel.kernel(&containers)),
            state.file_systems.measure(until, move || file_systems.file_systems(&volumes)),
            state.ebs.measure(until, move || ebs.ebs()),
        );
        Collection {
            at: (self.clock)(),
            took_seconds: begun.elapsed().as_secs_f64(),
            // As late as possible: what it says of the logs and of problems is of this moment.
            status: self.board.status(),
            kernel,
            file_systems,
            ebs,
            lines_dropped: self.lines_dropped.load(Ordering::Relaxed),
        }
    }
}

/// A part that is measured in a thread of its own.
struct Part<T> {
    under_way: Option<JoinHandle<T>>,
}

impl<T> Default for Part<T> {
    fn default() -> Part<T> {
        Part { under_way: None }
    }
}

impl<T: Send + 'static> Part<T> {
    /// Measures until `until`; `None` when that was not long enough. What came too late is of another moment, and is
    /// thrown away when the part is measured again.
    async fn measure(&mut self, until: Instant, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        if self.under_way.as_ref().is_none_or(JoinHandle::is_finished) {
            self.under_way = Some(tokio::task::spawn_blocking(work));
        }
        let under_way = self.under_way.as_mut()?;
        let measured = timeout_at(until, under_way).await.ok()?;
        self.under_way = None;
        measured.ok()
    }
}
