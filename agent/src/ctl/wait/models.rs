//! When a command for models is done: read from one look at the agent after the other. Pure.
//!
//! A failure that passes (the net, a server that starts) is waited through: the agent tries again by itself. What stays
//! wrong until a person does something ends the waiting: a version that is barred, a model that nobody has, no room.

use super::Progress;
use crate::ctl::render::text::{bytes, percent, short_digest};
use crate::status::{
    Model, ModelExplanation, ModelState, Models, PastUpdate, PastUpdateState, Quarantined, UpdateState,
};
use jiff::{SignedDuration, Timestamp};
use node::config::settings::ModelReference;
use node::problem::Problem;

/// One look.
#[derive(Debug, Clone)]
pub struct ModelsSeen {
    /// The models.
    pub models: Models,
    /// All that is wrong with the node.
    pub problems: Vec<Problem>,
    /// When it was looked.
    pub at: Timestamp,
}

/// Codes of problems that no further try of the agent ends.
const STAYS_WRONG: [&str; 4] =
    ["model_disk_full", "model_digest_mismatch", "model_memory_short", "model_out_of_memory"];
/// The same, of what a registry says.
const REGISTRY_SAYS_NO: [&str; 2] = ["model_not_found", "model_registry_denied"];

/// A failure from before the command counts once it has outlasted the command by so much: until then the agent may not
/// have looked again.
const SETTLES: SignedDuration = SignedDuration::from_secs(10);

/// A model, with what is explained of it.
struct Shown<'a> {
    model: &'a Model,
    explanation: Option<&'a ModelExplanation>,
    seen: &'a ModelsSeen,
}

impl ModelsSeen {
    fn shown<'a>(&'a self, model: &'a Model) -> Shown<'a> {
        let explanation = self.models.explanations.iter().find(|entry| entry.model == model.name);
        Shown { model, explanation, seen: self }
    }

    fn find(&self, name: &str) -> Option<Shown<'_>> {
        let found = self.models.models.iter().find(|model| same_model(&model.name, name));
        found.map(|model| self.shown(model))
    }

    /// What `one` says of the model `name`, or of all together.
    fn each(&self, name: Option<&str>, one: impl Fn(&Shown<'_>) -> Progress) -> Progress {
        if let Some(name) = name {
            return self.find(name).map_or_else(|| super::gone(name), |shown| one(&shown));
        }
        let parts: Vec<Progress> = self.models.models.iter().map(|model| one(&self.shown(model))).collect();
        let done = parts.iter().filter(|part| matches!(part, Progress::Done(_))).count();
        let all = parts.len();
        match super::together(parts) {
            // An agent that has just started has published nothing yet.
            _ if self.models.server.is_none() => {
                Progress::Pending("the agent says nothing of any model yet".to_owned())
            }
            Progress::Done(_) if all == 0 => Progress::Done("node.toml names no models".to_owned()),
            Progress::Pending(text) if all > 1 => Progress::Pending(format!("{done} of {all} done; {text}")),
            other => other,
        }
    }
}

/// Whether two names, as node.toml and as the server write them, mean the same model.
pub fn same_model(one: &str, other: &str) -> bool {
    let full = |name: &str| name.parse::<ModelReference>().map(|reference| reference.full());
    one == other || matches!((full(one), full(other)), (Ok(one), Ok(other)) if one == other)
}

/// Until the model `name`, or every model, is where node.toml wants it; asked for at `asked_at`.
pub fn pull(seen: &ModelsSeen, name: Option<&str>, asked_at: Timestamp) -> Progress {
    seen.each(name, |shown| {
        let model = shown.model;
        let digest = model.digest.as_ref();
        if shown.is_settled() && model.pinned.as_ref().is_none_or(|pin| Some(pin) == digest) {
            return shown.in_place();
        }
        shown.stays_wrong(asked_at).unwrap_or_else(|| shown.pending())
    })
}

/// An update of the model `name`, or of every model, that was asked for at `asked_at`; with `retry` also to a version
/// that had failed before. Done when the move that it began has ended.
pub fn update(seen: &ModelsSeen, name: Option<&str>, asked_at: Timestamp, retry: bool) -> Progress {
    seen.each(name, |shown| update_one(shown, asked_at, retry))
}

