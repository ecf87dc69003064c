//! The second lane: what a model goes through from its name to being good.
//!
//! A version that takes the place of a good one is compared with its names before anything else; one with nothing to go
//! back to serves first and is compared afterwards, as a node that starts from a baked volume has to be ready soon.

use super::draft::{Draft, Urgency};
use super::memory;
use super::pulls::{begin, keep};
use super::view::{Listed, View};
use super::wanted::{Goal, way_back};
use super::words::{bytes, short};
use super::{Action, Note, Step};
use crate::models::observed::{Attempt, StepKind};
use crate::models::server::{BUSY, Kind, Loaded};
use node::config::settings::Prewarm;
use std::time::Duration;

/// Failures of a version that is not good yet that could be the server's trouble.
const TRIES: u32 = 2;
/// What is kept in memory for good ends later than this.
const FOR_GOOD: Duration = Duration::from_secs(7 * 24 * 3600);
/// A load that was done shows within this time, and is not repeated sooner.
const SETTLES: Duration = Duration::from_secs(30);

/// One model with the version that it is, or is to be.
pub(super) struct Stage<'a> {
    pub(super) view: &'a View<'a>,
    pub(super) listed: &'a Listed<'a>,
    /// Its name means this.
    pub(super) digest: &'a str,
    /// It passed before.
    good: bool,
    /// What it goes back to when it fails.
    back: Option<&'a str>,
    /// No judgement now: why.
    hold: Option<&'a str>,
}

/// The version is kept under a name of its own, and comes to its model's name.
pub(super) fn switch(view: &View<'_>, listed: &Listed<'_>, goal: &Goal, digest: &str, draft: &mut Draft) {
    let back = goal.instead.is_some();
    if !back && keep(view, listed, digest, draft) {
        return;
    }
    let attempt = view.attempt(&listed.full, StepKind::Name);
    if let Some(until) = view.backs_off(attempt) {
        let why = attempt.and_then(|attempt| attempt.failure.as_ref()).map_or("", |failure| &failure.message);
        draft.until(format!("{} could not be given its name: {why}", short(digest)), until);
        return;
    }
    if !back && !listed.is_good(digest) {
        begin(view, listed, digest, draft);
    }
    let (from, to) = (listed.kept(digest), listed.model.reference.clone());
    let action = Action::Copy { from, to, digest: digest.to_owned() };
    let reason =
        format!("{} is {} here", short(digest), if back { "good and kept" } else { "asked for and kept" });
    draft.because(format!("{} takes the name: it {reason}", short(digest)));
    let urgency = if back { Urgency::Service } else { Urgency::Move };
    draft.steps.push((urgency, Step { model: listed.full.clone(), action, reason }));
}

impl<'a> Stage<'a> {
    pub(super) fn new(
        view: &'a View<'a>,
        listed: &'a Listed<'a>,
        digest: &'a str,
        hold: Option<&'a str>,
    ) -> Self {
        let good = listed.is_good(digest);
        let back = if good { None } else { way_back(view, listed, digest) };
        Stage { view, listed, digest, good, back, hold }
    }

    /// A version that serves until another takes its place, and is not judged any more.
    pub(super) fn leaving(view: &'a View<'a>, listed: &'a Listed<'a>, digest: &'a str) -> Self {
        Stage { view, listed, digest, good: listed.is_good(digest), back: None, hold: None }
    }

    /// All that is left of its way.
    pub(super) fn go_on(&self, draft: &mut Draft) {
        if self.back.is_some() && (self.holds(draft) || !self.verified(draft, Urgency::Move)) {
            return;
        }
        if !self.served(draft) {
            let load = self.view.attempt_on(self.listed, StepKind::Load, self.digest);
            if load.is_some_and(|load| load.failure.is_some()) {
                // Its files may be why.
                self.verified(draft, Urgency::Check);
            }
            return;
        }
        let verified = self.back.is_some() || self.verified(draft, Urgency::Check);
        let closes = self.listed.record.under_way().is_some();
        if (self.good && !closes) || !verified || (!self.good && (self.holds(draft) || !self.answers(draft)))
        {
            return;
        }
        draft.notes.extend(self.found_before());
        draft.notes.push(Note::Good { model: self.listed.full.clone(), digest: self.digest.to_owned() });
    }

