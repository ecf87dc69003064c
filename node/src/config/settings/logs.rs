//! `[logs]` and `[services.NAME.logs]`, validated. Patterns stay texts: whoever uses them compiles them, and can, for they
//! were compiled once when they were checked.

use schemars::JsonSchema;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Bytes that count for each event beside its message: API reference of `PutLogEvents`.
pub const EVENT_OVERHEAD_BYTES: usize = 26;

/// The largest name of a stream, in characters: API reference of `CreateLogStream`.
const STREAM_CHARACTERS: usize = 512;

/// `[logs]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Logs {
    /// Log group.
    pub group: String,
    /// Set on a group that we create; absent keeps for ever.
    pub retention_days: Option<i32>,
    /// Set on a group that we create.
    pub tags: BTreeMap<String, String>,
    /// Name of the stream of each source.
    pub stream: StreamName,
    /// Files of the node.
    pub files: Vec<LogFile>,
    /// Units whose journal is shipped.
    pub journal: Units,
    /// The kernel's messages about memory that ran out.
    pub kernel: bool,
    /// Bytes that may be kept of what its source deleted before it was delivered.
    pub queue_bytes: u64,
    /// Bytes of the message of one event at most: what was written, less [`EVENT_OVERHEAD_BYTES`].
    pub max_event_bytes: usize,
}

impl Logs {
    /// What `[logs]` is with nothing but a group in it.
    pub fn to_group(group: impl Into<String>) -> Logs {
        Logs {
            group: group.into(),
            retention_days: None,
            tags: BTreeMap::new(),
            stream: StreamName("{instance_id}/{service}".to_owned()),
            files: Vec::new(),
            journal: Units::These(Vec::new()),
            kernel: true,
            queue_bytes: 1 << 30,
            max_event_bytes: (256 << 10) - EVENT_OVERHEAD_BYTES,
        }
    }
}

/// Whose journal is shipped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Units {
    /// `["*"]`
    All,
    /// By their full names; none at all where it is empty.
    These(Vec<String>),
}

/// A file to ship, or several by one pattern.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LogFile {
    /// Absolute; `*` and `?` stand for characters other than `/`, in any component.
    pub path: String,
    /// In place of the one of `[logs]`.
    pub stream: Option<StreamName>,
    /// What is shipped of it.
    pub shaping: Shaping,
}

/// The name of a stream with its placeholders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct StreamName(pub(in crate::config) String);

/// What the placeholders stand for.
#[derive(Debug, Clone, Copy)]
pub struct StreamParts<'a> {
    /// `{instance_id}`
    pub instance_id: &'a str,
    /// `{node}`
    pub node: &'a str,
    /// `{service}`: name of a service, path of a file, name of a unit.
    pub service: &'a str,
}

/// Longest first is not needed: none is the beginning of another.
pub(in crate::config) const PLACEHOLDERS: [&str; 3] = ["{instance_id}", "{service}", "{node}"];

impl StreamName {
    /// The name for one source, as CloudWatch Logs takes it: without `:` and `*`, and no longer than it may be. What is
    /// put in is not looked through for placeholders again.
    pub fn of(&self, parts: &StreamParts<'_>) -> String {
        let mut name = String::new();
        let mut rest = self.0.as_str();
        while let Some(character) = rest.chars().next() {
            let (taken, put) = match PLACEHOLDERS.iter().find(|known| rest.starts_with(**known)) {
                Some(known @ &"{instance_id}") => (known.len(), parts.instance_id),
                Some(known @ &"{service}") => (known.len(), parts.service.trim_start_matches('/')),
                Some(known) => (known.len(), parts.node),
                None => (character.len_utf8(), &rest[..character.len_utf8()]),
            };
            name.extend(put.chars().map(|c| if matches!(c, ':' | '*') || c.is_control() { '_' } else { c }));
            rest = &rest[taken..];
        }
        fitted(name)
    }
}

/// A name that is too long, such as one of a deep path, ends in a sum over all of it, so that two stay two.
fn fitted(name: String) -> String {
    const SUM_BYTES: usize = 8;
    if name.chars().count() <= STREAM_CHARACTERS {
        return name;
    }
    let sum: String =
        Sha256::digest(name.as_bytes()).iter().take(SUM_BYTES).map(|byte| format!("{byte:02x}")).collect();
    let kept = STREAM_CHARACTERS - sum.len() - 1;
    name.chars().take(kept).chain(['~']).chain(sum.chars()).collect()
}

/// What is shipped of what one source writes. The rules are asked in the order of these fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Shaping {
    /// Which lines belong together; absent: every line is an event.
    pub multiline: Option<Multiline>,
    /// Patterns of which one has to match; empty takes all.
    pub include: Vec<String>,
    /// Patterns of which none may match.
    pub exclude: Vec<String>,
    /// The first that matches says how many are kept.
    pub sample: Vec<Sample>,
    /// Of identical neighbours so many a minute.
    pub repeat: Option<u32>,
    /// Bytes a second.
    pub max_rate: Option<u64>,
    /// Bytes a day of UTC.
    pub daily: Option<u64>,
    /// What is added, each once.
    pub fields: Vec<Field>,
}

/// Which lines belong together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Multiline {
    /// Tracebacks of Python.
    Python,
    /// Stack traces of Java.
    Java,
    /// Pattern of the first line of every event.
    Start(String),
}

/// Lines of which only some are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Sample {
    /// Which.
    pub pattern: String,
    /// The first of so many.
    pub one_in: u32,
}

/// What can be added to an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// Name of the service.
    Service,
    /// Digest of its image.
    ImageDigest,
    /// Id of the instance.
    InstanceId,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(template: &str, node: &str, service: &str) -> String {
        let parts = StreamParts { instance_id: "i-0a", node, service };
        StreamName(template.to_owned()).of(&parts)
    }

    #[test]
    fn a_stream_is_named_after_node_and_service() {
        assert_eq!(named("{instance_id}/{service}", "web", "api"), "i-0a/api");
        assert_eq!(named("{node}-{instance_id}-{service}.x", "web", "api"), "web-i-0a-api.x");
        assert_eq!(named("{instance_id}/{service}", "web", "/var/log/a.log"), "i-0a/var/log/a.log");
    }

    #[test]
    fn what_is_put_in_is_not_looked_through_again_and_has_no_character_that_is_refused() {
        assert_eq!(named("{node}/{instance_id}/{service}", "{service}", "a"), "{service}/i-0a/a");
        assert_eq!(named("{node}/{instance_id}/{service}", "a:b*", "/x:y"), "a_b_/i-0a/x_y");
    }

    #[test]
    fn a_name_that_is_too_long_stays_different_from_its_neighbour() {
        let long = |end: &str| named("{instance_id}/{service}", "n", &format!("/{}{end}", "é".repeat(600)));
        assert_eq!(long("a").chars().count(), STREAM_CHARACTERS);
        assert_ne!(long("a"), long("b"));
        let exactly = "x".repeat(STREAM_CHARACTERS - "i-0a/".len());
        assert_eq!(named("{instance_id}/{service}", "n", &exactly), format!("i-0a/{exactly}"));
    }
}
