//! node.toml, and what bootstrap made of it at this boot.

use super::some;
use crate::examined::Wanted;
use crate::finding::{Area, Finding};
use crate::start::HandoffError;
use node::config::LoadError;
use node::fault::one_line;
use node::handoff::{Handoff, Outcome};
use std::io::ErrorKind;
use std::path::Path;

const LOOK_AT_LOG: &str = "look at /var/log/node-bootstrap.log, then `systemctl restart node-bootstrap`";

/// Whether node.toml is valid. `found` is the outcome of reading and checking it, `wanted` what it says on this node.
pub fn configuration(path: &Path, found: &Result<(), LoadError>, wanted: Wanted) -> Vec<Finding> {
    const CHECK: &str = "node.toml";
    let shown = path.display();
    let finding = match (found, wanted) {
        (Ok(()), Some(settings)) => {
            let services = some(settings.services.len(), "service");
            Finding::pass(Area::Configuration, CHECK, format!("{shown} is valid, with {services}"))
        }
        (Ok(()), None) => {
            let message = format!("{shown} is valid, as far as one can tell without knowing the instance");
            Finding::pass(Area::Configuration, CHECK, message)
        }
        (Err(LoadError::Invalid(mistakes)), _) => {
            let first = mistakes.lines().next().unwrap_or_default();
            let message = match mistakes.0.len() {
                1 => first,
                more => format!("{first}; and {} more", some(more - 1, "mistake")),
            };
            Finding::fail(Area::Configuration, CHECK, message, "see all of it with `agentctl config check`")
        }
        (Err(LoadError::Read { source, .. }), _) if source.kind() == ErrorKind::PermissionDenied => {
            Finding::skip(Area::Configuration, CHECK, format!("run as root to read {shown}"))
        }
        (Err(error @ LoadError::Read { .. }), _) => {
            Finding::failed(Area::Configuration, CHECK, error, "check the disk that it lies on")
        }
    };
    vec![finding]
}

/// What bootstrap did at this boot.
pub fn boot(handoff: &Result<Handoff, HandoffError>) -> Vec<Finding> {
    let handoff = match handoff {
        Ok(handoff) => handoff,
        Err(HandoffError::Unreadable { source, .. }) if source.kind() == ErrorKind::PermissionDenied => {
            return vec![Finding::skip(Area::Boot, "bootstrap", "run as root to see what bootstrap did")];
        }
        Err(error) => return vec![Finding::fail(Area::Boot, "bootstrap", one_line(error), LOOK_AT_LOG)],
    };
    let mut findings = Vec::new();
    for step in &handoff.steps {
        let check = format!("bootstrap: {}", step.name);
        match step.outcome {
            Outcome::Done | Outcome::Unchanged => {}
            Outcome::Failed => {
                // The problem of a step that failed says what to do.
                let problem = handoff.problems.iter().find(|problem| problem.message.contains(&step.reason));
                let hint = problem.and_then(|problem| problem.hint.clone());
                let remedy = hint.unwrap_or_else(|| LOOK_AT_LOG.to_owned());
                findings.push(Finding::fail(Area::Boot, check, step.reason.clone(), remedy));
            }
            Outcome::Skipped => {
                findings.push(Finding::warn(Area::Boot, check, step.reason.clone(), LOOK_AT_LOG));
            }
        }
    }
    if findings.is_empty() {
        let took = handoff.finished_at.duration_since(handoff.started_at).as_millis();
        let steps = some(handoff.steps.len(), "step");
        let message = format!("{steps} in {took} ms, none failed (bootstrap {})", handoff.bootstrap_version);
        findings.push(Finding::pass(Area::Boot, "bootstrap", message));
    }
    findings
}
