//! Stopping a container: its stop signal, its time, then SIGKILL.
//!
//! The engine has one call for all of it, which is not used: engines of 23.0 and 24.0 give a container no more time when
//! whoever asked for it goes away, and an agent may be killed while a worker has a minute to finish its task. Here each
//! call is short or only a question, so that nothing is cut short with the agent; what it has not done by then, the next
//! one does.
//!
//! In: which container, and how long from the signal to SIGKILL. Out: it does not run; or an error, after which it may.
//! What always holds: SIGKILL comes only when the time is over. A signal that was sent less than that time ago, by us
//! before a restart or by anybody, is not sent again and its time counts from then: for some programs the second one
//! means "at once". The engine's memory of its events says so; it is short, and where it has forgotten, or knows the
//! signal by a name that we do not, the signal is sent once more and the time begins anew.
//! Not its job: whether to stop, and trying again.

use super::{ASK_DEADLINE, Docker, NoAnswer, Refusal};
use crate::engine::EngineError;
use bollard::errors::Error;
use bollard::models::{ContainerInspectResponse, EventMessage};
use bollard::query_parameters::{
    EventsOptions, EventsOptionsBuilder, KillContainerOptionsBuilder, WaitContainerOptionsBuilder,
};
use futures_util::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use nix::sys::signal::Signal;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// What the engine needs beyond the time of the container: it kills, waits for the end and takes its network down.
const KILL_DEADLINE: Duration = Duration::from_secs(10);
/// Before a wait that broke off is taken up again.
const PAUSE: Duration = Duration::from_millis(500);
/// What a container gets that names no other.
const USUAL: &str = "SIGTERM";

/// What a signal came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Ended,
    /// It has until then.
    Until(Instant),
}

impl Docker {
    /// One that does not run, or is gone, is success.
    pub(super) async fn stop_container(
        &self,
        container_id: &str,
        timeout: Duration,
    ) -> Result<(), EngineError> {
        let stopped = self.let_end(container_id, timeout).await;
        stopped.map_err(|refusal| {
            self.refused(&format!("stop container {}", self.called(container_id)), refusal)
        })
    }

    async fn let_end(&self, container_id: &str, timeout: Duration) -> Result<(), Refusal> {
        let Told::Until(deadline) = self.tell(container_id, timeout).await? else { return Ok(()) };
        let has_time = Instant::now() < deadline;
        if has_time && tokio::time::timeout_at(deadline, self.end_of(container_id)).await.is_ok() {
            return Ok(());
        }
        let killed = async {
            if self.signal(container_id, "SIGKILL", KILL_DEADLINE).await? {
                self.end_of(container_id).await;
            }
            Ok(())
        };
        let killed = tokio::time::timeout(KILL_DEADLINE, killed).await;
        killed.unwrap_or_else(|_| Err(Refusal::Unreachable(Box::new(NoAnswer(KILL_DEADLINE)))))
    }

