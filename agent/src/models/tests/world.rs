//! A server, its registry, its folder and its container, in memory and in virtual time: what Ollama does as far as the loop
//! can see. Every call that changes something passes a point before and after, at which the agent can be stopped dead.

use crate::engine::PullProgress as ImageProgress;
use crate::engine::{ContainerSpec, Engine, EngineError, ExecOutcome, ImageFacts, LocalImage};
use crate::models::files::{Blob, Files, FilesError, ModelFiles, Partial, WarmProgress, Warmed};
use crate::models::registry::{Layer, Manifest, ModelRegistry};
use crate::models::server::{Endpoint, Installed, Kind, Loaded, ModelServer, PullProgress, ServerError};
use crate::models::tests::samples::at;
use crate::observed::{Container, Disk};
use crate::registry::{Login, RegistryError};
use jiff::Timestamp;
use node::config::settings::{ImageReference, ModelReference, Prewarm};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

/// Bytes of the one layer of each model, and of a step of its pull.
pub(crate) const SIZE: u64 = 1000;
const STEP: u64 = 100;
/// The client's own.
const DEADLINE: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(crate) struct World {
    /// What tags name, by full name.
    pub(crate) registry: BTreeMap<String, String>,
    /// What names mean, by full name.
    pub(crate) names: BTreeMap<String, String>,
    /// In memory: full name to digest.
    pub(crate) memory: BTreeMap<String, String>,
    /// Bytes that came, by layer.
    pub(crate) kept: BTreeMap<String, u64>,
    /// Bytes that were fetched, by layer.
    pub(crate) fetched: BTreeMap<String, u64>,
    /// Layers that were spoiled on the volume.
    pub(crate) spoiled: BTreeSet<String>,
    pub(crate) silent: bool,
    /// It decodes a manifest and writes it anew.
    pub(crate) encodes_anew: bool,
    /// So many of the next questions are not answered.
    pub(crate) unanswered: u32,
    pub(crate) on_cpu: bool,
    pub(crate) files_hang: bool,
    /// A pull stops bringing anything at that many bytes.
    pub(crate) stalls_at: Option<u64>,
    /// Versions that cannot be loaded.
    pub(crate) unloadable: BTreeSet<String>,
    /// What a version answers; "four" otherwise.
    pub(crate) answers: BTreeMap<String, String>,
    /// What `nvidia-smi -L` does.
    pub(crate) gpus: Option<(i64, String)>,
    pub(crate) requests: u64,
    pub(crate) story: Vec<String>,
    /// Points passed so far, and the one at which everything stops.
    pub(crate) points: usize,
    pub(crate) stop_at: Option<usize>,
}

#[derive(Clone)]
pub(crate) struct Simulated {
    world: Arc<Mutex<World>>,
    began: Instant,
    pub(crate) stopped: Arc<Notify>,
}

/// The same for a version that a server has encoded anew.
pub(crate) fn layer(digest: &str) -> String {
    let digits = digest.trim_start_matches("sha256:").trim_start_matches('e');
    format!("sha256:aaaa{}", &digits[..60])
}

/// Under which digest an old server has a version whose manifest is not Go's own.
pub(crate) fn anew(digest: &str) -> String {
    format!("sha256:e{}", &digest["sha256:".len()..digest.len() - 1])
}

pub(crate) fn manifest(digest: &str) -> Manifest {
    let layers = vec![Layer { digest: layer(digest), size_bytes: SIZE, weights: true }];
    Manifest { digest: digest.to_owned(), also: vec![anew(digest)], layers }
}

fn shown(full: &str) -> String {
    full.parse::<ModelReference>().unwrap().to_string()
}

