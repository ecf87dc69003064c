//! What came of a plan and its steps, written into the history. Pure: the loop calls it, and so does the simulation.

use crate::desired;
use crate::history::memory::{Failure, StepKind};
use crate::history::{History, Record, Version};
use crate::plan::{Action, Plan};
use crate::snapshot::{EngineView, Observed};
use jiff::Timestamp;

/// How a step ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// For a quarantine: the last lines of the container, where there were any.
    LastLogLines(Vec<String>),
}

/// Remembers what a plan found, whatever becomes of its steps.
pub fn remember(history: &mut History, plan: &Plan, observed: &Observed) {
    for planned in &plan.services {
        let memory = history.memory.service_mut(&planned.name);
        memory.state = Some((planned.status.state, planned.status.since));
        if planned.passed.is_some() {
            memory.passed.clone_from(&planned.passed);
        }
        memory.draining.clone_from(&planned.draining);
    }
    let EngineView::Up { containers, .. } = &observed.engine else { return };
    let there = |id: &String| containers.iter().any(|container| container.id == *id);
    for memory in history.memory.services.values_mut() {
        memory.stopped.retain(|id, _| there(id));
        memory.refused.retain(there);
        memory.failures.retain(|key, _| match key.kind {
            StepKind::Stop | StepKind::Remove => there(&key.subject),
            StepKind::Pull | StepKind::Create | StepKind::Start => true,
        });
    }
}

/// A step is about to be taken. What must be known even if its end is never seen is noted here. Returns whether the
/// durable part changed and is to be saved first.
pub fn begun(
    history: &mut History,
    service: &str,
    wanted: Option<&desired::Service>,
    action: &Action,
) -> bool {
    match action {
        Action::Create { generation, .. } => {
            let record = history.durable.record_mut(service);
            record.generation = record.generation.max(*generation);
            record.stop_timeout_seconds = wanted.map(|wanted| wanted.settings.stop_timeout.as_secs());
            true
        }
        Action::Stop { container_id, cause, .. } => {
            history.memory.service_mut(service).stopped.insert(container_id.clone(), *cause);
            false
        }
        _ => false,
    }
}

/// A step was done. Returns whether the durable part changed.
pub fn done(
    history: &mut History,
    (service, wanted): (&str, Option<&desired::Service>),
    action: &Action,
    outcome: Outcome,
    now: Timestamp,
) -> bool {
    let memory = history.memory.service_mut(service);
    if let Some(key) = action.key() {
        memory.failures.remove(&key);
    }
    match action {
        Action::Pull { .. } | Action::Create { .. } | Action::Stop { .. } => false,
        Action::Start { container_id, restart, .. } => {
            memory.last_start = Some(now);
            memory.stopped.remove(container_id);
            memory.restart = None;
            if let Some(attempts) = restart {
                memory.attempts = *attempts;
                memory.restarts = memory.restarts.saturating_add(1);
            }
            false
        }
        Action::Remove { container_id } => {
            memory.stopped.remove(container_id);
            memory.refused.remove(container_id);
            false
        }
        Action::RecordGood { version } => {
            memory.attempts = 0;
            let reference = wanted.map(|wanted| wanted.settings.image.to_string()).unwrap_or_default();
            let record = history.durable.record_mut(service);
            if record.good.as_ref() != Some(version) {
                record.good_since = Some(now);
            }
            record.record_good(version, reference);
            true
        }
        Action::Quarantine { version, cause, .. } => {
            for kind in [StepKind::Create, StepKind::Start] {
                let subject = crate::plan::version_subject(version);
                memory.failures.remove(&crate::history::memory::StepKey { kind, subject });
            }
            let lines = match outcome {
                Outcome::LastLogLines(lines) => lines,
                Outcome::Done => Vec::new(),
            };
            let record = history.durable.record_mut(service);
            step_back(record, version);
            record.record_bad(version, cause.clone(), lines, now);
            true
        }
    }
}

/// The good version turned out to be bad: what was good before it is what the service returns to. Done before it is
/// barred, so that the bar is measured by the specification of what is good from now on.
fn step_back(record: &mut Record, version: &Version) {
    if record.good.as_ref() == Some(version) {
        record.good = record.previous.take();
        record.good_since = None;
    }
}

/// A step failed.
pub fn failed(history: &mut History, service: &str, action: &Action, failure: Failure) {
    let memory = history.memory.service_mut(service);
    if let Action::Start { container_id, .. } = action
        && failure.container_spent
    {
        memory.refused.insert(container_id.clone());
    }
    if let Some(key) = action.key() {
        memory.note_failure(key, failure);
    }
}
