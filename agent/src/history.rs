//! What the agent remembers of its services: the durable part, which survives reboots, and the part that may be lost.
//!
//! Values and their changes, pure. [`store`] reads and writes the durable part. Losing all of it is survivable: what
//! runs is adopted by its labels, and a version that passes its gate becomes the good one again.

pub mod memory;
pub mod store;
mod updates;

use jiff::Timestamp;
pub use memory::Memory;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
pub use updates::{Update, UpdateEnd};

/// Quarantine entries kept for one service; the oldest go first.
const QUARANTINE_LIMIT: usize = 20;
/// Updates remembered for one service; the oldest go first.
pub const UPDATES_LIMIT: usize = 20;

/// Both parts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// What is on disk.
    pub durable: Durable,
    /// What is lost with the process.
    pub memory: Memory,
}

/// The durable part, by service. Services that left node.toml are kept: they may come back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Durable {
    /// By `[services.NAME]`.
    pub services: BTreeMap<String, Record>,
    /// Images that we pulled and have not removed, as `registry/repository@digest`, and when one was needed last.
    #[serde(default)]
    pub images: BTreeMap<String, Timestamp>,
}

/// What a service runs: an image and everything around it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Version {
    /// `sha256:…`
    pub digest: String,
    /// Hash of the wanted spec.
    pub spec: String,
}

/// The durable memory of one service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The highest generation that was given to a container.
    #[serde(default)]
    pub generation: u64,
    /// The version that passed its gate last; what a failed update returns to.
    #[serde(default)]
    pub good: Option<Version>,
    /// The image reference that was followed when `good` passed.
    #[serde(default)]
    pub reference: Option<String>,
    /// The good one before that.
    #[serde(default)]
    pub previous: Option<Version>,
    /// What failed its gate, the oldest first.
    #[serde(default)]
    pub quarantine: Vec<Quarantine>,
    /// For a service that left node.toml and is stopped by what was last known of it.
    #[serde(default)]
    pub stop_timeout_seconds: Option<u64>,
    /// When `good` passed its gate.
    #[serde(default)]
    pub good_since: Option<Timestamp>,
    /// What a person asked for instead of what node.toml names (`agentctl update --to`, `agentctl rollback`).
    #[serde(default)]
    pub target: Option<Target>,
    /// Since when a person holds it: no other image is taken.
    #[serde(default)]
    pub held_since: Option<Timestamp>,
    /// Since when a person has stopped it.
    #[serde(default)]
    pub stopped_since: Option<Timestamp>,
    /// The digest that its reference names now, and when that was seen first; for the age of images of which the
    /// registry does not say when they were pushed.
    #[serde(default)]
    pub seen: Option<Seen>,
    /// Its last updates, the oldest first.
    #[serde(default)]
    pub updates: Vec<Update>,
}

/// What a person asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// `sha256:…`
    pub digest: String,
    /// As it was written: a tag, a digest or a whole reference.
    pub named: String,
    /// The reference of node.toml at that time; with another one the wish is over.
    pub instead_of: String,
    /// When.
    pub at: Timestamp,
}

/// A digest, and when it was seen first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// `sha256:…`
    pub digest: String,
    /// When.
    pub at: Timestamp,
}

/// Something to be remembered for good that is found out while planning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The reference names that digest now.
    Seen(Seen),
    /// What a person asked for was asked instead of a reference that node.toml no longer names.
    TargetOver,
    /// An update that nobody saw end has ended.
    UpdateOver {
        /// To what it was.
        version: Version,
        /// What is found of it.
        end: UpdateEnd,
        /// When that was found.
        at: Timestamp,
    },
}

/// The same of an image that we pulled, as `registry/repository@digest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageNote {
    /// A service needs it.
    Needed {
        /// Which.
        name: String,
        /// When that was found.
        at: Timestamp,
    },
    /// The engine does not have it any more.
    Gone(String),
}

/// A version that failed its gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// `sha256:…`
    pub digest: String,
    /// The spec, where that was new as well; absent when only the image was new, and the image is to blame.
    #[serde(default)]
    pub spec: Option<String>,
    /// What failed, one line.
    pub cause: String,
    /// When.
    pub at: Timestamp,
    /// What the container wrote last.
    #[serde(default)]
    pub last_log_lines: Vec<String>,
}

impl Record {
    /// The record of a service that was never seen.
    pub const NEW: Record = Record {
        generation: 0,
        good: None,
        reference: None,
        previous: None,
        quarantine: Vec::new(),
        stop_timeout_seconds: None,
        good_since: None,
        target: None,
        held_since: None,
        stopped_since: None,
        seen: None,
        updates: Vec::new(),
    };

    /// Why the version must not be started, if it must not. An image that failed alone stays barred for as long as the
    /// spec is that of the good version: another spec may be just what it lacked.
    pub fn barred(&self, version: &Version) -> Option<&Quarantine> {
        self.quarantine
            .iter()
            .rev()
            .find(|entry| entry.digest == version.digest && self.covers(entry, version))
    }

    fn covers(&self, entry: &Quarantine, version: &Version) -> bool {
        match &entry.spec {
            Some(spec) => *spec == version.spec,
            None => self.good.as_ref().is_none_or(|good| good.spec == version.spec),
        }
    }

