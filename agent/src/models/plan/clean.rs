//! What nobody needs: kept names whose version is over, models that node.toml no longer has, layers without a name, what
//! is left of pulls.
//!
//! Nothing goes that a version to be pulled would bring again, that is in memory, or that a name of ours still needs.
//! Under pressure of room age does not count, but nothing goes for a pull that would not fit all the same.

use super::disk::{Room, missing};
use super::view::{Listed, Name, View, base_of};
use super::wanted::{self, Goal, Source};
use super::words::span;
use super::{Action, Step, kept_name};
use crate::models::files::Files;
use crate::models::registry::Manifest;
use jiff::Timestamp;
use node::config::settings::{ModelReference, Reclaim};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Layers without a name, and what is left of a pull, may still be in work for so long.
const IN_WORK: Duration = Duration::from_secs(3600);
/// A server that works on a part's file has it whole again, or gone with the others, within this time.
const SETTLED: Duration = Duration::from_secs(10);
/// Stands for the model in steps on files.
pub(super) const FOLDER: &str = "the folder of the models";

/// All that may go.
pub(super) struct Cleaning<'a> {
    view: &'a View<'a>,
    /// Layers of versions that are to be pulled.
    coming: BTreeSet<&'a str>,
    /// What is to be pulled is not known yet, as a registry has not said it since the agent started.
    uncertain: bool,
    /// Names that nobody needs, with their age where that is known; those that go whatever their age have none.
    names: Vec<(&'a Name<'a>, Age)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Age {
    /// It goes at once.
    Any,
    /// So long nobody needed it.
    Unused(Duration),
    /// Nobody knows.
    Unknown,
}

