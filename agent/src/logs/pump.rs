//! One source: reads its feed, sends batches, and moves its place behind what was answered.
//!
//! In: a [`Feed`], and the board's word on whether its container still writes. Out: delivered batches, and a place that
//! moves behind them. What always holds: the source keeps the lines, so nothing is held in memory but what is on its way;
//! the place is on disk before the next batch leaves; a batch that was not taken is thrown away and read again.
//!
//! One batch is under way at a time, so that a kill repeats one at most. Only where the way to the service is long
//! (`due::FAR`) and there is more to send, up to `due::MOST_AT_ONCE` are; they never overlap in time, so that the order of a
//! stream does not depend on which of them arrives first.

mod due;

use super::body::{Body, Builder, PUT_LOG_EVENTS};
use super::container::Presence;
use super::deliver::{Outlet, Undelivered, deliver};
use super::feed::{Ahead, Feed, FeedError, Filled, GivenUp, Place, Then};
use super::sink::LogSink;
use super::source::LogSource;
use super::tally::Waiting;
use super::{Shared, backoff};
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// How often a source is looked at while nothing else calls for it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The same, where its bell rings when it is written to.
const LOOK_SELDOM: Duration = Duration::from_secs(30);

/// A batch that was answered, or not.
struct Answered {
    behind: Place,
    result: Result<(), Undelivered>,
    took: Duration,
}

/// In the order in which they were sent; each on its way by itself.
type Flight = FuturesOrdered<AbortOnDropHandle<Answered>>;

/// Reads and delivers one source.
pub(super) struct Pump<S, K> {
    shared: Arc<Shared<S, K>>,
    outlet: Arc<Outlet>,
    /// Away only while a thread works with it.
    feed: Option<Box<dyn Feed>>,
    presence: watch::Receiver<Presence>,
    /// Rings when there is something to look at.
    bell: Option<Arc<Notify>>,
    stop: CancellationToken,
    /// Since when there is something to deliver.
    since: Option<Instant>,
    /// Failures in a row, and not before when to try again.
    failures: u32,
    pause: Option<Instant>,
    /// Reading has caught up since the agent was told to stop.
    caught_up: bool,
    /// The latest time in the batches under way.
    latest_ms: i64,
    round_trip: Duration,
    earliest_ms: Option<i64>,
    /// Seen when the place moved, so that a thread need not be woken once more for it.
    fresh: Option<Ahead>,
}

impl<S: LogSource, K: LogSink> Pump<S, K> {
    pub(super) fn new(
        shared: Arc<Shared<S, K>>,
        outlet: Outlet,
        feed: Box<dyn Feed>,
        presence: watch::Receiver<Presence>,
        stop: CancellationToken,
    ) -> Self {
        Pump {
            shared,
            outlet: Arc::new(outlet),
            bell: feed.bell(),
            feed: Some(feed),
            presence,
            stop,
            since: None,
            failures: 0,
            pause: None,
            caught_up: false,
            latest_ms: i64::MIN,
            round_trip: Duration::ZERO,
            earliest_ms: None,
            fresh: None,
        }
    }

    /// Returns when the source is gone and delivered, or when the agent stops and what was written until then is.
    pub(super) async fn run(mut self) {
        let mut flight = Flight::new();
        loop {
            let Some(ahead) = self.look().await else {
                self.wait(&mut flight, Instant::now() + LOOK_EVERY).await;
                if self.stop.is_cancelled() {
                    return;
                }
                continue;
            };
            if ahead.ended && ahead.owed == 0 && ahead.says_at_ms.is_none() && flight.is_empty() {
                return self.finish().await;
            }
            if self.stop.is_cancelled() && flight.is_empty() && self.is_done(ahead) {
                return;
            }
            if flight.is_empty() && self.gave_up_something(ahead).await {
                continue;
            }
            let rest = if ahead.rings && flight.is_empty() { LOOK_SELDOM } else { LOOK_EVERY };
            let next_look = Instant::now() + rest;
            match self.due(ahead, &flight) {
                Some(at) if at <= Instant::now() => self.send(&mut flight, ahead).await,
                Some(at) => self.wait(&mut flight, at.min(next_look)).await,
                None => self.wait(&mut flight, next_look).await,
            }
        }
    }