    /// The version to go back to that a record which was lost does not name: what was kept last.
    fn found_before(&self) -> Option<Note> {
        let record = &self.listed.record;
        let from = record.under_way().and_then(|open| open.from.as_ref());
        if record.good.is_some() || record.previous.is_some() || from.is_some() {
            return None;
        }
        let digest = self.view.kept_last(self.listed)?.to_owned();
        Some(Note::Previous { model: self.listed.full.clone(), digest })
    }

    /// It is in memory, where it is to stay there. Whether that is so.
    pub(super) fn served(&self, draft: &mut Draft) -> bool {
        if !self.listed.model.keep_loaded {
            return true;
        }
        if let Some(loaded) = self.view.in_memory(self.digest) {
            self.stays(loaded, draft);
            return true;
        }
        if self.lets_go_of_another(draft) {
            return false;
        }
        if let Some(short) = memory::short(self.view, self.listed) {
            draft.failed = true;
            if self.back.is_some() {
                self.bad(format!("no memory for it: {}", short.text), draft);
                return false;
            }
            let hint = "give the server more memory, or take keep_loaded from a model";
            draft.problem(
                "model_memory_short",
                format!("{}: {}", self.listed.name(), short.text),
                hint,
                self.view.now,
            );
            match short.until {
                Some(until) => draft.until(short.text, until),
                None => draft.because(short.text),
            }
            return false;
        }
        if self.failed(StepKind::Load, "load", draft) || self.settles(draft) || !self.warmed(draft) {
            return false;
        }
        let Some(kind) = self.kind(draft) else { return false };
        let urgency = self.urgency();
        let deadline = self.view.settings.load_deadline;
        let name = self.listed.model.reference.clone();
        let action = Action::Load { name, digest: self.digest.to_owned(), kind, deadline };
        self.step(urgency, action, format!("{} is to stay in memory", short(self.digest)), draft);
        false
    }

    /// A client may have set an end to it: it is asked for again, which moves the end.
    fn stays(&self, loaded: &Loaded, draft: &mut Draft) {
        let ends = loaded.expires_at.filter(|ends| *ends < self.view.now + FOR_GOOD);
        let attempt = self.view.attempt_on(self.listed, StepKind::Load, self.digest);
        let settled = attempt.is_none_or(|attempt| self.view.since(attempt.at) >= SETTLES);
        if ends.is_none() {
            return;
        }
        if !settled || self.view.backs_off(attempt).is_some() {
            draft.wake.extend(attempt.map(|attempt| attempt.at + SETTLES));
            return;
        }
        let Some(kind) = self.kind(draft) else { return };
        let (name, deadline) = (self.listed.model.reference.clone(), self.view.settings.load_deadline);
        let action = Action::Load { name, digest: self.digest.to_owned(), kind, deadline };
        self.step(Urgency::Move, action, "it would leave memory by itself".to_owned(), draft);
    }

    /// Another version of the model is in memory: it goes first, as there is seldom room for two, and as the server takes
    /// versions with the same weights for one.
    fn lets_go_of_another(&self, draft: &mut Draft) -> bool {
        let loaded = self.view.up.iter().flat_map(|up| &up.loaded);
        let others = loaded.map(|(full, it)| (full.as_ref() == Some(&self.listed.full), it));
        let others: Vec<&Loaded> =
            others.filter(|(ours, it)| *ours && it.digest != self.digest).map(|(_, it)| *it).collect();
        let named = others.iter().find_map(|it| Some((*it, self.name_of(&it.digest)?, it.digest.as_str())));
        // One that has no name any more, and that the server took for this one when this one was loaded.
        let own = self.view.attempt_on(self.listed, StepKind::Load, self.digest);
        let taken = own.filter(|own| own.failure.is_none()).and(others.first());
        let taken = taken.map(|it| (*it, self.listed.model.reference.clone(), self.digest));
        let Some((loaded, name, brought)) = named.or(taken) else { return false };
        // What was brought into memory since was not meant by it.
        let load = self.view.attempt_on(self.listed, StepKind::Load, brought);
        let meant = |attempt: &&Attempt| load.is_none_or(|load| load.at <= attempt.at);
        if let Some(attempt) = self.view.attempt(&self.listed.full, StepKind::Unload).filter(meant) {
            let age = self.view.since(attempt.at);
            if let Some(until) = self.view.backs_off(Some(attempt)).filter(|_| age < SETTLES) {
                draft.until(format!("{} could not be let go of", short(&loaded.digest)), until);
                return true;
            }
            if age < SETTLES {
                draft.until(format!("the server lets go of {}", short(&loaded.digest)), attempt.at + SETTLES);
                return true;
            }
            if age < SETTLES * 4 {
                return false;
            }
        }
        let kind = self.view.observed.kinds.get(&loaded.digest).copied().unwrap_or(Kind::Generates);
        let reason = format!("{} takes the place of {} in memory", short(self.digest), short(&loaded.digest));
        self.step(self.urgency(), Action::Unload { name, kind }, reason, draft);
        true
    }

