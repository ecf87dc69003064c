//! Where the engine writes the log of a container, and that it is kept before the container is removed.

use super::Docker;
use crate::host::log_files::{Keep, LogFile};
use crate::logs::source::SourceError;
use crate::observed::labels;
use bollard::models::ContainerInspectResponse;
use node::fault::one_line;
use std::path::Path;
use std::sync::Arc;

/// The only driver whose files are read.
const JSON_FILE: &str = "json-file";

impl Docker {
    /// From now on no container is removed before its log is kept in `keep`.
    pub(in crate::host) fn keep_logs(&self, keep: Arc<Keep>) {
        // A second one would be of a second log shipper; there is one.
        let _ = self.shared.keep.set(keep);
    }

    /// The file of a container's log; `None` where the engine keeps it otherwise, or on another host.
    pub(in crate::host) async fn log_file(&self, container_id: &str) -> Result<Option<LogFile>, SourceError> {
        let gone = || SourceError::Gone { container_id: container_id.to_owned() };
        let inspected = self.inspect(container_id).await?.ok_or_else(gone)?;
        Ok(log_file(inspected).filter(|log| log.path.parent().is_some_and(Path::exists)))
    }

    /// What cannot be kept is lost if it was not read; that is said, and holds nothing up.
    pub(super) async fn keep_log_of(&self, container_id: &str) {
        let Some(keep) = self.shared.keep.get().map(Arc::clone) else { return };
        let reason = match self.log_file(container_id).await {
            Ok(None) | Err(SourceError::Gone { .. }) => return,
            Ok(Some(log)) => {
                let id = container_id.to_owned();
                match tokio::task::spawn_blocking(move || keep.hold(&id, &log)).await {
                    Ok(Ok(())) => return,
                    Ok(Err(error)) => one_line(&error),
                    Err(error) => one_line(&error),
                }
            }
            Err(SourceError::Engine(error)) => one_line(&error),
        };
        let container = self.called(container_id);
        tracing::warn!(container, reason, "a container is removed without keeping what is left of its log");
    }
}

fn log_file(inspected: ContainerInspectResponse) -> Option<LogFile> {
    let driver = inspected.host_config?.log_config?.typ?;
    let path = inspected.log_path.filter(|path| !path.is_empty())?;
    let mut labelled = inspected.config?.labels?;
    let service = labelled.remove(labels::SERVICE)?;
    let digest = labelled.remove(labels::DIGEST);
    (driver == JSON_FILE).then(|| LogFile { path: path.into(), service, digest })
}
