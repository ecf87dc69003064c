//! The agent's programs and units: baked into the AMI, or fetched by URL and sha256, installed atomically.
//!
//! `/var/lib/node-agent/artifact.json` says which tarball is installed; it is written last, so that an installation
//! that was cut off is done again. The programs that were replaced stay in `/usr/lib/node-agent/previous/`.

mod fetch;
mod start;
mod unpack;

pub(crate) use start::{UNIT, start};

use crate::outdated;
use crate::step::{Ending, Fault, Intent, PlannedStep};
use fetch::FetchError;
use node::config::settings::AgentArtifact;
use node::fault::Hint;
use node::files;
use node::paths::Paths;
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use unpack::{Release, Target, UnpackError};

const PROGRAM: &str = "/usr/bin/node-agent";
const PREVIOUS: &str = "/usr/lib/node-agent/previous";

/// `artifact.json`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    sha256: String,
    name: String,
    files: Vec<String>,
}

/// What an installation has changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// The agent itself.
    pub(crate) program: bool,
    /// Any unit, and what creates users and folders.
    pub(crate) units: bool,
}

#[derive(Debug, Default)]
struct Observed {
    record: Option<Record>,
    /// All files of the record are there.
    complete: bool,
    installed: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Plan<'settings> {
    Keep(String),
    Fetch(&'settings AgentArtifact),
    Refuse(Fault),
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
            InstallError::File { .. } => None,
        }
    }
}

fn file_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> InstallError {
    let path = path.display().to_string();
    move |source| InstallError::File { operation, path, source }
}

fn record_path(paths: &Paths) -> PathBuf {
    paths.state().join("artifact.json")
}

/// The tarball, for as long as it takes to fetch and install it.
fn download_path(paths: &Paths) -> PathBuf {
    paths.state().join("agent.tar.gz.part")
}

fn observe(paths: &Paths) -> Observed {
    let record =
        fs::read(record_path(paths)).ok().and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok());
    let complete =
        record.as_ref().is_some_and(|record| record.files.iter().all(|file| paths.at(file).is_file()));
    Observed { record, complete, installed: is_installed(paths) }
}

/// Whether there is an agent to start.
pub(crate) fn is_installed(paths: &Paths) -> bool {
    paths.at(PROGRAM).is_file()
}

fn plan<'settings>(observed: &Observed, artifact: Option<&'settings AgentArtifact>) -> Plan<'settings> {
    match (artifact, &observed.record) {
        (None, _) if observed.installed => Plan::Keep(format!("{PROGRAM} is installed")),
        (None, _) => Plan::Refuse(Fault::new(
            "agent_missing",
            format!("{PROGRAM} is not installed, and node.toml has no [agent] url"),
            Some("bake the agent into the AMI, or give url and sha256 of a release in [agent]"),
        )),
        (Some(artifact), Some(record)) if record.sha256 == artifact.sha256 && observed.complete => {
            Plan::Keep(format!("{} is installed", record.name))
        }
        (Some(artifact), _) => Plan::Fetch(artifact),
    }
}

/// What `run` would do.
pub(crate) fn preview(paths: &Paths, artifact: Option<&AgentArtifact>) -> PlannedStep {
    match plan(&observe(paths), artifact) {
        Plan::Keep(reason) => PlannedStep::new("agent", Intent::Unchanged, reason),
        Plan::Fetch(artifact) => {
            let reason = format!("fetch {}, check its sha256 and install it", fetch::shown(&artifact.url));
            PlannedStep::new("agent", Intent::Change, reason)
        }
        Plan::Refuse(fault) => PlannedStep::refuse("agent", &fault),
    }
}

/// Gets the agent onto the node.
pub(crate) async fn run(paths: &Paths, artifact: Option<&AgentArtifact>) -> (Ending, Changes) {
    let artifact = match plan(&observe(paths), artifact) {
        Plan::Keep(reason) => {
            // A run that was killed after it had installed leaves its download.
            let _ = fs::remove_file(download_path(paths));
            return (Ending::unchanged(reason), Changes::default());
        }
        Plan::Refuse(fault) => return (Ending::failed(fault), Changes::default()),
        Plan::Fetch(artifact) => artifact,
    };
    tracing::info!("agent: fetches {}", fetch::shown(&artifact.url));
    match fetch_and_install(paths, artifact).await {
        Ok((name, changes)) => (Ending::done(format!("installed {name}")), changes),
        Err(error) => {
            let mut ending = Ending::failed(Fault::from_error("agent_not_installed", &error));
            if is_installed(paths) {
                ending.reason.push_str("; keeps the agent that is installed");
            }
            (ending, Changes::default())
        }
    }
}

