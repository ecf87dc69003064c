//! `agentctl status` as text: what is wrong first, then the node, its services, and what they stand on.

use super::table::{Cell, cell, lay_out};
use super::text::{Page, Tone, age, bytes, clean, count, cut, short_digest, short_image, wrap};
use crate::ctl::absent::Absent;
use crate::status::{
    Behind, Budget, HealthState, NodeState, Service, ServiceState, Status, UpdateState, Volume,
};
use jiff::Timestamp;
use node::problem::Problem;

/// Why a status is not the present one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stale {
    /// When the agent wrote it.
    pub written_at: Timestamp,
    /// Why there is no newer one.
    pub reason: String,
    /// What systemd and the journal say of the agent.
    pub absent: Absent,
}

/// The whole text. Ends with a line break.
pub fn render(status: &Status, stale: Option<&Stale>, now: Timestamp, page: Page) -> String {
    let mut text = String::new();
    if let Some(stale) = stale {
        let age = age(stale.written_at, now);
        let title = format!("STALE: the agent does not answer; this is what it knew {age} ago");
        text.push_str(&format!("{}\n", page.paint(&title, Tone::Bad)));
        text.push_str(&wrap(&stale.reason, 2, page.width));
        text.push_str(&absent(&stale.absent, page));
        text.push('\n');
    }
    text.push_str(&problems(&status.problems, now, page));
    text.push_str(&node(status, now, page));
    text.push('\n');
    text.push_str(&services(status, page));
    if !status.models.is_empty() {
        text.push('\n');
        text.push_str(&super::models::in_status(status, page));
    }
    if !status.volumes.is_empty() {
        text.push('\n');
        text.push_str(&volumes(&status.volumes, page));
    }
    text.push('\n');
    text.push_str(&below(status, now, page));
    text
}

/// What systemd and the journal say of an agent that does not answer.
pub fn absent(absent: &Absent, page: Page) -> String {
    let mut text = absent.unit.as_ref().map_or_else(String::new, |unit| wrap(unit, 2, page.width));
    if !absent.journal.is_empty() {
        text.push_str("  the last lines of its journal:\n");
    }
    for line in &absent.journal {
        text.push_str(&format!("    | {}\n", cut(&clean(line), page.width.saturating_sub(6))));
    }
    text
}

fn problems(problems: &[Problem], now: Timestamp, page: Page) -> String {
    if problems.is_empty() {
        return String::new();
    }
    let title = match problems.len() {
        1 => "1 problem".to_owned(),
        many => format!("{many} problems"),
    };
    let mut text = format!("{}\n", page.paint(&title, Tone::Bad));
    for problem in problems {
        let code = page.paint(&clean(&problem.code), Tone::Bold);
        text.push_str(&format!("  {code} for {}\n", age(problem.since, now)));
        text.push_str(&wrap(&problem.message, 4, page.width));
        if let Some(hint) = &problem.hint {
            text.push_str(&wrap(&format!("hint: {hint}"), 4, page.width));
        }
    }
    text.push('\n');
    text
}

fn node(status: &Status, now: Timestamp, page: Page) -> String {
    let node = &status.node;
    let (state, tone) = match node.state {
        NodeState::Starting => ("starting", Tone::Busy),
        NodeState::Ready => ("ready", Tone::Good),
        NodeState::Degraded => ("degraded", Tone::Bad),
        NodeState::Draining => ("draining", Tone::Busy),
    };
    let name = page.paint(&cut(&clean(&node.name), 40), Tone::Bold);
    let mut text = format!("{name}  {} for {}\n", page.paint(state, tone), age(node.since, now));
    let known = [&node.instance_id, &node.instance_type, &node.availability_zone];
    let known: Vec<String> =
        known.into_iter().filter(|part| !part.is_empty()).map(|part| clean(part)).collect();
    let identity = if known.is_empty() { "instance unknown".to_owned() } else { known.join("  ") };
    text.push_str(&cut(&format!("{identity}  node-agent {}", clean(&node.version)), page.width));
    text.push('\n');
    text
}

fn services(status: &Status, page: Page) -> String {
    let services = &status.services;
    if services.is_empty() {
        return "no services\n".to_owned();
    }
    let titles = ["SERVICE", "STATE", "HEALTH", "IMAGE", "DIGEST", "RESTARTS", "UPDATE"];
    let rows: Vec<Vec<Cell>> = services.iter().map(service_row).collect();
    let mut lines = lay_out(&titles, &rows, &[0, 3], page).into_iter();
    let mut text = lines.next().map(|title| title + "\n").unwrap_or_default();
    for (service, line) in services.iter().zip(lines) {
        text.push_str(&line);
        text.push('\n');
        text.push_str(&on_purpose(service, page));
        // What is said above as a problem is not said again.
        let said =
            |reason: &&String| status.problems.iter().any(|problem| problem.message.ends_with(*reason));
        if let Some(reason) = service.update.reason.as_ref().filter(|reason| !said(reason)) {
            text.push_str(&wrap(&format!("update: {reason}"), 4, page.width));
        }
    }
    text
}

/// What a person asked for is no fault, and says how it is taken back.
fn on_purpose(service: &Service, page: Page) -> String {
    let name = &service.name;
    let mut text = String::new();
    if service.state == ServiceState::Stopped {
        text.push_str(&wrap(&format!("stopped on purpose, until `agentctl start {name}`"), 4, page.width));
    }
    // Where there is a reason, it says the same and since when.
    if service.update.state == UpdateState::Held && service.update.reason.is_none() {
        text.push_str(&wrap(&format!("held on this image, until `agentctl release {name}`"), 4, page.width));
    }
    text
}

