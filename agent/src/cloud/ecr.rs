//! ECR: the token to log in with, and what a tag names.
//!
//! In: a registry of an account and region. Out: our own values, or a [`RegistryError`] in words. Not its job: keeping
//! tokens (`registries::tokens`).

use crate::registry::{Login, RegistryError, Resolved};
use aws_config::{Region, SdkConfig};
use aws_sdk_ecr::types::{ImageDetail, ImageIdentifier, ImageStatus};
use aws_smithy_types::DateTime;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use node::cloud::failure::AwsFailure;
use node::config::settings::{ImageReference, ImageVersion};
use node::fault::Hint;
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A registry of ECR.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EcrRegistry {
    /// Twelve digits.
    pub account: String,
    /// E.g. `eu-north-1`.
    pub region: String,
    /// Its FIPS endpoint is asked.
    pub fips: bool,
}

/// What `GetAuthorizationToken` gave.
#[derive(Debug, Clone)]
pub struct Token {
    /// Credentials.
    pub login: Login,
    /// How long it is valid by its own word and our clock; negative where the word is wrong or the clock is.
    pub claimed_lifetime: Option<SignedDuration>,
}

/// Clients of ECR, one a region.
#[derive(Debug, Clone)]
pub struct Ecr {
    config: SdkConfig,
    clients: Arc<Mutex<BTreeMap<(String, bool), aws_sdk_ecr::Client>>>,
}

impl Ecr {
    /// Clients that share credentials, deadlines and endpoints with `config`. Makes no call.
    pub fn new(config: &SdkConfig) -> Ecr {
        Ecr { config: config.clone(), clients: Arc::default() }
    }

    /// A new token. One token serves every registry that the role may read, in any account, so none is named.
    pub async fn token(&self, registry: &EcrRegistry) -> Result<Token, RegistryError> {
        let called = format!("ECR in {}", registry.region);
        let answer = self.client(registry).get_authorization_token().send().await.map_err(|error| {
            refused(
                &format!("cannot log in to {called}"),
                &AwsFailure::of(&error),
                "ecr:GetAuthorizationToken on *",
            )
        })?;
        let malformed = || RegistryError {
            code: "registry_refused",
            message: format!("cannot log in to {called}: the token is malformed"),
            hint: Some("see who answers in the place of ECR: AWS_ENDPOINT_URL, a proxy".to_owned()),
        };
        let data = answer.authorization_data().first().ok_or_else(malformed)?;
        let login = data.authorization_token().and_then(login_of).ok_or_else(malformed)?;
        let claimed_lifetime = data.expires_at().and_then(timestamp).map(remaining);
        Ok(Token { login, claimed_lifetime })
    }

    /// What `image` names in its repository, by its tag or its digest.
    pub async fn describe(
        &self,
        registry: &EcrRegistry,
        image: &ImageReference,
    ) -> Result<Resolved, RegistryError> {
        let identifier = match &image.version {
            ImageVersion::Tag(tag) => ImageIdentifier::builder().image_tag(tag),
            ImageVersion::Digest(digest) => ImageIdentifier::builder().image_digest(digest),
        };
        let answer = self
            .client(registry)
            .describe_images()
            .registry_id(&registry.account)
            .repository_name(&image.repository)
            .image_ids(identifier.build())
            .send()
            .await
            .map_err(|error| {
                refused(&format!("cannot look up {image}"), &AwsFailure::of(&error), "ecr:DescribeImages")
            })?;
        let detail = answer.image_details().first();
        detail.and_then(|detail| resolved(detail, image).transpose()).unwrap_or_else(|| Err(not_found(image)))
    }

    /// Whether manifests and layers of the repository may be had, asked for `digest`, which nothing has.
    pub async fn may_pull(
        &self,
        registry: &EcrRegistry,
        image: &ImageReference,
        digest: &str,
    ) -> Result<(), RegistryError> {
        let what = format!("cannot pull {}", image.name());
        let client = self.client(registry);
        let manifest = client
            .batch_get_image()
            .registry_id(&registry.account)
            .repository_name(&image.repository)
            .image_ids(ImageIdentifier::builder().image_digest(digest).build());
        // One that is not there is no error of this call.
        manifest
            .send()
            .await
            .map_err(|error| refused(&what, &AwsFailure::of(&error), "ecr:BatchGetImage"))?;
        let layer = client
            .get_download_url_for_layer()
            .registry_id(&registry.account)
            .repository_name(&image.repository)
            .layer_digest(digest);
        match layer.send().await.map_err(|error| AwsFailure::of(&error)) {
            Err(AwsFailure::Service { code, .. }) if code.starts_with("Layer") => Ok(()),
            Err(failure) => Err(refused(&what, &failure, "ecr:GetDownloadUrlForLayer")),
            Ok(_) => Ok(()),
        }
    }

