//! How the plan is shown: the server, and each model.

use crate::models::observed::{GpuView, Observed, ServerView};
use crate::models::record::Durable;
use crate::status::{
    Model, ModelExplanation, ModelServer, ModelServerState, ModelState, Prewarm, UpdateState, UpdateStatus,
};
use node::config::settings;

/// The server.
pub(super) fn server(settings: &settings::Models, observed: &Observed) -> ModelServer {
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
        prewarm: prewarm(observed),
    }
}

/// The reading ahead that is under way.
fn prewarm(observed: &Observed) -> Option<Prewarm> {
    let step = observed.step.as_ref()?;
    let progress = step.warming?;
    Some(Prewarm {
        model: step.model.clone(),
        read_bytes: progress.read_bytes,
        total_bytes: progress.total_bytes,
        mebibytes_per_second: progress.mebibytes_per_second,
        not_kept: None,
    })
}

/// Each model of node.toml.
pub(super) fn models(
    settings: &settings::Models,
    _observed: &Observed,
    _durable: &Durable,
) -> Vec<(Model, ModelExplanation)> {
    settings
        .pull
        .iter()
        .map(|(name, model)| {
            let status = Model {
                name: model.reference.to_string(),
                digest: None,
                size_bytes: None,
                state: ModelState::Absent,
                progress: None,
                on_gpu: None,
                required: model.required,
                keep_loaded: model.keep_loaded,
                reason: None,
                since: None,
                pinned: model.digest.clone(),
                previous: None,
                update: UpdateStatus {
                    state: UpdateState::Current,
                    candidate: None,
                    reason: None,
                    checked_at: None,
                },
            };
            (status, ModelExplanation { model: name.clone(), ..ModelExplanation::default() })
        })
        .collect()
}
