//! What came of a plan and its steps, written into the history. Pure: the loop calls it, and so does the simulation.

use crate::desired;
use crate::history::memory::{Consent, Failure, ServiceMemory, StepKind, StopCause};
use crate::history::{History, ImageNote, Record, UpdateEnd, Version};
use crate::observed::{Container, ContainerState};
use crate::plan::{Action, Plan};
use crate::snapshot::{EngineView, Observed};
use jiff::Timestamp;
use std::collections::BTreeSet;

/// Of what a command wrote, so many characters are kept.
const LONGEST_ANSWER: usize = 200;

/// How a step ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// For a quarantine: the last lines of the container, where there were any.
    LastLogLines(Vec<String>),
    /// For a question to a container: how its command ended.
    Answered {
        /// Exit status.
        code: i64,
        /// What it wrote.
        output: String,
    },
}

/// Remembers what a plan found, whatever becomes of its steps. Returns whether the durable part changed.
pub fn remember(history: &mut History, plan: &Plan, observed: &Observed) -> bool {
    let mut changed = false;
    for (planned, note) in
        plan.services.iter().flat_map(|planned| planned.notes.iter().map(move |note| (planned, note)))
    {
        changed |= history.durable.record_mut(&planned.name).note(note);
    }
    for planned in &plan.services {
        let memory = history.memory.service_mut(&planned.name);
        memory.state = Some((planned.status.state, planned.status.since));
        if planned.passed.is_some() {
            memory.passed.clone_from(&planned.passed);
        }
        memory.draining.clone_from(&planned.draining);
    }
    for note in &plan.reclaim.notes {
        changed |= history.durable.note_image(note);
    }
    if let Some(idle) = &plan.reclaim.idle {
        history.memory.idle_images.clone_from(idle);
    }
    let EngineView::Up { containers, .. } = &observed.engine else { return changed };
    let there = |id: &String| containers.iter().any(|container| container.id == *id);
    for memory in history.memory.services.values_mut() {
        memory.stopped.retain(|id, _| there(id));
        memory.refused.retain(there);
        memory.failures.retain(|key, _| match key.kind {
            StepKind::Stop | StepKind::Remove | StepKind::After => there(&key.subject),
            StepKind::Pull | StepKind::Create | StepKind::Start | StepKind::Before => true,
            StepKind::RemoveImage => true,
        });
    }
    changed
}

/// Notes of containers that have ended that somebody else had them `signalled`, where the agent did not stop them.
pub fn ended_by_others(history: &mut History, containers: &[Container], signalled: &BTreeSet<String>) {
    let ended = containers.iter().filter(|it| matches!(it.state, ContainerState::Exited { .. }));
    for container in ended.filter(|container| signalled.contains(&container.id)) {
        let stopped = &mut history.memory.service_mut(&container.service).stopped;
        stopped.entry(container.id.clone()).or_insert(StopCause::Others);
    }
}

/// A step is about to be taken. What must be known even if its end is never seen is noted here. Returns whether the
/// durable part changed and is to be saved first.
pub fn begun(
    history: &mut History,
    (service, wanted): (&str, Option<&desired::Service>),
    action: &Action,
    now: Timestamp,
) -> bool {
    match action {
        Action::Create { version, generation } => {
            let record = history.durable.record_mut(service);
            record.begin_update(version, now);
            record.generation = record.generation.max(*generation);
            record.stop_timeout_seconds = wanted.map(|wanted| wanted.settings.stop_timeout.as_secs());
            true
        }
        // A kill just after a pull would leave an image that nobody knows to be ours.
        Action::Pull { digest } => pulled(history, wanted, digest, now),
        Action::Stop { container_id, cause, .. } => {
            history.memory.service_mut(service).stopped.insert(container_id.clone(), *cause);
            false
        }
        _ => false,
    }
}

/// The image is one that we pull, and is needed now.
fn pulled(history: &mut History, wanted: Option<&desired::Service>, digest: &str, at: Timestamp) -> bool {
    let name = wanted.map(|wanted| wanted.settings.image.pinned(digest));
    name.is_some_and(|name| history.durable.note_image(&ImageNote::Needed { name, at }))
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
    if let (Some(key), Some(failure)) = (action.key(), refusal(action, &outcome, now)) {
        memory.note_failure(key, failure);
        return false;
    }
    if let Some(key) = action.key() {
        memory.failures.remove(&key);
    }
    match action {
        Action::Pull { digest } => pulled(history, wanted, digest, now),
        Action::RemoveImage { name } => history.durable.images.remove(name).is_some(),
        Action::AskBefore { .. } | Action::AskAfter { .. } => agreed(memory, action, now),
        Action::Create { .. } | Action::Stop { .. } => false,
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
            memory.consent = None;
            let reference = wanted.map(|wanted| wanted.settings.image.to_string()).unwrap_or_default();
            let record = history.durable.record_mut(service);
            if record.good.as_ref() != Some(version) {
                record.good_since = Some(now);
            }
            record.end_update(version, UpdateEnd::Passed, now);
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
                Outcome::Done | Outcome::Answered { .. } => Vec::new(),
            };
            let record = history.durable.record_mut(service);
            step_back(record, version);
            record.end_update(version, UpdateEnd::Failed(cause.clone()), now);
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

/// A command that was asked and said yes. Nothing of it is durable.
fn agreed(memory: &mut ServiceMemory, action: &Action, at: Timestamp) -> bool {
    match action {
        Action::AskBefore { digest, .. } => memory.consent = Some(Consent { digest: digest.clone(), at }),
        Action::AskAfter { run } => memory.approved = Some(run.clone()),
        _ => {}
    }
    false
}

/// A command that was asked and said no, as it is remembered.
fn refusal(action: &Action, outcome: &Outcome, at: Timestamp) -> Option<Failure> {
    let (code, which) = match action {
        Action::AskBefore { .. } => ("update_refused", "before"),
        Action::AskAfter { .. } => ("after_failed", "after"),
        _ => return None,
    };
    let (status, output) = match outcome {
        Outcome::Answered { code: 0, .. } | Outcome::Done | Outcome::LastLogLines(_) => return None,
        Outcome::Answered { code, output } => (code, output),
    };
    let mut message = format!("its `{which}` command exited with {status}");
    let words = output.split_whitespace().collect::<Vec<_>>().join(" ");
    if !words.is_empty() {
        message.push_str(": ");
        message.extend(words.chars().take(LONGEST_ANSWER));
    }
    let code = code.to_owned();
    let hint = Some(format!("run it by hand with `docker exec`, or change `update.{which}` in node.toml"));
    Some(Failure { code, message, hint, version_to_blame: true, container_spent: false, at, count: 1 })
}

/// A step failed.
pub fn failed(history: &mut History, service: &str, action: &Action, mut failure: Failure) {
    if matches!(action, Action::AskBefore { .. } | Action::AskAfter { .. }) {
        // Only the command itself can say no.
        failure.version_to_blame = false;
    }
    let memory = history.memory.service_mut(service);
    if let Action::Start { container_id, .. } = action
        && memory.stopped.get(container_id) == Some(&StopCause::Others)
    {
        // An engine that goes down refuses in many words.
        (failure.version_to_blame, failure.container_spent) = (false, false);
    }
    if let Action::Start { container_id, .. } = action
        && failure.container_spent
    {
        memory.refused.insert(container_id.clone());
    }
    if let Some(key) = action.key() {
        memory.note_failure(key, failure);
    }
}
