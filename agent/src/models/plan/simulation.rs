//! A model server, its volume, a registry and an agent in memory, with a clock that is wound by hand.
//!
//! The server pulls layer by layer and keeps what came, prunes nothing by itself, deletes the layers that no other name
//! needs, and lets go of models that were used longest ago when memory is short.

pub(in crate::models::plan) mod agent;
mod histories;

use crate::models::registry::{Layer, Manifest};
use jiff::Timestamp;
use node::config::settings::ModelReference;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// Names of models that node.toml may have, and one that somebody else put there.
pub(in crate::models::plan) const MODELS: [&str; 3] = ["first:1", "second:1", "third:1"];
pub(in crate::models::plan) const FOREIGN: &str = "theirs:1";
/// How versions behave: two work, one cannot be loaded, one answers wrongly.
pub(in crate::models::plan) const VERSIONS: usize = 4;
const BASE: u64 = 100;
const OWN: u64 = 50;

pub(in crate::models::plan) fn reference(name: &str) -> ModelReference {
    name.parse().unwrap()
}

pub(in crate::models::plan) fn full(name: &str) -> String {
    reference(name).full()
}

/// `sha256:` and a number of the model and the version, so that kept names differ.
pub(in crate::models::plan) fn digest(model: &str, version: usize) -> String {
    let model: u64 = model.bytes().fold(7, |sum, byte| sum * 31 + u64::from(byte));
    format!("sha256:{:012x}{:052x}", (model * 16 + version as u64) & 0xffff_ffff_ffff, 0)
}

/// The layers of a version: one that all versions of the model share, and one of its own.
pub(in crate::models::plan) fn manifest(model: &str, version: usize) -> Manifest {
    let layer =
        |what: String, size_bytes, weights| Layer { digest: format!("sha256:{what}"), size_bytes, weights };
    let own = layer(format!("{model}-{version}"), OWN + version as u64, true);
    let layers = vec![layer(format!("{model}-base"), BASE, true), own];
    Manifest { digest: digest(model, version), also: Vec::new(), layers }
}

/// All manifests with their versions, by digest.
static ALL: LazyLock<BTreeMap<String, (usize, Manifest)>> = LazyLock::new(|| {
    let all =
        MODELS.iter().chain([&FOREIGN]).flat_map(|model| (0..VERSIONS).map(move |version| (model, version)));
    all.map(|(model, version)| (digest(model, version), (version, manifest(model, version)))).collect()
});

pub(in crate::models::plan) fn manifest_of(wanted: &str) -> &'static Manifest {
    &ALL[wanted].1
}

pub(in crate::models::plan) fn version_of(wanted: &str) -> usize {
    ALL[wanted].0
}

/// The outside.
#[derive(Debug, Clone)]
pub(in crate::models::plan) struct World {
    pub(in crate::models::plan) now: Timestamp,
    /// What tags name at the registry, by full name; `None` while it does not answer.
    pub(in crate::models::plan) tags: BTreeMap<String, String>,
    pub(in crate::models::plan) registry_up: bool,
    pub(in crate::models::plan) running: bool,
    pub(in crate::models::plan) run: u64,
    pub(in crate::models::plan) up_since: Timestamp,
    /// Of the server: full name to digest.
    pub(in crate::models::plan) names: BTreeMap<String, String>,
    pub(in crate::models::plan) blobs: BTreeMap<String, (u64, Timestamp)>,
    pub(in crate::models::plan) corrupt: BTreeSet<String>,
    pub(in crate::models::plan) partials: BTreeMap<String, (u64, Timestamp)>,
    pub(in crate::models::plan) room: u64,
    /// Full names and versions, the one used last at the end.
    pub(in crate::models::plan) loaded: Vec<(String, String)>,
    pub(in crate::models::plan) memory: u64,
    /// The next layer that comes whole is not what its name says.
    pub(in crate::models::plan) corrupts_next: bool,
    /// Bytes fetched of each layer since it was last gone.
    pub(in crate::models::plan) fetched: BTreeMap<String, u64>,
}

impl World {
    pub(in crate::models::plan) fn used(&self) -> u64 {
        let whole: u64 = self.blobs.values().map(|(size, _)| size).sum();
        whole + self.partials.values().map(|(size, _)| size).sum::<u64>()
    }

