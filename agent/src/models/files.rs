//! The seam to the models' folder on the host: what lies there, how much room there is, reading ahead, cleaning up.
//! `host/model_files` is the real one.
//!
//! Layout (Ollama): `blobs/sha256-HEX` is a whole layer, `blobs/sha256-HEX-partial` one on its way (made in full length at
//! once, so that its length says nothing) with `-partial-N` beside it for its parts, `manifests/HOST/NAMESPACE/MODEL/TAG`
//! what a name means.

use super::registry::Manifest;
use crate::observed::Disk;
use jiff::Timestamp;
use node::config::settings::Prewarm;
use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;

/// What lies in the folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// Of the file system that holds it.
    pub disk: Option<Disk>,
    /// Whole layers: bytes, by digest.
    pub blobs: BTreeMap<String, Blob>,
    /// Layers on their way, by digest.
    pub partials: BTreeMap<String, Partial>,
    /// What names mean, by [`node::config::settings::ModelReference::full`].
    pub manifests: BTreeMap<String, Manifest>,
    /// A manifest that cannot be read or makes no sense, by its path in the folder: nothing may be called unused while
    /// there is one.
    pub damaged_manifests: Vec<String>,
}

/// A whole layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Bytes.
    pub size_bytes: u64,
    /// When it was last written.
    pub modified_at: Timestamp,
}

/// A layer on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partial {
    /// Bytes that the file system has given it; its length is that of the whole layer from the beginning.
    pub allocated_bytes: u64,
    /// When it, or one of its parts, was last written.
    pub modified_at: Timestamp,
    /// The server cannot take it up: the file of a part is empty, or missing before one that is there. Every pull of the
    /// layer fails until it is removed. Source: ollama `server/download.go`, which reads the parts that it finds and at
    /// the end removes as many from number 0 on.
    pub broken: bool,
}

/// Why the folder could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {path}")]
pub struct FilesError {
    /// What was tried.
    pub operation: &'static str,
    /// On which path.
    pub path: String,
    /// Why.
    #[source]
    pub source: std::io::Error,
}

/// How far the reading ahead of a model is.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct WarmProgress {
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes of all its layers.
    pub total_bytes: u64,
    /// Mean since the beginning, pauses for the rate cap left out; 0 before the first byte.
    pub mebibytes_per_second: f64,
    /// Of the bytes read, those that came from the device and not from memory.
    pub from_device_bytes: u64,
}

/// How the reading ahead of a model ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Warmed {
    /// What was read.
    pub progress: WarmProgress,
    /// Whether what was read is in memory now, and if not, why: memory was short, or the kernel lets us keep none.
    pub kept: Result<(), String>,
}

/// The models' folder.
pub trait ModelFiles: Send + Sync + 'static {
    /// What lies there. A folder that does not exist yet is empty; its disk is that of the nearest folder above it.
    fn look(&self, directory: &Path) -> impl Future<Output = Result<Files, FilesError>> + Send;

    /// Removes layers on their way, with their parts, by digest. One that is gone, or has become whole, is success.
    fn remove_partials(
        &self,
        directory: &Path,
        digests: &[String],
    ) -> impl Future<Output = Result<(), FilesError>> + Send;

    /// Removes whole layers, by digest. One that is gone is success.
    fn remove_blobs(
        &self,
        directory: &Path,
        digests: &[String],
    ) -> impl Future<Output = Result<(), FilesError>> + Send;

    /// Reads a layer and compares its length and its SHA-256 with its name: `false` when they differ. Leaves memory as it
    /// is.
    fn verify(
        &self,
        directory: &Path,
        digest: &str,
        size_bytes: u64,
    ) -> impl Future<Output = Result<bool, FilesError>> + Send;

    /// Reads the layers in that order, fast, at most at the rate; into memory where there is enough of it. Dropping it
    /// ends the reading.
    fn warm(
        &self,
        directory: &Path,
        digests: &[String],
        rate: Prewarm,
        progress: &(dyn Fn(WarmProgress) + Send + Sync),
    ) -> impl Future<Output = Result<Warmed, FilesError>> + Send;
}
