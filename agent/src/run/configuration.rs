//! The configuration in force, and the files that may take its place.
//!
//! In: files, texts that somebody sends, what the metadata service says. Out: a [`Next`] that may be applied, or a
//! [`Refusal`]; problems for the board. What always holds: nothing here changes what is in force but [`Configuration::take`],
//! which gets only what was parsed, checked and bound to this instance.
//! Not its job: applying it.

use crate::change::{self, Change, Present};
use crate::reload::{self, Refusal};
use crate::start::{self, read_handoff, read_sources};
use crate::status::BOOTSTRAP_AWAITED;
use jiff::Timestamp;
use node::config::{Draft, Resolved, Source};
use node::identity::Facts;
use node::imds;
use node::paths::Paths;
use node::problem::Problem;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// For a few small files; a disk that hangs must not hold up those who ask.
const READ_DEADLINE: Duration = Duration::from_secs(10);

/// Where the files are.
#[derive(Debug, Clone)]
pub(super) struct Files {
    pub(super) paths: Paths,
    /// The one file that the command line names, in the place of all.
    pub(super) named: Option<PathBuf>,
}

impl Files {
    /// The file that is read first.
    pub(super) fn first(&self) -> PathBuf {
        self.named.clone().unwrap_or_else(|| self.paths.configuration())
    }

    /// The texts, as they are now.
    pub(super) async fn read(&self) -> Result<Vec<Source>, Refusal> {
        let files = self.clone();
        let reading = tokio::task::spawn_blocking(move || read_sources(&files.paths, files.named.as_deref()));
        match tokio::time::timeout(READ_DEADLINE, reading).await {
            Ok(Ok(sources)) => Ok(sources?),
            Ok(Err(_)) | Err(_) => {
                let (path, seconds) = (self.first(), READ_DEADLINE.as_secs());
                let message = format!("{} could not be read within {seconds} s", path.display());
                Err(Refusal::new(reload::UNREADABLE, message, "look at the disk: `dmesg`"))
            }
        }
    }
}

/// A configuration that may come into force.
pub(super) struct Next {
    pub(super) facts: Facts,
    pub(super) resolved: Resolved,
}

/// The configuration in force.
pub(super) struct Configuration {
    pub(super) files: Files,
    imds: imds::Client,
    boot_id: String,
    pub(super) facts: Facts,
    pub(super) in_force: Arc<Resolved>,
    /// As read last, whatever came of it.
    read: Vec<Source>,
    refusal: Option<Problem>,
    /// What bootstrap has last seen, as far as is known, and when it had ended by then.
    bootstrapped: (Arc<Resolved>, Option<Timestamp>),
}

impl Configuration {
    /// What the agent began with: read from `sources`.
    pub(super) fn new(
        (files, boot_id): (Files, String),
        imds: imds::Client,
        (facts, in_force): (Facts, Resolved),
        sources: &[Source],
    ) -> Configuration {
        let in_force = Arc::new(in_force);
        let mut configuration = Configuration {
            files,
            imds,
            boot_id,
            facts,
            in_force: Arc::clone(&in_force),
            read: sources.to_vec(),
            refusal: None,
            bootstrapped: (in_force, None),
        };
        configuration.bootstrapped.1 = configuration.bootstrap_ended();
        configuration
    }

    /// Whether these are the texts that were read last. Remembers them.
    pub(super) fn are_known(&mut self, sources: &[Source]) -> bool {
        let known = self.read == sources;
        self.read = sources.to_vec();
        known
    }

    /// Whether `sources` may come into force on this instance. Where they name tags that nobody has asked for, they are
    /// asked for now.
    pub(super) async fn judge(&self, sources: Vec<Source>) -> Result<Next, Refusal> {
        let first = sources.first().map(|source| source.name.clone()).unwrap_or_default();
        let is_empty = sources.iter().all(|source| source.text.trim().is_empty());
        let draft = Draft::parse(sources)?;
        draft.check()?;
        if is_empty && !self.in_force.settings.services.is_empty() {
            let message = format!("{first} is empty, which would stop every service");
            let hint =
                "a write on a full disk leaves such a file; to run no service, write a comment into it";
            return Err(Refusal::new(reload::INVALID, message, hint));
        }
        let tags = draft.tags();
        let facts = if tags.iter().all(|tag| self.facts.tags.contains_key(tag)) {
            self.facts.clone()
        } else {
            start::ask(&tags, &self.imds).await.map_err(|(why, hint)| {
                let message = format!("the tags that {first} names are not known: {why}");
                let hint = hint.unwrap_or_else(|| "it is tried again by itself".to_owned());
                Refusal::new(reload::UNDECIDED, message, hint)
            })?
        };
        let resolved = draft.resolve(&facts)?;
        Ok(Next { facts, resolved })
    }

    /// What `next` changes.
    pub(super) fn change(&self, next: &Resolved, present: Present<'_>) -> Change {
        Change::between(&self.in_force, next, present)
    }

    /// From now on `next` is in force.
    pub(super) fn take(&mut self, next: Next) {
        self.facts = next.facts;
        self.in_force = Arc::new(next.resolved);
        self.refusal = None;
    }

    /// The files were right again, and mean what is in force.
    pub(super) fn is_confirmed(&mut self) {
        self.refusal = None;
    }

    /// What is on disk cannot be taken.
    pub(super) fn refuse(&mut self, refusal: &Refusal, now: Timestamp) {
        self.refusal = Some(refusal.problem(now));
    }

    /// Whether time alone may make a difference to [`Configuration::judge`]: what it waits for is not on disk.
    pub(super) fn is_undecided(&self) -> bool {
        self.refusal.as_ref().is_some_and(|problem| problem.code == reload::UNDECIDED)
    }

    /// Whether some section waits for bootstrap.
    pub(super) fn awaits_bootstrap(&self) -> bool {
        !self.bootstrap_sections().is_empty()
    }

    /// Looks whether bootstrap has run since: what it read then it has applied, or tells of itself.
    pub(super) fn look_for_bootstrap(&mut self) {
        let ended = self.bootstrap_ended();
        if ended > self.bootstrapped.1 {
            self.bootstrapped = (Arc::clone(&self.in_force), ended);
        }
    }

    /// For the board.
    pub(super) fn problems(&self, now: Timestamp) -> Vec<Problem> {
        let sections = self.bootstrap_sections();
        let awaited = (!sections.is_empty()).then(|| Problem {
            code: BOOTSTRAP_AWAITED.to_owned(),
            message: format!("what changed in {} applies when bootstrap runs", in_brackets(&sections)),
            hint: Some(change::BOOTSTRAP_HINT.to_owned()),
            since: now,
        });
        self.refusal.clone().into_iter().chain(awaited).collect()
    }

    fn bootstrap_sections(&self) -> Vec<String> {
        change::bootstrap(&self.bootstrapped.0.settings, &self.in_force.settings)
    }

    fn bootstrap_ended(&self) -> Option<Timestamp> {
        read_handoff(&self.files.paths, &self.boot_id).ok().map(|handoff| handoff.finished_at)
    }
}

fn in_brackets(sections: &[String]) -> String {
    let names: Vec<String> = sections.iter().map(|name| format!("[{name}]")).collect();
    names.join(" and ")
}

#[cfg(test)]
#[path = "configuration_tests.rs"]
mod tests;
