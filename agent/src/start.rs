//! What the agent has to know before it can work: the configuration, what bootstrap hands over, and who the instance is.
//!
//! In: files below [`Paths`], else the metadata service. Out: values, or why there are none. A handoff that is missing
//! or from another boot is a problem and no obstacle: the agent then asks for the identity itself.

use jiff::Timestamp;
use node::config::{Draft, LoadError, Source};
use node::fault::{Hint, one_line};
use node::handoff::{Handoff, SCHEMA};
use node::identity::Facts;
use node::imds::{self, Patience};
use node::paths::Paths;
use node::problem::Problem;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// For the metadata service to be asked again and again: it answers in milliseconds or not for a long time.
const IDENTITY_PATIENCE: Patience = Patience::of(Duration::from_secs(2));
/// And for the last of these questions to be answered.
const IDENTITY_DEADLINE: Duration = Duration::from_secs(5);

/// Why there is no handoff of this boot.
#[derive(Debug, thiserror::Error)]
pub enum HandoffError {
    /// No file, or it cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The document.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no handoff document.
    #[error("{} is no handoff document", path.display())]
    Garbled {
        /// The document.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Its writer was newer.
    #[error("{} has schema {schema}, and this agent knows {SCHEMA}", path.display())]
    TooNew {
        /// The document.
        path: PathBuf,
        /// Its schema.
        schema: u32,
    },
    /// It was written on another boot.
    #[error("{} is from another boot ({boot_id})", path.display())]
    Stale {
        /// The document.
        path: PathBuf,
        /// The boot it is from.
        boot_id: String,
    },
}

impl HandoffError {
    /// Stable code for `problems[]`.
    pub fn code(&self) -> &'static str {
        match self {
            HandoffError::Unreadable { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "handoff_missing"
            }
            HandoffError::Stale { .. } => "handoff_stale",
            _ => "handoff_unreadable",
        }
    }
}

impl Hint for HandoffError {
    fn hint(&self) -> Option<String> {
        Some("run `systemctl restart node-bootstrap`, and look at /var/log/node-bootstrap.log".to_owned())
    }
}

/// The handoff of this boot.
pub fn read_handoff(paths: &Paths, boot_id: &str) -> Result<Handoff, HandoffError> {
    let path = paths.handoff();
    let text =
        std::fs::read(&path).map_err(|source| HandoffError::Unreadable { path: path.clone(), source })?;
    parse_handoff(&text, &path, boot_id)
}

fn parse_handoff(text: &[u8], path: &Path, boot_id: &str) -> Result<Handoff, HandoffError> {
    let garbled = |source| HandoffError::Garbled { path: path.to_owned(), source };
    // The schema first: a newer document may have any other shape.
    #[derive(serde::Deserialize)]
    struct Versioned {
        schema: u32,
    }
    let Versioned { schema } = serde_json::from_slice(text).map_err(garbled)?;
    if schema > SCHEMA {
        return Err(HandoffError::TooNew { path: path.to_owned(), schema });
    }
    let handoff: Handoff = serde_json::from_slice(text).map_err(garbled)?;
    if handoff.boot_id != boot_id {
        return Err(HandoffError::Stale { path: path.to_owned(), boot_id: handoff.boot_id });
    }
    Ok(handoff)
}

/// The problems of bootstrap that are still worth telling: not those that the agent itself looks after from now on, and
/// tells of in its own words while they last.
pub fn standing_problems(handoff: &Handoff) -> Vec<Problem> {
    const TAKEN_OVER: [&str; 5] = ["secret_", "imds_", "identity_", "agent_", "docker_not_started"];
    let taken = |problem: &&Problem| TAKEN_OVER.iter().any(|prefix| problem.code.starts_with(prefix));
    handoff.problems.iter().filter(|problem| !taken(problem)).cloned().collect()
}

/// node.toml and its drop-ins, or the one file that the command line names.
pub fn read_configuration(paths: &Paths, named: Option<&Path>) -> Result<Draft, LoadError> {
    Ok(Draft::parse(read_sources(paths, named)?)?)
}

/// The texts of them.
pub fn read_sources(paths: &Paths, named: Option<&Path>) -> Result<Vec<Source>, LoadError> {
    match named {
        Some(path) => Ok(vec![Source::read(path)?]),
        None => Source::all(paths),
    }
}

/// Who the instance is: from the handoff where it says so and has every tag that the configuration names, else from the
/// metadata service.
pub async fn identify(
    draft: &Draft,
    handed_over: Option<&Facts>,
    imds: &imds::Client,
    now: Timestamp,
) -> Result<Facts, Problem> {
    let tags = draft.tags();
    if let Some(facts) = handed_over
        && tags.iter().all(|tag| facts.tags.contains_key(tag))
    {
        return Ok(facts.clone());
    }
    let asked = match ask(&tags, imds).await {
        Ok(facts) => return Ok(facts),
        Err(why) => why,
    };
    if let Some(facts) = handed_over {
        // Tags that are not there are named by the configuration's own messages.
        return Ok(facts.clone());
    }
    Err(Problem {
        code: crate::board::IDENTITY_UNKNOWN.to_owned(),
        message: format!("the instance is unknown, so nothing is started, stopped or updated: {}", asked.0),
        hint: asked.1.or_else(|| Some("look at /var/log/node-bootstrap.log".to_owned())),
        since: now,
    })
}

/// What the metadata service says of the instance and these of its tags; else why it says nothing, and a hint.
pub async fn ask(tags: &BTreeSet<String>, imds: &imds::Client) -> Result<Facts, (String, Option<String>)> {
    let imds = imds.with_patience(IDENTITY_PATIENCE);
    match tokio::time::timeout(IDENTITY_DEADLINE, imds.facts(tags)).await {
        Ok(Ok(facts)) => Ok(facts),
        Ok(Err(error)) => Err((one_line(&error), error.hint())),
        Err(_) => {
            let seconds = IDENTITY_DEADLINE.as_secs();
            Err((format!("the instance metadata service gave no answer within {seconds} s"), None))
        }
    }
}

#[cfg(test)]
#[path = "start_tests.rs"]
mod tests;
