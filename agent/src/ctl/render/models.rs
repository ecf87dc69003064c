//! Models as text: `agentctl models`, their part of `agentctl status`, and of `agentctl explain`.

use super::explain::{passed, past, reasons, render_quarantined};
use super::status::update_state;
use super::table::{Cell, cell, lay_out};
use super::text::{Page, Tone, age, bytes, clean, moment, percent, short_digest, wrap};
use crate::status::{
    Model, ModelExplanation, ModelServer, ModelServerState, ModelState, Models, Prewarm, Status, UpdateState,
};
use jiff::Timestamp;
use node::config::settings::ModelReference;

/// Characters of a bar that shows progress.
const BAR: u32 = 10;

/// `agentctl models`: the server, then the models. Ends with a line break.
pub fn render(models: &Models, now: Timestamp, page: Page) -> String {
    let Some(server) = &models.server else {
        return "no models: node.toml has no [models], or the agent has not finished its first look\n"
            .to_owned();
    };
    let mut text = render_server(server, page);
    text.push('\n');
    if models.models.is_empty() {
        text.push_str("node.toml names no models\n");
        return text;
    }
    let titles = ["MODEL", "STATE", "DIGEST", "SIZE", "WHERE", "PROGRESS"];
    let rows: Vec<Vec<Cell>> = models.models.iter().map(row).collect();
    let mut lines = lay_out(&titles, &rows, &[0], page).into_iter();
    text.extend(lines.next().map(|title| title + "\n"));
    for (model, line) in models.models.iter().zip(lines) {
        text.push_str(&format!("{line}\n"));
        text.push_str(&whole_name(model, &line, page));
        let explanation = models.explanations.iter().find(|entry| entry.model == model.name);
        // What failed is said below, with the version that it was.
        let barred = explanation.map_or(&[][..], |explanation| &explanation.quarantined);
        let said = |reason: &str| barred.iter().any(|entry| reason.ends_with(&entry.cause));
        text.push_str(&remarks(model, said, page));
        text.push_str(&versions(model, explanation, now, page));
    }
    text
}

/// Their part of `agentctl status`. What is said there as a problem is not said again.
pub(super) fn in_status(status: &Status, page: Page) -> String {
    let titles = ["MODEL", "STATE", "DIGEST", "SIZE", "WHERE", "UPDATE"];
    let rows: Vec<Vec<Cell>> = status.models.iter().map(row_in_status).collect();
    let mut lines = lay_out(&titles, &rows, &[0], page).into_iter();
    let mut text = lines.next().map(|title| title + "\n").unwrap_or_default();
    let said = |reason: &str| status.problems.iter().any(|problem| problem.message.ends_with(reason));
    for (model, line) in status.models.iter().zip(lines) {
        text.push_str(&format!("{line}\n"));
        text.push_str(&whole_name(model, &line, page));
        text.push_str(&remarks(model, said, page));
    }
    text
}

/// Their part of `agentctl explain`.
pub fn explain(explanations: &[ModelExplanation], models: &[Model], now: Timestamp, page: Page) -> String {
    let one = |explanation: &ModelExplanation| {
        let model = models.iter().find(|model| model.name == explanation.model);
        explain_one(explanation, model, now, page)
    };
    explanations.iter().map(one).collect::<Vec<_>>().join("\n")
}

