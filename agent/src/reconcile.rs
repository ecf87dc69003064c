//! The loop: wait -> observe -> plan -> apply -> publish.
//!
//! In: what should run, what the engine, the gates and the registries say, commands of an operator. Out: steps carried
//! out, each as a task of its own so that a long pull keeps nobody waiting, and the status on the board. The latest
//! input wins at the next pass. A pass does not fail: what went wrong is a problem on the board.
//! What always holds: for one service at most one pull and one step are under way; the history is on disk, if it can
//! be written at all, before the step that relies on it.
//! When the agent stops, containers run on; when the machine goes down, they are stopped first ([`drain`]).
//! Not its job: deciding, which [`crate::plan`] does.

mod commands;
mod drain;
mod gates;
mod lookups;
mod observe;
mod publish;
mod room;
mod routing;
mod wishes;
mod work;

pub use gates::Gates;

use crate::apply::Tools;
use crate::board::Board;
use crate::clock::Clock;
use crate::command::Command;
use crate::desired::Desired;
use crate::engine::Engine;
use crate::firewall::Firewall;
use crate::heartbeat::Heartbeat;
use crate::history::History;
use crate::history::memory::{Memory, Run};
use crate::history::store::{Store, StoreError};
use crate::observed::{Container, ContainerState};
use crate::outcome::{self, Outcome};
use crate::plan::{self, Action, NODE, Plan};
use crate::registry::Registry;
use crate::snapshot::{EngineView, Observed};
use crate::updates::{Ask, Candidates};
use jiff::Timestamp;
use node::config::settings::{Health, Network};
use publish::Published;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// The longest time between two passes: what no event tells is seen then.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// The shortest: a clock that moves oddly must not make the loop spin.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);

/// What the loop works on.
#[derive(Debug)]
pub struct Outside<E, R, G, F> {
    /// What steps are carried out on.
    pub tools: Tools<E, R>,
    /// The health gates.
    pub gates: Arc<G>,
    /// Our own rules of the firewall.
    pub firewall: Arc<F>,
    /// Where the durable part of the history lies.
    pub history: Store,
}

/// What the loop is told, and where it tells.
pub struct Inputs {
    /// What should run.
    pub desired: watch::Receiver<Desired>,
    /// What the registries said.
    pub candidates: watch::Receiver<Candidates>,
    /// What an operator asks.
    pub commands: mpsc::Receiver<Command>,
    /// To have the registries asked at once.
    pub asks: mpsc::Sender<Ask>,
    /// Where status and problems are published.
    pub board: Board,
    /// Beaten at each pass.
    pub heartbeat: Heartbeat,
    /// Where the time comes from.
    pub clock: Clock,
    /// Ends the loop; containers run on.
    pub shutdown: CancellationToken,
    /// The machine goes down: ends the loop when all services are stopped.
    pub drain: CancellationToken,
}

/// Runs until shutdown.
pub async fn run<E: Engine, R: Registry, G: Gates, F: Firewall>(
    outside: Outside<E, R, G, F>,
    inputs: Inputs,
) {
    let Inputs { desired, candidates, commands, asks, board, heartbeat, clock, shutdown, drain } = inputs;
    let (durable, damage) = outside.history.load();
    if let Some(error) = &damage {
        tracing::warn!("{}", node::fault::with_hint(error));
    }
    let reconciler = Reconciler {
        observer: observe::Observer::new(Arc::clone(&outside.tools.engine)),
        room: room::Room::new(Arc::clone(&outside.tools.engine)),
        work: work::Work::new(outside.tools),
        routing: routing::Routing::new(outside.firewall, Arc::clone(&clock)),
        lookups: lookups::Lookups::default(),
        gates: outside.gates,
        store: outside.history,
        history: History { durable, memory: Memory::default() },
        damage,
        unsaved: None,
        asks,
        board,
        heartbeat,
        clock,
        published: None,
        containers: Vec::new(),
    };
    reconciler.run(Channels { desired, candidates, commands, shutdown, drain }).await;
}

struct Channels {
    desired: watch::Receiver<Desired>,
    candidates: watch::Receiver<Candidates>,
    commands: mpsc::Receiver<Command>,
    shutdown: CancellationToken,
    drain: CancellationToken,
}

/// Why the loop woke.
enum Wake {
    Shutdown,
    Drain,
    /// Something to observe: engine, gates, registry, configuration, time.
    Look,
    /// Others may have changed the firewall.
    Firewall,
    Command(Command),
    Found(lookups::Found),
    Finished(work::Finished),
}

