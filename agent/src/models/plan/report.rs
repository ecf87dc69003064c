//! How the plan is shown: the server, and each model with what is explained of it.
//!
//! `since` is left out: it is the loop that sees a state change, as it compares one plan with the next.

use super::draft::Draft;
use super::pulls;
use super::view::{Listed, View};
use super::wanted::{Goal, Instead, Source};
use super::words::{bytes, short};
use crate::models::observed::{Attempt, GpuView, ServerView, StepKind, StepUnderWay};
use crate::models::record::{Move, OVERTAKEN};
use crate::status::{
    Model, ModelExplanation, ModelServer, ModelServerState, ModelState, PastUpdate, PastUpdateState, Prewarm,
    Quarantined, Reason, UpdateState, UpdateStatus,
};
use node::config::settings;

/// The server.
pub(super) fn server(view: &View<'_>) -> ModelServer {
    let (settings, observed) = (view.settings, view.observed);
    let service = match &settings.server {
        settings::ModelServer::Service { name, .. } => Some(name.clone()),
        settings::ModelServer::Url(_) => None,
    };
    let (endpoint, version, state, reason) = match &observed.server {
        ServerView::Up { endpoint, version, .. } => {
            (Some(endpoint), Some(version.clone()), ModelServerState::Up, None)
        }
        ServerView::NotRunning { reason } => (None, None, ModelServerState::Down, Some(reason.clone())),
        ServerView::Silent { endpoint, reason, .. } => {
            (Some(endpoint), None, ModelServerState::Silent, Some(reason.clone()))
        }
    };
    ModelServer {
        service,
        endpoint: endpoint.map(ToString::to_string),
        version,
        state,
        reason,
        gpus: match observed.gpu {
            GpuView::Present(count) => Some(count),
            GpuView::Lost { .. } => Some(0),
            GpuView::NotWanted | GpuView::Unknown => None,
        },
        gpu_restarts: observed.gpu_restarts,
        directory: settings.directory.clone(),
        free_bytes: observed.files.as_ref().and_then(|files| files.disk).map(|disk| disk.free_bytes),
        prewarm: prewarm(view),
    }
}

/// The reading ahead that is under way, else one that was.
fn prewarm(view: &View<'_>) -> Option<Prewarm> {
    let under_way = view.observed.step.as_ref().and_then(|step| Some((step, step.warming?)));
    let (model, progress, not_kept) = match under_way {
        Some((step, progress)) => (step.model.clone(), progress, None),
        None => {
            let read = |listed: &Listed<'_>| {
                let warmed = view.observed.warmed.get(view.installed(listed)?)?;
                Some((listed.full.clone(), warmed.progress, warmed.not_kept.clone()))
            };
            view.listed.iter().find_map(read)?
        }
    };
    Some(Prewarm {
        model,
        read_bytes: progress.read_bytes,
        total_bytes: progress.total_bytes,
        mebibytes_per_second: progress.mebibytes_per_second,
        not_kept,
    })
}

/// One model.
pub(super) fn model(
    view: &View<'_>,
    listed: &Listed<'_>,
    goal: &Goal,
    draft: &Draft,
) -> (Model, ModelExplanation) {
    let digest = view.installed(listed);
    let name = view.up.as_ref().and_then(|up| up.names.get(&listed.full));
    let loaded = digest.and_then(|digest| view.in_memory(digest));
    let (progress, doing) = match pulls::progress(view, listed).or_else(|| under_way(view, listed)) {
        Some((share, words)) => (share.is_finite().then_some(share), Some(words)),
        None => (None, None),
    };
    let mut reasons: Vec<Reason> = doing.map(|text| Reason { text, until: None }).into_iter().collect();
    reasons.extend(draft.reasons.iter().cloned());
    let pinned = listed.model.digest.clone();
    let status = Model {
        name: listed.name(),
        digest: digest.map(str::to_owned),
        size_bytes: name.map(|name| name.installed.size_bytes),
        state: state(view, listed, draft),
        progress,
        on_gpu: loaded.map(|loaded| loaded.size_bytes > 0 && loaded.size_vram_bytes >= loaded.size_bytes),
        memory_bytes: loaded.map(|loaded| loaded.size_bytes),
        gpu_memory_bytes: loaded.map(|loaded| loaded.size_vram_bytes),
        required: listed.model.required,
        keep_loaded: listed.model.keep_loaded,
        reason: reasons.first().map(|reason| reason.text.clone()),
        since: None,
        pinned: pinned.or_else(|| listed.record.pin.as_ref().map(|pin| pin.digest.clone())),
        previous: listed.record.previous.clone().filter(|digest| view.is_there(listed, digest)),
        update: update(view, listed, goal, &reasons),
    };
    let explanation = explanation(listed, reasons);
    (status, explanation)
}