    fn name_of(&self, digest: &str) -> Option<node::config::settings::ModelReference> {
        let names = &self.view.up.as_ref()?.names;
        names.values().find(|name| name.installed.digest == digest).map(|name| name.reference.clone())
    }

    fn urgency(&self) -> Urgency {
        if self.back.is_some() { Urgency::Move } else { Urgency::Service }
    }

    /// A load was done a moment ago: the server shows it soon.
    fn settles(&self, draft: &mut Draft) -> bool {
        let attempt = self.view.attempt_on(self.listed, StepKind::Load, self.digest);
        let up = self.view.up.as_ref().map(|up| up.since);
        let unload = self.view.attempt(&self.listed.full, StepKind::Unload);
        let gone = |load: &Attempt| unload.is_some_and(|it| it.failure.is_none() && it.at > load.at);
        let done = attempt.filter(|it| it.failure.is_none() && up.is_some_and(|up| it.at >= up) && !gone(it));
        let until = done.map(|done| done.at + SETTLES).filter(|until| *until > self.view.now);
        if let Some(until) = until {
            draft.until("it was loaded a moment ago and is not in memory".to_owned(), until);
        }
        until.is_some()
    }

    /// Its files were read ahead, or need not be.
    fn warmed(&self, draft: &mut Draft) -> bool {
        let settings = self.view.settings;
        let tried = self.view.attempt_on(self.listed, StepKind::Warm, self.digest).is_some();
        let done = self.view.observed.warmed.contains_key(self.digest) || tried;
        let manifest = self.view.manifest_on_disk(self.digest);
        let Some(manifest) = manifest.filter(|_| !done && settings.prewarm != Prewarm::Off) else {
            return true;
        };
        let weights = manifest.layers.iter().filter(|layer| layer.weights);
        let layers: Vec<String> = weights.map(|layer| layer.digest.clone()).collect();
        if layers.is_empty() {
            return true;
        }
        let action = Action::Warm { digest: self.digest.to_owned(), layers, rate: settings.prewarm };
        let reason = format!("{} has not been read since the node started", short(self.digest));
        self.step(self.urgency(), action, reason, draft);
        false
    }

    fn kind(&self, draft: &mut Draft) -> Option<Kind> {
        let kind = self.view.observed.kinds.get(self.digest).copied();
        if kind.is_none() {
            draft.asks_kind = true;
            draft.because("asks the server whether it answers prompts".to_owned());
        }
        kind
    }

    /// Its files are what their names say, or nothing is known of them. Whether that is so.
    fn verified(&self, draft: &mut Draft, urgency: Urgency) -> bool {
        let manifest = self.view.manifest_on_disk(self.digest);
        let Some(manifest) = manifest else {
            let unknown = self.view.files().is_none_or(|files| files.manifests.is_empty());
            if !unknown {
                draft.because("its manifest is not in the folder of the models yet".to_owned());
            }
            return unknown;
        };
        let verified = &self.view.durable.verified;
        let open =
            manifest.layers.iter().filter(|layer| verified.get(&layer.digest) != Some(&layer.size_bytes));
        let layers: Vec<(String, u64)> = open.map(|layer| (layer.digest.clone(), layer.size_bytes)).collect();
        if layers.is_empty() {
            return true;
        }
        let attempt = self.view.attempt_on(self.listed, StepKind::Verify, self.digest);
        if let Some(until) = self.view.backs_off(attempt) {
            let failure = attempt.and_then(|attempt| attempt.failure.as_ref());
            draft.until(failure.map_or(String::new(), |failure| failure.message.clone()), until);
            return false;
        }
        let sum: u64 = layers.iter().map(|(_, size)| size).sum();
        let reason =
            format!("{} of {} were not compared with their names yet", bytes(sum), short(self.digest));
        self.step(urgency, Action::Verify { digest: self.digest.to_owned(), layers }, reason, draft);
        false
    }

