//! What the engine is and how it is set up, for the doctor. One question.

use super::{ASK_DEADLINE, Docker, store};
use crate::engine::EngineError;
use crate::examined::EngineFacts;
use bollard::models::SystemInfo;

impl Docker {
    /// The engine's own word on itself.
    pub async fn facts(&self) -> Result<EngineFacts, EngineError> {
        let info = self.ask(ASK_DEADLINE, self.client().info()).await;
        info.map(|info| facts(&info)).map_err(|refusal| self.refused("ask the engine what it is", refusal))
    }
}

fn facts(info: &SystemInfo) -> EngineFacts {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    EngineFacts {
        version: text(&info.server_version),
        storage_driver: text(&info.driver),
        cgroup_driver: info.cgroup_driver.map(|driver| driver.to_string()).unwrap_or_default(),
        cgroup_version: info.cgroup_version.map(|version| version.to_string()).unwrap_or_default(),
        log_driver: text(&info.logging_driver),
        runtimes: info.runtimes.iter().flatten().map(|(name, _)| name.clone()).collect(),
        live_restore: info.live_restore_enabled.unwrap_or_default(),
        warnings: info.warnings.clone().unwrap_or_default(),
        folders: store::folders(info).iter().filter_map(|path| path.to_str().map(str::to_owned)).collect(),
    }
}
