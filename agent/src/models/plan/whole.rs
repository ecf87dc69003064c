//! What is wrong with the server, its folder and its volume, beyond any one model.

use super::view::View;
use super::words::bytes;
use crate::models::observed::{ServerView, WarmedView};
use jiff::Timestamp;
use node::config::settings::Prewarm;
use node::problem::Problem;
use std::time::Duration;

/// A server may be silent for so long.
const SILENCE: Duration = Duration::from_secs(30);
/// A device that is slower than this, in MiB/s, reads from far away.
const COLD: f64 = 40.0;
/// Fewer bytes say nothing about a device.
const TELLING_BYTES: u64 = 64 << 20;

/// The problems, and when another one begins.
pub(super) fn problems(view: &View<'_>) -> (Vec<Problem>, Option<Timestamp>) {
    let mut problems = Vec::new();
    let mut wake = None;
    if let ServerView::Silent { endpoint, reason, since } = &view.observed.server {
        if view.since(*since) >= SILENCE {
            let message = format!("the model server at {endpoint} does not answer: {reason}");
            let hint = "look at `agentctl status` and `agentctl logs` of the service that serves models";
            problems.push(problem("model_server_unreachable", message, hint, *since));
        } else {
            wake = Some(*since + SILENCE);
        }
    }
    if let Some(why) = &view.observed.files_problem {
        let hint =
            "look at `[models] directory` and at the volume; without it room and files are not looked after";
        problems.push(problem("model_files_unreadable", why.clone(), hint, view.now));
    }
    problems.extend(damaged(view));
    problems.extend(
        view.observed.warmed.values().find(|warmed| is_cold(view, warmed)).map(|warmed| cold(view, warmed)),
    );
    (problems, wake)
}

fn damaged(view: &View<'_>) -> Option<Problem> {
    let files = view.files()?;
    let up = view.up.as_ref()?;
    if let Some(first) = files.damaged_manifests.first() {
        let count = files.damaged_manifests.len();
        let message =
            format!("{count} manifests in the folder of the models make no sense, the first is {first}");
        let hint = "remove the file, or pull the model again; until then no file is called unused";
        return Some(problem("model_files_unreadable", message, hint, view.now));
    }
    let strange = !up.names.is_empty() && files.manifests.is_empty();
    let message = || "the server has models, but their folder has none: it is not the server's".to_owned();
    let hint = "set `[models] directory` to what the server knows as OLLAMA_MODELS";
    strange.then(|| problem("model_files_unreadable", message(), hint, up.since))
}

/// Slow although nobody slowed it down.
fn is_cold(view: &View<'_>, warmed: &WarmedView) -> bool {
    let progress = &warmed.progress;
    let capped = match view.settings.prewarm {
        #[expect(clippy::cast_precision_loss, reason = "a rate in MiB/s needs no more than three digits")]
        Prewarm::BytesPerSecond(rate) => rate as f64 / f64::from(1 << 20) <= COLD,
        Prewarm::Off | Prewarm::Unlimited => false,
    };
    let read = progress.from_device_bytes;
    !capped
        && read >= TELLING_BYTES
        && read >= progress.read_bytes / 2
        && progress.mebibytes_per_second < COLD
}

fn cold(view: &View<'_>, warmed: &WarmedView) -> Problem {
    let progress = &warmed.progress;
    let message = format!(
        "the volume of the models is cold: {} were read at {:.0} MiB/s",
        bytes(progress.read_bytes),
        progress.mebibytes_per_second
    );
    let hint = "a volume made from a snapshot fetches its blocks when they are first read: enable Fast Snapshot Restore, \
                or ask for a volume initialisation rate when it is made";
    problem("model_volume_cold", message, hint, view.up.as_ref().map_or(view.now, |up| up.since))
}

fn problem(code: &str, message: String, hint: &str, since: Timestamp) -> Problem {
    Problem { code: code.to_owned(), message, hint: Some(hint.to_owned()), since }
}
