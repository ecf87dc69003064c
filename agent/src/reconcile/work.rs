//! Steps that are under way: for each service at most one pull and one step on its containers, each a task.

use crate::apply::{ApplyError, Tools, apply};
use crate::desired::Service;
use crate::engine::{Engine, PullProgress};
use crate::outcome::Outcome;
use crate::plan::Action;
use crate::registry::Registry;
use crate::snapshot::{InFlight, PullInFlight};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};

/// What steps get to finish in when the agent stops. systemd gives it more.
const WIND_DOWN: Duration = Duration::from_secs(5);
/// Containers that are made, started and removed at one time: more only make the engine slow for all.
const AT_ONCE: usize = 8;

/// What came of a step.
pub(super) struct Finished {
    pub(super) service: String,
    pub(super) action: Action,
    pub(super) result: Result<Outcome, ApplyError>,
}

#[derive(Default)]
struct Slots {
    pull: Option<Pull>,
    step: Option<String>,
    /// The container that the step stops.
    stops: Option<String>,
}

struct Pull {
    digest: String,
    progress: Arc<Mutex<PullProgress>>,
    task: AbortHandle,
}

/// All steps under way.
pub(super) struct Work<E, R> {
    tools: Tools<E, R>,
    slots: BTreeMap<String, Slots>,
    tasks: JoinSet<Finished>,
    room: Arc<Semaphore>,
}

impl<E: Engine, R: Registry> Work<E, R> {
    pub(super) fn new(tools: Tools<E, R>) -> Work<E, R> {
        Work { tools, slots: BTreeMap::new(), tasks: JoinSet::new(), room: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    pub(super) fn tools(&self) -> &Tools<E, R> {
        &self.tools
    }

    /// As the plan sees it.
    pub(super) fn in_flight(&self) -> BTreeMap<String, InFlight> {
        let seen = self.slots.iter().map(|(service, slots)| {
            let pull = slots.pull.as_ref().map(|pull| PullInFlight {
                digest: pull.digest.clone(),
                progress: *pull.progress.lock().unwrap_or_else(PoisonError::into_inner),
            });
            (service.clone(), InFlight { pull, step: slots.step.clone() })
        });
        seen.collect()
    }

    /// Begins a step. The plan gives none for a slot that is taken.
    pub(super) fn begin(&mut self, name: &str, wanted: Option<Service>, action: Action) {
        let progress = Arc::new(Mutex::new(PullProgress::default()));
        let (tools, service) = (self.tools.clone(), name.to_owned());
        let (step, counter) = (action.clone(), Arc::clone(&progress));
        let room = Arc::clone(&self.room);
        let task = self.tasks.spawn(async move {
            // The semaphore is never closed, so that there is always a permit in the end.
            let _permit = if quick(&step) { room.acquire().await.ok() } else { None };
            let report = move |progress: PullProgress| {
                *counter.lock().unwrap_or_else(PoisonError::into_inner) = progress;
            };
            let result = apply(&tools, &service, wanted.as_ref(), &step, &report).await;
            Finished { service, action: step, result }
        });
        let slots = self.slots.entry(name.to_owned()).or_default();
        match action {
            Action::Pull { digest } => slots.pull = Some(Pull { digest, progress, task }),
            other => {
                slots.step = Some(words(&other).to_owned());
                slots.stops = match other {
                    Action::Stop { container_id, .. } => Some(container_id),
                    _ => None,
                };
            }
        }
    }

    /// The next step that ends; never, while none is under way. Cancel safe.
    pub(super) async fn next(&mut self) -> Finished {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(finished)) => {
                    self.free(&finished);
                    return finished;
                }
                // Given up, when the machine goes down.
                Some(Err(error)) if error.is_cancelled() => {}
                // A panic ends the process.
                Some(Err(error)) => tracing::error!("a step broke off: {error}"),
                None => std::future::pending().await,
            }
        }
    }

    fn free(&mut self, finished: &Finished) {
        let Some(slots) = self.slots.get_mut(&finished.service) else { return };
        match finished.action {
            Action::Pull { .. } => slots.pull = None,
            _ => (slots.step, slots.stops) = (None, None),
        }
        if slots.pull.is_none() && slots.step.is_none() {
            self.slots.remove(&finished.service);
        }
    }

    /// Containers that a step under way stops.
    pub(super) fn stops(&self) -> impl Iterator<Item = &String> {
        self.slots.values().filter_map(|slots| slots.stops.as_ref())
    }

    /// Services with a step under way that stops nothing, so that it may have something running in the end.
    pub(super) fn busy(&self) -> BTreeSet<String> {
        let busy = self.slots.iter().filter(|(_, slots)| slots.step.is_some() && slots.stops.is_none());
        busy.map(|(service, _)| service.clone()).collect()
    }

    /// Pulls are resumed at the next start.
    pub(super) fn give_up_pulls(&mut self) {
        for pull in self.slots.values_mut().filter_map(|slots| slots.pull.take()) {
            pull.task.abort();
        }
    }

    /// Gives up pulls, and lets the other steps finish, for a while.
    pub(super) async fn wind_down(&mut self) {
        self.give_up_pulls();
        let drained = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(WIND_DOWN, drained).await.is_err() {
            tracing::warn!(
                "{} steps did not finish in {} s; the next start goes on",
                self.tasks.len(),
                WIND_DOWN.as_secs()
            );
        }
        self.tasks.shutdown().await;
    }
}

/// What the engine does within moments. A stop takes as long as its container likes, a pull longer.
fn quick(action: &Action) -> bool {
    matches!(action, Action::Create { .. } | Action::Start { .. } | Action::Remove { .. })
}

fn words(action: &Action) -> &'static str {
    match action {
        Action::Pull { .. } => "a pull",
        Action::Create { .. } => "the creation of a container",
        Action::Start { .. } => "the start of a container",
        Action::Stop { .. } => "the stop of a container",
        Action::Remove { .. } => "the removal of a container",
        Action::RemoveImage { .. } => "the removal of an image",
        Action::AskBefore { .. } => "the question whether it may be replaced",
        Action::AskAfter { .. } => "the question whether it may take over",
        Action::RecordGood { .. } | Action::Quarantine { .. } => "a note in the history",
    }
}
