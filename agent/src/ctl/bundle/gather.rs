//! What goes into a bundle: the agent's answers, files of the node, and what programs of the host say.
//!
//! In: the node. Out: texts by name, and what could not be had. Not its job: taking secrets out.

use super::super::Session;
use crate::host::program;
use node::fault::one_line;
use node::paths::Paths;
use serde::Serialize;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

/// Of each file and each answer, its end.
const LONGEST: u64 = 2 << 20;
const DEADLINE: Duration = Duration::from_secs(15);

/// Names and commands whose answers are taken. `--no-pager` where a terminal would be asked for.
const COMMANDS: [(&str, &[&str]); 14] = [
    (
        "journal/node-agent.txt",
        &["journalctl", "--no-pager", "-o", "short-iso", "-n", "4000", "-u", "node-agent"],
    ),
    (
        "journal/node-bootstrap.txt",
        &["journalctl", "--no-pager", "-o", "short-iso", "-n", "2000", "-u", "node-bootstrap"],
    ),
    ("journal/docker.txt", &["journalctl", "--no-pager", "-o", "short-iso", "-n", "2000", "-u", "docker"]),
    ("journal/kernel.txt", &["journalctl", "--no-pager", "-o", "short-iso", "-n", "2000", "-k", "-b"]),
    ("host/units.txt", &["systemctl", "--no-pager", "status", "node-agent", "node-bootstrap", "docker"]),
    ("host/failed.txt", &["systemctl", "--no-pager", "list-units", "--failed"]),
    ("host/disks.txt", &["lsblk", "-o", "NAME,SIZE,TYPE,FSTYPE,LABEL,UUID,MOUNTPOINT,SERIAL"]),
    ("host/room.txt", &["df", "-hT"]),
    ("host/inodes.txt", &["df", "-i"]),
    ("host/firewall.txt", &["nft", "list", "table", "inet", "node-agent"]),
    ("host/addresses.txt", &["ip", "address"]),
    ("host/routes.txt", &["ip", "route"]),
    ("host/kernel.txt", &["uname", "-a"]),
    ("docker/containers.txt", &["docker", "ps", "--all", "--no-trunc"]),
];

/// Files that are taken as they are.
const FILES: [&str; 9] = [
    "/etc/node-agent/node.toml",
    "/run/node-agent/handoff.json",
    "/run/node-agent/status.json",
    "/run/node-agent/environment",
    "/var/log/node-bootstrap.log",
    "/etc/os-release",
    "/etc/docker/daemon.json",
    "/proc/meminfo",
    "/proc/self/mountinfo",
];

/// Folders whose text files are taken; not those in folders below them, where the queue of logs lies.
const FOLDERS: [&str; 2] = ["/etc/node-agent/node.d", "/var/lib/node-agent"];

/// What was gathered.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// Names in the bundle, and texts.
    pub(super) files: Vec<(String, String)>,
    /// What could not be had, and why.
    pub(super) missing: Vec<(String, String)>,
    /// The instance's id, or `unknown`.
    pub(super) instance: String,
}

impl Gathered {
    /// Adds a value.
    pub(super) fn json(&mut self, name: &str, value: &impl Serialize) {
        match serde_json::to_string_pretty(value) {
            Ok(text) => self.files.push((name.to_owned(), text)),
            Err(error) => self.missing.push((name.to_owned(), error.to_string())),
        }
    }

    fn answer<T: Serialize>(&mut self, name: &str, answer: Result<T, impl std::error::Error>) {
        match answer {
            Ok(value) => self.json(name, &value),
            Err(error) => self.missing.push((name.to_owned(), one_line(&error))),
        }
    }

    fn file(&mut self, paths: &Paths, path: &str) {
        let name = path.trim_start_matches('/').to_owned();
        match end_of(&paths.at(path)) {
            Ok(text) => self.files.push((name, text)),
            // What a node does not have is no gap.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.missing.push((name, error.to_string())),
        }
    }
}

/// All of it.
pub(super) async fn all(session: &Session) -> Gathered {
    let mut gathered = Gathered { instance: "unknown".to_owned(), ..Gathered::default() };
    let status = session.client.status().await;
    if let Ok(status) = &status
        && !status.node.instance_id.is_empty()
    {
        gathered.instance.clone_from(&status.node.instance_id);
    }
    gathered.answer("agent/status.json", status);
    gathered.answer("agent/explain.json", session.client.explain(None).await);
    gathered.answer("agent/models.json", session.client.models().await);
    gathered.answer("agent/config.json", session.client.config().await);
    FILES.iter().for_each(|path| gathered.file(&session.paths, path));
    for folder in FOLDERS {
        for name in text_files(&session.paths.at(folder)) {
            gathered.file(&session.paths, &format!("{folder}/{name}"));
        }
    }
    for (name, command) in COMMANDS {
        let Some((program, arguments)) = command.split_first() else { continue };
        match program::ask(program, arguments, DEADLINE, LONGEST).await {
            // One that complains may have said something all the same: `systemctl status` of a unit that failed.
            Ok(ended) => {
                let text = format!("{}{}", ended.text(), ended.complaint);
                gathered.files.push((name.to_owned(), text));
            }
            Err(why) => gathered.missing.push((name.to_owned(), why)),
        }
    }
    gathered
}

fn text_files(folder: &Path) -> Vec<String> {
    const KINDS: [&str; 5] = ["toml", "json", "jsonl", "lock", "txt"];
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_text = |path: &Path| path.extension().is_some_and(|kind| KINDS.iter().any(|known| kind == *known));
    let mut names: Vec<String> = entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()) && is_text(&entry.path()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

fn end_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    if length > LONGEST {
        file.seek(SeekFrom::End(-i64::try_from(LONGEST).unwrap_or(i64::MAX)))?;
    }
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