    /// `version` passed its gate: it is what updates return to from now on, and nothing bars it.
    pub fn record_good(&mut self, version: &Version, reference: String) {
        self.reference = Some(reference);
        if self.good.as_ref() == Some(version) {
            return;
        }
        self.previous = self.good.replace(version.clone());
        self.quarantine.retain(|entry| {
            entry.digest != version.digest || entry.spec.as_ref().is_some_and(|spec| *spec != version.spec)
        });
    }

    /// `version` failed its gate.
    pub fn record_bad(
        &mut self,
        version: &Version,
        cause: String,
        last_log_lines: Vec<String>,
        at: Timestamp,
    ) {
        let same_spec = self.good.as_ref().is_some_and(|good| good.spec == version.spec);
        let spec = (!same_spec).then(|| version.spec.clone());
        self.quarantine.retain(|entry| entry.digest != version.digest || entry.spec != spec);
        self.quarantine.push(Quarantine { digest: version.digest.clone(), spec, cause, at, last_log_lines });
        let excess = self.quarantine.len().saturating_sub(QUARANTINE_LIMIT);
        self.quarantine.drain(..excess);
    }

    /// The digest may be tried again, with whatever spec. Returns whether it was barred.
    pub fn lift(&mut self, digest: &str) -> bool {
        let before = self.quarantine.len();
        self.quarantine.retain(|entry| entry.digest != digest);
        self.quarantine.len() != before
    }

    /// Takes over what a plan has found out. Returns whether anything changed.
    pub fn note(&mut self, note: &Note) -> bool {
        let before = self.clone();
        match note {
            Note::Seen(seen) => self.seen = Some(seen.clone()),
            Note::TargetOver => self.target = None,
            Note::UpdateOver { version, end, at } => self.end_update(version, end.clone(), *at),
        }
        *self != before
    }
}

static NEW_RECORD: Record = Record::NEW;

impl Durable {
    /// What is remembered of the service.
    pub fn record(&self, service: &str) -> &Record {
        self.services.get(service).unwrap_or(&NEW_RECORD)
    }

    /// Takes over what a plan has found out of an image. Returns whether anything changed.
    pub fn note_image(&mut self, note: &ImageNote) -> bool {
        match note {
            ImageNote::Needed { name, at } => self.images.insert(name.clone(), *at) != Some(*at),
            ImageNote::Gone(name) => self.images.remove(name).is_some(),
        }
    }

    /// To change what is remembered of the service.
    pub fn record_mut(&mut self, service: &str) -> &mut Record {
        self.services.entry(service.to_owned()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(digest: &str, spec: &str) -> Version {
        Version { digest: digest.to_owned(), spec: spec.to_owned() }
    }

    fn good(digest: &str, spec: &str) -> Record {
        let mut record = Record::default();
        record.record_good(&version(digest, spec), "image:latest".to_owned());
        record
    }

    #[test]
    fn an_image_that_failed_alone_is_barred_until_the_spec_changes() {
        let mut record = good("one", "a");
        record.record_bad(&version("two", "a"), "exited".to_owned(), Vec::new(), Timestamp::UNIX_EPOCH);
        assert!(record.barred(&version("two", "a")).is_some());
        assert!(record.barred(&version("two", "b")).is_none());
        assert!(record.barred(&version("one", "a")).is_none());
    }

    #[test]
    fn an_image_that_failed_with_a_new_spec_is_barred_with_that_spec_only() {
        let mut record = good("one", "a");
        record.record_bad(&version("two", "b"), "exited".to_owned(), Vec::new(), Timestamp::UNIX_EPOCH);
        assert!(record.barred(&version("two", "b")).is_some());
        assert!(record.barred(&version("two", "a")).is_none());
    }

    #[test]
    fn passing_the_gate_lifts_the_bar_and_keeps_the_previous_version() {
        let mut record = good("one", "a");
        record.record_bad(&version("two", "a"), "exited".to_owned(), Vec::new(), Timestamp::UNIX_EPOCH);
        record.record_good(&version("two", "b"), "image:latest".to_owned());
        assert_eq!(record.previous, Some(version("one", "a")));
        assert!(record.barred(&version("two", "b")).is_none());
    }

    #[test]
    fn a_person_lifts_the_bar_from_a_digest_with_every_spec() {
        let mut record = good("one", "a");
        record.record_bad(&version("two", "a"), "exited".to_owned(), Vec::new(), Timestamp::UNIX_EPOCH);
        record.record_bad(&version("two", "b"), "exited".to_owned(), Vec::new(), Timestamp::UNIX_EPOCH);
        record.record_bad(&version("three", "a"), "exited".to_owned(), Vec::new(), Timestamp::UNIX_EPOCH);
        assert!(record.lift("two"));
        assert!(
            record.barred(&version("two", "a")).is_none() && record.barred(&version("two", "b")).is_none()
        );
        assert!(record.barred(&version("three", "a")).is_some());
        assert!(!record.lift("two"));
    }

    #[test]
    fn failing_again_replaces_the_entry_and_the_list_stays_short() {
        let mut record = good("one", "a");
        for number in 0..50 {
            let digest = format!("bad-{}", number % 30);
            record.record_bad(&version(&digest, "a"), number.to_string(), Vec::new(), Timestamp::UNIX_EPOCH);
        }
        assert_eq!(record.quarantine.len(), QUARANTINE_LIMIT);
        assert_eq!(record.quarantine.last().map(|entry| entry.cause.as_str()), Some("49"));
    }
}