impl Simulated {
    pub(crate) fn new() -> Simulated {
        let world = Arc::new(Mutex::new(World::default()));
        Simulated { world, began: Instant::now(), stopped: Arc::new(Notify::new()) }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    pub(crate) fn now(&self) -> Timestamp {
        at(0) + self.began.elapsed()
    }

    pub(crate) fn clock(&self) -> crate::clock::Clock {
        let node = self.clone();
        Arc::new(move || node.now())
    }

    /// The agent ends here, if it is to.
    async fn point(&self, what: &str) {
        let dead = {
            let mut world = self.world();
            world.points += 1;
            let point = world.points;
            let dead = world.stop_at.is_some_and(|stop| point >= stop);
            if world.stop_at == Some(point) {
                world.story.push(format!("the agent is killed: {what}"));
            }
            dead
        };
        if dead {
            self.stopped.notify_one();
            std::future::pending::<()>().await;
        }
    }

    fn tell(&self, line: &str) {
        let seconds = self.began.elapsed().as_secs_f64();
        self.world().story.push(format!("{seconds:9.3} {line}"));
    }

    async fn answer(&self, at: &Endpoint, operation: &str) -> Result<(), ServerError> {
        let silent = {
            let mut world = self.world();
            world.requests += 1;
            let left = world.unanswered.checked_sub(1);
            world.unanswered = left.unwrap_or(0);
            world.silent || left.is_some()
        };
        if silent {
            sleep(DEADLINE).await;
            let (endpoint, operation) = (at.clone(), operation.to_owned());
            return Err(ServerError::Unreachable { endpoint, operation, source: None });
        }
        Ok(())
    }

    fn digest(&self, name: &ModelReference, operation: &str) -> Result<String, ServerError> {
        self.world()
            .names
            .get(&name.full())
            .cloned()
            .ok_or_else(|| refused(&format!("{operation} {name}"), "model_not_found", "model not found"))
    }
}

fn refused(operation: &str, code: &'static str, message: &str) -> ServerError {
    ServerError::Refused { operation: operation.to_owned(), code, message: message.to_owned(), hint: None }
}

impl ModelServer for Simulated {
    async fn version(&self, at: &Endpoint) -> Result<String, ServerError> {
        self.answer(at, "version").await.map(|()| "0.12.0".to_owned())
    }

    async fn installed(&self, at: &Endpoint) -> Result<Vec<Installed>, ServerError> {
        self.answer(at, "tags").await?;
        let installed = |(full, digest): (&String, &String)| Installed {
            name: shown(full),
            digest: digest.clone(),
            size_bytes: SIZE,
            modified_at: None,
        };
        Ok(self.world().names.iter().map(installed).collect())
    }

    async fn loaded(&self, at: &Endpoint) -> Result<Vec<Loaded>, ServerError> {
        self.answer(at, "ps").await?;
        let world = self.world();
        let loaded = |(full, digest): (&String, &String)| Loaded {
            name: shown(full),
            digest: digest.clone(),
            size_bytes: SIZE,
            size_vram_bytes: if world.on_cpu { 0 } else { SIZE },
            expires_at: None,
        };
        Ok(world.memory.iter().map(loaded).collect())
    }

    async fn kind(&self, at: &Endpoint, name: &ModelReference) -> Result<Kind, ServerError> {
        self.answer(at, "show").await?;
        self.digest(name, "show").map(|_| Kind::Generates)
    }

    async fn pull(
        &self,
        at: &Endpoint,
        name: &ModelReference,
        progress: &(dyn Fn(PullProgress) + Send + Sync),
    ) -> Result<(), ServerError> {
        let operation = format!("pull {name}");
        self.tell(&operation);
        self.point("before a pull").await;
        self.answer(at, &operation).await?;
        let digest = self.world().registry.get(&name.full()).cloned();
        let digest = digest.ok_or_else(|| refused(&operation, "model_not_found", "no such manifest"))?;
        let layer = layer(&digest);
        loop {
            let completed_bytes = *self.world().kept.entry(layer.clone()).or_default();
            progress(PullProgress { completed_bytes, total_bytes: SIZE });
            if completed_bytes >= SIZE {
                break;
            }
            if self.world().stalls_at.is_some_and(|stall| completed_bytes >= stall) {
                let idle = Duration::from_secs(60);
                sleep(idle).await;
                return Err(ServerError::Stalled { operation, idle });
            }
            sleep(Duration::from_secs(2)).await;
            if self.world().silent {
                let (endpoint, source) = (at.clone(), None);
                return Err(ServerError::Unreachable { endpoint, operation, source });
            }
            *self.world().kept.entry(layer.clone()).or_default() += STEP;
            *self.world().fetched.entry(layer.clone()).or_default() += STEP;
            self.point("in a pull").await;
        }
        let encodes_anew = self.world().encodes_anew;
        let digest = if encodes_anew { anew(&digest) } else { digest };
        self.world().names.insert(name.full(), digest);
        self.tell(&format!("pulled {name}"));
        self.point("after a pull").await;
        Ok(())
    }

