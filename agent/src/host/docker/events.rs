//! Listening to the engine: one task per connection that rings when something happened to one of our containers.
//!
//! What happened is not passed on, only to which container: what was known of that one no longer counts. Whoever wakes
//! looks at the engine anew, so that a lost event costs nothing but time.
//! It rings when the engine is lost, when it is back (everything may have happened in between), and at every event.

use super::ASK_DEADLINE;
use super::inspections::Inspections;
use super::look::Inspected;
use super::refusal::{NoAnswer, Refusal};
use super::transport::Transport;
use crate::bell::Bell;
use crate::observed::labels;
use bollard::query_parameters::{EventsOptions, EventsOptionsBuilder};
use futures_util::StreamExt;
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
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

/// Between two questions whether the engine is there.
const PULSE_EVERY: Duration = Duration::from_secs(1);
/// How long it may leave that question, which any engine answers at once, without an answer. With the time between two
/// questions it makes five seconds until an engine that hangs is named; less would name one whose host swaps, or whose
/// share of a processor is used up, for a moment.
const PULSE_DEADLINE: Duration = Duration::from_secs(4);

/// Who is told.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    pub(super) bell: Bell,
    pub(super) inspections: Arc<Mutex<Inspections<Inspected>>>,
    pub(super) transport: Arc<Transport>,
}

impl Heard {
    fn tell(&self, change: impl FnOnce(&mut Inspections<Inspected>)) {
        change(&mut self.inspections.lock().unwrap_or_else(PoisonError::into_inner));
        // After that, so that whoever wakes finds what was true before thrown away.
        self.bell.ring();
    }
}

/// The subscription of one connection; starts with the first waiter and ends with the last handle.
#[derive(Debug, Default)]
pub(super) struct Subscription {
    task: OnceLock<AbortOnDropHandle<()>>,
    breaks: Arc<AtomicU64>,
    silent: Arc<watch::Sender<bool>>,
}

impl Subscription {
    /// Makes sure that somebody listens and tells `heard`.
    pub(super) fn start(&self, client: &bollard::Docker, heard: Heard) {
        self.task.get_or_init(|| {
            let listener = Listener {
                client: client.clone(),
                heard,
                breaks: Arc::clone(&self.breaks),
                silent: Arc::clone(&self.silent),
            };
            AbortOnDropHandle::new(tokio::spawn(listener.listen()))
        });
    }

    /// How often the events broke off.
    pub(super) fn breaks(&self) -> u64 {
        self.breaks.load(Ordering::Relaxed)
    }

    /// Returns when the engine leaves a question without an answer; at once while it does. Cancel safe.
    pub(super) async fn silence(&self) -> Refusal {
        // The sender is `self`, so that the wait ends only with silence.
        let _ = self.silent.subscribe().wait_for(|silent| *silent).await;
        Refusal::Unreachable(Box::new(NoAnswer(PULSE_DEADLINE)))
    }
}

struct Listener {
    client: bollard::Docker,
    heard: Heard,
    breaks: Arc<AtomicU64>,
    silent: Arc<watch::Sender<bool>>,
}

impl Listener {
    async fn listen(self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let since = one_second_ago();
            if let Ok(Ok(_)) = tokio::time::timeout(ASK_DEADLINE, self.client.ping()).await {
                let began = Instant::now();
                // What happened before `since` is found by whoever wakes now, what happens after comes as an event.
                self.heard.tell(Inspections::listen);
                tokio::select! {
                    // The events are given up only with the whole task; the question after the engine never ends.
                    () = self.follow(since) => {}
                    () = self.feel_pulse() => {}
                }
                tracing::debug!("the engine's events ended, subscribing again");
                self.breaks.fetch_add(1, Ordering::Relaxed);
                self.silent.send_replace(false);
                self.heard.tell(Inspections::break_off);
                if began.elapsed() > LONGEST_PAUSE {
                    pause = FIRST_PAUSE;
                }
            }
            self.heard.transport.forget();
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Returns when the events break off.
    async fn follow(&self, since: Timestamp) {
        let mut events = self.client.events(Some(options(since)));
        while let Some(Ok(event)) = events.next().await {
            let id = event.actor.and_then(|actor| actor.id);
            self.heard.tell(|inspections| inspections.happened(id.as_deref(), event.action.as_deref()));
        }
    }

    /// An engine that hangs keeps its connections open and says nothing, like one in which nothing happens.
    async fn feel_pulse(&self) {
        loop {
            tokio::time::sleep(PULSE_EVERY).await;
            // An error is an answer: where nobody listens any more, the events have ended too.
            let silent = tokio::time::timeout(PULSE_DEADLINE, self.client.ping()).await.is_err();
            if silent {
                self.heard.transport.forget();
            }
            if self.silent.send_replace(silent) != silent {
                self.heard.bell.ring();
            }
        }
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