    /// It answered what it is asked. Whether that is so.
    fn answers(&self, draft: &mut Draft) -> bool {
        let Some(smoke) = &self.listed.model.smoke else { return true };
        let attempt = self.view.attempt_on(self.listed, StepKind::Smoke, self.digest);
        if attempt.is_some_and(|attempt| attempt.failure.is_none()) {
            return true;
        }
        if self.failed(StepKind::Smoke, "smoke prompt", draft) {
            return false;
        }
        match self.kind(draft) {
            None => return false,
            // It makes embeddings and nothing else.
            Some(Kind::Embeds) => return true,
            Some(Kind::Generates) => {}
        }
        if self.view.in_memory(self.digest).is_none() && !self.warmed(draft) {
            return false;
        }
        let (name, smoke) = (self.listed.model.reference.clone(), smoke.clone());
        let action = Action::Smoke { name, digest: self.digest.to_owned(), smoke };
        self.step(
            Urgency::Move,
            action,
            format!("{} has not answered its smoke prompt yet", short(self.digest)),
            draft,
        );
        false
    }

    /// The last try failed, and the next one is later or never.
    fn failed(&self, kind: StepKind, word: &str, draft: &mut Draft) -> bool {
        let Some(attempt) = self.view.attempt_on(self.listed, kind, self.digest) else { return false };
        let Some(failure) = &attempt.failure else { return false };
        let repaired = [StepKind::Pull, StepKind::Verify].into_iter().any(|kind| {
            let since = self.view.attempt_on(self.listed, kind, self.digest);
            since.is_some_and(|since| since.failure.is_none() && since.at > attempt.at)
        });
        if repaired {
            return false;
        }
        if self.back.is_some() && (failure.blames_version || attempt.tries() >= TRIES) {
            self.bad(format!("{word}: {}", failure.message), draft);
            return true;
        }
        draft.failed = true;
        let code = match (failure.code, kind) {
            ("model_out_of_memory", _) => "model_memory_short",
            (code @ ("model_server_unreachable" | BUSY), _) => code,
            (_, StepKind::Load | StepKind::Smoke) => "model_failed",
            (code, _) => code,
        };
        let message = format!("{} failed ({word}): {}", self.listed.name(), failure.message);
        draft.problem(
            code,
            message,
            failure.hint.as_deref().unwrap_or("look at the server's log"),
            attempt.at,
        );
        let restarted = self.view.up.as_ref().is_some_and(|up| up.since > attempt.at);
        if failure.blames_version && attempt.failures >= TRIES && !self.good && !restarted {
            let name = self.listed.name();
            draft.because(format!(
                "{word} failed: {}; it is tried again with another version, when the server is started again, or by \
                 `agentctl models pull {name}`",
                failure.message
            ));
            return true;
        }
        let until = self.view.backs_off(Some(attempt));
        if let Some(until) = until {
            draft.until(format!("{word} failed {} times: {}", attempt.failures, failure.message), until);
        }
        until.is_some()
    }

    fn bad(&self, cause: String, draft: &mut Draft) {
        let (model, digest) = (self.listed.full.clone(), self.digest.to_owned());
        draft.because(format!("{} failed ({cause}) and goes to quarantine", short(self.digest)));
        draft.notes.push(Note::Bad { model, digest, cause });
    }

    /// Nothing is judged now.
    fn holds(&self, draft: &mut Draft) -> bool {
        if let Some(why) = self.hold {
            draft.because(format!("{} is not judged now: {why}", short(self.digest)));
        }
        self.hold.is_some()
    }

    fn step(&self, urgency: Urgency, action: Action, reason: String, draft: &mut Draft) {
        draft.because(reason.clone());
        draft.steps.push((urgency, Step { model: self.listed.full.clone(), action, reason }));
    }
}
