//! systemd as the supervisor of this process: readiness, one line of state, the watchdog.
//!
//! Outside of systemd every call does nothing. A systemd that does not read (it has much to do at boot) holds up one
//! thread of ours and nobody else.

pub mod journal;
pub mod journal_feed;
pub mod shutdown;

use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use systemd::daemon;

/// Messages that wait for systemd; what comes while it is full is dropped, and said again sooner or later.
const WAITING: usize = 32;

type Pair = (&'static str, String);

/// What is told to systemd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<'a> {
    /// Start-up is over; what is ordered after the agent may start.
    Ready,
    /// What `systemctl status` shows.
    Status(&'a str),
    /// The loop turns.
    Alive,
    /// Going down on purpose.
    Stopping,
    /// Going down takes so much longer, from now on (systemd 236 and newer; an older one knows only TimeoutStopSec=).
    Extend(Duration),
}

/// Sends a message, in the order of the calls. Never waits. A supervisor that does not listen is no reason to stop
/// working.
pub fn notify(message: &Message) {
    static QUEUE: OnceLock<Option<SyncSender<Pair>>> = OnceLock::new();
    let pair = match message {
        Message::Ready => (daemon::STATE_READY, "1".to_owned()),
        Message::Status(text) => (daemon::STATE_STATUS, one_line(text)),
        Message::Alive => (daemon::STATE_WATCHDOG, "1".to_owned()),
        Message::Stopping => (daemon::STATE_STOPPING, "1".to_owned()),
        Message::Extend(time) => ("EXTEND_TIMEOUT_USEC", time.as_micros().to_string()),
    };
    if let Some(queue) = QUEUE.get_or_init(start)
        && queue.try_send(pair).is_err()
    {
        tracing::debug!("systemd does not read what it is told");
    }
}

fn start() -> Option<SyncSender<Pair>> {
    let (sender, receiver) = sync_channel(WAITING);
    let thread = std::thread::Builder::new().name("notify".to_owned());
    thread.spawn(move || pass_on(&receiver)).ok().map(|_| sender)
}

fn pass_on(queue: &Receiver<Pair>) {
    while let Ok(pair) = queue.recv() {
        if let Err(error) = daemon::notify([&pair].into_iter()) {
            tracing::debug!("systemd did not take {}: {error}", pair.0);
        }
    }
}

/// How often systemd wants to hear that the agent is alive, if it does (`WatchdogSec=`).
pub fn watchdog() -> Option<Duration> {
    match daemon::watchdog_enabled() {
        Ok(0) | Err(_) => None,
        Ok(microseconds) => Some(Duration::from_micros(microseconds)),
    }
}

/// The protocol separates values by line breaks, and C by zero bytes.
fn one_line(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_cannot_smuggle_in_another_message() {
        assert_eq!(one_line("degraded\nREADY=1\0x"), "degraded READY=1 x");
    }
}
