//! The agent: that it answers, what it thinks of the node, and when it last saw each registry.

use super::some;
use crate::examined::AgentFacts;
use crate::finding::{Area, Finding};
use crate::status::{NodeState, Status};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// An interval is stretched by a fifth at random, and a registry that does not answer is asked less often.
const LATE_INTERVALS: i32 = 3;
const LATE_AT_LEAST: SignedDuration = SignedDuration::from_mins(10);

/// All of it.
pub fn agent(facts: &AgentFacts, now: Timestamp) -> Vec<Finding> {
    const CHECK: &str = "agent";
    let status = match &facts.status {
        Ok(status) => status,
        Err(why) => {
            let remedy =
                why.remedy.clone().unwrap_or_else(|| "look at `systemctl status node-agent`".to_owned());
            return vec![Finding::fail(Area::Agent, CHECK, why.message.clone(), remedy)];
        }
    };
    let mut findings = vec![state(status)];
    findings.extend(facts.polled.iter().map(|(name, every)| poll(name, *every, status, now)));
    findings
}

fn state(status: &Status) -> Finding {
    const CHECK: &str = "agent";
    let version = &status.node.version;
    let problems = some(status.problems.len(), "problem");
    let word = match status.node.state {
        NodeState::Ready => "ready",
        NodeState::Starting => "starting",
        NodeState::Degraded => "degraded",
        NodeState::Draining => "draining",
    };
    let message = format!("the node is {word}, with {problems} (version {version})");
    match status.node.state {
        NodeState::Ready if status.problems.is_empty() => Finding::pass(Area::Agent, CHECK, message),
        NodeState::Degraded => Finding::fail(Area::Agent, CHECK, message, "see which with `agentctl status`"),
        _ => Finding::warn(Area::Agent, CHECK, message, "see `agentctl status`, then `agentctl explain`"),
    }
}

fn poll(service: &str, every: Duration, status: &Status, now: Timestamp) -> Finding {
    let check = format!("registry of {service}");
    let found = status.services.iter().find(|found| found.name == service);
    let Some(update) = found.map(|found| &found.update) else {
        return Finding::skip(Area::Agent, check, "the agent does not know the service yet");
    };
    let why = update.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    let remedy = format!("`agentctl explain {service}` says what it waits for");
    let Some(at) = update.checked_at else {
        return Finding::warn(Area::Agent, check, format!("it has not answered yet{why}"), remedy);
    };
    let age = now.duration_since(at);
    let every = SignedDuration::try_from(every).unwrap_or(SignedDuration::MAX);
    let late = every.saturating_mul(LATE_INTERVALS).max(LATE_AT_LEAST);
    let message = format!("answered {} s ago", age.as_secs().max(0));
    if age > late {
        return Finding::warn(Area::Agent, check, format!("{message}{why}"), remedy);
    }
    Finding::pass(Area::Agent, check, message)
}
