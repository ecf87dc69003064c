//! Models of the node: the loop wait -> observe -> plan -> note -> apply -> publish, for the model server as `reconcile`
//! is for containers.
//!
//! ```text
//! settings, containers on the board -> server, registry, files -> observed --+
//! models.json ------------------------------------------------> record ------+-> plan (pure) -> work -> server, files
//!                                                                            +-> board, models.json, models.lock
//! ```
//!
//! The truth is with the server and on its volume: digests of `/api/tags`, names of kept versions, files. A version that
//! is kept has a name of its own, made of its digest ([`plan::kept_name`]), so that no step can take it for another.
//! What always holds: at most one pull and one other step are under way; what a plan has found out is on disk, if it can
//! be written at all, before a step of that plan begins. A pass does not fail: what went wrong is a problem on the board.
//! Not its job: the container of the server, which is a service like any other; deciding, which [`plan`] does.

mod commands;
pub mod files;
mod folder;
mod gpus;
mod judge;
mod lock;
pub mod manifest;
mod observe;
pub mod observed;
pub mod plan;
mod presence;
mod publish;
mod questions;
pub mod record;
pub mod registry;
mod restarts;
pub mod server;
pub mod store;
mod work;

pub use publish::announce;

use crate::board::{Board, Changes};
use crate::clock::Clock;
use crate::command::{Command, ModelCommand};
use crate::engine::Engine;
use jiff::Timestamp;
use node::config::settings;
use observe::Place;
use observed::{Attempt, Lookup, Observed, Serving, StepKind, WarmedView};
use plan::{Action, Note, Plan};
use registry::Manifest;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use store::{Store, StoreError};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// From one publication of a progress to the next.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// Between two passes at most.
const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// At least: a clock that moves oddly must not make the loop spin.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);
/// The same where the pass itself has changed what the plan depends on.
const AT_ONCE: Duration = Duration::from_millis(1);

/// What should be.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// `[models]`
    pub models: settings::Models,
    /// `[models] directory`, as this process sees it.
    pub directory: Option<PathBuf>,
    /// The service that serves them; absent for a server at a URL.
    pub service: Option<settings::Service>,
    /// Bytes of memory that the server may use; absent where that is not known.
    pub memory_bytes: Option<u64>,
}

/// What the loop works on.
#[derive(Debug)]
pub struct Outside<S, R, F, E> {
    /// Serves the models.
    pub server: Arc<S>,
    /// Says what tags name.
    pub registry: Arc<R>,
    /// The models' folder.
    pub files: Arc<F>,
    /// Asked for the GPUs of the serving container.
    pub engine: Arc<E>,
    /// Where the record lies.
    pub store: Store,
}

/// What the loop is told, and where it tells.
pub struct Inputs {
    /// What should be.
    pub wanted: Wanted,
    /// What an operator asks.
    pub commands: mpsc::Receiver<ModelCommand>,
    /// To the reconcile loop, to have the server's container restarted.
    pub services: mpsc::Sender<Command>,
    /// Where containers are read, and models and problems published.
    pub board: Board,
    /// Where the time comes from.
    pub clock: Clock,
    /// Ends the loop: when the agent stops, and when the machine goes down. The server keeps what came of a pull.
    pub shutdown: CancellationToken,
}

/// Runs until shutdown. [`announce`] comes before.
pub async fn run<S, R, F, E>(outside: Outside<S, R, F, E>, inputs: Inputs)
where
    S: server::ModelServer,
    R: registry::ModelRegistry,
    F: files::ModelFiles,
    E: Engine,
{
    let Outside { server, registry, files, engine, store } = outside;
    let Inputs { wanted, commands, services, board, clock, shutdown } = inputs;
    let (durable, damage) = store.load();
    if let Some(error) = &damage {
        tracing::warn!("{}", node::fault::with_hint(error));
    }
    let directory = wanted.directory.clone();
    publish::recall(&wanted.models, &durable, &board, clock());
    let wants_gpus = wanted.service.as_ref().is_some_and(|service| service.gpus.is_some());
    let tools =
        work::Tools { server: Arc::clone(&server), files: Arc::clone(&files), directory: directory.clone() };
    let models = Models {
        observer: observe::Observer::new(Arc::clone(&server)),
        folder: folder::Folder::new(files, directory),
        gpus: gpus::Gpus::new(engine, wants_gpus),
        lookups: questions::Lookups::new(registry),
        kinds: questions::Kinds::new(server),
        work: work::Work::new(tools, Arc::clone(&clock)),
        restarts: restarts::Restarts::new(services),
        presence: presence::Presence::default(),
        serving: Serving { wants_gpus },
        wanted,
        attempts: BTreeMap::new(),
        warmed: BTreeMap::new(),
        damaged: BTreeSet::new(),
        asked: Vec::new(),
        durable,
        damage,
        unsaved: None,
        store,
        published: None,
        board,
        clock,
    };
    let changes = models.board.changes();
    models.run(Channels { commands, changes, shutdown }).await;
}