    async fn copy(
        &self,
        at: &Endpoint,
        from: &ModelReference,
        to: &ModelReference,
    ) -> Result<(), ServerError> {
        self.point("before a copy").await;
        self.answer(at, "copy").await?;
        let digest = self.digest(from, "copy")?;
        self.world().names.insert(to.full(), digest);
        self.tell(&format!("copy {from} to {to}"));
        self.point("after a copy").await;
        Ok(())
    }

    async fn delete(&self, at: &Endpoint, name: &ModelReference) -> Result<(), ServerError> {
        self.point("before a delete").await;
        self.answer(at, "delete").await?;
        self.tell(&format!("delete {name}"));
        {
            let mut world = self.world();
            if let Some(digest) = world.names.remove(&name.full())
                && !world.names.values().any(|other| *other == digest)
            {
                world.kept.remove(&layer(&digest));
            }
        }
        self.point("after a delete").await;
        Ok(())
    }

    async fn load(
        &self,
        at: &Endpoint,
        name: &ModelReference,
        _kind: Kind,
        _deadline: Duration,
    ) -> Result<(), ServerError> {
        self.point("before a load").await;
        self.answer(at, "load").await?;
        self.tell(&format!("load {name}"));
        let digest = self.digest(name, "load")?;
        sleep(Duration::from_secs(3)).await;
        if self.world().unloadable.contains(&digest) {
            return Err(refused("load", "model_server_refused", "unknown model architecture"));
        }
        self.world().memory.insert(name.full(), digest);
        self.point("after a load").await;
        Ok(())
    }

    async fn unload(&self, at: &Endpoint, name: &ModelReference, _kind: Kind) -> Result<(), ServerError> {
        self.point("before an unload").await;
        self.answer(at, "unload").await?;
        self.tell(&format!("unload {name}"));
        let digest = self.digest(name, "unload")?;
        // The server knows what is in memory by the version, not by the name.
        self.world().memory.retain(|_, loaded| *loaded != digest);
        self.point("after an unload").await;
        Ok(())
    }

    async fn answer(
        &self,
        at: &Endpoint,
        name: &ModelReference,
        _prompt: &str,
        _deadline: Duration,
    ) -> Result<String, ServerError> {
        self.point("before a prompt").await;
        Simulated::answer(self, at, "ask").await?;
        self.tell(&format!("ask {name}"));
        let digest = self.digest(name, "ask")?;
        self.point("after a prompt").await;
        Ok(self.world().answers.get(&digest).cloned().unwrap_or_else(|| "It is four.".to_owned()))
    }
}

impl ModelRegistry for Simulated {
    async fn manifest(&self, name: &ModelReference) -> Result<Manifest, RegistryError> {
        self.tell(&format!("look up {name}"));
        sleep(Duration::from_millis(300)).await;
        let found = self.world().registry.get(&name.full()).map(|digest| manifest(digest));
        found.ok_or_else(|| RegistryError {
            code: "model_not_found",
            message: format!("there is no {name}"),
            hint: None,
        })
    }
}

impl ModelFiles for Simulated {
    async fn look(&self, _directory: &Path) -> Result<Files, FilesError> {
        if self.world().files_hang {
            std::future::pending::<()>().await;
        }
        let (world, modified_at) = (self.world(), self.now());
        let disk = Some(Disk { free_bytes: 1_000_000, total_bytes: 2_000_000 });
        let mut files = Files { disk, ..Files::default() };
        for (layer, bytes) in &world.kept {
            if *bytes >= SIZE {
                files.blobs.insert(layer.clone(), Blob { size_bytes: SIZE, modified_at });
            } else {
                files
                    .partials
                    .insert(layer.clone(), Partial { allocated_bytes: *bytes, modified_at, broken: false });
            }
        }
        files.manifests = world.names.iter().map(|(full, digest)| (full.clone(), manifest(digest))).collect();
        Ok(files)
    }

