//! The Docker engine. Only this folder names bollard; every call has a deadline.

use crate::engine::EngineError;

/// A connection to the engine; clones share it. Connecting makes no call.
#[derive(Debug, Clone)]
pub struct Docker {
    client: bollard::Docker,
}

impl Docker {
    /// A client for `DOCKER_HOST`, else `/var/run/docker.sock`. The API version is negotiated at the first call.
    pub fn connect(docker_host: Option<&str>) -> Result<Docker, EngineError> {
        let _ = docker_host;
        todo!()
    }

    /// The library's client, for the files of this folder.
    pub(super) fn client(&self) -> &bollard::Docker {
        &self.client
    }
}