    /// Sends the container its stop signal, unless that was done.
    async fn tell(&self, container_id: &str, timeout: Duration) -> Result<Told, Refusal> {
        let found = self.ask(ASK_DEADLINE, self.client().inspect_container(container_id, None)).await;
        let container = match found {
            Ok(container) if runs(&container) => container,
            Ok(_) => return Ok(Told::Ended),
            Err(refusal) if refusal.status() == Some(404) => return Ok(Told::Ended),
            Err(refusal) => return Err(refusal),
        };
        let started = container.state.and_then(|state| state.started_at?.parse().ok());
        let named = container.config.and_then(|config| config.stop_signal).filter(|name| !name.is_empty());
        let signal = named.as_deref().unwrap_or(USUAL);
        if let Some(left) = self.time_left(container_id, (signal, started), timeout).await {
            tracing::info!(
                container = self.called(container_id),
                "it was sent {signal}, and has {left:.1?} left"
            );
            return Ok(Told::Until(Instant::now() + left));
        }
        match self.signal(container_id, signal, ASK_DEADLINE).await {
            Ok(true) => Ok(Told::Until(Instant::now() + timeout)),
            Ok(false) => Ok(Told::Ended),
            // There is no such signal: the image names one that the engine does not know.
            Err(Refusal::Answered { status: 400, message }) => {
                tracing::warn!(
                    container = self.called(container_id),
                    "its stop signal cannot be sent: {message}"
                );
                Ok(Told::Until(Instant::now()))
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// What is left of the time of a container that was sent that signal since it was started, as far as the engine
    /// remembers. One that does not say so may not have: to ask must not be what a stop fails at.
    async fn time_left(
        &self,
        container_id: &str,
        (signal, started): (&str, Option<Timestamp>),
        timeout: Duration,
    ) -> Option<Duration> {
        let (number, now) = (number_of(signal)?, now());
        let since = now.saturating_sub(timeout).unwrap_or(Timestamp::UNIX_EPOCH);
        let since = started.map_or(since, |started| started.max(since));
        let events = self.client().events(Some(kills_of(container_id, since, now))).try_collect();
        let events: Vec<EventMessage> = self.ask(ASK_DEADLINE, events).await.ok()?;
        let sent = events.iter().filter(|event| signal_of(event) == Some(number)).filter_map(time_of).min();
        left(sent?, now, timeout)
    }

    /// Whether there was somebody to take it.
    async fn signal(&self, container_id: &str, signal: &str, deadline: Duration) -> Result<bool, Refusal> {
        let options = KillContainerOptionsBuilder::default().signal(signal).build();
        match self.ask(deadline, self.client().kill_container(container_id, Some(options))).await {
            Ok(()) => Ok(true),
            // 404: it is gone; 409: it does not run.
            Err(refusal) if matches!(refusal.status(), Some(404 | 409)) => Ok(false),
            Err(refusal) => Err(refusal),
        }
    }

    /// Returns when the container does not run, and never while the engine does not say so. Cancel safe.
    async fn end_of(&self, container_id: &str) {
        loop {
            let options = WaitContainerOptionsBuilder::default().condition("not-running").build();
            let mut wait = std::pin::pin!(self.client().wait_container(container_id, Some(options)));
            match wait.next().await {
                // The engine answers with less than 0 when the wait was broken off on its side.
                Some(Ok(ended)) if ended.status_code >= 0 => return,
                // It has ended, with a code of its own.
                Some(Err(Error::DockerContainerWaitError { .. })) => return,
                Some(Err(Error::DockerResponseServerError { status_code: 404, .. })) => return,
                _ => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}

/// A container that is paused, or waits for its next start, runs to the engine.
fn runs(container: &ContainerInspectResponse) -> bool {
    container.state.as_ref().and_then(|state| state.running).unwrap_or_default()
}

fn kills_of(container_id: &str, since: Timestamp, until: Timestamp) -> EventsOptions {
    let filters = HashMap::from([("container", vec![container_id]), ("event", vec!["kill"])]);
    // The engine takes seconds and, after a point, nine digits.
    let text = |time: Timestamp| format!("{}.{:09}", time.as_second(), time.subsec_nanosecond().max(0));
    EventsOptionsBuilder::default().since(&text(since)).until(&text(until)).filters(&filters).build()
}

/// In the engine's words a signal has a number or a name, with `SIG` before it or without. `None` for names of signals
/// that have no meaning of their own, `RTMIN+3` for one.
fn number_of(signal: &str) -> Option<i32> {
    let upper = signal.to_ascii_uppercase();
    let named = || format!("SIG{}", upper.trim_start_matches("SIG")).parse().ok();
    upper.parse().ok().or_else(|| named().map(|signal: Signal| signal as i32))
}

fn signal_of(event: &EventMessage) -> Option<i32> {
    event.actor.as_ref()?.attributes.as_ref()?.get("signal")?.parse().ok()
}

fn time_of(event: &EventMessage) -> Option<Timestamp> {
    Timestamp::from_nanosecond(event.time_nano?.into()).ok()
}

/// Of `timeout`, which began when the signal was `sent`.
fn left(sent: Timestamp, now: Timestamp, timeout: Duration) -> Option<Duration> {
    let passed = Duration::try_from(now.duration_since(sent)).unwrap_or_default();
    timeout.checked_sub(passed).filter(|left| !left.is_zero())
}

/// The engine's clock is the host's.
#[expect(clippy::disallowed_methods, reason = "an effect: the engine is asked what it did until now")]
fn now() -> Timestamp {
    Timestamp::now()
}

#[cfg(test)]
#[path = "stop_tests.rs"]
mod tests;
