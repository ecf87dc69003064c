//! Secrets Manager: `GetSecretValue`, read into keys.

use crate::config::settings;
use crate::fault::Hint;
use crate::secrets::SecretValue;
use jiff::Timestamp;

/// Why a secret could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Placeholder until written.
    #[error("secret {name} ({id}) does not exist")]
    Missing {
        /// `[secrets.NAME]`
        name: String,
        /// Name or ARN.
        id: String,
    },
}

impl Hint for FetchError {}

impl FetchError {
    /// Stable code for `problems[]`.
    pub fn code(&self) -> &'static str {
        todo!()
    }
}

/// The client.
#[derive(Debug, Clone)]
pub struct SecretsManager {}

impl SecretsManager {
    /// A client; makes no call.
    pub fn new(_config: &aws_config::SdkConfig) -> SecretsManager {
        todo!()
    }

    /// The current version of the secret, with its required keys checked.
    pub async fn fetch(
        &self,
        _name: &str,
        _secret: &settings::Secret,
        _now: Timestamp,
    ) -> Result<SecretValue, FetchError> {
        todo!()
    }
}