impl<'a> Cleaning<'a> {
    pub(super) fn new(view: &'a View<'a>, goals: &[(&'a Listed<'a>, Goal)]) -> Cleaning<'a> {
        let mut coming = BTreeSet::new();
        for (listed, goal) in goals {
            let known = view.known(listed).filter(|known| {
                let wanted = goal.asked.as_ref().is_some_and(|(digest, _)| *digest == known.digest);
                wanted && view.is_whole(&known.digest) != Some(true)
            });
            let layers = known.map(|known| known.layers.as_slice()).unwrap_or_default();
            coming.extend(layers.iter().map(|layer| layer.digest.as_str()));
        }
        let names = view.up.as_ref().into_iter().flat_map(|up| up.names.values());
        let names = names.filter_map(|name| Some((name, unneeded(view, goals, name)?))).collect();
        let uncertain = goals.iter().any(|(listed, goal)| is_uncertain(view, listed, goal));
        Cleaning { view, coming, uncertain, names }
    }

    /// The next thing that goes by age.
    pub(super) fn by_age(&self) -> Option<Step> {
        let unused_for = self.view.settings.unused_for;
        let old = |age: Age| age == Age::Any || matches!(age, Age::Unused(age) if age >= unused_for);
        let name = self.names.iter().find(|(name, age)| old(*age) && !self.brings_again(&[*name]));
        if let Some((name, age)) = name {
            let reason = match age {
                Age::Unused(age) => format!("nobody has needed it for {}", span(*age)),
                Age::Any | Age::Unknown => "its version is not needed any more".to_owned(),
            };
            return Some(self.delete(name, reason));
        }
        let (partials, blobs) = (self.partials(unused_for), self.blobs());
        (!partials.is_empty() || !blobs.is_empty()).then(|| Step {
            model: FOLDER.to_owned(),
            action: Action::Clean { partials, blobs },
            reason: "no model needs these files".to_owned(),
        })
    }

    /// When something will be old enough.
    pub(super) fn next(&self) -> Option<Timestamp> {
        let unused_for = self.view.settings.unused_for;
        let left = self.names.iter().filter_map(|(_, age)| match age {
            Age::Unused(age) => unused_for.checked_sub(*age).filter(|left| !left.is_zero()),
            Age::Any | Age::Unknown => None,
        });
        let broken = self.broken().map(|(_, until)| until).filter(|until| *until > self.view.now);
        left.map(|left| self.view.now + left).chain(broken).min()
    }

    /// What is left of pulls that the server cannot take up, and when that is certain: where it was seen so all the time
    /// until then. A record that is just being written is empty for a moment, and some file systems show it so with the
    /// time of the write before.
    fn broken(&self) -> impl Iterator<Item = (&'a str, Timestamp)> + use<'a, '_> {
        let now = self.view.now;
        let seen_at = self.view.observed.files_seen_at.unwrap_or(now);
        let partials = self.view.files().map(|files| &files.partials).into_iter().flatten();
        let broken = partials.filter(|(_, partial)| partial.broken);
        broken.map(move |(digest, partial)| {
            let first = self.view.observed.broken_since.get(digest).copied().unwrap_or(seen_at);
            // One of the future was written before the clock was set back.
            let written = Some(partial.modified_at).filter(|at| *at <= now).unwrap_or(first);
            (digest.as_str(), written.max(first) + SETTLED)
        })
    }

    /// Until when a pull of that version would only fail, as what is left of an earlier one has to go first.
    pub(super) fn blocks(&self, manifest: &Manifest) -> Option<Timestamp> {
        let layers: BTreeSet<&str> = manifest.layers.iter().map(|layer| layer.digest.as_str()).collect();
        self.broken().filter(|(digest, _)| layers.contains(digest)).map(|(_, until)| until).max()
    }

    /// What is left of pulls that the server cannot take up: needed or not, every pull of these layers fails until it goes.
    pub(super) fn unusable(&self) -> Option<Step> {
        // A server that writes the record of a part empties it first: what was seen just then is not what is there now.
        let seen_at = self.view.observed.files_seen_at?;
        let due = |(digest, until): (&str, Timestamp)| (until <= seen_at).then(|| digest.to_owned());
        let partials: Vec<String> = self.broken().filter_map(due).collect();
        let goes = !partials.is_empty() && self.view.observed.pulling.is_none();
        goes.then(|| Step {
            model: FOLDER.to_owned(),
            action: Action::Clean { partials, blobs: Vec::new() },
            reason: "the server cannot take up what is left of these pulls".to_owned(),
        })
    }

    /// The first thing to go for a pull that does not fit; `None` where it would not fit all the same.
    pub(super) fn for_room(&self, room: Room, manifest: &Manifest) -> Option<Step> {
        let files = self.view.files()?;
        let reason = format!("room for {}", manifest_words(&room));
        let (partials, blobs) = (self.partials(IN_WORK), self.blobs());
        let partial = |digest: &String| files.partials.get(digest).map_or(0, |it| it.allocated_bytes);
        let blob = |digest: &String| files.blobs.get(digest).map_or(0, |it| it.size_bytes);
        let loose = partials.iter().map(partial).sum::<u64>() + blobs.iter().map(blob).sum::<u64>();
        let fits = |freed: u64, needs: u64| Room { free: room.free + freed, needs, ..room }.is_enough();
        if loose > 0 && fits(loose, room.needs) {
            let action = Action::Clean { partials, blobs };
            return Some(Step { model: FOLDER.to_owned(), action, reason });
        }
        let mut going: Vec<&Name<'_>> = Vec::new();
        let mut names: Vec<_> = self.names.iter().collect();
        names.sort_by_key(|(_, age)| match age {
            Age::Any => (0, Duration::ZERO),
            Age::Unused(age) => (1, Duration::MAX.saturating_sub(*age)),
            Age::Unknown => (2, Duration::ZERO),
        });
        for (name, _) in names {
            going.push(name);
            if self.brings_again(&going) {
                going.pop();
                continue;
            }
            let freed = freed(files, &going);
            let bytes: u64 = freed.iter().map(|digest| blob(&(*digest).to_owned())).sum();
            if fits(loose + bytes, missing(files, manifest, &freed)) {
                return going.first().map(|name| self.delete(name, reason));
            }
        }
        None
    }

    /// Damaged files that can go: nothing names them any more, or the registry has them again.
    pub(super) fn damaged(&self) -> Option<Step> {
        let files = self.view.files()?;
        let named: BTreeSet<&str> = named(files);
        let lookups = self.view.observed.lookups.values().filter_map(|lookup| lookup.known.as_ref());
        let registry: BTreeSet<&str> =
            lookups.flat_map(|known| &known.layers).map(|layer| layer.digest.as_str()).collect();
        let goes = |digest: &&str| {
            files.blobs.contains_key(*digest) && (registry.contains(digest) || !named.contains(digest))
        };
        let lookups = self.view.observed.lookups.values().filter_map(|lookup| lookup.known.as_ref());
        let layers = files.manifests.values().chain(lookups).flat_map(|manifest| &manifest.layers);
        let known = layers.filter(|layer| self.view.is_damaged(layer)).map(|layer| layer.digest.as_str());
        let damaged: BTreeSet<&str> =
            self.view.observed.damaged.iter().map(String::as_str).chain(known).collect();
        let blobs: Vec<String> = damaged.into_iter().filter(goes).map(str::to_owned).collect();
        (!blobs.is_empty()).then(|| Step {
            model: FOLDER.to_owned(),
            action: Action::Clean { partials: Vec::new(), blobs },
            reason: "these files are not what their names say".to_owned(),
        })
    }

    fn delete(&self, name: &Name<'_>, reason: String) -> Step {
        let base = base_of(&name.reference);
        let action = Action::Delete { name: name.reference.clone() };
        Step { model: base.unwrap_or_else(|| name.reference.clone()).full(), action, reason }
    }

    /// Whether layers that are to be pulled would go with these names.
    fn brings_again(&self, names: &[&Name<'_>]) -> bool {
        if self.uncertain {
            return true;
        }
        match self.view.files() {
            Some(files) => freed(files, names).iter().any(|layer| self.coming.contains(layer)),
            None => self.view.observed.pulling.is_some(),
        }
    }

    fn partials(&self, age: Duration) -> Vec<String> {
        // A server that pulls may be at another version than the one that it was asked for.
        let quiet = self.view.observed.pulling.is_none() && !self.uncertain;
        let files = self.view.files().filter(|_| quiet);
        let partials = files.map(|files| &files.partials).into_iter().flatten();
        let old = partials.filter(|(digest, partial)| {
            self.view.since(partial.modified_at) >= age.max(IN_WORK) && !self.coming.contains(digest.as_str())
        });
        old.map(|(digest, _)| digest.clone()).collect()
    }

    /// Whole layers that no name needs. None while somebody may be pulling: a pull of hours, of a client or another agent,
    /// leaves its first layers without a name and old while the last ones still come.
    fn blobs(&self) -> Vec<String> {
        let quiet = self.view.observed.pulling.is_none() && !self.uncertain;
        let Some(files) = self.view.files().filter(|files| quiet && files.damaged_manifests.is_empty())
        else {
            return Vec::new();
        };
        let named = named(files);
        let nameless = || files.blobs.iter().filter(|(digest, _)| !named.contains(digest.as_str()));
        let is_young = |at: Timestamp| self.view.since(at) < IN_WORK;
        if files.partials.values().any(|partial| is_young(partial.modified_at))
            || nameless().any(|(_, blob)| is_young(blob.modified_at))
        {
            return Vec::new();
        }
        let old = nameless().filter(|(digest, _)| !self.coming.contains(digest.as_str()));
        old.map(|(digest, _)| digest.clone()).collect()
    }
}