    /// Over the bound, the oldest that only we keep goes, of the source that keeps most; what was lost is counted.
    async fn gave_up_something(&mut self, ahead: Ahead) -> bool {
        if !self.shared.tally.keeps_too_much(&self.outlet.source, ahead.kept, self.shared.bound) {
            return false;
        }
        match self.work(|feed| feed.give_up_oldest()).await {
            Ok(Some(GivenUp { events, behind })) => {
                self.shared.tally.given_up(events);
                self.earliest_ms = None;
                let (stream, bound) = (&self.outlet.destination.stream, self.shared.bound);
                tracing::warn!(%stream, events, bound, "log lines were given up: more would be kept than may be");
                self.move_behind(behind).await;
                true
            }
            Ok(None) => false,
            Err(error) => {
                self.unreadable(&error);
                false
            }
        }
    }

    async fn look(&mut self) -> Option<Ahead> {
        if let Some(fresh) = self.fresh.take() {
            return Some(fresh);
        }
        let ahead = self.work(|feed| feed.look()).await;
        self.seen(ahead)
    }

    fn seen(&self, ahead: Result<Ahead, FeedError>) -> Option<Ahead> {
        match ahead {
            Ok(ahead) => {
                self.shared.tally.readable(&self.outlet.source);
                let waiting = Waiting { bytes: ahead.owed, earliest_ms: self.earliest_ms };
                self.shared.tally.waiting(&self.outlet.source, waiting);
                Some(ahead)
            }
            Err(error) => {
                self.unreadable(&error);
                None
            }
        }
    }

    /// Reads one batch and sends it on its way.
    async fn send(&mut self, flight: &mut Flight, ahead: Ahead) {
        let permit = self.turn().await;
        let is_last = self.will_not_go_on() || (self.stop.is_cancelled() && ahead.owed == 0);
        let then = match ahead.unread {
            _ if is_last => Then::Nothing,
            0 => Then::Silence,
            _ => Then::More,
        };
        let builder = Builder::new(&self.outlet.destination, PUT_LOG_EVENTS).expecting(ahead.unread);
        let now_ms = (self.shared.clock)().as_millisecond();
        let filled = self.work(move |feed| fill(feed, builder, then, now_ms)).await;
        let (filled, body) = match filled {
            Ok(filled) => filled,
            Err(error) => {
                self.unreadable(&error);
                self.pause_for_failure();
                return self.back(flight).await;
            }
        };
        if filled.left_out > 0 {
            self.shared.tally.left_out(&self.outlet.source, filled.left_out, (self.shared.clock)());
        }
        if !filled.more {
            self.since = None;
            self.caught_up = self.stop.is_cancelled();
        }
        let Some(body) = body else {
            // Nothing but empty lines, or the beginning of a message.
            if flight.is_empty() {
                self.move_behind(filled.behind).await;
            }
            return;
        };
        if !flight.is_empty() && body.earliest_ms() <= self.latest_ms {
            while let Some(answered) = flight.next().await {
                if !self.take(answered.ok()).await {
                    return self.back(flight).await;
                }
            }
        }
        self.latest_ms = body.latest_ms();
        self.earliest_ms.get_or_insert(body.earliest_ms());
        let outlet = Arc::clone(&self.outlet);
        let (shared, began) = (Arc::clone(&self.shared), Instant::now());
        flight.push_back(AbortOnDropHandle::new(tokio::spawn(async move {
            let result = deliver(&shared, &outlet, &mut vec![body], permit).await;
            Answered { behind: filled.behind, result, took: began.elapsed() }
        })));
    }

