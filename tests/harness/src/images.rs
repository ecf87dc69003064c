//! Container images made from a list of files, without a Docker build, and
//! pushed straight into a registry by its HTTP API.
//!
//! In: a [`Recipe`]; out: an [`Image`] whose bytes, and so its digest, depend on
//! the recipe alone: same recipe, same digest. Format: Docker image manifest
//! version 2, schema 2, and OCI index for several architectures.

use std::collections::BTreeMap;
use std::io::Write as _;

use axum::http::StatusCode;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::http::{Answer, HttpClient, HttpError};

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Manifest types that a client which can handle every kind of image accepts.
pub const MANIFEST_TYPES: [&str; 4] = [
    MANIFEST,
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    INDEX,
];

/// Why an image could not be made or pushed.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A layer could not be packed.
    #[error("cannot pack {path}")]
    Pack {
        /// Path in the image.
        path: String,
        /// What went wrong.
        #[source]
        source: std::io::Error,
    },
    /// The registry could not be asked.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The registry refused.
    #[error("the registry refused to {what}: {status} {body}")]
    Refused {
        /// What was tried.
        what: String,
        /// Its status.
        status: StatusCode,
        /// Its explanation.
        body: String,
    },
}

/// Something in an image's file system. Owner is root, time is zero.
#[derive(Clone)]
pub enum Entry {
    /// A directory with its mode.
    Directory(String, u32),
    /// A file with its mode and content.
    File(String, u32, Vec<u8>),
    /// A symbolic link and where it points.
    Link(String, String),
}

/// Everything an image is made from. No user means root, no command none.
#[derive(Clone, Default)]
pub struct Recipe {
    /// Layers from the bottom up.
    pub layers: Vec<Vec<Entry>>,
    /// `amd64` when empty, else `arm64` and the like.
    pub architecture: String,
    /// Environment.
    pub environment: BTreeMap<String, String>,
    /// ENTRYPOINT in exec form.
    pub entrypoint: Vec<String>,
    /// CMD in exec form.
    pub command: Vec<String>,
    /// Exposed ports such as `8000/tcp`.
    pub exposed_ports: Vec<String>,
    /// User, or user and group.
    pub user: String,
    /// Stop signal such as `SIGTERM`.
    pub stop_signal: Option<String>,
    /// HEALTHCHECK: its command as Docker writes it (`CMD`, …), interval and
    /// start period in seconds.
    pub health_check: Option<HealthCheck>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// The HEALTHCHECK of an image.
#[derive(Clone)]
pub struct HealthCheck {
    /// `["CMD", program, …]` or `["CMD-SHELL", line]`.
    pub test: Vec<String>,
    /// Seconds between two checks.
    pub interval_seconds: u64,
    /// Seconds in which failures do not count.
    pub start_period_seconds: u64,
}

/// A manifest and every blob that it names.
pub struct Image {
    /// The manifest's bytes.
    pub manifest: Vec<u8>,
    /// `sha256:…` of the manifest.
    pub digest: String,
    architecture: String,
    blobs: Vec<Vec<u8>>,
}

impl Recipe {
    /// An image of one static program in an otherwise nearly empty root, with
    /// what every program may expect: `/tmp`, `/etc/passwd`, `/run`.
    #[must_use]
    pub fn of_program(path: &str, program: Vec<u8>) -> Self {
        let accounts = "root:x:0:0::/:/\nnobody:x:65534:65534::/:/\n";
        let base = vec![
            Entry::Directory("etc".into(), 0o755),
            Entry::File("etc/passwd".into(), 0o644, accounts.into()),
            Entry::Directory("run".into(), 0o755),
            Entry::Directory("tmp".into(), 0o1777),
        ];
        let layers = vec![base, vec![Entry::File(path.trim_start_matches('/').into(), 0o755, program)]];
        Self { layers, entrypoint: vec![path.to_owned()], ..Self::default() }
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Packs the layers and writes configuration and manifest.
    ///
    /// # Errors
    /// [`ImageError::Pack`] when an entry cannot be packed (a name too long).
    pub fn build(&self) -> Result<Image, ImageError> {
        let mut blobs = Vec::new();
        let mut diff_ids = Vec::new();
        for entries in &self.layers {
            let tar = pack(entries)?;
            diff_ids.push(digest(&tar));
            blobs.push(compress(&tar)?);
        }
        let layers: Vec<Value> = blobs.iter().map(|blob| descriptor(LAYER, blob)).collect();
        let config = self.config(&diff_ids).to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(CONFIG, &config), "layers": layers,
        });
        blobs.push(config);
        let manifest = manifest.to_string().into_bytes();
        Ok(Image { digest: digest(&manifest), manifest, architecture: self.architecture().to_owned(), blobs })
    }