    fn client(&self, registry: &EcrRegistry) -> aws_sdk_ecr::Client {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (registry.region.clone(), registry.fips);
        let client = clients.entry(key).or_insert_with(|| {
            let mut config = self.config.to_builder().region(Region::new(registry.region.clone()));
            config.set_use_fips(Some(registry.fips));
            aws_sdk_ecr::Client::new(&config.build())
        });
        client.clone()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "an outer module; how long a token lives is known at its receipt only"
)]
fn remaining(expires_at: Timestamp) -> SignedDuration {
    expires_at.duration_since(Timestamp::now())
}

/// base64 of `AWS:<password>`; the password may hold colons.
fn login_of(token: &str) -> Option<Login> {
    let decoded = Zeroizing::new(STANDARD.decode(token).ok()?);
    let (username, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some(Login { username: username.to_owned(), password: SecretString::from(password) })
}

fn timestamp(time: &DateTime) -> Option<Timestamp> {
    Timestamp::new(time.secs(), time.subsec_nanos().try_into().ok()?).ok()
}

fn resolved(detail: &ImageDetail, image: &ImageReference) -> Result<Option<Resolved>, RegistryError> {
    if matches!(detail.image_status(), Some(ImageStatus::Archived | ImageStatus::Activating)) {
        return Err(RegistryError {
            code: "image_archived",
            message: format!("cannot look up {image}: it is archived in ECR and cannot be pulled"),
            hint: Some("restore it in ECR, or push it again".to_owned()),
        });
    }
    Ok(detail.image_digest().map(|digest| Resolved {
        digest: digest.to_owned(),
        pushed_at: detail.image_pushed_at().and_then(timestamp),
        size_bytes: detail.image_size_in_bytes().and_then(|bytes| bytes.try_into().ok()),
    }))
}

fn not_found(image: &ImageReference) -> RegistryError {
    let version = match image.version {
        ImageVersion::Tag(_) => "tag",
        ImageVersion::Digest(_) => "digest",
    };
    RegistryError {
        code: "image_not_found",
        message: format!("cannot look up {image}: there is no image of that {version}"),
        hint: Some("push it, or correct `image`; a lifecycle policy may have removed it".to_owned()),
    }
}

/// `what` could not be done; the role would need `action` if that is why.
fn refused(what: &str, failure: &AwsFailure, action: &str) -> RegistryError {
    let known = |code: &'static str, hint: Option<String>| RegistryError {
        code,
        message: format!("{what}: {failure}"),
        hint,
    };
    match failure {
        AwsFailure::NoCredentials { .. } => known("aws_credentials_missing", failure.hint()),
        AwsFailure::Denied { .. } => known(
            "registry_denied",
            failure.hint().or_else(|| {
                Some(format!(
                    "allow the instance's role {action}; for a registry of another account its repository policy has \
                     to allow it too"
                ))
            }),
        ),
        AwsFailure::Throttled { .. } => known("registry_throttled", None),
        AwsFailure::Unreachable { .. } => known("registry_unreachable", failure.hint()),
        AwsFailure::Service { code, .. } if code == "ImageNotFoundException" => known(
            "image_not_found",
            Some("push it, or correct `image`; a lifecycle policy may have removed it".to_owned()),
        ),
        AwsFailure::Service { code, .. } if code == "RepositoryNotFoundException" => {
            known("repository_not_found", Some("correct account, region or repository in `image`".to_owned()))
        }
        AwsFailure::Service { .. } => known("registry_refused", None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn the_password_begins_after_the_first_colon() {
        let login = login_of(&STANDARD.encode("AWS:pass:word:")).unwrap();
        assert_eq!((login.username.as_str(), login.password.expose_secret()), ("AWS", "pass:word:"));
        assert!(!format!("{login:?}").contains("pass:"));
        for malformed in ["", "no base64!", &STANDARD.encode("no colon"), &STANDARD.encode([0xff, b':'])] {
            assert!(login_of(malformed).is_none(), "{malformed}");
        }
    }
}
