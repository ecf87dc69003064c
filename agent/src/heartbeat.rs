//! A sign of life of the loop, for the watchdog.

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Beats; clones share them.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    last: Arc<watch::Sender<Instant>>,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Heartbeat { last: Arc::new(watch::Sender::new(Instant::now())) }
    }
}

impl Heartbeat {
    /// The loop turns.
    pub fn beat(&self) {
        self.last.send_replace(Instant::now());
    }

    /// Time since the last beat.
    pub fn age(&self) -> Duration {
        self.last.borrow().elapsed()
    }
}
