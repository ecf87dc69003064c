//! Images, validated: references to them, and `[images]`, what becomes of those that nobody needs.

use schemars::JsonSchema;
use serde::Serialize;
use std::time::Duration;

/// A reference to an image, taken apart. `docker.io/library/…` is filled in for short names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
pub struct ImageReference {
    /// Host and optional port, e.g. `123456789012.dkr.ecr.eu-north-1.amazonaws.com` or `localhost:5000`.
    pub registry: String,
    /// Path inside the registry.
    pub repository: String,
    /// What is followed. Exactly one of the two.
    pub version: ImageVersion,
}

/// What an image reference follows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImageVersion {
    /// A tag, `latest` where none is written.
    Tag(String),
    /// `sha256:…`: pinned, never polled.
    Digest(String),
}

impl ImageReference {
    /// `registry/repository`, without a version.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// `registry/repository@digest`, what is pulled and run.
    pub fn pinned(&self, digest: &str) -> String {
        format!("{}/{}@{digest}", self.registry, self.repository)
    }
}

impl std::fmt::Display for ImageReference {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.version {
            ImageVersion::Tag(tag) => write!(formatter, "{}:{tag}", self.name()),
            ImageVersion::Digest(digest) => write!(formatter, "{}@{digest}", self.name()),
        }
    }
}

/// `[images]`: what becomes of images that no service needs. Those that are needed (the current, the previous and what a
/// person asked for) are never removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Images {
    /// Which ones are removed.
    pub reclaim: Reclaim,
    /// An image that no service needs is kept this long.
    pub unused_for: Duration,
    /// With less of the engine's file system free than so many percent, images go before their time, and none is
    /// pulled that would not fit.
    pub min_free_percent: u8,
}

impl Default for Images {
    fn default() -> Images {
        Images {
            reclaim: Reclaim::Ours,
            unused_for: Duration::from_secs(7 * 24 * 3600),
            min_free_percent: 10,
        }
    }
}

/// Which images that no service needs are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reclaim {
    /// None.
    Never,
    /// Those that the agent pulled.
    Ours,
    /// All that no container uses.
    All,
}
