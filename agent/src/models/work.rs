//! Steps that are under way: at most one pull and one other step, each a task.

use super::files::{FilesError, ModelFiles, WarmProgress, Warmed};
use super::judge;
use super::observed::{Failure, PullUnderWay, StepKind, StepUnderWay};
use super::plan::{Action, Note, Step};
use super::server::{Endpoint, ModelServer as Server, PullProgress, ServerError};
use crate::clock::Clock;
use jiff::Timestamp;
use node::fault::one_line;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::{AbortHandle, JoinSet};

/// What a step gets to finish in when the agent stops: enough for a name, and a longer one is begun again.
const WIND_DOWN: Duration = Duration::from_secs(3);

/// What steps are carried out on.
pub(super) struct Tools<S, F> {
    pub(super) server: Arc<S>,
    pub(super) files: Arc<F>,
    pub(super) directory: Option<PathBuf>,
}

impl<S, F> Clone for Tools<S, F> {
    fn clone(&self) -> Self {
        let (server, files) = (Arc::clone(&self.server), Arc::clone(&self.files));
        Tools { server, files, directory: self.directory.clone() }
    }
}

/// What came of a step.
pub(super) struct Finished {
    number: u64,
    pub(super) step: Step,
    pub(super) result: Result<(), Failure>,
    /// Found out on the way, whatever came of it.
    pub(super) found: Found,
}

#[derive(Default)]
pub(super) struct Found {
    pub(super) notes: Vec<Note>,
    /// A layer that is not what its name says.
    pub(super) damaged: Option<String>,
    pub(super) warmed: Option<Warmed>,
}

#[derive(Clone, Copy)]
struct Progress {
    pull: PullProgress,
    moved_at: Timestamp,
    warming: Option<WarmProgress>,
}

struct Lane {
    /// Tells a step from the one before it in the same lane.
    number: u64,
    step: Step,
    since: Timestamp,
    progress: Arc<Mutex<Progress>>,
    task: AbortHandle,
}

impl Lane {
    fn progress(&self) -> Progress {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All steps under way.
pub(super) struct Work<S, F> {
    tools: Tools<S, F>,
    clock: Clock,
    pull: Option<Lane>,
    step: Option<Lane>,
    begun: u64,
    tasks: JoinSet<Finished>,
}

impl<S: Server, F: ModelFiles> Work<S, F> {
    pub(super) fn new(tools: Tools<S, F>, clock: Clock) -> Work<S, F> {
        Work { tools, clock, pull: None, step: None, begun: 0, tasks: JoinSet::new() }
    }

    pub(super) fn is_busy(&self) -> bool {
        self.pull.is_some() || self.step.is_some()
    }

    /// The pull, as the plan sees it.
    pub(super) fn pulling(&self) -> Option<PullUnderWay> {
        let lane = self.pull.as_ref()?;
        let Progress { pull, moved_at, .. } = lane.progress();
        let digest = digest(&lane.step.action)?;
        Some(PullUnderWay {
            model: lane.step.model.clone(),
            digest,
            since: lane.since,
            progress: pull,
            moved_at,
        })
    }

    /// The other step, as the plan sees it.
    pub(super) fn step(&self) -> Option<StepUnderWay> {
        let lane = self.step.as_ref()?;
        let (model, kind) = (lane.step.model.clone(), lane.step.action.kind());
        Some(StepUnderWay { model, kind, since: lane.since, warming: lane.progress().warming })
    }

    /// Whether something is under way whose progress is shown.
    pub(super) fn shows_progress(&self) -> bool {
        let warms = |lane: &Lane| lane.step.action.kind() == StepKind::Warm;
        self.pull.is_some() || self.step.as_ref().is_some_and(warms)
    }

    /// Begins a step, on the server at that place. The plan gives none for a lane that is taken; one that it gives all the
    /// same is not begun.
    pub(super) fn begin(&mut self, at: Endpoint, step: Step, now: Timestamp) -> bool {
        let pulls = matches!(step.action, Action::Pull { .. });
        if (if pulls { &self.pull } else { &self.step }).is_some() {
            return false;
        }
        tracing::info!("{}: {}", step.model, step.reason);
        self.begun += 1;
        let number = self.begun;
        let nothing = Progress { pull: PullProgress::default(), moved_at: now, warming: None };
        let progress = Arc::new(Mutex::new(nothing));
        let report = Report { progress: Arc::clone(&progress), clock: Arc::clone(&self.clock) };
        let (tools, doing) = (self.tools.clone(), step.clone());
        let task = self.tasks.spawn(async move {
            let mut found = Found::default();
            let result = apply(&tools, &at, &doing, (&report, &mut found)).await;
            Finished { number, step: doing, result, found }
        });
        let lane = Some(Lane { number, step, since: now, progress, task });
        if pulls {
            self.pull = lane;
        } else {
            self.step = lane;
        }
        true
    }

    /// Gives up the pull: the server keeps what came.
    pub(super) fn drop_pull(&mut self) {
        if let Some(lane) = self.pull.take() {
            lane.task.abort();
        }
    }

    /// Gives up the other step: what it was at is begun again.
    pub(super) fn drop_step(&mut self) {
        if let Some(lane) = self.step.take() {
            lane.task.abort();
        }
    }

    /// The next step that ends; never, while none is under way. Cancel safe.
    pub(super) async fn next(&mut self) -> Finished {
        loop {
            match self.tasks.join_next().await {
                // One that was given up when it had just ended is no longer in its lane.
                Some(Ok(finished)) if self.free(finished.number) => return finished,
                Some(Ok(_)) => {}
                Some(Err(error)) if error.is_cancelled() => {}
                // A panic ends the process.
                Some(Err(error)) => tracing::error!("a step broke off: {error}"),
                None => std::future::pending().await,
            }
        }
    }

    fn free(&mut self, number: u64) -> bool {
        for lane in [&mut self.pull, &mut self.step] {
            if lane.take_if(|lane| lane.number == number).is_some() {
                return true;
            }
        }
        false
    }

    /// Gives up what takes long, and lets the rest finish, for a moment. All of it is begun again at the next start.
    pub(super) async fn wind_down(&mut self) {
        self.drop_pull();
        let short = |lane: &Lane| matches!(lane.step.action.kind(), StepKind::Name | StepKind::Remove);
        if let Some(lane) = self.step.take_if(|lane| !short(lane)) {
            lane.task.abort();
        }
        let drained = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(WIND_DOWN, drained).await.is_err() {
            tracing::warn!(
                "a step did not finish in {} s; the next start does it again",
                WIND_DOWN.as_secs()
            );
        }
        self.tasks.shutdown().await;
    }
}

/// The version that a step is about.
pub(super) fn digest(action: &Action) -> Option<String> {
    match action {
        Action::Pull { digest, .. }
        | Action::Copy { digest, .. }
        | Action::Verify { digest, .. }
        | Action::Warm { digest, .. }
        | Action::Load { digest, .. }
        | Action::Smoke { digest, .. } => Some(digest.clone()),
        Action::Unload { .. } | Action::Delete { .. } | Action::Clean { .. } => None,
    }
}

struct Report {
    progress: Arc<Mutex<Progress>>,
    clock: Clock,
}

impl Report {
    fn pull(&self, now: PullProgress) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if progress.pull.completed_bytes != now.completed_bytes {
            progress.moved_at = (self.clock)();
        }
        progress.pull = now;
    }

    fn warm(&self, now: WarmProgress) {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).warming = Some(now);
    }
}