struct Channels {
    commands: mpsc::Receiver<ModelCommand>,
    changes: Changes,
    shutdown: CancellationToken,
}

/// Why the loop woke.
enum Wake {
    Shutdown,
    /// Something to observe: the server's container, its folder, time.
    Look,
    Command(ModelCommand),
    Finished(Box<work::Finished>),
    Found(questions::Found),
    Shown(questions::Shown),
    Gpus(gpus::Told),
}

struct Models<S, R, F, E> {
    observer: observe::Observer<S>,
    folder: folder::Folder<F>,
    gpus: gpus::Gpus<E>,
    lookups: questions::Lookups<R>,
    kinds: questions::Kinds<S>,
    work: work::Work<S, F>,
    restarts: restarts::Restarts,
    presence: presence::Presence,
    serving: Serving,
    wanted: Wanted,
    attempts: BTreeMap<(String, StepKind), Attempt>,
    warmed: BTreeMap<String, WarmedView>,
    damaged: BTreeSet<String>,
    /// Commands that wait for the answer of a registry.
    asked: Vec<commands::Asked>,
    durable: record::Durable,
    /// Why the record was empty at the start, if it should not have been.
    damage: Option<StoreError>,
    /// Why the record on disk is not the one in memory, if it is not.
    unsaved: Option<Unsaved>,
    store: Store,
    published: Option<publish::Published>,
    board: Board,
    clock: Clock,
}

enum Unsaved {
    NotTried,
    Failed(StoreError),
}

