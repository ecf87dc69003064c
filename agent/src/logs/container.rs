//! The log of one container, from its first line to its removal.
//!
//! In: the container's lines, and what the board says of it. Out: delivered batches, and a cursor that moves behind
//! them. What always holds: reading stops while a batch is being delivered, so one batch and one line are all that is
//! held in memory, and the engine keeps the rest; the cursor is behind a line only after the answer that took it.
//!
//! A pass reads the log from the cursor to where the engine ends the stream. An end alone proves nothing (the engine
//! may have been stopped): only a pass that began after the container had ended has read all of it, and only the
//! engine's word that it does not know the container ends this task.

use super::batch::{Batch, Batcher, PUT_LOG_EVENTS};
use super::body::{self, Body, Builder};
use super::deliver::{Outlet, deliver};
use super::escape;
use super::event::LogEvent;
use super::position::{Position, Resume, Seen};
use super::sink::LogSink;
use super::source::{LogSource, SourceError, SourceLine};
use super::tally::Waiting;
use super::{Shared, backoff};
use crate::engine::EngineError;
use crate::observed::ContainerState;
use futures_util::StreamExt;
use jiff::Timestamp;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Longest time that a line waits for others to share its batch. The requests are most of what an idle agent costs, and
/// CloudWatch counts them for the whole account.
pub const BATCH_AGE: Duration = Duration::from_secs(5);

/// What the board says of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// Nothing can be in its log.
    NotStarted,
    /// It may write.
    Alive,
    /// It has written all that it will, until it is started again.
    Ended(Timestamp),
    /// It was on the board and is no more.
    Removed,
}

impl From<&ContainerState> for Presence {
    fn from(state: &ContainerState) -> Presence {
        match state {
            ContainerState::Created => Presence::NotStarted,
            ContainerState::Exited { at, .. } => Presence::Ended(*at),
            ContainerState::Running { .. } | ContainerState::Other(_) => Presence::Alive,
        }
    }
}

/// How a pass ended.
enum PassEnd {
    /// The engine ended the stream.
    End,
    /// The log does not hold the lines that were counted; the position was set back.
    Recount,
    /// It could not be read.
    Failed(SourceError),
    /// The agent stops.
    Stopped,
}

/// Reads and delivers the log of one container.
pub(super) struct Reading<S, K> {
    shared: Arc<Shared<S, K>>,
    outlet: Outlet,
    presence: watch::Receiver<Presence>,
    stop: CancellationToken,
    /// Behind the last line that was read.
    position: Option<Position>,
    batcher: Batcher,
    /// When the open batch must go.
    due: Option<Instant>,
    /// The change of the cursors that the last batch made.
    unsaved: Option<u64>,
    /// Passes in a row that brought no line.
    idle_passes: u32,
}

impl<S: LogSource, K: LogSink> Reading<S, K> {
    pub(super) fn new(
        shared: Arc<Shared<S, K>>,
        outlet: Outlet,
        presence: watch::Receiver<Presence>,
        stop: CancellationToken,
    ) -> Self {
        let position = shared.cursors.position(&outlet.source);
        let batcher = Batcher::new(PUT_LOG_EVENTS);
        Reading {
            shared,
            outlet,
            presence,
            stop,
            position,
            batcher,
            due: None,
            unsaved: None,
            idle_passes: 0,
        }
    }

    /// Returns when the container is gone, or when the agent stops and what was read is delivered; of a container that
    /// has ended, that is all.
    pub(super) async fn run(mut self) {
        let mut unread = true;
        // The end of the container up to which all was read.
        let mut read_to = None;
        loop {
            let began_in = *self.presence.borrow_and_update();
            if began_in == Presence::NotStarted {
                self.rest(None).await;
            } else {
                match self.pass().await {
                    PassEnd::Recount => continue,
                    PassEnd::Failed(SourceError::Gone { .. }) => return self.gone(unread),
                    PassEnd::Failed(SourceError::Engine(error)) => {
                        unread = true;
                        self.unreadable(error);
                        if self.stop.is_cancelled() {
                            return;
                        }
                        self.rest(Some(self.pause())).await;
                    }
                    PassEnd::End if matches!(began_in, Presence::Ended(_)) => {
                        unread = false;
                        read_to = Some(began_in);
                        self.rest(None).await;
                    }
                    PassEnd::End => {
                        unread = false;
                        self.rest(Some(self.pause())).await;
                    }
                    PassEnd::Stopped => return,
                }
            }
            if self.stop.is_cancelled() && (!self.has_ended() || read_to == Some(*self.presence.borrow())) {
                return;
            }
        }
    }

    fn has_ended(&self) -> bool {
        matches!(*self.presence.borrow(), Presence::Ended(_))
    }