fn state(view: &View<'_>, listed: &Listed<'_>, draft: &Draft) -> ModelState {
    let pulling = view.observed.pulling.as_ref().is_some_and(|pulling| pulling.model == listed.full);
    match view.installed(listed) {
        _ if view.up.is_none() => ModelState::Absent,
        None if pulling => ModelState::Pulling,
        _ if draft.failed => ModelState::Failed,
        None => ModelState::Absent,
        Some(digest) if view.in_memory(digest).is_some() => ModelState::Loaded,
        Some(_) => ModelState::Present,
    }
}

/// The part of the whole; not a number where the whole is not known.
#[expect(clippy::cast_precision_loss, reason = "a share that is shown needs no more than two digits")]
pub(super) fn share(done: u64, total: u64) -> f64 {
    if total == 0 { f64::NAN } else { (done as f64 / total as f64).min(1.0) }
}

fn under_way(view: &View<'_>, listed: &Listed<'_>) -> Option<(f64, String)> {
    let step = view.observed.step.as_ref().filter(|step| step.model == listed.full)?;
    let share = step.warming.map_or(f64::NAN, |warming| share(warming.read_bytes, warming.total_bytes));
    let before = view.attempt(&listed.full, step.kind);
    let before = before.filter(|attempt| attempt.digest.as_deref() == view.installed(listed));
    Some((share, format!("{}{}", words_of(step), self::before(before))))
}

/// That the try before the one that is under way failed, and why: else nobody would see what fails again and again.
pub(super) fn before(attempt: Option<&Attempt>) -> String {
    let failed = attempt.and_then(|attempt| Some((attempt.failures, attempt.failure.as_ref()?)));
    failed.map_or_else(String::new, |(count, failure)| {
        format!("; failed before ({count} in a row): {}", failure.message)
    })
}

fn words_of(step: &StepUnderWay) -> String {
    let doing = match step.kind {
        StepKind::Pull => "pulls",
        StepKind::Name => "gives a version its name",
        StepKind::Verify => "compares its files with their names",
        StepKind::Warm => "reads its files ahead",
        StepKind::Load => "is being loaded",
        StepKind::Smoke => "is asked its smoke prompt",
        StepKind::Unload => "leaves memory",
        StepKind::Remove => "is cleaned up",
    };
    match step.warming {
        Some(warming) => format!(
            "{doing}: {} of {} at {:.0} MiB/s",
            bytes(warming.read_bytes),
            bytes(warming.total_bytes),
            warming.mebibytes_per_second
        ),
        None => format!("{doing} since {:.0}", step.since),
    }
}

fn update(view: &View<'_>, listed: &Listed<'_>, goal: &Goal, reasons: &[Reason]) -> UpdateStatus {
    let lookup = view.observed.lookups.get(&listed.full);
    let checked_at = lookup.filter(|lookup| lookup.answer.is_ok()).map(|lookup| lookup.at);
    let asked = goal.asked.as_ref();
    let candidate = asked.map(|(digest, _)| digest.clone());
    let first = reasons.first().map(|reason| reason.text.clone());
    let installed = view.installed(listed);
    let of = |state, candidate, reason| UpdateStatus { state, candidate, reason, checked_at };
    match &goal.instead {
        Some(Instead::Barred(cause)) => {
            let last = listed.record.quarantine.last().map(|entry| &entry.digest);
            let back = last == candidate.as_ref() && listed.record.good.as_deref() == installed;
            let state = if back { UpdateState::RolledBack } else { UpdateState::Quarantined };
            return of(state, candidate, Some(cause.clone()));
        }
        Some(Instead::Elsewhere(_) | Instead::Damaged) => {
            // Beside what is being done about it, which is the first reason.
            let why = super::wanted::words(goal, &listed.name());
            return of(UpdateState::Waiting, candidate, why);
        }
        None => {}
    }
    let arrived = installed.is_some() && installed == goal.digest.as_deref();
    let judged = listed.record.under_way().is_none_or(|open| Some(open.to.as_str()) != installed);
    if installed.is_some() && !(arrived && judged) {
        let busy = view.observed.pulling.as_ref().is_some_and(|pulling| pulling.model == listed.full);
        let open = listed.record.under_way().is_some_and(|open| Some(&open.to) == goal.digest.as_ref());
        let state = match (arrived || busy, open) {
            (true, _) => UpdateState::Updating,
            (false, true) => UpdateState::Waiting,
            (false, false) => UpdateState::Available,
        };
        return of(state, candidate, first);
    }
    if let Some(pin) = listed.record.pin.as_ref().filter(|_| asked.is_some_and(|it| it.1 == Source::Pinned)) {
        let name = listed.name();
        let reason = format!("pinned since {:.0}; `agentctl models unpin {name}` ends that", pin.at);
        return of(UpdateState::Held, None, Some(reason));
    }
    let failure = lookup.and_then(|lookup| lookup.answer.as_ref().err()).map(|error| error.message.clone());
    of(UpdateState::Current, None, failure)
}

