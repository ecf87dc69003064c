//! What is remembered of models, in `/var/lib/node-agent/models.json`: what passed, what failed, what a person asked for.
//! Everything else is read from the server and its folder. Values only.

mod wish;

use super::plan::Note;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
pub use wish::{Asked, UNKNOWN, wish};

/// As much of a model's past as is shown.
pub const PAST_LIMIT: usize = 20;

/// Why a move ended when nothing failed.
pub const OVERTAKEN: &str = "something else was wanted meanwhile";

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Durable {
    /// By `ModelReference::full`.
    #[serde(default)]
    pub models: BTreeMap<String, Record>,
    /// Layers that were read once and were what their names say, with their length: `sha256:…` to bytes.
    #[serde(default)]
    pub verified: BTreeMap<String, u64>,
}

/// What is remembered of one model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The version that passed last: verified, loaded where it is to be, its smoke prompt answered.
    #[serde(default)]
    pub good: Option<String>,
    /// The good one before that, kept under a name of its own.
    #[serde(default)]
    pub previous: Option<String>,
    /// What a person asked for instead of what the tag names.
    #[serde(default)]
    pub pin: Option<Pin>,
    /// Versions that failed, never taken again by themselves.
    #[serde(default)]
    pub quarantine: Vec<Quarantine>,
    /// The agent pulled it; models that others put there are not ours to remove.
    #[serde(default)]
    pub ours: bool,
    /// When node.toml last asked for it.
    #[serde(default)]
    pub needed_at: Option<Timestamp>,
    /// Its moves, the oldest first; the last one may be under way.
    #[serde(default)]
    pub past: Vec<Move>,
}

/// What a person asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// `sha256:…`
    pub digest: String,
    /// When.
    pub at: Timestamp,
}

/// A version that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// `sha256:…`
    pub digest: String,
    /// What failed, one line.
    pub cause: String,
    /// When.
    pub at: Timestamp,
}

/// One move to a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// To what.
    pub to: String,
    /// From what; absent for the first one.
    #[serde(default)]
    pub from: Option<String>,
    /// When it began.
    pub began: Timestamp,
    /// When and how it ended; absent while it is under way.
    #[serde(default)]
    pub end: Option<MoveEnd>,
}

/// How a move ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveEnd {
    /// When.
    pub at: Timestamp,
    /// Why it failed; absent when it did not.
    #[serde(default)]
    pub cause: Option<String>,
}

impl Durable {
    /// The record of the model, by its full name.
    pub fn record(&self, model: &str) -> Option<&Record> {
        self.models.get(model)
    }

    /// Remembers what a plan has found out. Whether anything changed.
    pub fn note(&mut self, note: &Note, now: Timestamp) -> bool {
        let before = self.clone();
        match note {
            Note::Needed(models) => {
                for model in models {
                    self.record_mut(model).needed_at = Some(now);
                }
            }
            Note::Ours(model) => self.record_mut(model).ours = true,
            Note::Begun { model, from, to } => self.record_mut(model).begin(from.as_deref(), to, now),
            Note::Called { model, digest } => self.record_mut(model).called(digest),
            Note::Good { model, digest } => self.record_mut(model).passed(digest, now),
            Note::Previous { model, digest } => {
                self.record_mut(model).previous.get_or_insert_with(|| digest.clone());
            }
            Note::Bad { model, digest, cause } => self.record_mut(model).failed(digest, cause, now),
            Note::PinOver(model) => self.record_mut(model).pin = None,
            Note::Verified(layers) => self.verified.extend(layers.iter().cloned()),
            Note::Unverified(layer) => {
                self.verified.remove(layer);
            }
        }
        *self != before
    }

    /// The record of the model, made where there is none.
    pub(super) fn record_mut(&mut self, model: &str) -> &mut Record {
        self.models.entry(model.to_owned()).or_default()
    }
}

impl Record {
    /// Why the version is barred, if it is.
    pub fn barred(&self, digest: &str) -> Option<&Quarantine> {
        self.quarantine.iter().rev().find(|entry| entry.digest == digest)
    }

    /// Whether the version is spoken of.
    pub fn names(&self, digest: &str) -> bool {
        let pin = self.pin.as_ref().map(|pin| &pin.digest);
        let open = self.under_way().map(|open| &open.to);
        let all = [self.good.as_ref(), self.previous.as_ref(), pin, open];
        all.into_iter().flatten().any(|named| named == digest) || self.barred(digest).is_some()
    }

    /// The move that is under way.
    pub fn under_way(&self) -> Option<&Move> {
        self.past.last().filter(|last| last.end.is_none())
    }

    /// Whether the version passed or failed since: it was there then, and went again.
    pub(super) fn was_judged(&self, digest: &str, since: Timestamp) -> bool {
        let judged = |end: &MoveEnd| end.at >= since && end.cause.as_deref() != Some(OVERTAKEN);
        self.past.iter().any(|step| step.to == digest && step.end.as_ref().is_some_and(judged))
    }

    fn begin(&mut self, from: Option<&str>, to: &str, now: Timestamp) {
        if self.under_way().is_some_and(|open| open.to == to && open.from.as_deref() == from) {
            return;
        }
        self.end(now, Some(OVERTAKEN));
        self.past.push(Move { to: to.to_owned(), from: from.map(str::to_owned), began: now, end: None });
        let over = self.past.len().saturating_sub(PAST_LIMIT);
        self.past.drain(..over);
    }

    fn called(&mut self, digest: &str) {
        if let Some(open) = self.past.last_mut().filter(|last| last.end.is_none()) {
            digest.clone_into(&mut open.to);
        }
    }

    fn end(&mut self, now: Timestamp, cause: Option<&str>) {
        if let Some(open) = self.past.last_mut().filter(|last| last.end.is_none()) {
            open.end = Some(MoveEnd { at: now, cause: cause.map(str::to_owned) });
        }
    }

    /// What was good becomes the previous one. Where nothing was good yet, that is what was there before the move, else
    /// what was found kept.
    fn passed(&mut self, digest: &str, now: Timestamp) {
        if self.under_way().is_none_or(|open| open.to != digest) {
            self.end(now, Some(OVERTAKEN));
            if self.good.as_deref() == Some(digest) {
                return;
            }
            let from = self.good.clone();
            self.begin(from.as_deref(), digest, now);
        }
        let from = self.under_way().and_then(|open| open.from.clone());
        self.end(now, None);
        if self.good.as_deref() != Some(digest) {
            let before = self.good.replace(digest.to_owned()).or(from).or(self.previous.take());
            self.previous = before.filter(|before| before != digest && self.barred(before).is_none());
        }
    }

    fn failed(&mut self, digest: &str, cause: &str, now: Timestamp) {
        if self.under_way().is_some_and(|open| open.to == digest) {
            self.end(now, Some(cause));
        }
        let entry = Quarantine { digest: digest.to_owned(), cause: cause.to_owned(), at: now };
        self.quarantine.retain(|entry| entry.digest != digest);
        self.quarantine.push(entry);
        self.previous = self.previous.take().filter(|previous| previous != digest);
    }
}
