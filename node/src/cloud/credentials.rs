//! Credentials of the node: the process's environment first, then the role of the instance through our own metadata
//! client.
//!
//! What always holds: credentials are used up to their end while new ones cannot be had, and never beyond it.

use crate::imds::{self, ImdsError, Patience};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};
use jiff::Timestamp;
use serde::Deserialize;
use std::sync::Mutex;
use std::time::SystemTime;

const ROLES: &str = "meta-data/iam/security-credentials/";

/// Why the instance's role gave no credentials.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    /// The instance has no instance profile.
    #[error("no IAM role is attached to the instance")]
    NoRole,
    /// The metadata service gave no answer.
    #[error(transparent)]
    Metadata(#[from] ImdsError),
    /// The role is there and its credentials are not.
    #[error("the metadata service has no credentials for the role {role}: {reason}")]
    Unusable {
        /// Name of the role.
        role: String,
        /// What is wrong; never any of the document's text.
        reason: String,
    },
}

impl crate::fault::Hint for RoleError {
    fn hint(&self) -> Option<String> {
        match self {
            RoleError::NoRole => {
                Some("attach an instance profile with a role (it works without a restart)".to_owned())
            }
            RoleError::Metadata(error) => error.hint(),
            RoleError::Unusable { .. } => {
                Some("check that the role trusts ec2.amazonaws.com and still exists".to_owned())
            }
        }
    }
}

/// The SDK's credential provider of both programs.
#[derive(Debug)]
pub struct NodeCredentials {
    environment: SharedCredentialsProvider,
    imds: imds::Client,
    last: Mutex<Option<Credentials>>,
}

/// `meta-data/iam/security-credentials/ROLE`
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    code: String,
    access_key_id: Option<String>,
    secret_access_key: Option<String>,
    token: Option<String>,
    expiration: Option<Timestamp>,
}

/// The instance's role, and when its present credentials end. Nothing else of them is kept.
pub async fn role_of_instance(imds: &imds::Client) -> Result<(String, Option<Timestamp>), RoleError> {
    document(imds).await.map(|(role, document)| (role, document.expiration))
}

async fn document(imds: &imds::Client) -> Result<(String, Document), RoleError> {
    let roles = imds.get(ROLES).await?.unwrap_or_default();
    let role = roles.lines().map(str::trim).find(|line| !line.is_empty()).ok_or(RoleError::NoRole)?;
    let text = imds.get(&format!("{ROLES}{role}")).await?.ok_or_else(|| unusable(role, "404"))?;
    let document: Document = serde_json::from_str(&text).map_err(|_| unusable(role, "no JSON document"))?;
    if document.code != "Success" {
        return Err(unusable(role, &document.code));
    }
    Ok((role.to_owned(), document))
}

fn unusable(role: &str, reason: &str) -> RoleError {
    RoleError::Unusable { role: role.to_owned(), reason: reason.to_owned() }
}

impl NodeCredentials {
    /// `environment` is asked first; what it does not have comes from the role, with [`Patience::BRIEF`]: the calls that
    /// wait for credentials have their own retries.
    pub fn new(environment: SharedCredentialsProvider, imds: &imds::Client) -> NodeCredentials {
        let imds = imds.with_patience(Patience::BRIEF);
        NodeCredentials { environment, imds, last: Mutex::new(None) }
    }

    async fn provide(&self) -> provider::Result {
        match self.environment.provide_credentials().await {
            Err(CredentialsError::CredentialsNotLoaded(_)) => {}
            answer => return answer,
        }
        match self.of_role().await {
            Ok(credentials) => {
                *self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
                    Some(credentials.clone());
                Ok(credentials)
            }
            Err(error) => self.last_while_valid().ok_or_else(|| CredentialsError::provider_error(error)),
        }
    }

    async fn of_role(&self) -> Result<Credentials, RoleError> {
        let (role, document) = document(&self.imds).await?;
        let (Some(key), Some(secret)) = (document.access_key_id, document.secret_access_key) else {
            return Err(unusable(&role, "incomplete document"));
        };
        let expiry = document.expiration.map(SystemTime::from);
        Ok(Credentials::new(key, secret, document.token, expiry, "InstanceRole"))
    }

    /// The credentials of the last success. An outage of the metadata service is no reason to stop signing with
    /// credentials that AWS still honours.
    #[expect(
        clippy::disallowed_methods,
        reason = "an expiry can only be compared with the clock, and the SDK's trait gives none"
    )]
    fn last_while_valid(&self) -> Option<Credentials> {
        let last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()?;
        last.expiry().is_none_or(|expiry| SystemTime::now() < expiry).then_some(last)
    }
}

impl ProvideCredentials for NodeCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.provide())
    }
}