fn explanation(listed: &Listed<'_>, reasons: Vec<Reason>) -> ModelExplanation {
    let quarantined = listed.record.quarantine.iter().map(|entry| Quarantined {
        digest: entry.digest.clone(),
        at: entry.at,
        cause: entry.cause.clone(),
        last_log_lines: Vec::new(),
    });
    ModelExplanation {
        model: listed.name(),
        reasons,
        quarantined: quarantined.collect(),
        good: listed.record.good.clone(),
        previous: listed.record.previous.clone(),
        updates: listed.record.past.iter().map(past).collect(),
    }
}

fn past(step: &Move) -> PastUpdate {
    let cause = step.end.as_ref().and_then(|end| end.cause.clone());
    let state = match (&step.end, cause.as_deref()) {
        (None, _) => PastUpdateState::UnderWay,
        (Some(_), None) => PastUpdateState::Passed,
        (Some(_), Some(OVERTAKEN)) => PastUpdateState::Overtaken,
        (Some(_), Some(_)) => PastUpdateState::Failed,
    };
    PastUpdate {
        digest: step.to.clone(),
        from: step.from.clone(),
        began: step.began,
        ended: step.end.as_ref().map(|end| end.at),
        state,
        cause,
    }
}

/// Why nothing can be done while the server does not answer.
pub(super) fn no_server(view: &View<'_>) -> Option<String> {
    match &view.observed.server {
        ServerView::Up { .. } => None,
        ServerView::NotRunning { reason } => Some(match &view.settings.server {
            settings::ModelServer::Service { name, .. } => {
                format!("the server `{name}` is not running: {reason}")
            }
            settings::ModelServer::Url(url) => format!("the server at {url} is not running: {reason}"),
        }),
        ServerView::Silent { endpoint, reason, since } => {
            Some(format!("the server at {endpoint} has not answered since {since:.0}: {reason}"))
        }
    }
}

/// The state of going to another version, as the problem that it is.
pub(super) fn instead(view: &View<'_>, listed: &Listed<'_>, goal: &Goal, draft: &mut Draft) {
    let name = listed.name();
    let Some(words) = super::wanted::words(goal, &name) else { return };
    let message = format!("{name}: {words}");
    let lookup = view.observed.lookups.get(&listed.full).map_or(view.now, |lookup| lookup.at);
    match &goal.instead {
        Some(Instead::Barred(_)) => {
            let barred = goal.asked.as_ref().and_then(|(digest, _)| listed.record.barred(digest));
            let since = barred.map_or(view.now, |barred| barred.at);
            draft.failed |= goal.digest.is_none();
            let code = if goal.digest.is_some() { "model_rolled_back" } else { "model_failed" };
            let hint = format!("publish another version, or `agentctl models update {name} --retry`");
            draft.problem(code, message, &hint, since);
        }
        Some(Instead::Elsewhere(_)) => {
            draft.failed = true;
            let hint = "pin what the registry has, or bring the pinned version by a volume that holds it";
            draft.problem("model_digest_mismatch", message, hint, lookup);
        }
        Some(Instead::Damaged) => {
            draft.failed |= goal.digest.as_deref() == view.installed(listed)
                && goal.digest == goal.asked.as_ref().map(|(digest, _)| digest.clone());
            let hint = "the file is removed and pulled again; when that repeats, look at the disk (`dmesg`)";
            let short = goal.asked.as_ref().map_or(String::new(), |(digest, _)| short(digest));
            let at = view.attempt(&listed.full, StepKind::Verify).map_or(view.now, |attempt| attempt.at);
            draft.problem("model_damaged_layer", format!("{message} ({short})"), hint, at);
        }
        None => {}
    }
    draft.because(words);
}
