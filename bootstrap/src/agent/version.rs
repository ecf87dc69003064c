//! What bootstrap remembers about versions of the agent, below `/var/lib/node-agent`; each document is replaced whole.
//!
//! `artifact.json`: what is installed, written after its last file. `trial.json`: what is being replaced by what, written
//! before the first file is, and removed when the new one has reported READY or the old one is back. `refused.json`: the
//! version that was taken back last.

use crate::step::Fault;
use jiff::Timestamp;
use node::files;
use node::paths::Paths;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::PathBuf;

pub(super) const INSTALLED: &str = "artifact.json";
pub(super) const TRIAL: &str = "trial.json";
pub(super) const REFUSED: &str = "refused.json";

/// One version as it was installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Version {
    /// Of its tarball; empty for one that came with the image.
    pub(super) sha256: String,
    /// `node-agent-<version>-x86_64`
    pub(super) name: String,
    /// Absolute paths on the node.
    pub(super) files: Vec<String>,
}

/// Whether a file of a version is only read by people: nothing depends on it, and nothing is started anew for it.
pub(super) fn is_for_people(file: &str) -> bool {
    file.starts_with("/usr/share/")
}

/// Why a version was found wanting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// One line.
    pub(crate) why: String,
    /// It said that the configuration is invalid (exit status 78).
    pub(crate) refuses_configuration: bool,
}

/// A version in place of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trial {
    pub(super) old: Version,
    pub(super) new: Version,
    /// The new one did not become ready: the old one is being put back.
    pub(super) failure: Option<Failure>,
}

/// A version that is not installed again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Refused {
    pub(super) sha256: String,
    pub(super) name: String,
    pub(super) why: String,
    /// The version that runs instead.
    pub(super) kept: String,
    pub(super) at: Timestamp,
    /// Checksum of the configuration that it refused; another one may please it. Absent when that was not the reason.
    pub(super) configuration: Option<String>,
}

impl Refused {
    /// Whether it still speaks against that artifact with that configuration.
    pub(super) fn stands(&self, sha256: &str, configuration: &str) -> bool {
        self.sha256 == sha256 && self.configuration.as_deref().is_none_or(|refused| refused == configuration)
    }

    /// As the node's problem, on this boot and on every one after it.
    pub(super) fn fault(&self) -> Fault {
        let Refused { name, why, kept, at, configuration, .. } = self;
        let at = at.strftime("%Y-%m-%dT%H:%M:%SZ");
        let message = format!("{name} did not become ready ({at}): {why}; {kept} was put back and is kept");
        let hint = if configuration.is_some() {
            "correct node.toml for the new version, or keep url and sha256 of the old one in [agent]"
        } else {
            "give url and sha256 of another release in [agent]; this one is not tried again"
        };
        Fault::new("release_rolled_back", message, Some(hint))
    }
}

fn place(paths: &Paths, name: &str) -> PathBuf {
    paths.state().join(name)
}

/// `None` where there is none that can be read: nothing is concluded from half a document.
pub(super) fn read<T: DeserializeOwned>(paths: &Paths, name: &str) -> Option<T> {
    serde_json::from_slice(&fs::read(place(paths, name)).ok()?).ok()
}

pub(super) fn write(paths: &Paths, name: &str, document: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(document).map_err(io::Error::other)?;
    files::replace(&place(paths, name), &text, 0o644)
}

/// Durable, also when it was gone already.
pub(super) fn forget(paths: &Paths, name: &str) -> io::Result<()> {
    match fs::remove_file(place(paths, name)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::File::open(paths.state())?.sync_all()
}