fn explain_one(explanation: &ModelExplanation, model: Option<&Model>, now: Timestamp, page: Page) -> String {
    let mut text = format!("{}\n", page.paint(&clean(&explanation.model), Tone::Bold));
    if let Some(model) = model {
        let (word, _) = model_state(model.state);
        let since = model.since.map_or_else(String::new, |since| format!(" for {}", age(since, now)));
        let wanted = match (model.keep_loaded, model.required) {
            (true, true) => "kept loaded, and the node is not ready before",
            (true, false) => "kept loaded",
            (false, true) => "kept on the volume, and the node is not ready before",
            (false, false) => "kept on the volume",
        };
        text.push_str(&wrap(&format!("state: {word}{since}; to be {wanted}"), 2, page.width));
        let (word, _) = update_state(model.update.state);
        let checked = model.update.checked_at.map_or_else(
            || "the registry was not asked yet".to_owned(),
            |at| format!("the registry answered {} ago", age(at, now)),
        );
        text.push_str(&wrap(&format!("update: {word}; {checked}"), 2, page.width));
        if let Some(pin) = &model.pinned {
            text.push_str(&wrap(&format!("pinned to {}", short_digest(pin)), 2, page.width));
        }
    }
    text.push_str(&reasons(&explanation.reasons, now, page));
    for quarantined in &explanation.quarantined {
        text.push_str(&render_quarantined(quarantined, &explanation.reasons, page));
    }
    text.push_str(&passed(explanation.good.as_deref(), explanation.previous.as_deref(), "its checks", page));
    if !explanation.updates.is_empty() {
        text.push_str(&wrap("last moves:", 2, page.width));
        text.push_str(&past(&explanation.updates, &explanation.quarantined, page));
    }
    text
}

fn render_server(server: &ModelServer, page: Page) -> String {
    let (state, tone) = match server.state {
        ModelServerState::Up => ("up", Tone::Good),
        ModelServerState::Down => ("down", Tone::Bad),
        ModelServerState::Silent => ("silent", Tone::Bad),
    };
    let name = clean(server.service.as_deref().unwrap_or("server"));
    let version =
        server.version.as_deref().map_or_else(String::new, |version| format!(" {}", clean(version)));
    let endpoint = server.endpoint.as_deref().map_or_else(String::new, |at| format!("  {}", clean(at)));
    let mut text =
        format!("{}  {}{version}{endpoint}\n", page.paint(&name, Tone::Bold), page.paint(state, tone));
    if let Some(reason) = &server.reason {
        text.push_str(&wrap(reason, 2, page.width));
    }
    let mut parts = Vec::new();
    match server.gpus {
        Some(1) => parts.push("1 GPU".to_owned()),
        Some(many) => parts.push(format!("{many} GPUs")),
        None => {}
    }
    match server.gpu_restarts {
        0 => {}
        1 => parts.push("restarted once for a GPU that was gone".to_owned()),
        times => parts.push(format!("restarted {times} times for a GPU that was gone")),
    }
    match (server.free_bytes, &server.directory) {
        (Some(free), Some(directory)) => parts.push(format!("{} free in {directory}", bytes(free))),
        (Some(free), None) => parts.push(format!("{} free", bytes(free))),
        (None, Some(directory)) => parts.push(directory.clone()),
        (None, None) => {}
    }
    text.push_str(&wrap(&parts.join("; "), 2, page.width));
    if let Some(prewarm) = &server.prewarm {
        text.push_str(&wrap(&read_ahead(prewarm), 2, page.width));
    }
    text
}

fn read_ahead(prewarm: &Prewarm) -> String {
    let Prewarm { model, read_bytes, total_bytes, mebibytes_per_second, not_kept } = prewarm;
    let model = model.parse::<ModelReference>().map_or_else(|_| model.clone(), |name| name.to_string());
    let (read, total) = (bytes(*read_bytes), bytes(*total_bytes));
    let amount = if read_bytes < total_bytes { format!("{read} of {total}") } else { total };
    let not_kept = not_kept.as_deref().map_or_else(String::new, |why| format!("; not kept in memory: {why}"));
    format!("last read ahead: {model}, {amount} at {mebibytes_per_second:.0} MiB/s{not_kept}")
}

fn row(model: &Model) -> Vec<Cell> {
    let mut cells = row_of(model, model_state(model.state).0.to_owned());
    cells.push(cell(model.progress.map_or_else(|| "-".to_owned(), bar), Tone::Plain));
    cells
}