struct Reconciler<E, R, G, F> {
    observer: observe::Observer<E>,
    room: room::Room<E>,
    work: work::Work<E, R>,
    routing: routing::Routing<F>,
    /// On behalf of commands that name an image.
    lookups: lookups::Lookups,
    gates: Arc<G>,
    store: Store,
    history: History,
    /// Why the history was empty at the start, if it should not have been.
    damage: Option<StoreError>,
    /// Why the history on disk is not the one in memory, if it is not.
    unsaved: Option<Unsaved>,
    asks: mpsc::Sender<Ask>,
    board: Board,
    heartbeat: Heartbeat,
    clock: Clock,
    published: Option<Published>,
    /// As last seen.
    containers: Vec<Container>,
}

enum Unsaved {
    NotTried,
    Failed(StoreError),
}

impl<E: Engine, R: Registry, G: Gates, F: Firewall> Reconciler<E, R, G, F> {
    async fn run(mut self, mut channels: Channels) {
        loop {
            let desired = channels.desired.borrow_and_update().clone();
            let candidates = channels.candidates.borrow_and_update().clone();
            let wait = self.pass(&desired, &candidates).await;
            match self.next(&mut channels, wait).await {
                Wake::Shutdown => break,
                Wake::Drain => {
                    self.drain(&desired, channels).await;
                    break;
                }
                Wake::Look => {}
                Wake::Firewall => self.routing.forget(),
                Wake::Command(command) => self.command(command, &desired).await,
                Wake::Found(found) => self.found(found, &desired).await,
                Wake::Finished(finished) => self.finished(finished, &desired),
            }
        }
        self.work.wind_down().await;
        self.save().await;
    }

    /// Waits for the next thing that matters, `wait` at most.
    async fn next(&mut self, channels: &mut Channels, wait: Duration) -> Wake {
        tokio::select! {
            // Shutdown first, then results: they make room for the next step.
            biased;
            // Nothing is consumed by a wait that is given up.
            () = channels.shutdown.cancelled() => Wake::Shutdown,
            () = channels.drain.cancelled() => Wake::Drain,
            // Takes a finished task only by returning it.
            finished = self.work.next() => Wake::Finished(finished),
            // Takes a message only by returning it.
            Some(command) = channels.commands.recv() => Wake::Command(command),
            // Takes an answer only by returning it.
            found = self.lookups.next() => Wake::Found(found),
            // These six keep what happened until they return for it; the pass reads the newest state anyway.
            () = self.observer.changed() => Wake::Look,
            () = self.gates.changed() => Wake::Look,
            () = self.room.changed() => Wake::Look,
            () = self.routing.changed() => Wake::Firewall,
            Ok(()) = channels.desired.changed() => Wake::Look,
            Ok(()) = channels.candidates.changed() => Wake::Look,
            // The moment is computed anew at each pass.
            () = tokio::time::sleep(wait) => Wake::Look,
        }
    }

    /// Observes, plans, begins the steps, publishes. Returns how long nothing needs to be done if nothing happens.
    async fn pass(&mut self, desired: &Desired, candidates: &Candidates) -> Duration {
        self.heartbeat.beat();
        let seen = self.observer.observe(desired, candidates, &self.history, &self.clock).await;
        if let EngineView::Up { containers, .. } = &seen.engine {
            self.gates.watch(&watched(desired, containers));
            self.containers.clone_from(containers);
            let signalled = self.observer.engine().signalled();
            outcome::ended_by_others(&mut self.history, containers, &signalled);
            self.room.look().await;
        }
        let memory = &self.history.memory;
        let connections = self.routing.connections(memory, desired, &self.containers).await;
        let mut observed = Observed {
            engine: seen.engine,
            images: seen.images,
            candidates: candidates.clone(),
            verdicts: self.gates.verdicts(),
            in_flight: self.work.in_flight(),
            rules: self.routing.look().await,
            bridges: seen.bridges,
            connections,
            disk: self.room.disk(),
            store: self.room.store(),
        };
        // Read after observing, so that nothing observed lies in the future.
        let now = (self.clock)();
        let mut plan = plan::plan(desired, &observed, &self.history, now);
        if self.room.asked(&plan.reclaim).await {
            observed.disk = self.room.disk();
            plan = plan::plan(desired, &observed, &self.history, now);
        }
        if outcome::remember(&mut self.history, &plan, &observed) {
            self.unsaved.get_or_insert(Unsaved::NotTried);
        }
        // Before any step: an address that was given back may be that of the next container that is started.
        let rerouted = match &plan.rules {
            Some(rules) => self.routing.put(rules).await,
            None => false,
        };
        let decided_again = self.begin(&plan, desired, now).await || rerouted;
        self.publish(&plan, desired, now);
        let wake_at = plan.wake_at.into_iter().chain(self.routing.retry_at()).min();
        let wait = wake_at.map_or(LONGEST_WAIT, |wake_at| {
            Duration::try_from(wake_at.duration_since(now)).unwrap_or(SHORTEST_WAIT)
        });
        if decided_again { SHORTEST_WAIT } else { wait.clamp(SHORTEST_WAIT, LONGEST_WAIT) }
    }

