//! What a tag names at its registry, asked through the engine: it has the registry's certificates, mirrors and proxy.
//! Nothing is pulled.

use super::Docker;
use crate::engine::EngineError;
use crate::registry::Login;
use bollard::auth::DockerCredentials;
use node::config::settings::ImageReference;
use secrecy::ExposeSecret;
use std::time::Duration;

/// The engine asks the registry, with redirects and a token exchange of its own.
const DISTRIBUTION_DEADLINE: Duration = Duration::from_secs(30);

impl Docker {
    /// The digest that `image` names now: of the index where it has several platforms, as the registry counts it.
    ///
    /// # Errors
    /// [`EngineError::Unreachable`] when the engine does not answer; what the registry says is
    /// [`EngineError::Refused`], with the codes of a pull (`pull_refused`, `image_not_found`, `registry_unreachable`).
    pub async fn registry_digest(
        &self,
        image: &ImageReference,
        login: Option<&Login>,
    ) -> Result<String, EngineError> {
        let credentials = login.map(|login| DockerCredentials {
            username: Some(login.username.clone()),
            password: Some(login.password.expose_secret().to_owned()),
            serveraddress: Some(image.registry.clone()),
            ..DockerCredentials::default()
        });
        let name = image.to_string();
        let call = self.client().inspect_registry_image(&name, credentials);
        let found = self.ask(DISTRIBUTION_DEADLINE, call).await;
        let found = found.map_err(|refusal| self.refused(&format!("look up {name}"), refusal))?;
        found.descriptor.digest.filter(|digest| !digest.is_empty()).ok_or_else(|| EngineError::Refused {
            operation: format!("look up {name}"),
            code: "registry_refused",
            message: "the registry gave no digest".to_owned(),
            hint: Some(format!("see what it says to `docker manifest inspect {name}`")),
        })
    }
}
