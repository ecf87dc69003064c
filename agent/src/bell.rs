//! A bell: one side rings, the other waits until it rang since it last listened. Rings that nobody waited for are kept,
//! and many of them count as one. Each clone listens for itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;

/// A bell; a clone shares its rings and has its own memory of what it heard.
#[derive(Debug)]
pub struct Bell {
    rings: Arc<watch::Sender<u64>>,
    heard: AtomicU64,
}

impl Default for Bell {
    fn default() -> Self {
        Bell { rings: Arc::new(watch::Sender::new(0)), heard: AtomicU64::new(0) }
    }
}

impl Clone for Bell {
    fn clone(&self) -> Self {
        let heard = AtomicU64::new(self.heard.load(Ordering::Acquire));
        Bell { rings: Arc::clone(&self.rings), heard }
    }
}

impl Bell {
    /// Wakes every listener, now or at its next [`Bell::heard`].
    pub fn ring(&self) {
        self.rings.send_modify(|rings| *rings += 1);
    }

    /// Returns once it rang since the last return. Cancel safe: a ring is only consumed by returning.
    pub async fn heard(&self) {
        let mut rings = self.rings.subscribe();
        loop {
            let count = *rings.borrow_and_update();
            if self.heard.swap(count, Ordering::AcqRel) != count {
                return;
            }
            // The sender is `self`, so waiting for it cannot fail while this runs.
            if rings.changed().await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn a_ring_before_listening_is_heard_once() {
        let bell = Bell::default();
        assert_eq!(bell.heard().now_or_never(), None, "nobody rang");
        bell.ring();
        bell.ring();
        assert_eq!(bell.heard().now_or_never(), Some(()));
        assert_eq!(bell.heard().now_or_never(), None, "two rings count as one");
    }

    #[tokio::test]
    async fn a_cancelled_listener_loses_no_ring() {
        let bell = Bell::default();
        let mut listening = Box::pin(bell.heard());
        assert_eq!(futures_util::poll!(&mut listening), std::task::Poll::Pending);
        bell.ring();
        drop(listening);
        bell.heard().await;
    }
}
