//! Tells the outside what is on the board: systemd (READY, STATUS, WATCHDOG) and the file that `agentctl` reads while
//! the agent is down.

use crate::board::Board;
use crate::heartbeat::Heartbeat;
use crate::host::systemd::{self, Message};
use crate::status::{Logs, NodeState, ServiceState, Status};
use node::fault::one_line;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Between two writes of the last status, at least.
const PAUSE: Duration = Duration::from_secs(1);
/// The same where nothing but the counters of the log shipper has moved, which they do all the time.
const COUNTERS_PAUSE: Duration = Duration::from_secs(10);

/// Follows the board until `shutdown`. READY is told once, after the first look.
pub async fn follow(board: Board, last_status: PathBuf, shutdown: CancellationToken) {
    let mut changes = board.changes();
    let mut told = Told::default();
    loop {
        told.tell(&board, &last_status);
        // Waiting for a change, and then a little, can be cancelled at any time: the board keeps what it has.
        let next = async {
            tokio::time::sleep(if told.ready { PAUSE } else { Duration::ZERO }).await;
            changes.next().await
        };
        match shutdown.run_until_cancelled(next).await {
            Some(true) => {}
            Some(false) | None => break,
        }
    }
    // What is known at the end is what `agentctl` shows until the next start.
    write(&board.status(), &last_status, &mut told.write_failed);
}

#[derive(Debug, Default)]
struct Told {
    ready: bool,
    line: String,
    /// As written last, and when.
    written: Option<(Status, Instant)>,
    write_failed: bool,
}

impl Told {
    fn tell(&mut self, board: &Board, last_status: &Path) {
        let status = board.status();
        let line = status_line(&status);
        if line != self.line {
            tracing::info!("{line}");
            systemd::notify(&Message::Status(&line));
            self.line = line;
        }
        if !self.ready && board.first_look_is_over() {
            self.ready = true;
            systemd::notify(&Message::Ready);
        }
        if self.written.as_ref().is_none_or(|(before, at)| worth_writing(before, &status, at.elapsed())) {
            write(&status, last_status, &mut self.write_failed);
            self.written = Some((status, Instant::now()));
        }
    }
}

fn worth_writing(before: &Status, now: &Status, age: Duration) -> bool {
    before != now && (age >= COUNTERS_PAUSE || but_for_counters(before) != but_for_counters(now))
}

/// `status` without what moves all the time while all is well.
fn but_for_counters(status: &Status) -> Status {
    let mut status = Status { logs: Logs::default(), ..status.clone() };
    for model in &mut status.models {
        model.progress = None;
    }
    if let Some(server) = &mut status.model_server {
        (server.free_bytes, server.prewarm) = (None, None);
    }
    status
}

fn write(status: &Status, path: &Path, failed: &mut bool) {
    // Strings, numbers and lists only: serialising cannot fail.
    let json = serde_json::to_vec(status).unwrap_or_default();
    match node::files::replace(path, &json, 0o644) {
        Ok(()) => *failed = false,
        // Told once: it would be every second otherwise.
        Err(_) if *failed => {}
        Err(error) => {
            tracing::warn!("cannot write {}: {}", path.display(), one_line(&error));
            *failed = true;
        }
    }
}

/// The node in one line: its state, how many services run, how many models are in place, and the first problem.
pub fn status_line(status: &Status) -> String {
    let state = match status.node.state {
        NodeState::Starting => "starting",
        NodeState::Ready => "ready",
        NodeState::Degraded => "degraded",
        NodeState::Draining => "draining",
    };
    let running = status.services.iter().filter(|service| service.state == ServiceState::Running).count();
    let mut line = format!("{state}; {running} of {} services running", status.services.len());
    if !status.models.is_empty() {
        let ready = status.models.iter().filter(|model| model.is_in_place()).count();
        line.push_str(&format!("; {ready} of {} models ready", status.models.len()));
    }
    if let Some(problem) = status.problems.first() {
        line.push_str(&format!("; {}: {}", problem.code, problem.message));
        let more = status.problems.len() - 1;
        if more > 0 {
            line.push_str(&format!(" (and {more} more)"));
        }
    }
    line
}

/// Feeds systemd's watchdog while `heartbeat` is younger than `patience`, until `shutdown`. An agent whose loop hangs is
/// killed and started again; its containers run on.
pub async fn watchdog(heartbeat: Heartbeat, patience: Duration, shutdown: CancellationToken) {
    let Some(limit) = systemd::watchdog() else { return shutdown.cancelled().await };
    // Half of the limit, as sd_watchdog_enabled(3) advises, and some more room for a busy machine.
    let mut ticks = tokio::time::interval(limit / 3);
    let mut fed = true;
    while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
        let age = heartbeat.age();
        let alive = age < patience;
        if alive {
            systemd::notify(&Message::Alive);
        } else if fed {
            tracing::error!(
                "the loop has not turned for {} s; the watchdog will restart the agent",
                age.as_secs()
            );
        }
        fed = alive;
    }
}

#[cfg(test)]
#[path = "publish_tests.rs"]
mod tests;
