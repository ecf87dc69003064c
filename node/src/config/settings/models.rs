//! `[models]`, validated: which models the node serves, from which server, and by which rules they come and go.

use super::Reclaim;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::time::Duration;

/// `[models]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Models {
    /// Who serves them.
    pub server: ModelServer,
    /// Folder of the host that the server knows as `OLLAMA_MODELS` (it holds `blobs` and `manifests`); absent where the
    /// server is a URL and node.toml does not say. Without it nothing is known of room, partial downloads and cold
    /// volumes.
    pub directory: Option<String>,
    /// `[models.pull."NAME"]`, by name as written.
    pub pull: BTreeMap<String, Model>,
    /// How often the registry is asked what a tag names; absent means never.
    pub every: Option<Duration>,
    /// Bytes of the file system with the models that no pull may use.
    pub reserve_bytes: u64,
    /// Which models that nobody wants are removed.
    pub reclaim: Reclaim,
    /// A model that nobody wants, and what is left of a pull, is kept this long.
    pub unused_for: Duration,
    /// Whether the files of a model are read before its first load after boot.
    pub prewarm: Prewarm,
    /// For the server to load one model.
    pub load_deadline: Duration,
}

/// `[models] server`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ModelServer {
    /// `[services.NAME]`, and the port on which it listens inside its container.
    Service {
        /// Its name.
        name: String,
        /// From its `OLLAMA_HOST`, else 11434.
        port: u16,
    },
    /// One that is there already, `http://HOST[:PORT]` or `https://HOST[:PORT]` without a slash at the end.
    Url(String),
}

/// `[models] prewarm`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Prewarm {
    /// They are not.
    Off,
    /// As fast as the device allows.
    Unlimited,
    /// At most so many bytes a second.
    BytesPerSecond(u64),
}

/// `[models.pull."NAME"]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Model {
    /// The name, taken apart.
    #[schemars(with = "String")]
    pub reference: ModelReference,
    /// Pin, `sha256:…` of the manifest.
    pub digest: Option<String>,
    /// It stays in the server's memory.
    pub keep_loaded: bool,
    /// The node is not ready without it: loaded where it is kept loaded, else present.
    pub required: bool,
    /// Asked of a new version before it is called good.
    pub smoke: Option<Smoke>,
}

/// `[models.pull."NAME"] smoke`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Smoke {
    /// What the model is asked.
    pub prompt: String,
    /// What its answer has to contain, upper and lower case being the same; absent: any answer that is not empty.
    pub expect: Option<String>,
    /// For the answer.
    pub within: Duration,
}

/// A model's name as Ollama reads it: `[SCHEME://][HOST/][NAMESPACE/]MODEL[:TAG]`, every part filled in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelReference {
    /// `http` only where it was written; the server is told that this is meant (`insecure`).
    pub insecure: bool,
    /// Host and optional port, `registry.ollama.ai` by default.
    pub host: String,
    /// `library` by default.
    pub namespace: String,
    /// Without tag.
    pub model: String,
    /// `latest` by default.
    pub tag: String,
}

/// The registry of models whose name has no host.
pub const DEFAULT_MODEL_HOST: &str = "registry.ollama.ai";
/// The namespace of models whose name has none.
pub const DEFAULT_NAMESPACE: &str = "library";

/// Between the tag and the digest of a version that the agent keeps. Tags of node.toml do not contain it.
pub const KEPT: &str = ".kept-";

impl ModelReference {
    /// All parts but the scheme: `registry.ollama.ai/library/llama3.2:3b`. Two names of one model have the same; also the
    /// path of its manifest under `manifests`, with `/` for the colon before the tag.
    pub fn full(&self) -> String {
        format!("{}/{}/{}:{}", self.host, self.namespace, self.model, self.tag)
    }

    /// The same model under another tag.
    #[must_use]
    pub fn tagged(&self, tag: String) -> ModelReference {
        ModelReference { tag, ..self.clone() }
    }
}

/// As the server lists it: without the parts that are the default, but always with the tag.
impl std::fmt::Display for ModelReference {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host != DEFAULT_MODEL_HOST {
            write!(formatter, "{}/{}/", self.host, self.namespace)?;
        } else if self.namespace != DEFAULT_NAMESPACE {
            write!(formatter, "{}/", self.namespace)?;
        }
        write!(formatter, "{}:{}", self.model, self.tag)
    }
}

impl Serialize for ModelReference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