/// Whether the registry has still to say which version of the model is pulled next, if any.
fn is_uncertain(view: &View<'_>, listed: &Listed<'_>, goal: &Goal) -> bool {
    let settled = goal.digest.as_ref().is_some_and(|digest| view.is_there(listed, digest));
    let follows = goal.asked.as_ref().is_none_or(|(_, source)| {
        matches!(source, Source::Installed | Source::Followed) && view.settings.every.is_some()
    });
    let lookup = view.observed.lookups.get(&listed.full);
    let answered = lookup.is_some_and(|lookup| {
        let gone = lookup.answer.as_ref().is_err_and(|error| error.code == "model_not_found");
        lookup.known.is_some() || gone
    });
    !answered && (follows || !settled)
}

/// Whether nobody needs the name, and since when.
fn unneeded(view: &View<'_>, goals: &[(&Listed<'_>, Goal)], name: &Name<'_>) -> Option<Age> {
    let full = name.reference.full();
    let digest = &name.installed.digest;
    let base = base_of(&name.reference).filter(|base| kept_name(base, digest).full() == full);
    let owner = base.as_ref().map_or(full.clone(), ModelReference::full);
    let in_memory = view
        .up
        .as_ref()?
        .loaded
        .iter()
        .any(|(loaded, it)| loaded.as_ref() == Some(&full) || (base.is_some() && it.digest == *digest));
    if let Some((listed, goal)) = goals.iter().find(|(listed, _)| listed.full == owner) {
        let over = base.is_some() && !wanted::needed(listed, goal).contains(digest);
        return if over && !in_memory { over_age(view, listed, name) } else { None };
    }
    let record = view.durable.record(&owner);
    let ours = record.is_some_and(|record| record.ours);
    let goes = match view.settings.reclaim {
        Reclaim::Never => false,
        Reclaim::Ours => ours,
        Reclaim::All => true,
    };
    let since = record.and_then(|record| record.needed_at).or(name.installed.modified_at);
    let age = since.map_or(Age::Unknown, |since| Age::Unused(view.since(since)));
    (goes && !in_memory).then_some(age)
}

/// The age of a kept version that its model's record does not name. A record that names no good one says nothing: it lay
/// on a disk that is gone, or was put aside, and what is kept last is the one to go back to.
fn over_age(view: &View<'_>, listed: &Listed<'_>, name: &Name<'_>) -> Option<Age> {
    let digest = name.installed.digest.as_str();
    if listed.record.good.is_some() || listed.record.barred(digest).is_some() {
        return Some(Age::Any);
    }
    let age = name.installed.modified_at.map_or(Age::Unknown, |at| Age::Unused(view.since(at)));
    (view.kept_last(listed) != Some(digest)).then_some(age)
}

/// Layers that some name needs.
fn named(files: &Files) -> BTreeSet<&str> {
    let layers = files.manifests.values().flat_map(|manifest| &manifest.layers);
    layers.map(|layer| layer.digest.as_str()).collect()
}

/// Layers that would go with these names.
fn freed<'a>(files: &'a Files, names: &[&Name<'_>]) -> BTreeSet<&'a str> {
    let going: BTreeSet<String> = names.iter().map(|name| name.reference.full()).collect();
    let mut layers: BTreeMap<&str, bool> = BTreeMap::new();
    for (full, manifest) in &files.manifests {
        for layer in &manifest.layers {
            let stays = layers.entry(&layer.digest).or_default();
            *stays |= !going.contains(full);
        }
    }
    layers.into_iter().filter(|(_, stays)| !stays).map(|(digest, _)| digest).collect()
}

fn manifest_words(room: &Room) -> String {
    format!("a pull: {}", room.words())
}