    /// Begins the steps of the plan. Returns whether the history changed under it, so that it is to be made anew.
    async fn begin(&mut self, plan: &Plan, desired: &Desired, now: Timestamp) -> bool {
        let steps = plan.services.iter().flat_map(|planned| {
            planned.step.iter().chain(&planned.pull).map(|step| (planned.name.as_str(), step))
        });
        let removals = plan.removals.iter();
        let removals =
            removals.flat_map(|removal| removal.step.iter().map(|step| (removal.service.as_str(), step)));
        let images = plan.reclaim.step.iter().map(|step| (NODE, step));
        let mut decided_again = false;
        let mut ready = Vec::new();
        for (name, step) in steps.chain(removals).chain(images) {
            let wanted = desired.service(name);
            tracing::info!("{name}: {}", step.reason);
            if let Action::RecordGood { .. } = step.action {
                outcome::done(&mut self.history, (name, wanted), &step.action, Outcome::Done, now);
                decided_again = true;
                self.unsaved.get_or_insert(Unsaved::NotTried);
                continue;
            }
            if outcome::begun(&mut self.history, (name, wanted), &step.action, now) {
                self.unsaved.get_or_insert(Unsaved::NotTried);
            }
            ready.push((name, wanted, &step.action));
        }
        // One write for the whole pass, and before any step that relies on it.
        self.save().await;
        for (name, wanted, action) in ready {
            if let Action::Stop { container_id, .. } = action {
                self.routing.forget_drained(&self.history.memory, &self.containers, container_id).await;
            }
            self.work.begin(name, wanted.cloned(), action.clone());
        }
        decided_again
    }

    /// Takes over what came of a step.
    fn finished(&mut self, finished: work::Finished, desired: &Desired) {
        let work::Finished { service, action, result } = finished;
        let now = (self.clock)();
        if matches!(action, Action::Pull { .. } | Action::Create { .. } | Action::RemoveImage { .. }) {
            self.observer.forget_images();
        }
        if matches!(action, Action::Pull { .. } | Action::RemoveImage { .. }) {
            self.room.forget();
        }
        match result {
            Ok(outcome) => {
                let wanted = desired.service(&service);
                if outcome::done(&mut self.history, (&service, wanted), &action, outcome, now) {
                    self.unsaved.get_or_insert(Unsaved::NotTried);
                }
            }
            Err(error) => {
                tracing::warn!("{}", node::fault::with_hint(&error));
                outcome::failed(&mut self.history, &service, &action, error.failure(now));
            }
        }
    }

    /// Writes the history if it changed, or was not written when it did. A disk that is full stops nothing.
    async fn save(&mut self) {
        let Some(before) = self.unsaved.take() else { return };
        let (store, durable) = (self.store.clone(), self.history.durable.clone());
        let saved = tokio::task::spawn_blocking(move || store.save(&durable)).await;
        match saved {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                if matches!(before, Unsaved::NotTried) {
                    tracing::warn!("{}", node::fault::with_hint(&error));
                }
                self.unsaved = Some(Unsaved::Failed(error));
            }
            Err(error) => {
                tracing::error!("the write of the history broke off: {error}");
                self.unsaved = Some(Unsaved::NotTried);
            }
        }
    }
}

/// The running containers of wanted services, with what is to be asked of them.
fn watched(desired: &Desired, containers: &[Container]) -> Vec<(Container, Health, Network)> {
    let running = containers.iter().filter(|container| run_of(container).is_some());
    let watched = running.filter_map(|container| {
        let settings = &desired.service(&container.service)?.settings;
        Some((container.clone(), settings.health.clone(), settings.network))
    });
    watched.collect()
}

fn run_of(container: &Container) -> Option<Run> {
    match container.state {
        ContainerState::Running { started_at } => {
            Some(Run { container_id: container.id.clone(), started_at })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
