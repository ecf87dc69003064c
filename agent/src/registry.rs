//! What a registry says of an image reference. The seam between the tasks that ask and the clouds that answer.

use jiff::Timestamp;
use node::config::settings::ImageReference;
use node::fault::Hint;
use secrecy::SecretString;
use std::future::Future;

/// What a tag names right now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// `sha256:…`, as the registry gave it; of the index where the image has several platforms.
    pub digest: String,
    /// When it was pushed, where the registry says so (ECR does).
    pub pushed_at: Option<Timestamp>,
    /// Compressed size in bytes, where the registry says so.
    pub size_bytes: Option<u64>,
}

/// Credentials for one registry.
#[derive(Debug, Clone)]
pub struct Login {
    /// `AWS` for ECR.
    pub username: String,
    /// Never printed.
    pub password: SecretString,
}

/// Why a registry gave no answer. `code` is for `problems[]`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RegistryError {
    /// Stable, e.g. `image_not_found`, `registry_unreachable`, `registry_denied`.
    pub code: &'static str,
    /// One line naming the image or registry.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Hint for RegistryError {
    fn hint(&self) -> Option<String> {
        self.hint.clone()
    }
}

/// Asks registries.
pub trait Registry: Send + Sync + 'static {
    /// The digest that the reference names now, without pulling. One that is a digest names itself, if it is there.
    fn resolve(&self, image: &ImageReference)
    -> impl Future<Output = Result<Resolved, RegistryError>> + Send;

    /// Credentials to pull with; `None` for an anonymous pull.
    fn login(
        &self,
        image: &ImageReference,
    ) -> impl Future<Output = Result<Option<Login>, RegistryError>> + Send;

    /// The registry refused these credentials: the next [`Registry::login`] brings new ones, where they are ours to
    /// renew.
    fn forget(&self, _image: &ImageReference) {}
}
