//! `agentctl status --watch`: the status as it changes.
//!
//! In: the agent's stream. Out: on a terminal one screen that is kept up to date, elsewhere a text, or with `--json` a
//! line, for every status that comes. An agent that is away is tried again every second; meanwhile its last status
//! is shown as stale. Invariant: however it ends, the terminal is as it was.

use super::screen::Screen;
use super::show::{Known, know};
use super::{Ending, Session, output};
use crate::control::client::{ClientError, StatusStream};
use node::exit;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// From one try to reach the agent to the next.
const AGAIN: Duration = Duration::from_secs(1);
/// From one drawing of the screen to the next, where nothing changes but how long that has been so.
const REDRAW: Duration = Duration::from_secs(2);

/// Where it is shown.
enum View {
    Screen(Screen),
    Text,
    Json,
}

pub(super) async fn watch(session: &Session, json: bool) -> Result<u8, Ending> {
    if json || !output::is_terminal() {
        return endless(session, &if json { View::Json } else { View::Text }).await;
    }
    let view = View::Screen(Screen::take()?);
    // Cancel safe: what is given up is only the watching.
    tokio::select! {
        ended = endless(session, &view) => ended,
        () = told_to_end() => Ok(exit::DONE),
    }
}

/// Ends only with the reader.
async fn endless(session: &Session, view: &View) -> Result<u8, Ending> {
    loop {
        match session.client.follow_status().await {
            Ok(mut stream) => follow(session, &mut stream, view).await?,
            // As many as can be follow it already; asking each second costs no place.
            Err(ClientError::Refused(_)) => view.show(&know(session, session.client.status().await).await)?,
            Err(error) => view.show(&know(session, Err(error)).await)?,
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Until the stream ends, by itself or because it broke.
async fn follow(session: &Session, stream: &mut StatusStream, view: &View) -> Result<(), Ending> {
    let mut latest = None;
    loop {
        // Cancel safe: what has come of a line is kept in the stream.
        let next = tokio::select! {
            next = stream.next() => next,
            () = tokio::time::sleep(REDRAW), if view.grows_old() => {
                latest.iter().try_for_each(|known| view.show(known))?;
                continue;
            }
        };
        match next {
            Ok(Some(status)) => view.show(latest.insert(know(session, Ok(status)).await))?,
            Ok(None) => return Ok(()),
            Err(error) => return view.show(&know(session, Err(error)).await),
        }
    }
}

impl View {
    fn show(&self, known: &Result<Known, String>) -> Result<(), Ending> {
        match (self, known) {
            (View::Screen(screen), Ok(known)) => screen.show(&known.as_text())?,
            (View::Screen(screen), Err(reason)) => screen.show(reason)?,
            (View::Text, Ok(known)) => output::data(known.as_text().as_bytes())?,
            (View::Json, Ok(known)) => output::data(format!("{}\n", known.as_json()).as_bytes())?,
            (View::Text | View::Json, Err(reason)) => output::note(reason),
        }
        Ok(())
    }

    /// Whether what is shown has ages that go on.
    fn grows_old(&self) -> bool {
        matches!(self, View::Screen(_))
    }
}

/// Ctrl-C, the end of the session, or a wish of somebody else.
async fn told_to_end() {
    let told = async |kind| match signal(kind) {
        Ok(mut signals) => drop(signals.recv().await),
        // Then it ends as programs do that know nothing of signals.
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        () = told(SignalKind::interrupt()) => {}
        () = told(SignalKind::terminate()) => {}
        () = told(SignalKind::hangup()) => {}
    }
}
