//! Secrets Manager: `GetSecretValue`, read into keys.
//!
//! In: a section of node.toml. Out: [`SecretValue`], with its required keys checked. What always holds: no value is in
//! any error or its Debug. Not its job: keeping the value ([`crate::secrets::Store`]) and asking again.

use super::failure::AwsFailure;
use crate::config::settings;
use crate::fault::Hint;
use crate::secrets::{Contents, ContentsError, SecretValue};
use jiff::Timestamp;
use secrecy::zeroize::Zeroizing;

/// Why a secret could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("secret {name} ({id}) {reason}")]
pub struct FetchError {
    /// `[secrets.NAME]`
    pub name: String,
    /// Name or ARN.
    pub id: String,
    /// Region that was asked.
    pub region: String,
    /// What is wrong.
    pub reason: FetchFailure,
}

/// What is wrong with a secret, or with asking for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchFailure {
    /// There is none of that name in this account and region.
    #[error("does not exist")]
    Missing,
    /// It exists and has never been given a value.
    #[error("has no current value")]
    Empty,
    /// It is deleted, or about to be.
    #[error("is scheduled for deletion")]
    Deleted,
    /// The role may not read it.
    #[error("may not be read: {failure}")]
    Denied {
        /// AWS's words.
        failure: AwsFailure,
        /// The IAM action that is missing.
        action: &'static str,
    },
    /// What it holds is no set of keys that can be used.
    #[error("{0}")]
    Contents(#[from] ContentsError),
    /// Anything else that AWS, or the way to it, said.
    #[error("cannot be read: {0}")]
    Aws(AwsFailure),
}

impl FetchError {
    /// Stable code for `problems[]`.
    pub fn code(&self) -> &'static str {
        match &self.reason {
            FetchFailure::Missing => "secret_missing",
            FetchFailure::Empty => "secret_empty",
            FetchFailure::Deleted => "secret_deleted",
            FetchFailure::Denied { .. } => "secret_denied",
            FetchFailure::Contents(ContentsError::KeysMissing { .. }) => "secret_key_missing",
            FetchFailure::Contents(ContentsError::KeyUnusable { .. }) => "secret_key_invalid",
            FetchFailure::Contents(ContentsError::TooLarge { .. }) => "secret_too_large",
            FetchFailure::Aws(AwsFailure::NoCredentials { .. }) => "aws_credentials_missing",
            FetchFailure::Aws(AwsFailure::Throttled { .. }) => "secret_throttled",
            FetchFailure::Aws(AwsFailure::Unreachable { .. }) => "secret_unreachable",
            FetchFailure::Aws(_) => "secret_refused",
        }
    }

    /// Whether asking again later may help without anybody doing anything. While it may, the last value stays good.
    pub fn may_pass(&self) -> bool {
        matches!(
            self.reason,
            FetchFailure::Aws(AwsFailure::Throttled { .. } | AwsFailure::Unreachable { .. })
        )
    }
}

impl Hint for FetchError {
    fn hint(&self) -> Option<String> {
        let FetchError { name, id, region, reason } = self;
        match reason {
            FetchFailure::Missing => Some(format!(
                "create it in {region}, or correct `id` in [secrets.{name}]; names are per account and region"
            )),
            FetchFailure::Empty => Some(format!(
                "give it a value: aws secretsmanager put-secret-value --region {region} --secret-id {id} …"
            )),
            FetchFailure::Deleted => {
                Some(format!("aws secretsmanager restore-secret --region {region} --secret-id {id}"))
            }
            FetchFailure::Denied { failure, action } => {
                Some(failure.hint().unwrap_or_else(|| format!("allow the instance's role {action} on it")))
            }
            FetchFailure::Contents(error) => error.hint(),
            FetchFailure::Aws(failure) => Some(failure.hint().unwrap_or_else(|| {
                format!("see what it answers: aws secretsmanager describe-secret --region {region} --secret-id {id}")
            })),
        }
    }
}

/// The client.
#[derive(Debug, Clone)]
pub struct SecretsManager {
    client: aws_sdk_secretsmanager::Client,
    region: String,
}

impl SecretsManager {
    /// A client; makes no call.
    pub fn new(config: &aws_config::SdkConfig) -> SecretsManager {
        let region = config.region().map(ToString::to_string).unwrap_or_default();
        SecretsManager { client: aws_sdk_secretsmanager::Client::new(config), region }
    }

    /// The current version of the secret, with its required keys checked.
    pub async fn fetch(
        &self,
        name: &str,
        secret: &settings::Secret,
        now: Timestamp,
    ) -> Result<SecretValue, FetchError> {
        self.read(name, secret, now).await.map_err(|reason| FetchError {
            name: name.to_owned(),
            id: secret.id.clone(),
            region: self.region.clone(),
            reason,
        })
    }

    async fn read(
        &self,
        name: &str,
        secret: &settings::Secret,
        now: Timestamp,
    ) -> Result<SecretValue, FetchFailure> {
        let request = self.client.get_secret_value().secret_id(&secret.id);
        let mut answer = request.send().await.map_err(|error| read_failure(AwsFailure::of(&error)))?;
        let contents = match (answer.secret_string.take(), answer.secret_binary.take()) {
            (Some(text), _) => Contents::of_text(&Zeroizing::new(text))?,
            (None, Some(bytes)) => Contents::of_bytes(&Zeroizing::new(bytes.into_inner()))?,
            (None, None) => return Err(FetchFailure::Empty),
        };
        contents.require(&secret.require)?;
        let version_id =
            answer.version_id.filter(|version| !version.is_empty()).ok_or(FetchFailure::Empty)?;
        Ok(SecretValue { name: name.to_owned(), version_id, fetched_at: now, values: contents.into_values() })
    }
}

/// What a failure of `GetSecretValue` says of the secret.
fn read_failure(failure: AwsFailure) -> FetchFailure {
    let (code, message) = match &failure {
        AwsFailure::Denied { code, message } | AwsFailure::Service { code, message } => {
            (code.as_str(), message)
        }
        _ => return FetchFailure::Aws(failure),
    };
    let message = message.to_ascii_lowercase();
    let about_kms = message.contains("kms");
    match code {
        // The same code for a secret that is not there and for one without a current version.
        "ResourceNotFoundException" if message.contains("staging label") => FetchFailure::Empty,
        "ResourceNotFoundException" => FetchFailure::Missing,
        "InvalidRequestException" if message.contains("delet") => FetchFailure::Deleted,
        "DecryptionFailure" => {
            FetchFailure::Denied { failure, action: "kms:Decrypt on the secret's key, and read access" }
        }
        _ if matches!(failure, AwsFailure::Denied { .. }) && about_kms => {
            FetchFailure::Denied { failure, action: "kms:Decrypt on the secret's key, and read access" }
        }
        _ if matches!(failure, AwsFailure::Denied { .. }) => {
            FetchFailure::Denied { failure, action: "secretsmanager:GetSecretValue" }
        }
        _ => FetchFailure::Aws(failure),
    }
}
