//! What a run has left: files, mounts, the file system and its files, the handoff. In: a scene; out: lines of text that
//! are equal when two runs have left the same.

use super::{Scene, hexadecimal};
use crate::world::World;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Of each thing what it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State(BTreeMap<String, String>);

/// Their content is the way that was gone, not where it led to.
const JOURNEYS: [&str; 5] = [
    "/var/log/node-bootstrap.log",
    "/run/agent-starts",
    "/run/node-agent/handoff.json",
    "/run/node-agent/bootstrap.lock",
    "/run/systemctl.log",
];

impl State {
    pub(crate) fn of(scene: &Scene) -> State {
        let mut state = BTreeMap::new();
        for (folder, seen) in [
            ("/etc", scene.world.folder.path().join("upper/etc")),
            ("/usr", scene.world.folder.path().join("upper/usr")),
            ("/var", scene.world.folder.path().join("upper/var")),
            ("/run", scene.world.seen("/run")),
            ("/mnt", scene.world.seen("/mnt")),
        ] {
            files(folder, &seen, &mut state);
        }
        mounts(&scene.world, &mut state);
        filesystem(scene, &mut state);
        handoff(&scene.world, &mut state);
        let old = superseded(&state);
        state.retain(|name, _| !old.iter().any(|old| name.starts_with(old.as_str())));
        State(state)
    }

    /// What is different in another state; empty when nothing is.
    pub(crate) fn differences(&self, other: &State) -> Vec<String> {
        let names: std::collections::BTreeSet<&String> = self.0.keys().chain(other.0.keys()).collect();
        let nothing = "nothing".to_owned();
        let of = |state: &State, name: &String| state.0.get(name).unwrap_or(&nothing).clone();
        let differ = names.into_iter().filter(|name| self.0.get(*name) != other.0.get(*name));
        differ.map(|name| format!("{name}: {} instead of {}", of(other, name), of(self, name))).collect()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// Old versions of a secret stay for the containers that use them; after a reboot there are none.
fn superseded(state: &BTreeMap<String, String>) -> Vec<String> {
    let folder = "/run/node-agent/secrets/app/";
    let current = state.get(&format!("{folder}current")).and_then(|link| link.rsplit(' ').next());
    let versions = ["version-1", "version-2"]
        .iter()
        .filter(|version| current.is_some_and(|current| current != **version));
    versions.map(|version| format!("{folder}{version}")).collect()
}

fn files(name: &str, seen: &Path, state: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(seen).into_iter().flatten().flatten() {
        let (path, metadata) = (entry.path(), entry.path().symlink_metadata().unwrap());
        let name = format!("{name}/{}", entry.file_name().to_string_lossy());
        let kind = metadata.file_type();
        let content = if kind.is_symlink() {
            fs::read_link(&path).unwrap().display().to_string()
        } else if kind.is_file() && !JOURNEYS.contains(&name.as_str()) {
            content(&fs::read(&path).unwrap())
        } else {
            String::new()
        };
        let (mode, owner) = (metadata.permissions().mode(), metadata.uid());
        state.insert(name.clone(), format!("{mode:o} {owner}:{} {content}", metadata.gid()));
        if kind.is_dir() {
            files(&name, &path, state);
        }
    }
}

/// The text where it is one, else its sum.
fn content(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        // Every world has a cloud of its own.
        Ok(text) if text.len() < 2000 => format!("{:?}", without_times(&without_ports(text))),
        _ => hexadecimal(&Sha256::digest(bytes)),
    }
}

fn without_ports(text: &str) -> String {
    let mut pieces = text.split("127.0.0.1:");
    let mut clean = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        clean.push_str("127.0.0.1:N");
        clean.push_str(piece.trim_start_matches(|character: char| character.is_ascii_digit()));
    }
    clean
}

/// The metadata of a secret's version says when it was fetched.
fn without_times(text: &str) -> String {
    match text.split_once("\"fetched_at\":\"") {
        Some((before, after)) => {
            format!("{before}fetched{}", after.split_once('"').map_or("", |(_, after)| after))
        }
        None => text.to_owned(),
    }
}

/// The mounts that a node has because of bootstrap.
fn mounts(world: &World, state: &mut BTreeMap<String, String>) {
    let text = world.mounts();
    for line in text.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        if !["/mnt/models", "/run/node-agent"].iter().any(|root| fields[4].starts_with(root)) {
            continue;
        }
        let name = format!("mount {}", fields[4]);
        let known = state.get(&name).cloned().unwrap_or_default();
        let kind = line.split(" - ").nth(1).unwrap_or_default().split(' ').next().unwrap_or_default();
        // A second mount over the first one would show.
        state.insert(name, format!("{known}{kind} {};", fields[5]));
    }
}

/// What lies on the disk by itself: kind, label, whether it is the file system of before, and no mark.
fn filesystem(scene: &Scene, state: &mut BTreeMap<String, String>) {
    let disk = &scene.disk;
    let found = disk.superblock();
    let uuid = if found.uuid == scene.first_uuid { "as before" } else { "new" };
    // A file system that was not grown shows by its size.
    let mounted = nix::sys::statvfs::statvfs(&scene.world.seen("/mnt/models"));
    let size = mounted.map_or(0, |mounted| mounted.blocks() * mounted.fragment_size());
    state.insert("mounted size".to_owned(), size.to_string());
    state.insert("disk kind".to_owned(), found.kind.to_owned());
    state.insert("disk label".to_owned(), found.label);
    state.insert("disk uuid".to_owned(), uuid.to_owned());
    let tail = disk.read(disk.size() - super::MIB - 4096, usize::try_from(super::MIB).unwrap() + 4096);
    let marked = tail.windows(10).any(|bytes| bytes == b"node-agent");
    state.insert("disk mark".to_owned(), marked.to_string());
}

/// The handoff without times, nodes and reasons: a step that an earlier run did is as good as one of this run.
fn handoff(world: &World, state: &mut BTreeMap<String, String>) {
    let path = world.seen("/run/node-agent/handoff.json");
    let Ok(text) = fs::read_to_string(path) else {
        state.insert("handoff".to_owned(), "none".to_owned());
        return;
    };
    let document: serde_json::Value = serde_json::from_str(&text).expect("a handoff is whole at any time");
    let mut steps: Vec<String> = Vec::new();
    for step in document["steps"].as_array().into_iter().flatten() {
        let outcome = step["outcome"].as_str().unwrap_or_default();
        let outcome = if outcome == "unchanged" { "done" } else { outcome };
        steps.push(format!("{} {outcome}", step["name"].as_str().unwrap_or_default()));
    }
    steps.sort();
    state.insert("handoff steps".to_owned(), steps.join(", "));
    let problems = document["problems"].as_array().into_iter().flatten();
    let codes: Vec<&str> = problems.map(|problem| problem["code"].as_str().unwrap_or_default()).collect();
    state.insert("handoff problems".to_owned(), codes.join(", "));
    let volume = &document["volumes"][0];
    for field in ["name", "mount", "mounted", "filesystem", "size_bytes", "optional"] {
        state.insert(format!("handoff volume {field}"), volume[field].to_string());
    }
    state.insert("handoff secret".to_owned(), document["secrets"][0]["version_id"].to_string());
    state.insert("handoff identity".to_owned(), document["identity"]["instance_id"].to_string());
}