fn row_in_status(model: &Model) -> Vec<Cell> {
    let (word, _) = model_state(model.state);
    let progress = model.progress.map(|part| format!("{word} {}", percent(part)));
    let mut cells = row_of(model, progress.unwrap_or_else(|| word.to_owned()));
    let (update, tone) = update_state(model.update.state);
    cells.push(cell(update, tone));
    cells
}

fn row_of(model: &Model, state: String) -> Vec<Cell> {
    let digest = model.digest.as_deref().map_or_else(|| "-".to_owned(), short_digest);
    let place = match model.on_gpu {
        Some(true) => "gpu",
        Some(false) => "cpu",
        None => "-",
    };
    vec![
        cell(clean(&model.name), Tone::Bold),
        cell(state, model_state(model.state).1),
        cell(digest, Tone::Plain),
        cell(model.size_bytes.map_or_else(|| "-".to_owned(), bytes), Tone::Plain),
        cell(place, Tone::Plain),
    ]
}

/// The word of the contract for the state of a model, and how it is shown.
fn model_state(state: ModelState) -> (&'static str, Tone) {
    match state {
        ModelState::Absent => ("absent", Tone::Busy),
        ModelState::Pulling => ("pulling", Tone::Busy),
        ModelState::Present => ("present", Tone::Good),
        ModelState::Loaded => ("loaded", Tone::Good),
        ModelState::Failed => ("failed", Tone::Bad),
    }
}

fn bar(part: f64) -> String {
    let full = (1..=BAR).filter(|step| f64::from(*step) <= part * f64::from(BAR)).count();
    let bar: String = (0..BAR as usize).map(|step| if step < full { '#' } else { '.' }).collect();
    format!("{bar} {:>4}", percent(part))
}

/// The name, where its column is too narrow for it: it has to be typed, and its tag is at its end.
fn whole_name(model: &Model, line: &str, page: Page) -> String {
    let name = clean(&model.name);
    if line.contains(&name) { String::new() } else { wrap(&name, 4, page.width) }
}

/// Why it is so, where there is something to say.
fn remarks(model: &Model, said: impl Fn(&str) -> bool, page: Page) -> String {
    let mut text = String::new();
    if let Some(reason) = model.reason.as_deref().filter(|reason| !said(reason)) {
        text.push_str(&wrap(reason, 4, page.width));
    }
    let known = |reason: &&str| said(reason) || model.reason.as_deref() == Some(*reason);
    if let Some(reason) = model.update.reason.as_deref().filter(|reason| !known(reason)) {
        text.push_str(&wrap(&format!("update: {reason}"), 4, page.width));
    }
    text
}

/// Which other versions there are, and which are barred.
fn versions(model: &Model, explanation: Option<&ModelExplanation>, now: Timestamp, page: Page) -> String {
    let mut lines = Vec::new();
    if let Some(candidate) = model.update.candidate.as_deref().filter(|_| is_coming(model.update.state)) {
        lines.push(format!("goes to {}", short_digest(candidate)));
    }
    if let Some(pin) = &model.pinned {
        lines.push(format!("pinned to {}", short_digest(pin)));
    }
    if let Some(previous) = &model.previous {
        let (digest, name) = (short_digest(previous), &model.name);
        lines.push(format!("keeps {digest}, one step away: `agentctl models rollback {name}`"));
    }
    for entry in explanation.iter().flat_map(|explanation| &explanation.quarantined) {
        let (digest, cause) = (short_digest(&entry.digest), &entry.cause);
        lines.push(format!(
            "never again {digest}, failed {} ago ({}): {cause}",
            age(entry.at, now),
            moment(entry.at)
        ));
    }
    lines.iter().map(|line| wrap(line, 4, page.width)).collect()
}

fn is_coming(state: UpdateState) -> bool {
    matches!(state, UpdateState::Available | UpdateState::Waiting | UpdateState::Updating)
}