    async fn pass(&mut self) -> PassEnd {
        let shared = Arc::clone(&self.shared);
        let container_id = self.outlet.source.clone();
        let since = self.position.map(|position| position.since());
        let mut lines = pin!(shared.source.follow(&container_id, since));
        let mut resume = Resume::behind(self.position);
        self.idle_passes = self.idle_passes.saturating_add(1);
        loop {
            let due = self.due;
            // Waiting for time, for a token and for the next item of a stream loses nothing when it is dropped.
            let line = tokio::select! {
                biased;
                () = self.stop.cancelled(), if !(self.stop.is_cancelled() && self.has_ended()) => {
                    if self.has_ended() {
                        // Its log has an end, which is read to.
                        continue;
                    }
                    self.flush().await;
                    return PassEnd::Stopped;
                }
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.flush().await;
                    continue;
                }
                line = lines.next() => line,
            };
            match line {
                Some(Ok(line)) => match resume.line(line.timestamp) {
                    Seen::Before => {}
                    Seen::New => self.take(&line).await,
                    Seen::Changed => return self.recount(),
                },
                Some(Err(error)) => {
                    self.flush().await;
                    return PassEnd::Failed(error);
                }
                None if !resume.complete() => return self.recount(),
                None => {
                    self.flush().await;
                    self.shared.tally.readable(&self.outlet.source);
                    return PassEnd::End;
                }
            }
        }
    }

    /// Nothing new was read in this pass: a position is complete before the first new line.
    fn recount(&mut self) -> PassEnd {
        let stream = &self.outlet.destination.stream;
        tracing::info!(%stream, "the log has changed since it was read; its last second is delivered again");
        self.position = self.position.map(Position::recounted);
        PassEnd::Recount
    }

    async fn take(&mut self, line: &SourceLine) {
        if self.idle_passes > 0 {
            self.idle_passes = 0;
            self.shared.tally.readable(&self.outlet.source);
        }
        let behind = Position::after(self.position, line.timestamp);
        self.position = Some(behind);
        if self.batcher.is_empty() {
            self.due = Some(Instant::now() + BATCH_AGE);
        }
        let full = self.batcher.add(line.timestamp.as_millisecond(), &line.message, behind);
        if full.is_empty() {
            return self.report_waiting();
        }
        for batch in full {
            self.send(batch).await;
        }
        self.due = Some(Instant::now() + BATCH_AGE);
        self.report_waiting();
    }

    async fn flush(&mut self) {
        self.due = None;
        if let Some(batch) = self.batcher.close() {
            self.send(batch).await;
        }
        self.report_waiting();
    }

    async fn send(&mut self, batch: Batch) {
        // A batch leaves only when the one before it is remembered: a kill repeats one batch at most. Batches that go
        // for their age are seconds apart, and the cursors are written every other second anyway: only full ones wait here.
        if let Some(change) = self.unsaved.take() {
            self.shared.save_cursors(Some(change)).await;
        }
        let earliest_ms = batch.events.first().map(|event| event.timestamp_ms);
        let bytes = (batch.bytes + self.batcher.bytes()) as u64;
        self.shared.tally.waiting(&self.outlet.source, Waiting { bytes, earliest_ms });
        self.deliver(&batch.events).await;
        if let Some(position) = batch.upto {
            self.unsaved = Some(self.shared.cursors.advance(&self.outlet.source, position));
        }
    }

    /// Returns when no event of `events` is owed any more, however long that takes.
    async fn deliver(&self, events: &[LogEvent]) {
        let mut parts: Vec<Body> = body_of(&self.outlet, events).into_iter().collect();
        let mut failures = 0;
        loop {
            let permit = self.shared.pace.turn().await;
            if deliver(&self.shared, &self.outlet, &mut parts, permit).await.is_ok() {
                return;
            }
            failures += 1;
            let seed = backoff::seed(&self.outlet.destination.stream);
            tokio::time::sleep(backoff::delay(failures, seed)).await;
        }
    }

    fn report_waiting(&self) {
        let waiting = Waiting { bytes: self.batcher.bytes() as u64, earliest_ms: self.batcher.earliest_ms() };
        self.shared.tally.waiting(&self.outlet.source, waiting);
    }

    fn unreadable(&self, error: EngineError) {
        // An engine that is away is the reconcile loop's to report, once for all containers.
        if matches!(error, EngineError::Unreachable { .. }) {
            return;
        }
        let error = SourceError::from(error);
        if self.shared.tally.unreadable(&self.outlet.source, &error, (self.shared.clock)()) {
            let stream = &self.outlet.destination.stream;
            tracing::warn!(%stream, reason = node::fault::one_line(&error), "cannot read a container's log");
        }
    }

    /// The container was removed. How many lines were lost with it, if any, nobody knows: it is said, not counted.
    fn gone(self, unread: bool) {
        if unread {
            let stream = &self.outlet.destination.stream;
            tracing::warn!(%stream, "a container was removed before its log was read to the end");
        }
        self.shared.cursors.retain(|container_id| container_id != self.outlet.source);
        self.shared.tally.forget(&self.outlet.source);
    }

    fn pause(&self) -> Duration {
        backoff::delay(self.idle_passes.max(1), backoff::seed(&self.outlet.destination.stream))
    }

    /// Waits for the board to say something new of the container, for `limit` at most, or for the agent to stop.
    async fn rest(&mut self, limit: Option<Duration>) {
        let until = Instant::now() + limit.unwrap_or_default();
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep_until(until), if limit.is_some() => {}
            // The shipper drops its end only with this task.
            _ = self.presence.changed() => {}
        }
    }
}

fn body_of(outlet: &Outlet, events: &[LogEvent]) -> Option<Body> {
    let mut builder = Builder::new(&outlet.destination, body::PUT_LOG_EVENTS);
    for event in events {
        let mut inside = Vec::with_capacity(event.message.len());
        escape::push_escaped(&mut inside, &event.message);
        builder.push(event.timestamp_ms, &inside, event.message.len());
    }
    builder.finish()
}