impl<S, R, F, E> Models<S, R, F, E>
where
    S: server::ModelServer,
    R: registry::ModelRegistry,
    F: files::ModelFiles,
    E: Engine,
{
    async fn run(mut self, mut channels: Channels) {
        let shutdown = channels.shutdown.clone();
        // Looking can take as long as a server keeps silent, and giving it up loses nothing.
        while let Some(place) = shutdown.run_until_cancelled(self.look()).await {
            let wait = self.pass(&place).await;
            match self.next(&mut channels, &place, wait).await {
                Wake::Shutdown => break,
                Wake::Look => {}
                Wake::Command(command) => self.command(command).await,
                Wake::Finished(finished) => self.finished(*finished),
                Wake::Found(found) => self.found(found).await,
                Wake::Shown(shown) => self.kinds.take(shown),
                Wake::Gpus(told) => self.gpus.take(told, (self.clock)()),
            }
        }
        self.work.wind_down().await;
        self.save().await;
    }

    /// Waits for the next thing that matters, `wait` at most.
    async fn next(&mut self, channels: &mut Channels, place: &Place, wait: Duration) -> Wake {
        tokio::select! {
            // Shutdown first, then results: they make room for the next step.
            biased;
            // Nothing is consumed by a wait that is given up.
            () = channels.shutdown.cancelled() => Wake::Shutdown,
            // Takes a finished task only by returning it; so do the other four.
            finished = self.work.next() => Wake::Finished(Box::new(finished)),
            // Takes a message only by returning it.
            Some(command) = channels.commands.recv() => Wake::Command(command),
            found = self.lookups.next() => Wake::Found(found),
            shown = self.kinds.next() => Wake::Shown(shown),
            told = self.gpus.next() => Wake::Gpus(told),
            () = self.folder.changed() => Wake::Look,
            // The pass reads the newest state anyway.
            () = moved(&self.wanted, &self.board, &mut channels.changes, place) => Wake::Look,
            // The moment is computed anew at each pass.
            () = tokio::time::sleep(wait) => Wake::Look,
        }
    }

    /// Looks at what may have changed. Returns where the server is. Cancel safe.
    async fn look(&mut self) -> Place {
        let place = observe::place(&self.wanted, &self.board);
        self.observer.look(place.clone(), self.work.is_busy(), &self.clock).await;
        self.folder.look(self.work.pulling().is_some()).await;
        self.gpus.look(&place);
        place
    }

    /// Plans, notes, begins the steps, publishes. Returns how long nothing needs to be done if nothing happens.
    async fn pass(&mut self, place: &Place) -> Duration {
        // Read after observing, so that nothing observed lies in the future.
        let now = (self.clock)();
        let observed = self.observed(now);
        let plan = plan::plan(&self.wanted.models, &self.serving, &observed, &self.durable, now);
        self.restarts.judged(plan.gpu_is_lost, now);
        let found_out = self.note(&plan.notes, now);
        // Before any step that relies on it.
        self.save().await;
        let begun = self.begin(&plan, place, now);
        self.publish(&plan, now);
        if found_out || begun { AT_ONCE } else { self.wait(&plan, now) }
    }

    fn observed(&mut self, now: Timestamp) -> Observed {
        let server = self.observer.view();
        let loads = self.work.step().is_some_and(|step| step.kind == StepKind::Load);
        self.presence.look(&server, loads, now);
        self.restarts.settle();
        let (files, files_problem) = self.folder.view();
        if let Some(files) = &files {
            self.damaged.retain(|layer| files.blobs.contains_key(layer));
        }
        Observed {
            server,
            files_seen_at: files.is_some().then(|| now - self.folder.age()),
            broken_since: self.folder.broken().map(|(digest, age)| (digest, now - age)).collect(),
            files,
            files_problem,
            lookups: self.lookups(),
            kinds: self.kinds.answers().clone(),
            gpu: self.gpus.view(),
            memory_bytes: self.wanted.memory_bytes,
            pulling: self.work.pulling(),
            step: self.work.step(),
            attempts: self.attempts.clone(),
            warmed: self.warmed.clone(),
            damaged: self.damaged.clone(),
            vanished: self.presence.vanished().clone(),
            on_cpu: self.presence.on_cpu().clone(),
            has_gpu: self.presence.has_gpu(),
            gpu_restarts: self.restarts.count(),
            gpu_restarts_of_loss: self.restarts.of_loss(),
            gpu_restarted_at: self.restarts.last(),
        }
    }

    /// What registries said, under the digests by which the server, node.toml and the record know the versions.
    fn lookups(&self) -> BTreeMap<String, Lookup> {
        let models = self.wanted.models.pull.values();
        let configured: BTreeSet<&str> = models.filter_map(|model| model.digest.as_deref()).collect();
        let named = |full: &str, lookup: &Lookup| {
            let record = self.durable.record(full);
            let is_known = |digest: &str| {
                configured.contains(digest) || record.is_some_and(|record| record.names(digest))
            };
            let settled = |manifest: &Manifest| {
                let seen = manifest.clone().known_as(|digest| self.observer.has(digest));
                if self.observer.has(&seen.digest) { seen } else { seen.known_as(is_known) }
            };
            Lookup {
                at: lookup.at,
                answer: lookup.answer.as_ref().map(settled).map_err(Clone::clone),
                known: lookup.known.as_ref().map(settled),
            }
        };
        let answers = self.lookups.answers().iter();
        answers.map(|(full, lookup)| (full.clone(), named(full, lookup))).collect()
    }

    /// Remembers. Returns whether the plan is to be made anew for it.
    fn note(&mut self, notes: &[Note], now: Timestamp) -> bool {
        let mut matters = false;
        for note in notes {
            if self.durable.note(note, now) {
                self.unsaved.get_or_insert(Unsaved::NotTried);
                matters |= !matches!(note, Note::Needed(_));
            }
        }
        matters
    }

    /// Begins what the plan has. Returns whether other steps are under way than before.
    fn begin(&mut self, plan: &Plan, place: &Place, now: Timestamp) -> bool {
        for name in &plan.lookups {
            self.lookups.begin(name);
        }
        if let Some(dropped) = &plan.drop_pull {
            tracing::info!("a pull is given up: {dropped}");
            self.work.drop_pull();
        }
        if let Some(dropped) = &plan.drop_step {
            tracing::info!("a step is put off: {dropped}");
            self.work.drop_step();
        }
        let dropped = plan.drop_pull.is_some() || plan.drop_step.is_some();
        let Some(endpoint) = place.endpoint() else { return dropped };
        for name in &plan.kinds {
            if let Some(digest) = self.observer.digest(name) {
                self.kinds.begin(endpoint, name, digest);
            }
        }
        if let (Some(reason), settings::ModelServer::Service { name, .. }) =
            (&plan.restart_server, &self.wanted.models.server)
        {
            self.restarts.begin(name, reason, now);
        }
        let steps = plan.pull.iter().chain(&plan.step);
        let begun = steps.filter(|step| self.work.begin(endpoint.clone(), (*step).clone(), now));
        begun.count() > 0 || dropped
    }

    fn wait(&self, plan: &Plan, now: Timestamp) -> Duration {
        let wake_in = |at: Timestamp| Duration::try_from(at.duration_since(now)).unwrap_or(SHORTEST_WAIT);
        let planned = plan.wake_at.map_or(LONGEST_WAIT, wake_in);
        let progress = if self.work.shows_progress() { PROGRESS_EVERY } else { LONGEST_WAIT };
        let look = self.observer.due_in(self.work.is_busy());
        planned.min(progress).min(look).clamp(SHORTEST_WAIT, LONGEST_WAIT)
    }

    /// Takes over what came of a step.
    fn finished(&mut self, finished: work::Finished) {
        let work::Finished { step, result, found, .. } = finished;
        let now = (self.clock)();
        let kind = step.action.kind();
        self.note(&found.notes, now);
        self.damaged.extend(found.damaged);
        if let Err(failure) = &result {
            let hint = failure.hint.as_ref().map(|hint| format!(" (hint: {hint})")).unwrap_or_default();
            tracing::warn!(code = failure.code, "{}: {}{hint}", step.model, failure.message);
        }
        if let (Action::Unload { name, .. }, Ok(())) = (&step.action, &result) {
            self.presence.unloaded(name);
        }
        if let (Some(digest), Some(warmed)) = (work::digest(&step.action), found.warmed) {
            let view = WarmedView { progress: warmed.progress, not_kept: warmed.kept.err() };
            self.warmed.insert(digest, view);
        }
        self.observer.forget();
        match kind {
            StepKind::Pull | StepKind::Name | StepKind::Remove | StepKind::Verify => self.folder.forget(),
            StepKind::Load => self.gpus.forget(),
            StepKind::Warm | StepKind::Smoke | StepKind::Unload => {}
        }
        let key = (step.model, kind);
        let digest = work::digest(&step.action);
        let attempt = judge::attempt(self.attempts.get(&key), digest, result.err(), now);
        self.attempts.insert(key, attempt);
    }

    /// Writes the record if it changed, or was not written when it did. A disk that is full stops nothing.
    async fn save(&mut self) {
        let Some(before) = &self.unsaved else { return };
        let first = matches!(before, Unsaved::NotTried);
        let (store, durable, models) = (self.store.clone(), self.durable.clone(), self.wanted.models.clone());
        let saved = tokio::task::spawn_blocking(move || store.save(&durable, &models)).await;
        self.unsaved = match saved {
            Ok(Ok(())) => None,
            Ok(Err(error)) => {
                if first {
                    tracing::warn!("{}", node::fault::with_hint(&error));
                }
                Some(Unsaved::Failed(error))
            }
            Err(error) => {
                tracing::error!("the write of the models' record broke off: {error}");
                Some(Unsaved::NotTried)
            }
        };
    }
}

/// Returns when the server is to be looked for elsewhere, or the reason why it does not run is another. Cancel safe.
async fn moved(wanted: &Wanted, board: &Board, changes: &mut Changes, before: &Place) {
    while changes.next().await {
        if observe::place(wanted, board) != *before {
            return;
        }
    }
    // A board that is gone has ended with the agent.
    std::future::pending().await
}

#[cfg(test)]
mod tests;