    pub(in crate::models::plan) fn free(&self) -> u64 {
        self.room.saturating_sub(self.used())
    }

    /// Whether some name has the version, with all of its files as they should be.
    pub(in crate::models::plan) fn has(&self, digest: &str) -> bool {
        let named = self.names.values().any(|named| named == digest);
        named && self.is_whole(digest)
    }

    fn is_whole(&self, digest: &str) -> bool {
        let whole =
            |layer: &Layer| self.blobs.contains_key(&layer.digest) && !self.corrupt.contains(&layer.digest);
        manifest_of(digest).layers.iter().all(whole)
    }

    /// Brings so many bytes of the version: `Ok(true)` when all is there.
    pub(in crate::models::plan) fn fetch(
        &mut self,
        name: &str,
        digest: &str,
        mut bytes: u64,
    ) -> Result<bool, &'static str> {
        for layer in &manifest_of(digest).layers {
            if self.blobs.contains_key(&layer.digest) {
                continue;
            }
            let (there, _) = self.partials.get(&layer.digest).copied().unwrap_or((0, self.now));
            let come = bytes.min(layer.size_bytes - there);
            if come > self.free() {
                return Err("model_disk_full");
            }
            bytes -= come;
            *self.fetched.entry(layer.digest.clone()).or_default() += come;
            assert!(self.fetched[&layer.digest] <= layer.size_bytes, "{} is fetched twice", layer.digest);
            self.partials.insert(layer.digest.clone(), (there + come, self.now));
            if there + come < layer.size_bytes {
                return Ok(false);
            }
            self.partials.remove(&layer.digest);
            self.blobs.insert(layer.digest.clone(), (layer.size_bytes, self.now));
            if std::mem::take(&mut self.corrupts_next) {
                self.corrupt.insert(layer.digest.clone());
            }
        }
        self.names.insert(name.to_owned(), digest.to_owned());
        Ok(true)
    }

    pub(in crate::models::plan) fn delete(&mut self, name: &str) {
        let Some(digest) = self.names.remove(name) else { return };
        let named: BTreeSet<String> = self.named();
        for layer in &manifest_of(&digest).layers {
            if !named.contains(&layer.digest) {
                self.remove_blob(&layer.digest);
            }
        }
        self.loaded.retain(|(loaded, _)| loaded != name);
    }

    pub(in crate::models::plan) fn named(&self) -> BTreeSet<String> {
        let layers = self.names.values().flat_map(|digest| &manifest_of(digest).layers);
        layers.map(|layer| layer.digest.clone()).collect()
    }

    pub(in crate::models::plan) fn remove_blob(&mut self, layer: &str) {
        self.blobs.remove(layer);
        self.corrupt.remove(layer);
        self.fetched.remove(layer);
    }

    pub(in crate::models::plan) fn remove_partial(&mut self, layer: &str) {
        self.partials.remove(layer);
        self.fetched.remove(layer);
    }

    /// Bytes of a version in memory: those of its files.
    pub(in crate::models::plan) fn size(digest: &str) -> u64 {
        manifest_of(digest).size_bytes()
    }

    /// Code of the refusal.
    pub(in crate::models::plan) fn load(
        &mut self,
        name: &str,
        digest: &str,
    ) -> Result<(), (&'static str, bool)> {
        if version_of(digest) == 2 || !self.is_whole(digest) {
            return Err(("model_server_refused", true));
        }
        self.loaded.retain(|(_, loaded)| loaded != digest);
        if World::size(digest) > self.memory {
            return Err(("model_out_of_memory", false));
        }
        let taken = |world: &World| world.loaded.iter().map(|(_, digest)| World::size(digest)).sum::<u64>();
        while taken(self) + World::size(digest) > self.memory {
            self.loaded.remove(0);
        }
        self.loaded.push((name.to_owned(), digest.to_owned()));
        Ok(())
    }

    pub(in crate::models::plan) fn restart(&mut self) {
        self.loaded.clear();
        self.run += 1;
        self.running = true;
        self.up_since = self.now;
    }
}