fn update_one(shown: &Shown<'_>, asked_at: Timestamp, retry: bool) -> Progress {
    let model = shown.model;
    let name = &model.name;
    let because = model.update.reason.as_deref().map_or_else(String::new, |reason| format!(": {reason}"));
    if let Some(failed) = shown.failed_since(asked_at, |_| true) {
        return failed;
    }
    // The version that is there may do well without the registry; an update does not.
    if let Some(failed) = shown.problem(asked_at, &REGISTRY_SAYS_NO).or_else(|| shown.stays_wrong(asked_at)) {
        return failed;
    }
    // An older answer of the registry knows nothing of what was just published. Of a pinned model it is not asked;
    // a pin of a person's ends with this command, and is shown a little longer.
    let settled = shown.has_settled(asked_at);
    let pinned = model.pinned.is_some() && settled;
    if !pinned && model.update.checked_at.is_none_or(|at| at < asked_at) {
        return Progress::Pending(format!("{name} waits for the registry{because}"));
    }
    let last = shown.last_quarantined();
    match model.update.state {
        UpdateState::Current if shown.is_settled() => shown.in_place(),
        UpdateState::Current | UpdateState::Available | UpdateState::Waiting | UpdateState::Updating => {
            shown.pending()
        }
        UpdateState::RolledBack | UpdateState::Quarantined
            if retry && last.is_none_or(|last| last.at < asked_at) =>
        {
            Progress::Pending(format!("{name} has not tried again yet"))
        }
        UpdateState::RolledBack => Progress::failed(format!("{name} was rolled back{because}")),
        UpdateState::Quarantined => {
            let hint = format!("try it again with `agentctl models update {name} --retry`");
            Progress::failed(format!("{name}: the new version is quarantined{because} (hint: {hint})"))
        }
        UpdateState::Held => Progress::failed(format!("{name} is held{because}")),
    }
}

/// A version that a person wished a model to have, while it is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelWish {
    /// As the person wrote it.
    pub model: String,
    /// `sha256:…`
    pub digest: String,
    /// When the agent took it.
    pub at: Timestamp,
    /// The agent has shown it since.
    pub seen: bool,
}

impl ModelWish {
    /// Done when exactly that version is where node.toml wants the model, and passed.
    pub fn progress(&mut self, seen: &ModelsSeen) -> Progress {
        let Some(shown) = seen.find(&self.model) else { return super::gone(&self.model) };
        let pinned = shown.model.pinned.as_ref();
        if pinned == Some(&self.digest) {
            self.seen = true;
        } else if self.seen || shown.has_settled(self.at) {
            let now = pinned.map_or_else(
                || "it follows its tag again".to_owned(),
                |other| format!("it is pinned to {other}"),
            );
            return Progress::failed(format!("{} did not go to {}: {now}", self.model, self.digest));
        } else {
            return Progress::Pending(format!("{} has not begun yet", self.model));
        }
        let this = |digest: &str| digest == self.digest;
        if let Some(failed) = shown.failed_since(self.at, this) {
            return failed;
        }
        if shown.is_settled() && shown.model.digest.as_ref() == Some(&self.digest) {
            return shown.in_place();
        }
        shown.stays_wrong(self.at).unwrap_or_else(|| shown.pending())
    }
}

