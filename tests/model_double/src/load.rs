//! Bringing models into memory: one at a time, by reading the weights; the memory is taken in the books only.
//!
//! A file of another length than its manifest says does not load, as with Ollama. One of the right length and of other
//! content does, as there; what it answers then is nonsense.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::Notify;

use crate::faults::{Faults, Subject};
use crate::host;
use crate::memory::{KeepAlive, Loaded, Memory, Room, human};
use crate::name::Name;
use crate::store::{Layer, Manifest, Store};
use crate::weights;

/// Layers that a load reads; the first one is what the model is known by.
const WEIGHTS: [&str; 3] = [
    "application/vnd.ollama.image.model",
    "application/vnd.ollama.image.projector",
    "application/vnd.ollama.image.adapter",
];

/// What a request wants in memory.
pub(crate) struct Wanted {
    pub(crate) name: Name,
    pub(crate) manifest: Manifest,
    /// As `/api/ps` shows them.
    pub(crate) details: Value,
    pub(crate) keep_alive: Option<KeepAlive>,
}

impl Wanted {
    fn weights(&self) -> Vec<&Layer> {
        let of =
            |kind: &'static str| self.manifest.layers.iter().filter(move |layer| layer.media_type == kind);
        WEIGHTS.into_iter().flat_map(of).collect()
    }

    /// The file with the weights.
    pub(crate) fn file(&self, store: &Store) -> PathBuf {
        self.weights().first().map_or_else(PathBuf::new, |layer| store.blob(&layer.digest))
    }

    fn key(&self) -> String {
        let weights = self.weights();
        weights.first().map_or_else(|| self.manifest.digest.clone(), |layer| layer.digest.clone())
    }

    /// What faults may name.
    pub(crate) fn subject(&self) -> Subject {
        let mut digests = vec![format!("sha256:{}", self.manifest.digest)];
        digests.extend(self.manifest.layers.iter().map(|layer| layer.digest.clone()));
        Subject { model: self.name.short(), digests }
    }
}

/// A load that failed: status and words of the answer.
#[derive(Debug)]
pub(crate) struct Failed(pub(crate) u16, pub(crate) String);

/// Brings models into memory.
pub(crate) struct Loader {
    memory: Mutex<Memory>,
    turn: tokio::sync::Mutex<()>,
    released: Notify,
    store: Store,
    faults: Arc<Faults>,
    default: KeepAlive,
}

/// A model in use; dropped, its time runs.
pub(crate) struct Use {
    loader: Arc<Loader>,
    key: String,
    /// Whether the weights were what their digest says.
    pub(crate) sound: bool,
}

impl Drop for Use {
    fn drop(&mut self) {
        self.loader.memory().release(&self.key, host::now());
        self.loader.released.notify_waiters();
    }
}

