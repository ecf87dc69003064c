//! What another configuration changes: the keys of node.toml that differ, and what comes of it for each service and
//! section. Pure.
//!
//! In: the configuration in force and the next one, with the volumes and secrets of now. Out: a [`Change`] for people and
//! programs, and which tasks of the agent have to begin anew for it ([`begin_anew`]). What becomes of a container is told
//! by the very hash by which the planner decides ([`Desired`]), so that the word and the deed are the same.
//! Not its job: applying anything.

use crate::desired::{self, Desired};
use node::config::Resolved;
use node::config::settings::{ModelServer, Settings, Shaping, Strategy};
use node::handoff;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// What bootstrap does, and the agent never: the sections that wait for it.
pub const BOOTSTRAP_HINT: &str = "run `systemctl restart node-bootstrap`";

/// What differs, and what comes of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// In the words of node.toml, in their order.
    pub keys: Vec<Key>,
    /// Services that are not as they were.
    pub services: Vec<Service>,
    /// Other sections that a reload applies.
    pub sections: Vec<Section>,
    /// Sections that apply when bootstrap runs.
    pub bootstrap: Vec<String>,
}

/// One key of node.toml.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Key {
    /// As in `services.api.memory`.
    pub key: String,
    /// In force; absent where it is new.
    pub old: Option<Value>,
    /// In the next one; absent where it goes.
    pub new: Option<Value>,
}

/// One service that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Service {
    /// `[services.NAME]`
    pub name: String,
    /// What becomes of it.
    pub fate: Fate,
    /// The same in words.
    pub what: String,
}

/// What becomes of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It was not there before.
    Started,
    /// It is not there any more.
    Removed,
    /// A new container takes over while the old one serves.
    BlueGreen,
    /// The old container stops before the new one starts.
    Recreated,
    /// It follows another image, by its rules for updates.
    Image,
    /// Its container stays as it is.
    Kept,
}

/// Another section that a reload applies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Section {
    /// `logs`, `secrets`, …
    pub name: String,
    /// What comes of it, in words.
    pub what: String,
}

/// Tasks of the agent that begin anew together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tasks {
    /// Secrets, registries, and the loop of the services.
    Services,
    /// The loop of the models.
    Models,
    /// Logs and metrics.
    Telemetry,
}

impl Tasks {
    /// All of them.
    pub const ALL: [Tasks; 3] = [Tasks::Services, Tasks::Models, Tasks::Telemetry];
}

/// What else shapes a container.
#[derive(Debug, Clone, Copy)]
pub struct Present<'a> {
    /// Volumes as bootstrap handed them over.
    pub volumes: &'a [handoff::Volume],
    /// Version ids of the secrets that are there.
    pub secrets: &'a BTreeMap<String, String>,
}

impl Change {
    /// What `new` changes of `old`.
    pub fn between(old: &Resolved, new: &Resolved, present: Present<'_>) -> Change {
        if old == new {
            return Change::default();
        }
        let mut keys = Vec::new();
        compare(String::new(), &old.to_keys(), &new.to_keys(), &mut keys);
        let (old, new) = (&old.settings, &new.settings);
        let wanted = |settings| Desired::new(settings, present.volumes, present.secrets);
        Change {
            keys,
            services: services(&wanted(old), &wanted(new)),
            sections: sections(old, new),
            bootstrap: bootstrap(old, new),
        }
    }

    /// Both mean the same.
    pub fn is_nothing(&self) -> bool {
        *self == Change::default()
    }

    /// All of it in one line.
    pub fn summary(&self) -> String {
        if self.is_nothing() {
            return "nothing has changed".to_owned();
        }
        let services =
            self.services.iter().map(|service| format!("service {} {}", service.name, service.what));
        let sections = self.sections.iter().map(|section| format!("{} {}", section.name, section.what));
        let mut parts: Vec<String> = services.chain(sections).collect();
        if !self.bootstrap.is_empty() {
            parts.push(awaits_bootstrap(&self.bootstrap));
        }
        parts.join("; ")
    }
}

/// The sections in which these two differ and which bootstrap applies.
pub fn bootstrap(old: &Settings, new: &Settings) -> Vec<String> {
    let sections = [
        ("agent", old.agent != new.agent),
        ("docker", old.docker != new.docker),
        ("volumes", old.volumes != new.volumes),
    ];
    sections.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name.to_owned()).collect()
}

/// That these sections wait for bootstrap.
pub fn awaits_bootstrap(sections: &[String]) -> String {
    let names: Vec<String> = sections.iter().map(|name| format!("[{name}]")).collect();
    let verb = if names.len() == 1 { "applies" } else { "apply" };
    format!("{} {verb} when bootstrap runs: {BOOTSTRAP_HINT}", names.join(" and "))
}

/// Which tasks have to begin anew. What only says which services run, and how, is followed without that.
pub fn begin_anew(old: &Settings, new: &Settings) -> BTreeSet<Tasks> {
    let differs = [
        (Tasks::Services, old.secrets != new.secrets || old.registries != new.registries),
        (Tasks::Models, old.models != new.models || server(old) != server(new)),
        (
            Tasks::Telemetry,
            old.logs != new.logs
                || old.metrics != new.metrics
                || old.node_name != new.node_name
                || shaped(old) != shaped(new),
        ),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(tasks, _)| tasks).collect()
}