async fn apply<S: Server, F: ModelFiles>(
    tools: &Tools<S, F>,
    at: &Endpoint,
    step: &Step,
    (report, found): (&Report, &mut Found),
) -> Result<(), Failure> {
    let server = &tools.server;
    let kind = step.action.kind();
    let judged = |result: Result<(), ServerError>| result.map_err(|error| judge::failed(kind, &error));
    match &step.action {
        Action::Pull { name, .. } => judged(server.pull(at, name, &|now| report.pull(now)).await),
        Action::Copy { from, to, .. } => judged(server.copy(at, from, to).await),
        Action::Load { name, kind, deadline, .. } => judged(server.load(at, name, *kind, *deadline).await),
        Action::Unload { name, kind } => judged(server.unload(at, name, *kind).await),
        Action::Delete { name } => judged(server.delete(at, name).await),
        Action::Smoke { name, smoke, .. } => {
            let answer = server.answer(at, name, &smoke.prompt, smoke.within).await;
            let answer = answer.map_err(|error| judge::failed(kind, &error))?;
            judge::answered(&name.to_string(), smoke, &answer)
        }
        Action::Verify { layers, .. } => verify(tools, layers, found).await,
        Action::Warm { layers, rate, .. } => {
            let warming = |now: WarmProgress| report.warm(now);
            let warmed = tools.files.warm(folder(tools)?, layers, *rate, &warming).await;
            found.warmed = Some(warmed.map_err(|error| unreadable(&error))?);
            Ok(())
        }
        Action::Clean { partials, blobs } => {
            let directory = folder(tools)?;
            let removed = tools.files.remove_partials(directory, partials).await;
            removed.map_err(|error| unreadable(&error))?;
            tools.files.remove_blobs(directory, blobs).await.map_err(|error| unreadable(&error))
        }
    }
}

async fn verify<S, F: ModelFiles>(
    tools: &Tools<S, F>,
    layers: &[(String, u64)],
    found: &mut Found,
) -> Result<(), Failure> {
    let directory = folder(tools)?;
    for (layer, size_bytes) in layers {
        let why = match tools.files.verify(directory, layer, *size_bytes).await {
            Ok(true) => {
                found.notes.push(Note::Verified(vec![(layer.clone(), *size_bytes)]));
                continue;
            }
            Ok(false) => {
                found.damaged = Some(layer.clone());
                "is not what its name says"
            }
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => "is missing",
            Err(error) => return Err(unreadable(&error)),
        };
        found.notes.push(Note::Unverified(layer.clone()));
        return Err(Failure {
            code: "model_layer_damaged",
            message: format!("layer {layer} in {} {why}", directory.display()),
            hint: Some("look at the kernel's log for errors of the volume".to_owned()),
            blames_version: false,
        });
    }
    Ok(())
}

fn folder<S, F>(tools: &Tools<S, F>) -> Result<&Path, Failure> {
    tools.directory.as_deref().ok_or_else(|| Failure {
        code: "model_directory_unknown",
        message: "the folder of the models is not known".to_owned(),
        hint: Some("name it in [models] directory".to_owned()),
        blames_version: false,
    })
}

fn unreadable(error: &FilesError) -> Failure {
    Failure {
        code: "model_files_unreadable",
        message: one_line(error),
        hint: Some("look at the volume of the models, and at the kernel's log".to_owned()),
        blames_version: false,
    }
}
