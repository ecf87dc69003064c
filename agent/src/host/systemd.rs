//! systemd as the supervisor of this process: readiness, one line of state, the watchdog.
//!
//! Outside of systemd every call does nothing.

use std::time::Duration;
use systemd::daemon;

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
}

/// Sends a message. A supervisor that does not listen is no reason to stop working.
pub fn notify(message: &Message) {
    let (key, value) = match message {
        Message::Ready => (daemon::STATE_READY, "1".to_owned()),
        Message::Status(text) => (daemon::STATE_STATUS, one_line(text)),
        Message::Alive => (daemon::STATE_WATCHDOG, "1".to_owned()),
        Message::Stopping => (daemon::STATE_STOPPING, "1".to_owned()),
    };
    if let Err(error) = daemon::notify([(key, value.as_str())].iter()) {
        tracing::debug!("systemd did not take {key}: {error}");
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
