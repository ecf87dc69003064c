//! `GET /v1/status?follow=true`: the status now, and again whenever it changed, one JSON value a line.
//!
//! In: the board. Out: lines, at most five a second however often the board changes, and one of them at least every
//! 15 seconds: writing it is how a reader that is gone is noticed. Ends with the board's writers or the agent.

use crate::board::{Board, Changes};
use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until, timeout_at};

/// From one line to the next at least: a person sees no more, and whoever follows costs a share of one core.
const APART: Duration = Duration::from_millis(200);
/// A line after that time, also where nothing changed.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(15);

/// Where one follower is.
struct Follower {
    board: Board,
    changes: Changes,
    /// The last line and when it was made; absent before the first.
    last: Option<(Bytes, Instant)>,
    /// Held while there are lines.
    _permit: OwnedSemaphorePermit,
}

/// The answer; it holds `permit` as long as it lasts.
pub(super) fn answer(board: &Board, permit: OwnedSemaphorePermit) -> Response {
    let body = Body::from_stream(lines(board, permit));
    ([(CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

fn lines(
    board: &Board,
    permit: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Bytes, Infallible>> + use<> {
    let follower = Follower { board: board.clone(), changes: board.changes(), last: None, _permit: permit };
    stream::unfold(follower, async |mut follower| {
        let line = follower.next().await?;
        Some((Ok(line), follower))
    })
}

impl Follower {
    async fn next(&mut self) -> Option<Bytes> {
        let line = match self.last.take() {
            None => self.line()?,
            Some((last, at)) => self.line_after(&last, at).await?,
        };
        self.last = Some((line.clone(), Instant::now()));
        Some(line)
    }

    /// The next line that says something else, or the next heartbeat.
    async fn line_after(&mut self, last: &Bytes, at: Instant) -> Option<Bytes> {
        let heartbeat = at + HEARTBEAT;
        let mut earliest = at + APART;
        loop {
            match timeout_at(heartbeat, self.changes.next()).await {
                // Nobody writes on the board any more.
                Ok(false) => return None,
                Ok(true) => sleep_until(earliest).await,
                Err(_) => return self.line(),
            }
            let line = self.line()?;
            if line != *last || Instant::now() >= heartbeat {
                return Some(line);
            }
            // The board has more than the status; what changed was no part of it.
            earliest = Instant::now() + APART;
        }
    }

    fn line(&self) -> Option<Bytes> {
        let mut line = serde_json::to_vec(&self.board.status()).ok()?;
        line.push(b'\n');
        Some(line.into())
    }
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