    async fn remove_partials(&self, _directory: &Path, digests: &[String]) -> Result<(), FilesError> {
        self.point("before files go").await;
        self.world().kept.retain(|layer, bytes| *bytes >= SIZE || !digests.contains(layer));
        Ok(())
    }

    async fn remove_blobs(&self, _directory: &Path, digests: &[String]) -> Result<(), FilesError> {
        self.tell(&format!("remove {digests:?}"));
        let mut world = self.world();
        world.kept.retain(|layer, _| !digests.contains(layer));
        world.spoiled.retain(|layer| !digests.contains(layer));
        Ok(())
    }

    async fn verify(&self, _directory: &Path, digest: &str, _size_bytes: u64) -> Result<bool, FilesError> {
        self.point("before a file is compared").await;
        sleep(Duration::from_secs(1)).await;
        self.tell(&format!("verify {}", &digest[..14]));
        self.point("after a file is compared").await;
        Ok(!self.world().spoiled.contains(digest))
    }

    async fn warm(
        &self,
        _directory: &Path,
        _digests: &[String],
        _rate: Prewarm,
        progress: &(dyn Fn(WarmProgress) + Send + Sync),
    ) -> Result<Warmed, FilesError> {
        self.point("before reading ahead").await;
        let mut now = WarmProgress { total_bytes: SIZE, ..WarmProgress::default() };
        for _ in 0..4 {
            sleep(Duration::from_secs(1)).await;
            now.read_bytes += SIZE / 4;
            progress(now);
        }
        self.tell("read ahead");
        Ok(Warmed { progress: now, kept: Ok(()) })
    }
}

/// Only asked for GPUs.
impl Engine for Simulated {
    async fn exec(
        &self,
        _container_id: &str,
        command: &[String],
        _timeout: Duration,
    ) -> Result<ExecOutcome, EngineError> {
        assert_eq!(command, ["nvidia-smi", "-L"]);
        let (code, output) = self.world().gpus.clone().expect("a server with GPUs");
        Ok(ExecOutcome { code, output })
    }

    async fn containers(&self) -> Result<Vec<Container>, EngineError> {
        unasked()
    }

    async fn image(&self, _image: &ImageReference, _digest: &str) -> Result<Option<ImageFacts>, EngineError> {
        unasked()
    }

    async fn pull(
        &self,
        _image: &ImageReference,
        _digest: &str,
        _login: Option<Login>,
        _progress: &(dyn Fn(ImageProgress) + Send + Sync),
    ) -> Result<(), EngineError> {
        unasked()
    }

    async fn create(&self, _spec: &ContainerSpec) -> Result<String, EngineError> {
        unasked()
    }

    async fn start(&self, _container_id: &str) -> Result<(), EngineError> {
        unasked()
    }

    async fn stop(&self, _container_id: &str, _timeout: Duration) -> Result<(), EngineError> {
        unasked()
    }

    async fn remove(&self, _container_id: &str) -> Result<(), EngineError> {
        unasked()
    }

    async fn last_log_lines(&self, _container_id: &str, _count: usize) -> Result<Vec<String>, EngineError> {
        unasked()
    }

    async fn changed(&self) {
        std::future::pending().await
    }

    async fn disk(&self) -> Result<Option<Disk>, EngineError> {
        unasked()
    }

    async fn images(&self) -> Result<Vec<LocalImage>, EngineError> {
        unasked()
    }

    async fn remove_image(&self, _name: &str) -> Result<(), EngineError> {
        unasked()
    }
}

fn unasked<T>() -> Result<T, EngineError> {
    panic!("the loop of the models asked the engine for something that is not its own")
}
