//! Whether something that the agent reads at its start has been changed since it was last started.
//!
//! A run that changes such a thing starts the agent anew at its end. If it is killed in between, the next run finds the
//! change made and has none of its own: a note, written before the first change and removed after the start, tells it.
//! The note lies in /run, because with the next boot the agent starts in any case. Not its job: starting (`agent`).

use node::paths::Paths;
use std::fs::{self, OpenOptions};
use std::path::PathBuf;

fn path(paths: &Paths) -> PathBuf {
    paths.at("run/node-agent/agent-outdated")
}

/// To be called before a change. Where it cannot be written the run goes on: it knows by itself what it changes, and
/// the note is for the next one only.
pub(crate) fn note(paths: &Paths) {
    let path = path(paths);
    let _ = path.parent().map(fs::create_dir_all);
    let _ = OpenOptions::new().write(true).create(true).truncate(false).open(path);
}

/// Whether the agent has to be started anew, even if this run changes nothing.
pub(crate) fn is_noted(paths: &Paths) -> bool {
    path(paths).exists()
}

/// To be called when the agent has been started.
pub(crate) fn forget(paths: &Paths) {
    let _ = fs::remove_file(path(paths));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_stays_until_the_agent_was_started() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::under(root.path());
        assert!(!is_noted(&paths));
        note(&paths);
        note(&paths);
        assert!(is_noted(&paths));
        forget(&paths);
        assert!(!is_noted(&paths));
        forget(&paths);
    }
}