async fn fetch_and_install(
    paths: &Paths,
    artifact: &AgentArtifact,
) -> Result<(String, Changes), InstallError> {
    let state = paths.state();
    // The agent's history is nobody else's business: the mode of tmpfiles.d, which may not have run yet.
    DirBuilder::new().recursive(true).mode(0o700).create(&state).map_err(file_error("create", &state))?;
    let download = download_path(paths);
    fetch::fetch(artifact, &download).await?;
    let (paths, sha256) = (paths.clone(), artifact.sha256.clone());
    let installed = tokio::task::spawn_blocking(move || {
        let opened = File::open(&download).map_err(file_error("open", &download));
        let installed = opened.and_then(|file| install(&paths, &sha256, unpack::unpack(file)?));
        // Its content is installed or refused; it is of no use either way.
        let _ = fs::remove_file(&download);
        installed
    });
    installed.await.map_err(|error| file_error("install", Path::new(PROGRAM))(io::Error::other(error)))?
}

fn install(paths: &Paths, sha256: &str, release: Release) -> Result<(String, Changes), InstallError> {
    let mut changes = Changes::default();
    let mut installed = Vec::new();
    for (target, content) in &release.files {
        let changed = install_file(paths, target, content)?;
        changes.program |= changed && *target == Target::Program("node-agent");
        changes.units |= changed && !matches!(target, Target::Program(_));
        installed.push(target.path());
    }
    let record = Record { sha256: sha256.to_owned(), name: release.name.clone(), files: installed };
    let path = record_path(paths);
    let text = serde_json::to_vec_pretty(&record)
        .map_err(|error| file_error("write", &path)(io::Error::other(error)))?;
    files::replace(&path, &text, 0o644).map_err(file_error("write", &path))?;
    Ok((release.name, changes))
}

fn install_file(paths: &Paths, target: &Target, content: &[u8]) -> Result<bool, InstallError> {
    let path = paths.at(target.path());
    let there = fs::read(&path).ok();
    if there.as_deref() == Some(content) {
        return Ok(false);
    }
    outdated::note(paths);
    if let (Target::Program(name), Some(there)) = (target, there) {
        let previous = paths.at(PREVIOUS).join(name);
        files::replace(&previous, &there, target.mode()).map_err(file_error("keep the old", &previous))?;
    }
    files::replace(&path, content, target.mode()).map_err(file_error("install", &path))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(agent: &str) -> Release {
        Release {
            name: "node-agent-0.1.0-x86_64".to_owned(),
            files: vec![
                (Target::Program("node-agent"), agent.as_bytes().to_vec()),
                (Target::Unit("node-agent.service".to_owned()), b"unit".to_vec()),
            ],
        }
    }

    fn artifact(sha256: &str) -> AgentArtifact {
        AgentArtifact { url: "https://example.com/a.tar.gz".to_owned(), sha256: sha256.to_owned() }
    }

    #[test]
    fn an_installed_artifact_is_kept_until_a_file_of_it_is_missing() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::under(root.path());
        assert_eq!(plan(&observe(&paths), Some(&artifact("aa"))), Plan::Fetch(&artifact("aa")));
        let (_, changes) = install(&paths, "aa", release("old")).unwrap();
        assert_eq!(changes, Changes { program: true, units: true });
        assert!(matches!(plan(&observe(&paths), Some(&artifact("aa"))), Plan::Keep(_)));
        assert!(matches!(plan(&observe(&paths), Some(&artifact("bb"))), Plan::Fetch(_)));
        fs::remove_file(paths.at("/etc/systemd/system/node-agent.service")).unwrap();
        assert!(matches!(plan(&observe(&paths), Some(&artifact("aa"))), Plan::Fetch(_)));
    }

    #[tokio::test]
    async fn a_download_of_a_run_that_was_killed_goes_when_all_is_installed() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::under(root.path());
        install(&paths, "aa", release("new")).unwrap();
        files::replace(&download_path(&paths), b"tarball", 0o600).unwrap();
        let (ending, changes) = run(&paths, Some(&artifact("aa"))).await;
        assert_eq!((ending.fault, changes), (None, Changes::default()));
        assert!(!download_path(&paths).exists());
    }

    #[test]
    fn replacing_the_agent_keeps_the_old_one_and_leaves_equal_files_alone() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::under(root.path());
        install(&paths, "aa", release("old")).unwrap();
        let (_, changes) = install(&paths, "bb", release("new")).unwrap();
        assert_eq!(changes, Changes { program: true, units: false });
        assert_eq!(fs::read(paths.at(PREVIOUS).join("node-agent")).unwrap(), b"old");
        assert_eq!(fs::read(paths.at(PROGRAM)).unwrap(), b"new");
    }

    #[test]
    fn without_a_url_the_agent_must_be_in_the_ami() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::under(root.path());
        assert!(matches!(plan(&observe(&paths), None), Plan::Refuse(_)));
        files::replace(&paths.at(PROGRAM), b"agent", 0o755).unwrap();
        assert!(matches!(plan(&observe(&paths), None), Plan::Keep(_)));
    }
}
