//! The handoff document and the agent's environment: reads what an earlier run of this boot left, writes what this one
//! found and did.

use crate::chain;
use crate::clock::Clock;
use crate::outdated;
use node::environment::Environment;
use node::files;
use node::handoff::{Handoff, SCHEMA, Secret, Step, Volume};
use node::identity::Facts;
use node::paths::Paths;
use node::problem::Problem;
use std::fs;
use std::io;

const MODE: u32 = 0o644;

/// This boot; empty where /proc does not tell.
pub(crate) fn boot_id(paths: &Paths) -> String {
    node::handoff::boot_id(paths).unwrap_or_default()
}

/// What an earlier run left, if it was in this boot.
pub(crate) fn of_this_boot(paths: &Paths) -> Option<Handoff> {
    let handoff: Handoff = serde_json::from_slice(&fs::read(paths.handoff()).ok()?).ok()?;
    (handoff.schema == SCHEMA && handoff.boot_id == boot_id(paths)).then_some(handoff)
}

/// What this run has to say.
#[derive(Debug, Clone, Default)]
pub(crate) struct Findings {
    pub(crate) identity: Option<Facts>,
    pub(crate) volumes: Vec<Volume>,
    pub(crate) secrets: Vec<Secret>,
    pub(crate) steps: Vec<Step>,
    pub(crate) problems: Vec<Problem>,
}

/// Writes the document, whole. Called before the agent starts and again when the last step has ended.
pub(crate) fn write(paths: &Paths, clock: &Clock, findings: &Findings) -> io::Result<()> {
    let mut steps = findings.steps.clone();
    steps.sort_by_key(|step| step.started_ms);
    let longest_chain = chain::longest(&steps).iter().map(|step| step.name.clone()).collect();
    let handoff = Handoff {
        schema: SCHEMA,
        boot_id: boot_id(paths),
        bootstrap_version: node::VERSION.to_owned(),
        started_at: clock.started_at(),
        finished_at: clock.now(),
        identity: findings.identity.clone(),
        volumes: findings.volumes.clone(),
        secrets: findings.secrets.clone(),
        steps,
        longest_chain,
        problems: findings.problems.clone(),
    };
    let mut text = serde_json::to_vec_pretty(&handoff).map_err(io::Error::other)?;
    text.push(b'\n');
    files::replace(&paths.handoff(), &text, MODE)
}

/// Passes the standard names on to the agent's unit. A run without any of them (the unit's, after user data has set
/// them) keeps what is there. Returns whether anything changed.
pub(crate) fn write_environment(paths: &Paths, environment: &Environment) -> io::Result<bool> {
    let path = paths.agent_environment();
    let text = environment.to_environment_file();
    match fs::read_to_string(&path) {
        Ok(there) if text.is_empty() || there == text => Ok(false),
        _ => {
            outdated::note(paths);
            files::replace(&path, text.as_bytes(), MODE).map(|()| true)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_without_an_environment_keeps_the_one_of_user_data() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::under(root.path());
        let set: Environment = [("AWS_REGION".to_owned(), "eu-north-1".to_owned())].into_iter().collect();
        write_environment(&paths, &set).unwrap();
        write_environment(&paths, &Environment::default()).unwrap();
        assert_eq!(fs::read_to_string(paths.agent_environment()).unwrap(), "AWS_REGION=\"eu-north-1\"\n");
    }

    #[test]
    fn a_handoff_of_another_boot_is_not_believed() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::under(root.path());
        let boot = paths.at("/proc/sys/kernel/random/boot_id");
        files::replace(&boot, b"first\n", 0o644).unwrap();
        write(&paths, &Clock::start(), &Findings::default()).unwrap();
        assert!(of_this_boot(&paths).is_some());
        files::replace(&boot, b"second\n", 0o644).unwrap();
        assert!(of_this_boot(&paths).is_none());
    }
}
