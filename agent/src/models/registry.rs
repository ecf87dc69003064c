//! The seam to a registry of models: what a tag names now, without pulling. `host/ollama` has the real one.
//!
//! Source: `GET https://HOST/v2/NAMESPACE/MODEL/manifests/TAG`, the registry API that `ollama pull` speaks; the digest of
//! a model is the SHA-256 of the manifest's bytes, which is also what `/api/tags` shows; servers before 2026-03 show that
//! of the bytes as Go's encoder writes them, [`Manifest::also`].

use crate::registry::RegistryError;
use node::config::settings::ModelReference;
use std::future::Future;

/// What a tag names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// `sha256:…` of its bytes.
    pub digest: String,
    /// Under which digests a server may have it that has encoded it anew, where these are others.
    pub also: Vec<String>,
    /// Its configuration and its layers, each once.
    pub layers: Vec<Layer>,
}

/// One file of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// `sha256:…`; on the volume its file is `blobs/sha256-…`.
    pub digest: String,
    /// Bytes.
    pub size_bytes: u64,
    /// It holds the weights (`application/vnd.ollama.image.model`, projectors and adapters too): what loading reads.
    pub weights: bool,
}

impl Manifest {
    /// The same under the digest that is known here, if one of them is: the version that a server has decides what it is
    /// called, for no other digest can ever be seen of it.
    pub fn known_as(mut self, is_known: impl Fn(&str) -> bool) -> Manifest {
        if !is_known(&self.digest)
            && let Some(known) = self.also.iter_mut().find(|digest| is_known(digest))
        {
            std::mem::swap(&mut self.digest, known);
        }
        self
    }

    /// Bytes of all layers.
    pub fn size_bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.size_bytes).sum()
    }
}

/// Asks registries of models.
pub trait ModelRegistry: Send + Sync + 'static {
    /// What the tag names now. Codes of errors: `model_not_found`, `model_registry_unreachable`, `model_registry_denied`,
    /// `model_registry_broken_answer`.
    fn manifest(&self, name: &ModelReference)
    -> impl Future<Output = Result<Manifest, RegistryError>> + Send;
}