    /// Waits for its turn. The log may be rotated meanwhile, and others may wait for a service that does not answer.
    async fn turn(&mut self) -> Option<OwnedSemaphorePermit> {
        let shared = Arc::clone(&self.shared);
        let mut turn = pin!(shared.pace.turn());
        loop {
            let bell = self.bell.clone();
            // Being dropped, the bell and the clock lose nothing; the turn is kept.
            tokio::select! {
                permit = &mut turn => return permit,
                () = rung(bell.as_deref()) => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            self.look().await;
        }
    }

    /// Waits for an answer, for news, or until `until`.
    async fn wait(&mut self, flight: &mut Flight, until: Instant) {
        let (stopping, bell) = (self.stop.is_cancelled(), self.bell.clone());
        // An answer is taken with the arm that returns it; the other arms can be asked again.
        let answered = tokio::select! {
            biased;
            Some(answered) = flight.next(), if !flight.is_empty() => answered.ok(),
            () = tokio::time::sleep_until(until) => return,
            () = rung(bell.as_deref()) => return,
            () = self.stop.cancelled(), if !stopping => return,
            Ok(()) = self.presence.changed() => return,
            else => return,
        };
        if !self.take(answered).await {
            self.back(flight).await;
        }
    }

    /// `false` when the batch was not taken, or whoever sent it broke off.
    async fn take(&mut self, answered: Option<Answered>) -> bool {
        let Some(answered) = answered else {
            self.pause_for_failure();
            return false;
        };
        self.round_trip = answered.took;
        match answered.result {
            Ok(()) => {
                self.failures = 0;
                self.pause = None;
                self.earliest_ms = None;
                self.move_behind(answered.behind).await;
                true
            }
            Err(Undelivered) => {
                self.pause_for_failure();
                false
            }
        }
    }

    /// Everything that was not delivered is read again.
    async fn back(&mut self, flight: &mut Flight) {
        // Those behind it may arrive; that they are sent again is the price for order.
        while flight.next().await.is_some() {}
        self.latest_ms = i64::MIN;
        self.caught_up = false;
        self.fresh = None;
        let _ = self
            .work(|feed| {
                feed.go_back();
                Ok(())
            })
            .await;
    }

    async fn move_behind(&mut self, place: Place) {
        let (shared, source) = (Arc::clone(&self.shared), self.outlet.source.clone());
        let ahead = self
            .work(move |feed| {
                shared.remember(&source, place);
                feed.delivered(place);
                feed.look()
            })
            .await;
        self.fresh = self.seen(ahead);
    }

    async fn finish(mut self) {
        let (shared, source) = (Arc::clone(&self.shared), self.outlet.source.clone());
        // In this order: a kill in between delivers again rather than not at all.
        let _ = self
            .work(move |feed| {
                feed.finish();
                shared.forget(&source);
                Ok(())
            })
            .await;
        self.shared.tally.forget(&self.outlet.source);
    }

    fn pause_for_failure(&mut self) {
        self.failures = self.failures.saturating_add(1);
        let seed = backoff::seed(&self.outlet.destination.stream);
        self.pause = Some(Instant::now() + backoff::delay(self.failures, seed));
    }

    fn unreadable(&self, error: &FeedError) {
        if self.shared.tally.unreadable(&self.outlet.source, error, (self.shared.clock)()) {
            let stream = &self.outlet.destination.stream;
            tracing::warn!(%stream, reason = node::fault::one_line(error), "cannot read a log");
        }
    }

    /// Does something with the feed on a thread that may block.
    async fn work<T: Send + 'static>(
        &mut self,
        task: impl FnOnce(&mut Box<dyn Feed>) -> Result<T, FeedError> + Send + 'static,
    ) -> Result<T, FeedError> {
        let lost = || FeedError {
            operation: "go on reading",
            path: self.outlet.source.clone().into(),
            source: std::io::Error::other("its reader broke off"),
        };
        let Some(mut feed) = self.feed.take() else { return Err(lost()) };
        let done = tokio::task::spawn_blocking(move || {
            let result = task(&mut feed);
            (feed, result)
        });
        match done.await {
            Ok((feed, result)) => {
                self.feed = Some(feed);
                result
            }
            Err(_) => Err(lost()),
        }
    }
}

async fn rung(bell: Option<&Notify>) {
    match bell {
        Some(bell) => bell.notified().await,
        None => std::future::pending().await,
    }
}

fn fill(
    feed: &mut Box<dyn Feed>,
    mut builder: Builder,
    then: Then,
    now_ms: i64,
) -> Result<(Filled, Option<Body>), FeedError> {
    let filled = feed.fill(&mut builder, then, now_ms)?;
    Ok((filled, builder.finish()))
}
