//! `[logs]` and `[services.NAME.logs]` as typed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Shipping of logs to CloudWatch Logs.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["group"]))]
pub(in crate::config) struct Logs {
    /// Log group, created where it is missing.
    pub(in crate::config) group: Option<String>,
    /// Set on a group that the agent creates; one of the numbers that CloudWatch allows. Without it logs stay for ever.
    pub(in crate::config) retention_days: Option<i64>,
    /// Tags of a group that the agent creates.
    pub(in crate::config) tags: BTreeMap<String, String>,
    /// Name of the stream of each source, with `{instance_id}`, `{service}` and `{node}` in it. The first two have to be
    /// there: they keep two nodes and two services apart. `{service}` is the path for a file, the name of the unit for the
    /// journal, and `kernel.oom` for the kernel; `{node}` is the name of the node, which all of an Auto Scaling group may share.
    pub(in crate::config) stream: String,
    /// Files on the node to ship: absolute paths, in which `*` and `?` may stand in any component, or tables with more.
    pub(in crate::config) files: Vec<LogFile>,
    /// Units whose journal is shipped, by their full names, or `["*"]` for all.
    pub(in crate::config) journal: Vec<String>,
    /// The kernel's messages about memory that ran out are shipped.
    pub(in crate::config) kernel: bool,
    /// How much may be kept on disk of what its source deleted before it was delivered, from `16m` to `1t`. Over it the
    /// oldest go, and are counted.
    pub(in crate::config) queue: String,
    /// How large one event may be, from `16k` to `1m`, with the 26 bytes that CloudWatch adds; a longer line becomes several.
    pub(in crate::config) max_event: String,
}

impl Default for Logs {
    fn default() -> Logs {
        Logs {
            group: None,
            retention_days: None,
            tags: BTreeMap::new(),
            stream: "{instance_id}/{service}".to_owned(),
            files: Vec::new(),
            journal: Vec::new(),
            kernel: true,
            queue: "1g".to_owned(),
            max_event: "256k".to_owned(),
        }
    }
}

/// A file to ship, or several by one pattern.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(in crate::config) enum LogFile {
    /// Its path.
    Path(String),
    /// With more than its path.
    Table(LogFileTable),
}

/// A file to ship, with what is shipped of it.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["path"]))]
pub(in crate::config) struct LogFileTable {
    /// Absolute path, in which `*` and `?` may stand in any component.
    pub(in crate::config) path: Option<String>,
    /// Name of its stream in place of the one of `[logs]`. Where `path` names one file only, `{service}` may be left out.
    pub(in crate::config) stream: Option<String>,
    /// As in `[services.NAME.logs]`.
    pub(in crate::config) include: Vec<String>,
    /// As in `[services.NAME.logs]`.
    pub(in crate::config) exclude: Vec<String>,
    /// As in `[services.NAME.logs]`.
    pub(in crate::config) multiline: Option<Multiline>,
    /// As in `[services.NAME.logs]`.
    pub(in crate::config) sample: Vec<Sample>,
    /// As in `[services.NAME.logs]`.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(in crate::config) repeat: Option<i64>,
    /// As in `[services.NAME.logs]`.
    pub(in crate::config) max_rate: Option<String>,
    /// As in `[services.NAME.logs]`.
    pub(in crate::config) daily: Option<String>,
}

/// What is shipped of what a service writes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct ServiceLogs {
    /// Lines that match none of these patterns are left out. Empty takes all.
    pub(in crate::config) include: Vec<String>,
    /// Lines that match any of these patterns are left out.
    pub(in crate::config) exclude: Vec<String>,
    /// Which lines belong together and become one event: `"python"` or `"java"` for their tracebacks, or
    /// `{ start = "PATTERN" }` for what every event begins with. Without it every line is one.
    pub(in crate::config) multiline: Option<Multiline>,
    /// Of the lines that match a pattern only some are kept; the first pattern that matches counts.
    pub(in crate::config) sample: Vec<Sample>,
    /// Of neighbouring lines that are identical at most so many a minute are kept, from 1 to 1000000; one line says how many
    /// were not. Without it all are.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(in crate::config) repeat: Option<i64>,
    /// Bytes a second, from `1k` to `1g`, such as `"1m"`: what goes beyond it for long is left out. Without it there is no
    /// limit.
    pub(in crate::config) max_rate: Option<String>,
    /// Bytes a day (UTC), from `1m` to `16t`, such as `"5g"`: what comes after them is left out until midnight. Without it
    /// there is no limit.
    pub(in crate::config) daily: Option<String>,
    /// What is added to every event: `"service"`, `"image_digest"`, `"instance_id"`. A line that is a JSON object gets them
    /// under the key `node_agent`; any other becomes `{"message": …, "node_agent": {…}}`. Empty leaves lines as they are.
    pub(in crate::config) fields: Vec<Field>,
}

/// Which lines belong together.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(in crate::config) enum Multiline {
    /// Ready-made.
    Kind(MultilineKind),
    /// By what every event begins with.
    Start(MultilineStart),
}

/// Tracebacks of a language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(in crate::config) enum MultilineKind {
    /// Python
    Python,
    /// Java, and what else runs on its machine.
    Java,
}

/// By what every event begins with.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["start"]))]
pub(in crate::config) struct MultilineStart {
    /// Pattern of the first line of an event; lines that do not match it belong to the event before.
    pub(in crate::config) start: Option<String>,
}

/// Lines of which only some are kept.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["pattern", "one_in"]))]
pub(in crate::config) struct Sample {
    /// Pattern of the lines.
    pub(in crate::config) pattern: Option<String>,
    /// The first of so many is kept, from 2 to 1000000.
    #[schemars(range(min = 2, max = 1_000_000))]
    pub(in crate::config) one_in: Option<i64>,
}

/// What can be added to an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Field {
    /// Name of the service.
    Service,
    /// Digest of its image.
    ImageDigest,
    /// Id of the instance.
    InstanceId,
}
