//! The last updates of a service, with how they went. Values and their changes, pure.
//!
//! An update is open from the moment at which the container of another version is to be made until it is decided; at
//! most one is, the last. A kill in between leaves it open, and what is found then closes it.

use super::{Record, UPDATES_LIMIT, Version};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One update, or the attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// To what.
    pub version: Version,
    /// From what; absent for the first one of a service.
    #[serde(default)]
    pub from: Option<Version>,
    /// When its container was to be made.
    pub began: Timestamp,
    /// When it was decided; absent while it is under way.
    #[serde(default)]
    pub ended: Option<Timestamp>,
    /// How it went; absent while it is under way.
    #[serde(default)]
    pub end: Option<UpdateEnd>,
}

/// How an update went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpdateEnd {
    /// It passed its gate.
    Passed,
    /// It did not, and why; one line.
    Failed(String),
    /// Something newer was wanted before.
    Overtaken,
}

impl Record {
    /// The update that is under way.
    pub fn open_update(&self) -> Option<&Update> {
        self.updates.last().filter(|update| update.end.is_none())
    }

    /// The container of `version` is to be made. One of the good version replaces a lost one and is no update; a second
    /// one of the version that is under way is the same update.
    pub fn begin_update(&mut self, version: &Version, now: Timestamp) {
        if self.good.as_ref() == Some(version)
            || self.open_update().is_some_and(|open| open.version == *version)
        {
            return;
        }
        self.close_open(UpdateEnd::Overtaken, now);
        let from = self.good.clone();
        self.updates.push(Update { version: version.clone(), from, began: now, ended: None, end: None });
        let excess = self.updates.len().saturating_sub(UPDATES_LIMIT);
        self.updates.drain(..excess);
    }

    /// `version` was decided. A version that fails after it had passed did not go well after all. An open update to
    /// another version was overtaken.
    pub fn end_update(&mut self, version: &Version, end: UpdateEnd, now: Timestamp) {
        if self.open_update().is_some_and(|open| open.version == *version) {
            return self.close_open(end, now);
        }
        self.close_open(UpdateEnd::Overtaken, now);
        let failed = matches!(end, UpdateEnd::Failed(_));
        let last = self.updates.iter_mut().rev().find(|update| update.version == *version);
        if let Some(last) = last.filter(|last| failed && last.end == Some(UpdateEnd::Passed)) {
            last.end = Some(end);
            last.ended = Some(now);
        }
    }

    fn close_open(&mut self, end: UpdateEnd, now: Timestamp) {
        if let Some(open) = self.updates.last_mut().filter(|update| update.end.is_none()) {
            open.end = Some(end);
            open.ended = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(digest: &str) -> Version {
        Version { digest: digest.to_owned(), spec: "a".to_owned() }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn ends(record: &Record) -> Vec<(&str, Option<UpdateEnd>)> {
        record.updates.iter().map(|update| (update.version.digest.as_str(), update.end.clone())).collect()
    }

    #[test]
    fn an_update_is_open_from_its_container_to_its_verdict() {
        let mut record = Record::default();
        record.begin_update(&version("one"), at(1));
        assert_eq!(record.open_update().map(|open| &open.version), Some(&version("one")));
        record.begin_update(&version("one"), at(2));
        record.end_update(&version("one"), UpdateEnd::Passed, at(3));
        record.record_good(&version("one"), String::new());
        record.begin_update(&version("one"), at(4));
        let update = Update {
            version: version("one"),
            from: None,
            began: at(1),
            ended: Some(at(3)),
            end: Some(UpdateEnd::Passed),
        };
        assert_eq!(record.updates, [update]);
    }

    #[test]
    fn a_newer_version_overtakes_the_one_under_way() {
        let mut record = Record::default();
        record.begin_update(&version("one"), at(1));
        record.begin_update(&version("two"), at(2));
        record.end_update(&version("three"), UpdateEnd::Passed, at(3));
        let overtaken = Some(UpdateEnd::Overtaken);
        assert_eq!(ends(&record), [("one", overtaken.clone()), ("two", overtaken)]);
    }

    #[test]
    fn a_version_that_fails_after_it_passed_did_not_go_well() {
        let mut record = Record::default();
        record.begin_update(&version("one"), at(1));
        record.end_update(&version("one"), UpdateEnd::Passed, at(2));
        let failed = UpdateEnd::Failed("it ended three times".to_owned());
        record.end_update(&version("one"), failed.clone(), at(3));
        assert_eq!(ends(&record), [("one", Some(failed))]);
        record.end_update(&version("one"), UpdateEnd::Passed, at(4));
        assert_eq!(record.updates[0].ended, Some(at(3)), "a verdict without an update changes nothing");
    }

    #[test]
    fn only_the_last_twenty_are_kept() {
        let mut record = Record::default();
        for number in 0..50 {
            record.begin_update(&version(&number.to_string()), at(number));
        }
        assert_eq!(record.updates.len(), UPDATES_LIMIT);
        assert_eq!(record.updates[0].version, version("30"));
    }
}
