//! `agentctl explain` as text: why a service does what it does, until when, and what it will not try again.

use super::status::update_state;
use super::text::{Page, Tone, age, clean, cut, duration, moment, short_digest, wrap};
use crate::status::{Explanation, PastUpdate, PastUpdateState, Quarantined, Reason, Service, Status};
use jiff::Timestamp;

/// Lines of a failed image that are shown beside a verdict; the explanation has all that were kept.
const LAST_LINES: usize = 20;
/// The same in an explanation, which may have several of them.
const LINES_OF_QUARANTINED: usize = 3;
/// Columns that such a line is cut at, where the page is not wider.
const LONGEST_LINE: usize = 160;

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
    text.push_str(&asked(explanation, now, page));
    text.push_str(&reasons(&explanation.reasons, now, page));
    for quarantined in &explanation.quarantined {
        text.push_str(&render_quarantined(quarantined, &explanation.reasons, page));
    }
    if !explanation.updates.is_empty() {
        text.push_str(&passed(
            explanation.good.as_deref(),
            explanation.previous.as_deref(),
            "its gate",
            page,
        ));
        text.push_str(&wrap("last updates:", 2, page.width));
        text.push_str(&past(&explanation.updates, &explanation.quarantined, page));
    }
    text
}

/// Why, and until when.
pub(super) fn reasons(reasons: &[Reason], now: Timestamp, page: Page) -> String {
    let one = |reason: &Reason| {
        let until = reason.until.map_or_else(String::new, |until| {
            format!(" (until {}, in {})", moment(until), duration(until.duration_since(now)))
        });
        wrap(&format!("- {}{until}", reason.text), 2, page.width)
    };
    reasons.iter().map(one).collect()
}

/// What persons asked of the service, and how to take it back.
fn asked(explanation: &Explanation, now: Timestamp, page: Page) -> String {
    let name = &explanation.service;
    let mut text = String::new();
    let mut say = |line: String| text.push_str(&wrap(&line, 2, page.width));
    let since = |at| format!("since {} ({})", moment(at), age(at, now));
    if let Some(target) = &explanation.target {
        let digest = short_digest(&target.digest);
        let named =
            if target.named == target.digest { String::new() } else { format!(" ({})", target.named) };
        say(format!("stays on {digest}{named} {}, until `agentctl update {name}`", since(target.at)));
    }
    if let Some(at) = explanation.held_since {
        say(format!("held {}: no other image is taken until `agentctl release {name}`", since(at)));
    }
    if let Some(at) = explanation.stopped_since {
        say(format!("stopped {}, until `agentctl start {name}`", since(at)));
    }
    text
}

/// What passed last, and what did before that.
pub(super) fn passed(good: Option<&str>, previous: Option<&str>, what: &str, page: Page) -> String {
    let Some(good) = good else { return String::new() };
    let before = previous.map(|previous| format!(", and {} before it", short_digest(previous)));
    let line = format!("{} passed {what} last{}", short_digest(good), before.unwrap_or_default());
    wrap(&line, 2, page.width)
}

/// The last updates, the newest first: what a person may want to go back to. A cause that stands with a digest that is
/// barred is not said again.
pub(super) fn past(updates: &[PastUpdate], barred: &[Quarantined], page: Page) -> String {
    let mut text = String::new();
    for update in updates.iter().rev() {
        let end = match update.state {
            PastUpdateState::UnderWay => "under way",
            PastUpdateState::Passed => "passed",
            PastUpdateState::Failed => "failed",
            PastUpdateState::Overtaken => "overtaken",
        };
        let digest = short_digest(&update.digest);
        let what = match &update.from {
            Some(from) if *from == update.digest => format!("{digest} with other settings"),
            Some(from) => format!("{} -> {digest}", short_digest(from)),
            None => format!("{digest}, the first"),
        };
        let took = update.ended.map_or_else(String::new, |ended| {
            format!(" after {}", duration(ended.duration_since(update.began)))
        });
        let told = |cause: &&String| {
            barred.iter().any(|entry| entry.digest == update.digest && entry.cause == **cause)
        };
        let cause = update.cause.as_ref().filter(|cause| !told(cause));
        let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
        let line = format!("{} {end}{took}: {what}{cause}", moment(update.began));
        text.push_str(&wrap(&line, 4, page.width));
    }
    text
}

/// The end of what a failed image wrote, short enough for an output that is cut at some thousand characters, as that of
/// Systems Manager.
pub fn render_last_lines(quarantined: &Quarantined, page: Page) -> String {
    let lines = &quarantined.last_log_lines;
    let skipped = lines.len().saturating_sub(LAST_LINES);
    let mut text = match lines.len() {
        0 => format!("{} wrote nothing\n", short_digest(&quarantined.digest)),
        _ => format!("the last lines of {}:\n", short_digest(&quarantined.digest)),
    };
    for line in lines.iter().skip(skipped) {
        // A terminal has its width; what is kept has none.
        let width = if page.colour { page.width.saturating_sub(4) } else { LONGEST_LINE };
        text.push_str(&format!("  | {}\n", cut(&clean(line), width)));
    }
    text
}

/// Whose last lines follow.
pub fn failed_title(failed: &Quarantined, now: Timestamp) -> String {
    let (digest, age) = (short_digest(&failed.digest), age(failed.at, now));
    let what = if failed.last_log_lines.is_empty() { "wrote nothing" } else { "its last lines follow" };
    format!("{digest} failed {age} ago: {}; {what}", clean(&failed.cause))
}

/// What failed and the last that was heard of it.
/// Its cause is not said again where one of `reasons` has it.
pub(super) fn render_quarantined(quarantined: &Quarantined, reasons: &[Reason], page: Page) -> String {
    let Quarantined { cause, .. } = quarantined;
    let told = reasons.iter().any(|reason| reason.text.contains(cause.as_str()));
    let cause = if told { String::new() } else { format!(": {cause}") };
    let digest = short_digest(&quarantined.digest);
    let line = format!("never again {digest}, failed at {}{cause}", moment(quarantined.at));
    let mut text = wrap(&line, 2, page.width);
    // Of many only the end: a screen has 24 lines, and `logs --failed` shows the rest.
    let skipped = quarantined.last_log_lines.len().saturating_sub(LINES_OF_QUARANTINED);
    for line in quarantined.last_log_lines.iter().skip(skipped) {
        text.push_str(&format!("    | {}\n", cut(&clean(line), page.width.saturating_sub(6))));
    }
    text
}