/// Says to a reading that nobody wants it any more.
struct Reading(Arc<AtomicBool>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Loader {
    pub(crate) fn new(memory: Memory, store: Store, faults: Arc<Faults>, default: KeepAlive) -> Arc<Self> {
        let (memory, turn, released) = (Mutex::new(memory), tokio::sync::Mutex::default(), Notify::new());
        Arc::new(Self { memory, turn, released, store, faults, default })
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is in memory now.
    pub(crate) fn loaded(&self, now: Timestamp) -> Vec<Loaded> {
        let mut memory = self.memory();
        memory.expire(now);
        memory.loaded.clone()
    }

    /// Lets go of a model, once nobody uses it.
    pub(crate) fn unload(&self, wanted: &Wanted) {
        let mut memory = self.memory();
        if let Some(loaded) = memory.find(&wanted.key()) {
            loaded.keep_alive = KeepAlive(Duration::ZERO);
            loaded.expires = Timestamp::UNIX_EPOCH;
        }
        memory.expire(host::now());
        drop(memory);
        self.released.notify_waiters();
    }

    /// Has a model in memory, and in use until the answer is dropped. Dropping the call ends the load.
    pub(crate) async fn load(self: &Arc<Self>, wanted: &Wanted) -> Result<Use, Failed> {
        let _turn = self.turn.lock().await;
        let key = wanted.key();
        if let Some(used) = self.take(&key, wanted.keep_alive) {
            return Ok(used);
        }
        let size = wanted.weights().iter().map(|layer| layer.size).sum();
        let vram = self.make_room(wanted, size).await?;
        let sound = self.read(wanted).await?;
        let keep_alive = wanted.keep_alive.unwrap_or(self.default);
        self.memory().loaded.push(Loaded {
            key: key.clone(),
            name: wanted.name.short(),
            digest: wanted.manifest.digest.clone(),
            details: wanted.details.clone(),
            size,
            vram,
            keep_alive,
            expires: Timestamp::MAX,
            users: 1,
            sound,
        });
        Ok(Use { loader: Arc::clone(self), key, sound })
    }

    fn take(self: &Arc<Self>, key: &str, keep_alive: Option<KeepAlive>) -> Option<Use> {
        let mut memory = self.memory();
        memory.expire(host::now());
        let loaded = memory.find(key)?;
        loaded.users += 1;
        loaded.keep_alive = keep_alive.unwrap_or(loaded.keep_alive);
        let sound = loaded.sound;
        Some(Use { loader: Arc::clone(self), key: key.to_owned(), sound })
    }

    /// Lets others go until it fits; the bytes of it that go to the GPU.
    async fn make_room(&self, wanted: &Wanted, size: u64) -> Result<u64, Failed> {
        let share = match self.faults.take("cpu", &wanted.subject()) {
            Some(fault) => fault.number("share", 0.0),
            None if self.faults.is_set("gpu_lost") => 0.0,
            None => 1.0,
        };
        loop {
            let released = self.released.notified();
            let room = self.memory().room(size, share);
            match room {
                Room::Fits { vram } => return Ok(vram),
                Room::After { key } => self.memory().unload(&key),
                Room::Busy => released.await,
                Room::TooBig { available } => {
                    let (needs, has) = (human(size), human(available));
                    let why =
                        format!("model requires more system memory ({needs}) than is available ({has})");
                    return Err(Failed(500, why));
                }
            }
        }
    }

    /// Whether the weights are what their digest says.
    async fn read(&self, wanted: &Wanted) -> Result<bool, Failed> {
        let subject = wanted.subject();
        if let Some(fault) = self.faults.take("load_error", &subject) {
            let default = "llama runner process has terminated: error loading model";
            return Err(Failed(500, fault.text(default)));
        }
        if self.faults.take("load_hang", &subject).is_some() {
            std::future::pending::<()>().await;
        }
        let mut clearings = self.faults.clearings();
        if let Some(fault) = self.faults.take("slow_load", &subject) {
            let span = Duration::from_secs_f64(fault.number("seconds", 1.0).max(0.0));
            tokio::time::timeout(span, clearings.changed()).await.ok();
        }
        let mut sound = true;
        for layer in wanted.weights() {
            sound &= self.sum(layer, &wanted.name).await? == layer.digest;
        }
        Ok(sound)
    }

    async fn sum(&self, layer: &Layer, name: &Name) -> Result<String, Failed> {
        let place = self.store.blob(&layer.digest);
        let length = std::fs::metadata(&place).map(|file| file.len());
        match length {
            Ok(length) if length != layer.size => {
                let why = "tensor data is not within the file bounds, model is corrupted or incomplete";
                let why = format!("llama runner process has terminated: error loading model: {why}");
                return Err(Failed(500, why));
            }
            Ok(_) => {}
            Err(_) => {
                return Err(Failed(404, format!("model {:?} not found, try pulling it first", name.short())));
            }
        }
        let wanted = Arc::new(AtomicBool::new(true));
        let _reading = Reading(Arc::clone(&wanted));
        let reading = move || weights::sum_while(&place, || wanted.load(Ordering::Acquire));
        let sum = tokio::task::spawn_blocking(reading).await;
        let sum = sum.map_err(|error| Failed(500, error.to_string()))?;
        sum.map_err(|error| {
            Failed(500, format!("llama runner process has terminated: error loading model: {error}"))
        })
    }
}
