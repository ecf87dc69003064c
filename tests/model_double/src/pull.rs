//! One pull: the registry's manifest, the blobs that are missing, their sums, and then the manifest.
//!
//! Source: ollama `server/images.go` (`PullModel`). Blobs that are there are taken as they are; those that came now are
//! compared with their digest, and removed where they differ. The manifest is written as it came, so that its digest is
//! the registry's.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};

use crate::answer::Line;
use crate::faults::Subject;
use crate::fetch;
use crate::name::Name;
use crate::store::{Layer, Manifest, Store, words};
use crate::transfer::{Source, Transfers, Waiter};
use crate::weights;

/// Between two lines about a blob, as Ollama has it.
const TICK: Duration = Duration::from_millis(60);
const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// How a pull came to its end without success.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With an error in its stream.
    Error(String),
    /// Its client went away.
    Cancelled,
    /// The connection is to be broken.
    Dropped,
}

/// What pulls share.
pub(crate) struct Puller {
    pub(crate) store: Store,
    pub(crate) transfers: Arc<Transfers>,
    /// Asked instead of the host of a name.
    pub(crate) registry: Option<String>,
    pub(crate) prunes: bool,
    /// Told when the process is to end.
    pub(crate) exit: Arc<Notify>,
}

/// Where the lines of a pull go.
pub(crate) type Lines = mpsc::Sender<Line>;

impl Puller {
    /// Pulls a model; every line but the last goes to `lines`.
    pub(crate) async fn pull(&self, name: &Name, insecure: bool, lines: &Lines) -> Result<(), Ended> {
        tokio::select! {
            ended = self.steps(name, insecure, lines) => ended,
            () = lines.closed() => Err(Ended::Cancelled),
        }
    }

    async fn steps(&self, name: &Name, insecure: bool, lines: &Lines) -> Result<(), Ended> {
        let before = self.store.read(name).map_or_else(|_| Vec::new(), |manifest| manifest.files());
        status(lines, "pulling manifest").await;
        let scheme = if insecure { "http" } else { "https" };
        let base = self.registry.clone().unwrap_or_else(|| format!("{scheme}://{}", name.host));
        let bytes = manifest(&base, name).await;
        let bytes = bytes.map_err(|why| Ended::Error(format!("pull model manifest: {why}")))?;
        let wrong = || Ended::Error("pull model manifest: invalid character in the manifest".to_owned());
        let manifest = Manifest::parse(&bytes).ok_or_else(wrong)?;
        let fetched = self.blobs(name, &manifest, &base, lines).await?;
        status(lines, "verifying sha256 digest").await;
        for digest in fetched {
            self.verify(&digest).await?;
        }
        status(lines, "writing manifest").await;
        self.store.write(name, &bytes).map_err(|error| disk("open", self.store.root(), &error))?;
        let needed: HashSet<String> = manifest.files().into_iter().map(|layer| layer.digest).collect();
        let unused: BTreeSet<String> =
            before.into_iter().map(|layer| layer.digest).filter(|digest| !needed.contains(digest)).collect();
        if self.prunes && !unused.is_empty() {
            status(lines, "removing unused layers").await;
            self.store.remove_unused(unused);
        }
        Ok(())
    }

    /// Returns the digests of those that were not there before.
    async fn blobs(
        &self,
        name: &Name,
        manifest: &Manifest,
        base: &str,
        lines: &Lines,
    ) -> Result<Vec<String>, Ended> {
        let mut subject =
            Subject { model: name.short(), digests: vec![format!("sha256:{}", manifest.digest)] };
        subject.digests.extend(manifest.layers.iter().map(|layer| layer.digest.clone()));
        let (mut fetched, mut before) = (Vec::new(), 0);
        for layer in manifest.files() {
            let place = self.store.blob(&layer.digest);
            if let Ok(there) = std::fs::metadata(&place) {
                let line = progress(&layer, there.len(), there.len());
                lines.send(Line::Json(line)).await.ok();
            } else {
                let source = Source {
                    base: base.to_owned(),
                    path: format!("/v2/{}/{}/blobs/{}", name.namespace, name.model, layer.digest),
                    digest: layer.digest.clone(),
                    subject: subject.clone(),
                    before,
                    total: manifest.size(),
                };
                let waiter = self.transfers.join(source, &place).await.map_err(Ended::Error)?;
                self.wait(&waiter, &layer, &place, lines).await?;
                fetched.push(layer.digest.clone());
            }
            before += layer.size;
        }
        Ok(fetched)
    }

    async fn wait(&self, waiter: &Waiter, layer: &Layer, place: &Path, lines: &Lines) -> Result<(), Ended> {
        let mut tick = tokio::time::interval(TICK);
        // As in Go, the first one comes after a while.
        tick.reset();
        // What holds a blob up strikes it once: when the faults are cleared, it comes to its end.
        let (mut stalled, mut silent) = (false, false);
        loop {
            tokio::select! {
                ended = waiter.outcome() => return ended.map_err(Ended::Error),
                fault = waiter.struck(), if !stalled => match fault.kind() {
                    kind @ ("stall" | "silence") => (stalled, silent) = (true, kind == "silence"),
                    "error" => return Err(Ended::Error(fault.text("unexpected EOF"))),
                    "no_space" => {
                        let full = format!("write {}-partial: no space left on device", place.display());
                        return Err(Ended::Error(full));
                    }
                    "drop" => return Err(Ended::Dropped),
                    "exit" => {
                        self.exit.notify_one();
                        std::future::pending::<()>().await;
                    }
                    _ => std::future::pending::<()>().await,
                },
                _ = tick.tick(), if !silent => {
                    let line = progress(layer, waiter.0.total, waiter.completed());
                    lines.send(Line::Json(line)).await.ok();
                }
            }
        }
    }

    async fn verify(&self, digest: &str) -> Result<(), Ended> {
        let place = self.store.blob(digest);
        let read = place.clone();
        let sum = tokio::task::spawn_blocking(move || weights::sum(&read)).await;
        let sum = sum.map_err(|error| Ended::Error(error.to_string()))?;
        let sum = sum.map_err(|error| disk("read", &place, &error))?;
        if sum == digest {
            return Ok(());
        }
        std::fs::remove_file(&place).ok();
        let what = "digest mismatch, file must be downloaded again";
        Err(Ended::Error(format!("{what}: want {digest}, got {sum}")))
    }
}

async fn manifest(base: &str, name: &Name) -> Result<Vec<u8>, String> {
    let path = format!("/v2/{}/{}/manifests/{}", name.namespace, name.model, name.tag);
    let answer = fetch::ask(base, "GET", &path, &[("accept", MANIFEST.to_owned())]).await?;
    match answer.status {
        200 => answer.whole().await,
        404 => Err("file does not exist".to_owned()),
        status => Err(format!("{status}: {}", String::from_utf8_lossy(&answer.whole().await?))),
    }
}

async fn status(lines: &Lines, text: &str) {
    lines.send(Line::Json(json!({"status": text}))).await.ok();
}

/// Zeroes are left out, as in Go.
fn progress(layer: &Layer, total: u64, completed: u64) -> Value {
    let short = layer.digest.get(7..19).unwrap_or_default();
    let mut line = json!({"status": format!("pulling {short}"), "digest": layer.digest});
    for (field, value) in [("total", total), ("completed", completed)] {
        if value > 0 {
            line[field] = json!(value);
        }
    }
    line
}

fn disk(doing: &str, path: &Path, error: &std::io::Error) -> Ended {
    Ended::Error(words(doing, path, error))
}