fn service_row(service: &Service) -> Vec<Cell> {
    let digest = service.digest.as_deref().map_or_else(|| "-".to_owned(), short_digest);
    let (state, state_tone) = service_state(service.state);
    let (health, health_tone) = match service.health {
        HealthState::Passing => ("passing", Tone::Good),
        HealthState::Failing => ("failing", Tone::Bad),
        HealthState::Unknown => ("unknown", Tone::Busy),
        HealthState::None => ("none", Tone::Plain),
    };
    let (update, update_tone) = update_state(service.update.state);
    vec![
        cell(clean(&service.name), Tone::Bold),
        cell(state, state_tone),
        cell(health, health_tone),
        cell(short_image(&service.image), Tone::Plain),
        cell(digest, Tone::Plain),
        cell(service.restarts.to_string(), Tone::Plain),
        cell(update, update_tone),
    ]
}

fn service_state(state: ServiceState) -> (&'static str, Tone) {
    match state {
        ServiceState::Waiting => ("waiting", Tone::Busy),
        ServiceState::Pulling => ("pulling", Tone::Busy),
        ServiceState::Starting => ("starting", Tone::Busy),
        ServiceState::Running => ("running", Tone::Good),
        ServiceState::Unhealthy => ("unhealthy", Tone::Bad),
        ServiceState::Restarting => ("restarting", Tone::Bad),
        ServiceState::Updating => ("updating", Tone::Busy),
        ServiceState::Stopped => ("stopped", Tone::Plain),
        ServiceState::Failed => ("failed", Tone::Bad),
    }
}

/// The word of the contract for a state of an update, and how it is shown.
pub(crate) fn update_state(state: UpdateState) -> (&'static str, Tone) {
    match state {
        UpdateState::Current => ("current", Tone::Plain),
        UpdateState::Available => ("available", Tone::Busy),
        UpdateState::Waiting => ("waiting", Tone::Busy),
        UpdateState::Updating => ("updating", Tone::Busy),
        UpdateState::RolledBack => ("rolled_back", Tone::Bad),
        UpdateState::Quarantined => ("quarantined", Tone::Bad),
        UpdateState::Held => ("held", Tone::Plain),
    }
}

fn volumes(volumes: &[Volume], page: Page) -> String {
    let titles = ["VOLUME", "MOUNT", "TYPE", "SIZE", "USED", "DEVICE"];
    let rows: Vec<Vec<Cell>> = volumes.iter().map(volume_row).collect();
    lay_out(&titles, &rows, &[0, 1, 5], page)
        .into_iter()
        .fold(String::new(), |text, line| text + &line + "\n")
}

fn volume_row(volume: &Volume) -> Vec<Cell> {
    let or_dash = |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), clean);
    let (used, tone) = match (volume.used_bytes, volume.size_bytes) {
        (Some(used), Some(size)) if size > 0 => {
            let percent = u128::from(used) * 100 / u128::from(size);
            // Nothing writes well to a volume that is nearly full.
            let tone = if percent >= 90 { Tone::Bad } else { Tone::Plain };
            (format!("{} ({percent}%)", bytes(used)), tone)
        }
        _ => ("not mounted".to_owned(), Tone::Bad),
    };
    vec![
        cell(clean(&volume.name), Tone::Bold),
        cell(clean(&volume.mount), Tone::Plain),
        cell(or_dash(&volume.filesystem), Tone::Plain),
        cell(volume.size_bytes.map_or_else(|| "-".to_owned(), bytes), Tone::Plain),
        cell(used, tone),
        cell(or_dash(&volume.device), Tone::Plain),
    ]
}

fn below(status: &Status, now: Timestamp, page: Page) -> String {
    let logs = &status.logs;
    let mut line = match &logs.group {
        Some(group) => format!("logs to {group}: {} events shipped", count(logs.events_shipped)),
        None => format!("logs: {} events shipped", count(logs.events_shipped)),
    };
    line.push_str(&format!(", {} dropped", count(logs.events_dropped)));
    let reasons = logs.dropped.by_reason().into_iter().filter(|(_, events)| *events > 0);
    let reasons: Vec<String> = reasons.map(|(why, events)| format!("{} {why}", count(events))).collect();
    if !reasons.is_empty() {
        line.push_str(&format!(" ({})", reasons.join(", ")));
    }
    line.push_str(&format!(", {} waiting", bytes(logs.backlog_bytes)));
    if logs.oldest_unshipped_seconds > 0 {
        line.push_str(&format!(", the oldest for {} s", logs.oldest_unshipped_seconds));
    }
    let mut text = wrap(&line, 0, page.width);
    for Behind { stream, backlog_bytes, oldest_unshipped_seconds, error } in &logs.behind {
        let why = error.as_deref().map_or_else(String::new, |error| format!(": {error}"));
        let waiting = bytes(*backlog_bytes);
        let line = format!("{stream}: {waiting} waiting, the oldest for {oldest_unshipped_seconds} s{why}");
        text.push_str(&wrap(&line, 2, page.width));
    }
    for Budget { service, daily_bytes, used_bytes, events_left_out } in &logs.budgets {
        let mut line = format!("{service}: {} of {} shipped today", bytes(*used_bytes), bytes(*daily_bytes));
        if *events_left_out > 0 {
            line.push_str(&format!(", {} events left out", count(*events_left_out)));
        }
        text.push_str(&wrap(&line, 2, page.width));
    }
    for secret in &status.secrets {
        let state = match (&secret.version_id, secret.fetched_at) {
            (Some(version), Some(at)) => {
                format!("version {}, fetched {} ago", cut(version, 13), age(at, now))
            }
            (Some(version), None) => format!("version {}", cut(version, 13)),
            (None, _) => "not fetched".to_owned(),
        };
        text.push_str(&wrap(&format!("secret {}: {state}", secret.name), 0, page.width));
    }
    text
}
