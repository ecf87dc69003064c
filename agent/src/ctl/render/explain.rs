//! `agentctl explain` as text: why a service does what it does, until when, and what it will not try again.

use super::status::update_state;
use super::text::{Page, Tone, age, clean, duration, moment, short_digest, wrap};
use crate::status::{Explanation, Quarantined, Service, Status};
use jiff::Timestamp;

/// All of `explanations`, with what `status` adds to them. Ends with a line break.
pub fn render(explanations: &[Explanation], status: &Status, now: Timestamp, page: Page) -> String {
    if explanations.is_empty() {
        return "nothing to explain: the agent has not finished its first look, or node.toml has no services\n"
            .to_owned();
    }
    let one = |explanation: &Explanation| {
        let service = status.services.iter().find(|service| service.name == explanation.service);
        render_one(explanation, service, now, page)
    };
    explanations.iter().map(one).collect::<Vec<_>>().join("\n")
}

fn render_one(explanation: &Explanation, service: Option<&Service>, now: Timestamp, page: Page) -> String {
    let mut text = format!("{}\n", page.paint(&clean(&explanation.service), Tone::Bold));
    text.push_str(&wrap(&format!("gate: {}", explanation.gate), 2, page.width));
    if let Some(service) = service {
        let (word, _) = update_state(service.update.state);
        let checked = service.update.checked_at.map_or_else(
            || "the registry was not asked yet".to_owned(),
            |at| format!("the registry answered {} ago", age(at, now)),
        );
        text.push_str(&wrap(&format!("update: {word}; {checked}"), 2, page.width));
    }
    for reason in &explanation.reasons {
        let until = reason.until.map_or_else(String::new, |until| {
            format!(" (until {}, in {})", moment(until), duration(until.duration_since(now)))
        });
        text.push_str(&wrap(&format!("- {}{until}", reason.text), 2, page.width));
    }
    for quarantined in &explanation.quarantined {
        text.push_str(&render_quarantined(quarantined, page));
    }
    text
}

/// What failed and the last that was heard of it.
pub fn render_quarantined(quarantined: &Quarantined, page: Page) -> String {
    let digest = short_digest(&quarantined.digest);
    let line = format!("never again {digest}, failed at {}: {}", moment(quarantined.at), quarantined.cause);
    let mut text = wrap(&line, 2, page.width);
    for line in &quarantined.last_log_lines {
        text.push_str(&wrap(&format!("| {line}"), 4, page.width));
    }
    text
}
