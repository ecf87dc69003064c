//! GPUs that are gone, and models that are on the CPU instead.
//!
//! The remedy is a restart of the server's container, three times at most, each after a longer wait; the first wait tells
//! a loss from a moment's trouble. A server at a URL is a person's to restart; it has a GPU when something was on one.
//! Nothing is judged and no model is moved on meanwhile. Each model that it concerns says so.

use super::draft::Draft;
use super::view::{Listed, View};
use super::words::{bytes, span};
use crate::models::observed::GpuView;
use crate::models::server::Loaded;
use crate::status::Reason;
use jiff::Timestamp;
use node::config::settings::ModelServer;
use node::problem::Problem;
use std::time::Duration;

/// Before each restart.
const WAITS: [Duration; 3] = [Duration::from_secs(60), Duration::from_secs(300), Duration::from_secs(900)];

/// What is wrong with the GPUs.
#[derive(Debug, Default)]
pub(super) struct Gpu {
    /// They are gone, or not used at all: why.
    pub(super) lost: Option<String>,
    /// The same, where it can be told.
    pub(super) is_lost: Option<bool>,
    /// Restart the server now, and why.
    pub(super) restart: Option<String>,
    /// What is being done about it, and when.
    remedy: Option<(String, Option<Timestamp>)>,
    pub(super) problems: Vec<Problem>,
    pub(super) wake: Option<Timestamp>,
}

pub(super) fn gpu(view: &View<'_>) -> Gpu {
    let mut gpu = Gpu::default();
    if view.up.is_none() {
        return gpu;
    }
    // Also of a server that is not a service of ours: it has a GPU, or no part would be there.
    gpu.problems.extend(partly(view));
    let is_ours = matches!(view.settings.server, ModelServer::Service { .. });
    if !(view.serving.wants_gpus || (!is_ours && view.observed.has_gpu)) {
        return gpu;
    }
    let Some((why, since)) = lost(view) else {
        gpu.is_lost = is_there(view).then_some(false);
        return gpu;
    };
    gpu.is_lost = Some(true);
    let spent = usize::try_from(view.observed.gpu_restarts_of_loss).unwrap_or(usize::MAX);
    let next = WAITS.get(spent).filter(|_| is_ours);
    let remedy = match next {
        Some(wait) => {
            let which = format!("restart {} of {}", spent + 1, WAITS.len());
            let begin = view.observed.gpu_restarted_at.map_or(since, |restarted| restarted.max(since));
            let at = begin + *wait;
            if at <= view.now {
                gpu.restart = Some(format!("{why} ({which})"));
                gpu.remedy = Some((format!("the server's container is restarted now, {which}"), None));
            } else {
                gpu.wake = Some(at);
                gpu.remedy =
                    Some((format!("the server's container is restarted at {at:.0}, {which}"), Some(at)));
            }
            format!("the server's container is restarted {} after that", span(*wait))
        }
        None => {
            let remedy = match is_ours {
                true => format!("{spent} restarts of the server's container did not help"),
                false => "restart the server".to_owned(),
            };
            gpu.remedy = Some((remedy.clone(), None));
            remedy
        }
    };
    let hint = "run `nvidia-smi` on the host: if it fails there too, reboot or replace the instance; else look whether \
                systemd was reloaded while the container ran";
    gpu.problems.push(Problem {
        code: "model_gpu_lost".to_owned(),
        message: format!("{why}; {remedy}"),
        hint: Some(hint.to_owned()),
        since,
    });
    gpu.lost = Some(why);
    gpu
}

fn lost(view: &View<'_>) -> Option<(String, Timestamp)> {
    if let GpuView::Lost { reason, since } = &view.observed.gpu {
        return Some((format!("the GPU is gone from the server's container: {reason}"), *since));
    }
    let (listed, since) = view.listed.iter().find_map(|listed| Some((listed, on_cpu(view, listed)?)))?;
    Some((format!("{} is wholly on the CPU, although {}", listed.name(), has_gpu(view)), since))
}

fn has_gpu(view: &View<'_>) -> &'static str {
    if view.serving.wants_gpus { "the server asks for GPUs" } else { "the server has a GPU" }
}

/// What the model has to do with it, for whoever asks why it is slow.
pub(super) fn tell(view: &View<'_>, gpu: &Gpu, listed: &Listed<'_>, draft: &mut Draft) {
    let Some(loaded) = view.installed(listed).and_then(|digest| view.in_memory(digest)) else { return };
    if is_partly(loaded) {
        draft.because(partly_on(loaded));
    }
    let Some((remedy, until)) = &gpu.remedy else { return };
    let why = match (&view.observed.gpu, on_cpu(view, listed)) {
        (_, Some(since)) => {
            format!("it has been wholly on the CPU since {since:.0}, although {}", has_gpu(view))
        }
        (GpuView::Lost { reason, since }, None) => {
            format!("the GPU has been gone from the server's container since {since:.0}: {reason}")
        }
        _ => return,
    };
    draft.reasons.push(Reason { text: format!("{why}; {remedy}"), until: *until });
}

/// Something is on a GPU, or the container sees one.
fn is_there(view: &View<'_>) -> bool {
    let mut loaded = view.up.iter().flat_map(|up| &up.loaded);
    matches!(view.observed.gpu, GpuView::Present(_)) || loaded.any(|(_, loaded)| loaded.size_vram_bytes > 0)
}

/// Since when a model that is to stay in memory is wholly on the CPU. Of others that says nothing: a client may ask for a
/// model that no GPU holds, or for none on a GPU.
fn on_cpu(view: &View<'_>, listed: &Listed<'_>) -> Option<Timestamp> {
    let loaded = view.in_memory(view.installed(listed)?).filter(|_| listed.model.keep_loaded)?;
    loaded.is_on_cpu().then(|| view.observed.on_cpu.get(&loaded.digest).copied().unwrap_or(view.now))
}

/// Models that do not fit onto the GPU as a whole: no restart changes that.
fn partly(view: &View<'_>) -> Vec<Problem> {
    let up = view.up.iter().flat_map(|up| &up.loaded);
    let some = up.filter(|(_, loaded)| is_partly(loaded));
    let problem = |loaded: &Loaded| Problem {
        code: "model_partly_on_cpu".to_owned(),
        message: format!(
            "{} of the {} of {} are on the GPU, the rest is on the CPU",
            bytes(loaded.size_vram_bytes),
            bytes(loaded.size_bytes),
            loaded.name
        ),
        hint: Some("a smaller model, a shorter context or fewer models at once fit onto the GPU".to_owned()),
        since: view.up.as_ref().map_or(view.now, |up| up.since),
    };
    some.map(|(_, loaded)| problem(loaded)).collect()
}

fn is_partly(loaded: &Loaded) -> bool {
    loaded.size_vram_bytes > 0 && loaded.size_vram_bytes < loaded.size_bytes
}

fn partly_on(loaded: &Loaded) -> String {
    let (part, whole) = (bytes(loaded.size_vram_bytes), bytes(loaded.size_bytes));
    format!("{part} of its {whole} are on the GPU, the rest is on the CPU")
}