/// The service of the models: its GPUs and its memory are the loop's business too.
fn server(settings: &Settings) -> Option<&node::config::settings::Service> {
    match &settings.models.as_ref()?.server {
        ModelServer::Service { name, .. } => settings.services.get(name),
        ModelServer::Url(_) => None,
    }
}

/// What is shipped of each service, where that is not simply all.
fn shaped(settings: &Settings) -> Option<BTreeMap<&str, &Shaping>> {
    settings.logs.as_ref()?;
    let services = settings.services.iter().map(|(name, service)| (name.as_str(), &service.logs));
    Some(services.filter(|(_, shaping)| **shaping != Shaping::default()).collect())
}

fn services(old: &Desired, new: &Desired) -> Vec<Service> {
    let names: BTreeSet<&str> =
        old.services.iter().chain(&new.services).map(|service| service.name.as_str()).collect();
    let told = names.into_iter().filter_map(|name| {
        let (fate, what) = fate(old.service(name), new.service(name))?;
        Some(Service { name: name.to_owned(), fate, what })
    });
    told.collect()
}

fn fate(old: Option<&desired::Service>, new: Option<&desired::Service>) -> Option<(Fate, String)> {
    let (old, new) = match (old, new) {
        (Some(old), Some(new)) => (old, new),
        (None, Some(_)) => return Some((Fate::Started, "is started".to_owned())),
        (Some(_), None) => return Some((Fate::Removed, "is stopped and its container removed".to_owned())),
        (None, None) => return None,
    };
    let (before, after) = (&old.settings, &new.settings);
    let told = if old.spec_hash != new.spec_hash {
        match after.update.strategy {
            Strategy::BlueGreen => {
                (Fate::BlueGreen, "gets a new container, which takes over when it is healthy".to_owned())
            }
            Strategy::Recreate => (Fate::Recreated, "is stopped and started as a new container".to_owned()),
        }
    } else if before.image != after.image {
        (Fate::Image, format!("follows {} from now on", after.image))
    } else if before != after {
        (Fate::Kept, "keeps its container".to_owned())
    } else {
        return None;
    };
    Some(told)
}

fn sections(old: &Settings, new: &Settings) -> Vec<Section> {
    let models = match &new.models {
        Some(_) => "are looked after by the new rules",
        None => "are no longer looked after; those that are there stay",
    };
    let logs = match &new.logs {
        Some(_) => "are shipped by the new rules, after what was read by the old ones",
        None => "are no longer shipped",
    };
    let metrics = match &new.metrics {
        Some(_) => "are shown by the new rules",
        None => "are no longer shown",
    };
    let secrets = "are fetched anew, and who uses one that changed gets a new container";
    let told = [
        ("node", old.node_name != new.node_name, "gets its new name"),
        ("images", old.images != new.images, "that nobody needs are kept by the new rules"),
        ("secrets", old.secrets != new.secrets, secrets),
        ("registries", old.registries != new.registries, "are logged in to by the new rules"),
        ("models", old.models != new.models, models),
        ("logs", old.logs != new.logs, logs),
        ("metrics", old.metrics != new.metrics, metrics),
    ];
    let differing = told.into_iter().filter(|(_, differs, _)| *differs);
    differing.map(|(name, _, what)| Section { name: name.to_owned(), what: what.to_owned() }).collect()
}

/// Notes each key in which the two differ; a table that one of them does not have at all is one key.
fn compare(at: String, old: &Value, new: &Value, keys: &mut Vec<Key>) {
    if old == new {
        return;
    }
    let (Value::Object(before), Value::Object(after)) = (old, new) else {
        let (old, new) = (Some(old.clone()), Some(new.clone()));
        return keys.push(Key { key: at, old, new });
    };
    for (name, old, new) in pairs(before, after) {
        let key = if at.is_empty() { spelt(name) } else { format!("{at}.{}", spelt(name)) };
        match (old, new) {
            (Some(old), Some(new)) => compare(key, old, new, keys),
            (old, new) => keys.push(Key { key, old: old.cloned(), new: new.cloned() }),
        }
    }
}

fn pairs<'a>(
    old: &'a Map<String, Value>,
    new: &'a Map<String, Value>,
) -> impl Iterator<Item = (&'a str, Option<&'a Value>, Option<&'a Value>)> {
    let names: BTreeSet<&str> = old.keys().chain(new.keys()).map(String::as_str).collect();
    names.into_iter().map(|name| (name, old.get(name), new.get(name)))
}

/// A key as TOML has it: in quotes where it needs them.
fn spelt(name: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !name.is_empty() && name.bytes().all(is_bare) {
        return name.to_owned();
    }
    Value::String(name.to_owned()).to_string()
}

#[cfg(test)]
#[path = "change_tests.rs"]
mod tests;
