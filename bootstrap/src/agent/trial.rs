//! A new version of the agent is started on trial: it reports READY, or the old one is put back, started, and the new
//! one refused from then on.
//!
//! In: the trial that the installation has begun, or that an earlier run could not end. Out: how starting the agent
//! ended. What always holds: `trial.json` goes last, so that a run that is killed in between is continued by the next
//! one; and a version is refused only when the old one has become ready where it did not. A systemd that does not answer
//! is no verdict: the trial goes on in the next run.

use super::install::{self, Times};
use super::start::{self, Patience, Started, Verdict};
use super::version::{self, Failure, REFUSED, Refused, TRIAL, Trial};
use crate::clock::Clock;
use crate::docker::socket::Endpoint;
use crate::outdated;
use crate::step::{Ending, Fault};
use crate::systemd;
use crate::units;
use node::fault::one_line;
use node::hexadecimal::hexadecimal;
use node::paths::Paths;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::PathBuf;

/// Starts the version on trial, or the old one when that is on its way back. `tell` is called before the old one is
/// started, which reads the node's problems when it starts.
pub(crate) async fn run(
    paths: &Paths,
    clock: &Clock,
    engine: &Endpoint,
    trial: Trial,
    mut tell: impl FnMut(&[Fault]),
) -> Ending {
    if trial.failure.is_some() {
        return start_old(paths, clock, &trial, tell).await;
    }
    let Started { ending, verdict } = start::start_with(clock, true, None, Patience::Trial).await;
    match verdict {
        Verdict::Ready => match version::forget(paths, TRIAL) {
            Ok(()) => ending,
            Err(error) => ending.with_fault(Some(not_written(&error))),
        },
        Verdict::NotReady(failure) => {
            let trial = Trial { failure: Some(failure), ..trial };
            match go_back(paths, engine, &trial).await {
                Ok(units) => {
                    start_old(paths, clock, &trial, |faults| {
                        tell(&faults.iter().chain(&units).cloned().collect::<Vec<_>>());
                    })
                    .await
                }
                Err(fault) => Ending::failed(fault),
            }
        }
        Verdict::Unknown => ending,
    }
}

/// Puts the old version's files back; what is wrong with its units then.
async fn go_back(paths: &Paths, engine: &Endpoint, trial: &Trial) -> Result<Option<Fault>, Fault> {
    let (new, old) = (&trial.new.name, &trial.old.name);
    let why = trial.failure.as_ref().map(|failure| failure.why.as_str()).unwrap_or_default();
    tracing::warn!("agent: {new} did not become ready: {why}; puts {old} back");
    version::write(paths, TRIAL, trial).map_err(|error| not_written(&error))?;
    let unread = systemd::state(units::AGENT_UNIT).await.is_ok_and(|state| state.needs_reload());
    let times = if unread { Times::Old } else { Times::New };
    install::restore(paths, trial, times).map_err(|error| {
        let error = one_line(&error);
        let message = format!("{new} did not become ready: {why}; cannot put {old} back: {error}");
        Fault::new("agent_not_started", message, Some("run node-bootstrap again"))
    })?;
    Ok(units::run(paths, engine).await.0.fault)
}

async fn start_old(paths: &Paths, clock: &Clock, trial: &Trial, mut tell: impl FnMut(&[Fault])) -> Ending {
    let Some(failure) = &trial.failure else { return Ending::skipped("no version has failed") };
    let refused = Refused {
        sha256: trial.new.sha256.clone(),
        name: trial.new.name.clone(),
        why: failure.why.clone(),
        kept: trial.old.name.clone(),
        at: clock.now(),
        configuration: failure.refuses_configuration.then(|| configuration(paths)),
    };
    tell(&[refused.fault()]);
    let Started { ending, verdict } = start::start_with(clock, true, None, Patience::Usual).await;
    let (written, fault) = match verdict {
        Verdict::Unknown => return ending,
        Verdict::Ready => {
            // It has read all that is new, although the step is none that went well.
            outdated::forget(paths);
            (version::write(paths, REFUSED, &refused), refused.fault())
        }
        // Not the new version's fault alone: it is not refused.
        Verdict::NotReady(other) => (Ok(()), neither(trial, failure, &other)),
    };
    match written.and_then(|()| version::forget(paths, TRIAL)) {
        Ok(()) => Ending::failed(fault),
        Err(error) => Ending::failed(not_written(&error)),
    }
}

fn neither(trial: &Trial, failure: &Failure, other: &Failure) -> Fault {
    let (new, old) = (&trial.new.name, &trial.old.name);
    let message = format!(
        "{new} did not become ready: {}; nor did {old}, which was put back: {}",
        failure.why, other.why
    );
    let hint = if failure.refuses_configuration && other.refuses_configuration {
        "both say that node.toml is invalid; see journalctl -u node-agent.service"
    } else {
        "see journalctl -u node-agent.service"
    };
    Fault::new("agent_not_started", message, Some(hint))
}

fn not_written(error: &std::io::Error) -> Fault {
    let message = format!("cannot write what became of the new version of the agent: {error}");
    Fault::new(
        "agent_not_settled",
        message,
        Some("make room below /var/lib/node-agent, then run node-bootstrap again"),
    )
}

/// Checksum of what the agent reads: node.toml and its drop-ins, by name and content.
pub(super) fn configuration(paths: &Paths) -> String {
    let drop_ins = fs::read_dir(paths.drop_ins()).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = drop_ins.collect();
    files.sort();
    files.push(paths.configuration());
    let mut sum = Sha256::new();
    for file in files {
        sum.update(file.to_string_lossy().as_bytes());
        sum.update(fs::read(&file).unwrap_or_default());
    }
    hexadecimal(&sum.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use node::files;

    #[test]
    fn another_configuration_has_another_sum() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::under(root.path());
        let mut sums = vec![configuration(&paths)];
        for (file, text) in [
            (paths.configuration(), "a"),
            (paths.configuration(), "b"),
            (paths.drop_ins().join("x.toml"), "a"),
        ] {
            files::replace(&file, text.as_bytes(), 0o644).unwrap();
            sums.push(configuration(&paths));
        }
        sums.dedup();
        assert_eq!(sums.len(), 4);
    }

    #[test]
    fn who_is_at_fault_when_neither_version_becomes_ready_is_said() {
        let version =
            |name: &str| version::Version { sha256: String::new(), name: name.to_owned(), files: Vec::new() };
        let trial = Trial { old: version("one"), new: version("two"), failure: None };
        let failure =
            |why: &str, refuses_configuration| Failure { why: why.to_owned(), refuses_configuration };
        let fault = neither(&trial, &failure("exit status 78", true), &failure("exit status 78", true));
        assert!(fault.message.contains("two") && fault.message.contains("one, which was put back"));
        assert!(fault.hint.unwrap().contains("node.toml"));
    }
}