    fn architecture(&self) -> &str {
        if self.architecture.is_empty() { "amd64" } else { &self.architecture }
    }

    fn config(&self, diff_ids: &[String]) -> Value {
        let environment: Vec<String> =
            self.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let ports: BTreeMap<&String, Value> =
            self.exposed_ports.iter().map(|port| (port, json!({}))).collect();
        let history: Vec<Value> =
            diff_ids.iter().map(|_| json!({"created": EPOCH, "created_by": "files"})).collect();
        let mut config = json!({
            "Env": environment, "Entrypoint": self.entrypoint, "Cmd": self.command, "User": self.user,
            "ExposedPorts": ports, "Labels": self.labels,
        });
        if let Some(signal) = &self.stop_signal {
            config["StopSignal"] = json!(signal);
        }
        if let Some(check) = &self.health_check {
            const NANOSECONDS: u64 = 1_000_000_000;
            config["Healthcheck"] = json!({
                "Test": check.test, "Interval": check.interval_seconds * NANOSECONDS,
                "StartPeriod": check.start_period_seconds * NANOSECONDS,
            });
        }
        json!({
            "architecture": self.architecture(), "os": "linux", "created": EPOCH, "config": config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": history,
        })
    }
}

const EPOCH: &str = "1970-01-01T00:00:00Z";

fn pack(entries: &[Entry]) -> Result<Vec<u8>, ImageError> {
    let mut archive = tar::Builder::new(Vec::new());
    for entry in entries {
        let mut header = tar::Header::new_gnu();
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        let (path, packed) = match entry {
            Entry::Directory(path, mode) => {
                header.set_mode(*mode);
                header.set_entry_type(tar::EntryType::Directory);
                (path, archive.append_data(&mut header, format!("{path}/"), std::io::empty()))
            }
            Entry::File(path, mode, content) => {
                header.set_mode(*mode);
                header.set_size(content.len() as u64);
                header.set_entry_type(tar::EntryType::Regular);
                (path, archive.append_data(&mut header, path, &content[..]))
            }
            Entry::Link(path, target) => {
                header.set_mode(0o777);
                header.set_entry_type(tar::EntryType::Symlink);
                (path, archive.append_link(&mut header, path, target))
            }
        };
        packed.map_err(|source| ImageError::Pack { path: path.clone(), source })?;
    }
    archive.into_inner().map_err(|source| ImageError::Pack { path: "a layer".into(), source })
}

fn compress(tar: &[u8]) -> Result<Vec<u8>, ImageError> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let packed = encoder.write_all(tar).and_then(|()| encoder.finish());
    packed.map_err(|source| ImageError::Pack { path: "a layer".into(), source })
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{:x}", Sha256::digest(bytes))
}

fn descriptor(media_type: &str, blob: &[u8]) -> Value {
    json!({"mediaType": media_type, "size": blob.len(), "digest": digest(blob)})
}

/// A registry to push to, without authentication: the one behind the gate.
#[derive(Clone)]
pub struct Registry {
    base: String,
    client: HttpClient,
}

impl Registry {
    /// The registry at a base URL such as `http://127.0.0.1:5000`.
    #[must_use]
    pub fn at(base: &str) -> Self {
        Self { base: base.trim_end_matches('/').to_owned(), client: HttpClient::default() }
    }

    /// Pushes an image under a tag and returns its digest.
    ///
    /// # Errors
    /// [`ImageError`] when the registry cannot be asked or refuses.
    pub async fn push(&self, image: &Image, repository: &str, tag: &str) -> Result<String, ImageError> {
        self.push_blobs(image, repository).await?;
        self.put_manifest(repository, tag, MANIFEST, image.manifest.clone()).await
    }

    /// Pushes images of several architectures and an index over them under a
    /// tag; returns the digest of the index.
    ///
    /// # Errors
    /// [`ImageError`] when the registry cannot be asked or refuses.
    pub async fn push_index(
        &self,
        images: &[Image],
        repository: &str,
        tag: &str,
    ) -> Result<String, ImageError> {
        let mut manifests = Vec::new();
        for image in images {
            self.push_blobs(image, repository).await?;
            self.put_manifest(repository, &image.digest, MANIFEST, image.manifest.clone()).await?;
            let mut entry = descriptor(MANIFEST, &image.manifest);
            entry["platform"] = json!({"architecture": image.architecture, "os": "linux"});
            manifests.push(entry);
        }
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
        self.put_manifest(repository, tag, INDEX, index.to_string().into_bytes()).await
    }

