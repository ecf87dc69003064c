//! Listening to the engine: one task per connection that rings when something happened to one of our containers.
//!
//! What happened is not passed on: whoever wakes looks at the engine anew, so that a lost event costs nothing but time.
//! It rings when the engine is lost, when it is back (everything may have happened in between), and at every event.

use super::ASK_DEADLINE;
use super::transport::Transport;
use crate::bell::Bell;
use crate::observed::labels;
use bollard::query_parameters::{EventsOptions, EventsOptionsBuilder};
use futures_util::StreamExt;
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// Without `exec_*`, which every probe by command would cause.
const EVENTS: [&str; 12] = [
    "create",
    "start",
    "die",
    "oom",
    "kill",
    "stop",
    "destroy",
    "pause",
    "unpause",
    "rename",
    "update",
    "health_status",
];
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The subscription of one connection; starts with the first waiter and ends with the last handle.
#[derive(Debug, Default)]
pub(super) struct Subscription {
    task: OnceLock<AbortOnDropHandle<()>>,
    breaks: Arc<AtomicU64>,
}

impl Subscription {
    /// Makes sure that somebody listens and rings `bell`.
    pub(super) fn start(&self, bell: &Bell, client: &bollard::Docker, transport: &Arc<Transport>) {
        self.task.get_or_init(|| {
            let source = (client.clone(), Arc::clone(transport));
            AbortOnDropHandle::new(tokio::spawn(listen(bell.clone(), source, Arc::clone(&self.breaks))))
        });
    }

    /// How often the events broke off.
    pub(super) fn breaks(&self) -> u64 {
        self.breaks.load(Ordering::Relaxed)
    }
}

async fn listen(bell: Bell, (client, transport): (bollard::Docker, Arc<Transport>), breaks: Arc<AtomicU64>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let since = one_second_ago();
        if let Ok(Ok(_)) = tokio::time::timeout(ASK_DEADLINE, client.ping()).await {
            let began = Instant::now();
            // What happened before `since` is found by whoever wakes now, what happens after comes as an event.
            bell.ring();
            let mut events = client.events(Some(options(since)));
            while let Some(Ok(_)) = events.next().await {
                bell.ring();
            }
            tracing::debug!("the engine's events ended, subscribing again");
            breaks.fetch_add(1, Ordering::Relaxed);
            bell.ring();
            if began.elapsed() > LONGEST_PAUSE {
                pause = FIRST_PAUSE;
            }
        }
        transport.forget();
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn options(since: Timestamp) -> EventsOptions {
    let filters = HashMap::from([
        ("type", vec!["container"]),
        ("label", vec![labels::SERVICE]),
        ("event", EVENTS.to_vec()),
    ]);
    EventsOptionsBuilder::default().since(&since.as_second().to_string()).filters(&filters).build()
}

/// The engine compares with its own clock, the host's, and takes whole seconds.
#[expect(clippy::disallowed_methods, reason = "an effect: the engine is asked for events from now on")]
fn one_second_ago() -> Timestamp {
    Timestamp::now().saturating_sub(Duration::from_secs(1)).unwrap_or(Timestamp::UNIX_EPOCH)
}
