//! The agent's programs and units: baked into the AMI, or fetched by URL and sha256, installed as one version, and taken
//! back when that version does not become ready.

mod fetch;
mod install;
mod plan;
mod start;
mod trial;
mod unpack;
mod version;

pub(crate) use start::start;
pub(crate) use trial::run as start_on_trial;

use crate::step::{Ending, Fault, Intent, PlannedStep};
use fetch::FetchError;
use install::Times;
use node::config::settings::AgentArtifact;
use node::fault::Hint;
use node::paths::Paths;
use plan::{Observed, PROGRAM, Plan};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use unpack::UnpackError;
use version::{INSTALLED, REFUSED, TRIAL, Trial, Version};

/// What an installation has changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// The agent itself.
    pub(crate) program: bool,
    /// Any unit, and what creates users and folders.
    pub(crate) units: bool,
    /// The version that is installed has yet to become ready, and there is one to go back to.
    pub(crate) trial: Option<Trial>,
}

impl Changes {
    fn note(&mut self, file: &str, changed: bool) {
        self.program |= changed && file == PROGRAM;
        self.units |= changed && !file.starts_with("/usr/bin/") && !version::is_for_people(file);
    }
}

#[derive(Debug, thiserror::Error)]
enum InstallError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    #[error("cannot {operation} {path}")]
    File {
        operation: &'static str,
        path: String,
        #[source]
        source: io::Error,
    },
}

impl Hint for InstallError {
    fn hint(&self) -> Option<String> {
        match self {
            InstallError::Fetch(error) => error.hint(),
            InstallError::Unpack(error) => error.hint(),
            InstallError::File { path, .. } => {
                Some(format!("look at `df {path}` and `findmnt -T {path}`, then run node-bootstrap again"))
            }
        }
    }
}

fn file_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> InstallError {
    let path = path.display().to_string();
    move |source| InstallError::File { operation, path, source }
}

/// The tarball, for as long as it takes to fetch and install it.
fn download_path(paths: &Paths) -> PathBuf {
    paths.state().join("agent.tar.gz.part")
}

fn observe(paths: &Paths) -> Observed {
    let installed: Option<Version> = version::read(paths, INSTALLED);
    let is_there = |file: &String| version::is_for_people(file) || paths.at(file).is_file();
    let complete = installed.as_ref().is_some_and(|version| version.files.iter().all(is_there));
    Observed {
        installed,
        complete,
        has_program: is_installed(paths),
        trial: version::read(paths, TRIAL),
        refused: version::read(paths, REFUSED),
        configuration: trial::configuration(paths),
    }
}

/// Whether there is an agent to start.
pub(crate) fn is_installed(paths: &Paths) -> bool {
    paths.at(PROGRAM).is_file()
}

/// What `run` would do.
pub(crate) fn preview(paths: &Paths, artifact: Option<&AgentArtifact>) -> PlannedStep {
    let plan = plan::plan(&observe(paths), artifact);
    match &plan {
        Plan::Keep(reason) => PlannedStep::new("agent", Intent::Unchanged, reason.clone()),
        Plan::Refuse(fault) => PlannedStep::refuse("agent", fault),
        _ => PlannedStep::new("agent", Intent::Change, plan::reason(&plan)),
    }
}

/// Gets the agent onto the node.
pub(crate) async fn run(paths: &Paths, artifact: Option<&AgentArtifact>) -> (Ending, Changes) {
    let mut observed = observe(paths);
    let mut restored = Changes::default();
    if let Plan::Restore(trial) = plan::plan(&observed, artifact) {
        tracing::warn!("agent: {}", plan::reason(&Plan::Restore(trial.clone())));
        match put_back(paths, &trial) {
            Ok(changes) => restored = changes,
            Err(error) => return (failed(paths, &error), Changes::default()),
        }
        observed = observe(paths);
    }
    let (ending, mut changes) = carry_out(paths, plan::plan(&observed, artifact), observed.installed).await;
    changes.program |= restored.program;
    changes.units |= restored.units;
    (ending, changes)
}

async fn carry_out(paths: &Paths, plan: Plan<'_>, installed: Option<Version>) -> (Ending, Changes) {
    let reason = plan::reason(&plan);
    if !matches!(plan, Plan::Fetch(_)) {
        // A run that was killed after it had installed leaves its download.
        let _ = fs::remove_file(download_path(paths));
    }
    match plan {
        Plan::Keep(_) => (Ending::unchanged(reason), Changes::default()),
        Plan::Refuse(fault) => (Ending::failed(fault), Changes::default()),
        // It has been put back just now.
        Plan::Restore(_) => (Ending::done(reason), Changes::default()),
        Plan::Try(trial) => (Ending::unchanged(reason), Changes { trial: Some(trial), ..Changes::default() }),
        Plan::GoBack(trial) => match install::restore(paths, &trial, Times::New) {
            Ok(changes) => (Ending::done(reason), Changes { trial: Some(trial), ..changes }),
            Err(error) => (failed(paths, &error), Changes::default()),
        },
        Plan::Fetch(artifact) => {
            tracing::info!("agent: fetches {}", fetch::shown(&artifact.url));
            match fetch_and_install(paths, artifact, installed).await {
                Ok((version, changes)) => (Ending::done(format!("installed {}", version.name)), changes),
                Err(error) => (failed(paths, &error), Changes::default()),
            }
        }
    }
}

fn put_back(paths: &Paths, trial: &Trial) -> Result<Changes, InstallError> {
    let changes = install::restore(paths, trial, Times::New)?;
    version::forget(paths, TRIAL).map_err(file_error("remove", &paths.state().join(TRIAL)))?;
    Ok(changes)
}

fn failed(paths: &Paths, error: &InstallError) -> Ending {
    let mut ending = Ending::failed(Fault::from_error("agent_not_installed", error));
    if is_installed(paths) {
        ending.reason.push_str("; keeps the agent that is installed");
    }
    ending
}

async fn fetch_and_install(
    paths: &Paths,
    artifact: &AgentArtifact,
    before: Option<Version>,
) -> Result<(Version, Changes), InstallError> {
    let state = paths.state();
    // The agent's history is nobody else's business: the mode of tmpfiles.d, which may not have run yet.
    DirBuilder::new().recursive(true).mode(0o700).create(&state).map_err(file_error("create", &state))?;
    let download = download_path(paths);
    fetch::fetch(artifact, &download).await?;
    let (paths, sha256) = (paths.clone(), artifact.sha256.clone());
    let installed = tokio::task::spawn_blocking(move || {
        let opened = File::open(&download).map_err(file_error("open", &download));
        let installed =
            opened.and_then(|file| install::install(&paths, &sha256, unpack::unpack(file)?, before));
        // Its content is installed or refused; it is of no use either way.
        let _ = fs::remove_file(&download);
        installed
    });
    installed.await.map_err(|error| file_error("install", Path::new(PROGRAM))(io::Error::other(error)))?
}