    /// The manifest that a reference (tag or digest) points to, byte for byte.
    ///
    /// # Errors
    /// [`ImageError`] when the registry cannot be asked or refuses.
    pub async fn manifest(&self, repository: &str, reference: &str) -> Result<String, ImageError> {
        let accept = MANIFEST_TYPES.join(", ");
        let path = format!("/v2/{repository}/manifests/{reference}");
        let found = self.ask("GET", &path, &[("accept", &accept)], Vec::new()).await?;
        Ok(expect(found, "find the image", StatusCode::OK)?.text())
    }

    /// Points a tag to what another reference (tag or digest) points to.
    ///
    /// # Errors
    /// [`ImageError`] when the registry cannot be asked or refuses.
    pub async fn retag(&self, repository: &str, reference: &str, tag: &str) -> Result<String, ImageError> {
        let accept = MANIFEST_TYPES.join(", ");
        let path = format!("/v2/{repository}/manifests/{reference}");
        let found = self.ask("GET", &path, &[("accept", &accept)], Vec::new()).await?;
        let found = expect(found, "find the image", StatusCode::OK)?;
        let media_type = found.header("content-type").to_owned();
        self.put_manifest(repository, tag, &media_type, found.body.to_vec()).await
    }

    /// Deletes an image by its digest, and with it every tag that points to it.
    ///
    /// # Errors
    /// [`ImageError`] when the registry cannot be asked or refuses.
    pub async fn delete(&self, repository: &str, digest: &str) -> Result<(), ImageError> {
        let path = format!("/v2/{repository}/manifests/{digest}");
        let answer = self.ask("DELETE", &path, &[], Vec::new()).await?;
        expect(answer, "delete the image", StatusCode::ACCEPTED).map(drop)
    }

    async fn push_blobs(&self, image: &Image, repository: &str) -> Result<(), ImageError> {
        for blob in &image.blobs {
            let name = digest(blob);
            let path = format!("/v2/{repository}/blobs/{name}");
            if self.ask("HEAD", &path, &[], Vec::new()).await?.status == StatusCode::OK {
                continue;
            }
            let start =
                self.ask("POST", &format!("/v2/{repository}/blobs/uploads/"), &[], Vec::new()).await?;
            let start = expect(start, "start an upload", StatusCode::ACCEPTED)?;
            let location = start.header("location");
            let joint = if location.contains('?') { '&' } else { '?' };
            let target = format!("{location}{joint}digest={name}");
            let kind = [("content-type", "application/octet-stream")];
            let done = self.ask("PUT", &target, &kind, blob.clone()).await?;
            expect(done, "store a blob", StatusCode::CREATED)?;
        }
        Ok(())
    }

    async fn put_manifest(
        &self,
        repository: &str,
        reference: &str,
        media_type: &str,
        manifest: Vec<u8>,
    ) -> Result<String, ImageError> {
        let name = digest(&manifest);
        let path = format!("/v2/{repository}/manifests/{reference}");
        let answer = self.ask("PUT", &path, &[("content-type", media_type)], manifest).await?;
        expect(answer, "store the manifest", StatusCode::CREATED)?;
        Ok(name)
    }

    /// `target` is a path, or a whole URL as an upload's location may be.
    async fn ask(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Answer, ImageError> {
        let url = if target.starts_with('/') { format!("{}{target}", self.base) } else { target.to_owned() };
        Ok(self.client.send(method, &url, headers, body).await?)
    }
}

fn expect(answer: Answer, what: &str, status: StatusCode) -> Result<Answer, ImageError> {
    if answer.status == status {
        return Ok(answer);
    }
    Err(ImageError::Refused { what: what.to_owned(), status: answer.status, body: answer.text() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_recipe_gives_the_same_digest_and_another_version_another() {
        let recipe = Recipe::of_program("/app", b"program".to_vec());
        let digest = |recipe: &Recipe| recipe.build().unwrap().digest;
        assert_eq!(digest(&recipe), digest(&recipe.clone()));
        assert_ne!(digest(&recipe), digest(&recipe.env("VERSION", "2")));
    }
}