impl Shown<'_> {
    /// It is where node.toml wants it, that version has passed, and no other is on its way.
    fn is_settled(&self) -> bool {
        let model = self.model;
        let good = self.explanation.and_then(|explanation| explanation.good.as_ref());
        let coming = match model.update.state {
            UpdateState::Updating => true,
            UpdateState::Available | UpdateState::Waiting => model.pinned.is_none(),
            _ => false,
        };
        model.is_in_place() && model.digest.is_some() && good == model.digest.as_ref() && !coming && {
            let last = self.last_move();
            last.is_none_or(|last| last.state != PastUpdateState::UnderWay)
        }
    }

    fn in_place(&self) -> Progress {
        let model = self.model;
        let place = if model.state == ModelState::Loaded { "loaded" } else { "present" };
        let digest = model.digest.as_deref().unwrap_or("unknown digest");
        let size = model.size_bytes.map_or_else(String::new, |size| format!(", {}", bytes(size)));
        Progress::Done(format!("{} is {place} ({digest}{size})", model.name))
    }

    fn pending(&self) -> Progress {
        let model = self.model;
        let what = match model.state {
            ModelState::Absent => "is not there yet",
            ModelState::Pulling => "is being pulled",
            ModelState::Present if model.keep_loaded => "is there, and not loaded yet",
            ModelState::Present => "is there, and has not passed yet",
            ModelState::Loaded => "is loaded, and not done yet",
            ModelState::Failed => "is tried again",
        };
        let progress = model.progress.map_or_else(String::new, |part| format!(" ({})", percent(part)));
        let reason = model.reason.as_deref().map_or_else(String::new, |reason| format!(": {reason}"));
        Progress::Pending(format!("{} {what}{progress}{reason}", model.name))
    }

    fn last_move(&self) -> Option<&PastUpdate> {
        self.explanation.and_then(|explanation| explanation.updates.last())
    }

    fn last_quarantined(&self) -> Option<&Quarantined> {
        let explanation = self.explanation?;
        explanation.quarantined.iter().max_by_key(|entry| entry.at)
    }

    /// Whether the agent has had the time to show what it makes of a command that was given at `at`.
    fn has_settled(&self, at: Timestamp) -> bool {
        self.seen.at.duration_since(at) >= SETTLES
    }

    /// A move to a version that `counts` has failed since `at`.
    fn failed_since(&self, at: Timestamp, counts: impl Fn(&str) -> bool) -> Option<Progress> {
        let explanation = self.explanation?;
        let cause = |digest: &str| {
            let entries = explanation.quarantined.iter().rev();
            entries.into_iter().find(|entry| entry.digest == digest).map(|entry| entry.cause.clone())
        };
        let ended = self.last_move().filter(|last| {
            last.state == PastUpdateState::Failed && last.ended.is_some_and(|ended| ended >= at)
        });
        let moved = ended.map(|last| (&last.digest, last.cause.clone().or_else(|| cause(&last.digest))));
        let barred = self.last_quarantined().filter(|entry| entry.at >= at);
        let barred = barred.map(|entry| (&entry.digest, Some(entry.cause.clone())));
        let (digest, cause) = moved.or(barred).filter(|(digest, _)| counts(digest))?;
        let cause = cause.unwrap_or_else(|| "the agent does not say why".to_owned());
        let now = match &self.model.digest {
            Some(other) if other != digest => format!("; it has {}", short_digest(other)),
            _ => String::new(),
        };
        let digest = short_digest(digest);
        Some(Progress::failed(format!("{} did not go to {digest}: {cause}{now}", self.model.name)))
    }

    /// What no further try ends, if that is what the model lacks: said with what a person can do.
    fn stays_wrong(&self, asked_at: Timestamp) -> Option<Progress> {
        if let Some(barred) = self.is_barred(asked_at) {
            return Some(barred);
        }
        let model = self.model;
        let coming = [UpdateState::Available, UpdateState::Waiting, UpdateState::Updating];
        let lacks = matches!(model.state, ModelState::Absent | ModelState::Failed);
        // A problem that names the model besides may be another's, when this one is only not done yet.
        if !lacks && !coming.contains(&model.update.state) {
            return None;
        }
        self.problem(asked_at, &STAYS_WRONG).or_else(|| self.problem(asked_at, &REGISTRY_SAYS_NO))
    }

    fn problem(&self, asked_at: Timestamp, codes: &[&str]) -> Option<Progress> {
        let name = &self.model.name;
        let reason = self.model.reason.as_deref().unwrap_or_default();
        let problem = self.seen.problems.iter().find(|problem| {
            let this = names(&problem.message, name) || reason.contains(&problem.message);
            this && codes.contains(&problem.code.as_str()) && self.counts(problem.since, asked_at)
        })?;
        let hint = problem.hint.as_ref().map_or_else(String::new, |hint| format!(" (hint: {hint})"));
        Some(Progress::failed(format!("{name} failed: {}{hint}", problem.message)))
    }

    /// The version that it should have is never taken again by itself: the pinned one, or the only one.
    fn is_barred(&self, asked_at: Timestamp) -> Option<Progress> {
        let (model, explanation) = (self.model, self.explanation?);
        let pinned =
            explanation.quarantined.iter().find(|entry| model.pinned.as_ref() == Some(&entry.digest));
        let serves = model.digest.is_some() && model.digest == explanation.good;
        let barred = matches!(model.update.state, UpdateState::Quarantined | UpdateState::RolledBack);
        let only = barred && !serves && model.state == ModelState::Failed;
        let entry = pinned.or_else(|| self.last_quarantined().filter(|_| only))?;
        self.counts(entry.at, asked_at).then(|| {
            let hint = format!("try it again with `agentctl models update {} --retry`", model.name);
            let digest = short_digest(&entry.digest);
            let text = format!("{} does not go to {digest}: {} (hint: {hint})", model.name, entry.cause);
            Progress::failed(text)
        })
    }

    fn counts(&self, since: Timestamp, asked_at: Timestamp) -> bool {
        since >= asked_at || self.has_settled(asked_at)
    }
}

/// Whether a message speaks of the model `name`, and not of another one whose name only begins with it.
fn names(message: &str, name: &str) -> bool {
    let words = message.split(|c: char| !(c.is_alphanumeric() || "._:/-".contains(c)));
    words.map(|word| word.trim_end_matches([':', '.'])).any(|word| !word.is_empty() && same_model(word, name))
}

#[cfg(test)]
#[path = "models_tests.rs"]
mod tests;
