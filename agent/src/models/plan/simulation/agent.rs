//! The loop of the models on the model of its world: one pass at a time, killed where the history says.

use super::{FOREIGN, MODELS, World, digest, full, manifest, manifest_of, reference, version_of};
use crate::models::files::{Blob, Files, Partial};
use crate::models::observed::*;
use crate::models::plan::{Action, Note, Plan, Step, plan};
use crate::models::record::Durable;
use crate::models::server::{Endpoint, Installed, Kind, Loaded, PullProgress};
use crate::observed::Disk;
use crate::registry::RegistryError;
use jiff::{SignedDuration, Timestamp};
use node::config::settings::{self, ModelServer, Prewarm, Reclaim, Smoke};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Arguments;
use std::time::Duration;

pub(in crate::models::plan) const RESERVE: u64 = 20;

/// The agent and all around it.
#[derive(Debug, Clone)]
pub(in crate::models::plan) struct Node {
    pub(in crate::models::plan) world: World,
    pub(in crate::models::plan) settings: settings::Models,
    pub(in crate::models::plan) durable: Durable,
    pub(in crate::models::plan) memory: Memory,
    pub(in crate::models::plan) knows_memory: bool,
    pub(in crate::models::plan) knows_files: bool,
    pub(in crate::models::plan) story: Vec<String>,
    /// The story is only told when it is asked for: it costs more than the rest.
    pub(in crate::models::plan) tells: bool,
    /// Steps and pulls that were begun.
    pub(in crate::models::plan) begun: u32,
    pub(in crate::models::plan) loads: u32,
}

/// What a kill of the agent takes.
#[derive(Debug, Clone, Default)]
pub(in crate::models::plan) struct Memory {
    pub(in crate::models::plan) lookups: BTreeMap<String, Lookup>,
    kinds: BTreeMap<String, Kind>,
    attempts: BTreeMap<(String, StepKind), Attempt>,
    warmed: BTreeMap<String, WarmedView>,
    damaged: BTreeSet<String>,
    vanished: BTreeMap<String, Timestamp>,
    loaded_before: BTreeSet<String>,
    pub(in crate::models::plan) pulling: Option<PullUnderWay>,
    pub(in crate::models::plan) step: Option<Step>,
    step_since: Option<Timestamp>,
    /// Layers that were wanted when the step began.
    coming: BTreeSet<String>,
}

pub(in crate::models::plan) fn model(name: &str, keep_loaded: bool, smoke: bool) -> settings::Model {
    let ask = Smoke { prompt: "well?".to_owned(), expect: None, within: Duration::from_secs(60) };
    settings::Model {
        reference: reference(name),
        digest: None,
        keep_loaded,
        required: keep_loaded,
        smoke: smoke.then_some(ask),
    }
}

impl Node {
    pub(in crate::models::plan) fn new() -> Node {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let pull =
            [model(MODELS[0], true, false), model(MODELS[1], true, true), model(MODELS[2], false, true)];
        let settings = settings::Models {
            server: ModelServer::Service { name: "ollama".to_owned(), port: 11434 },
            directory: Some("/models".to_owned()),
            pull: MODELS.iter().map(|name| (*name).to_owned()).zip(pull).collect(),
            every: Some(Duration::from_secs(3600)),
            reserve_bytes: RESERVE,
            reclaim: Reclaim::Ours,
            unused_for: Duration::from_secs(168 * 3600),
            prewarm: Prewarm::Unlimited,
            load_deadline: Duration::from_secs(1800),
        };
        let mut world = World {
            now,
            tags: MODELS.iter().map(|name| (full(name), digest(name, 0))).collect(),
            registry_up: true,
            running: true,
            run: 1,
            up_since: now,
            names: BTreeMap::new(),
            blobs: BTreeMap::new(),
            corrupt: BTreeSet::new(),
            partials: BTreeMap::new(),
            room: 2000,
            loaded: Vec::new(),
            memory: 2000,
            corrupts_next: false,
            fetched: BTreeMap::new(),
        };
        world.fetch(&full(FOREIGN), &digest(FOREIGN, 0), 1000).unwrap();
        Node {
            world,
            settings,
            durable: Durable::default(),
            memory: Memory::default(),
            knows_memory: true,
            knows_files: true,
            story: Vec::new(),
            tells: false,
            begun: 0,
            loads: 0,
        }
    }

    pub(in crate::models::plan) fn tell(&mut self, what: Arguments<'_>) {
        if self.tells {
            self.story.push(format!("{:.0} {what}", self.world.now));
        }
    }

    pub(in crate::models::plan) fn story(&self) -> String {
        format!("{}\nworld {:#?}\nrecords {:#?}", self.story.join("\n"), self.world, self.durable.models)
    }

    pub(in crate::models::plan) fn advance(&mut self, seconds: i64) {
        self.world.now += SignedDuration::from_secs(seconds);
    }

    pub(in crate::models::plan) fn observed(&mut self) -> Observed {
        let world = &self.world;
        let names: BTreeSet<String> = world.loaded.iter().map(|(name, _)| name.clone()).collect();
        for gone in self.memory.loaded_before.difference(&names) {
            self.memory.vanished.insert(gone.clone(), world.now);
        }
        self.memory.vanished.retain(|name, _| !names.contains(name));
        self.memory.loaded_before = names;
        let memory = self.memory.clone();
        Observed {
            server: server(world),
            files: self.knows_files.then(|| files(world)),
            files_seen_at: Some(self.world.now),
            broken_since: BTreeMap::new(),
            files_problem: None,
            lookups: memory.lookups,
            kinds: memory.kinds,
            gpu: GpuView::NotWanted,
            memory_bytes: self.knows_memory.then_some(world.memory),
            pulling: memory.pulling,
            step: memory.step.as_ref().map(|step| StepUnderWay {
                model: step.model.clone(),
                kind: step.action.kind(),
                since: memory.step_since.unwrap_or(world.now),
                warming: None,
            }),
            attempts: memory.attempts,
            warmed: memory.warmed,
            damaged: memory.damaged,
            vanished: memory.vanished,
            on_cpu: BTreeMap::new(),
            has_gpu: false,
            gpu_restarts: 0,
            gpu_restarts_of_loss: 0,
            gpu_restarted_at: None,
        }
    }

    pub(in crate::models::plan) fn plan(&mut self) -> Plan {
        let observed = self.observed();
        plan(&self.settings, &Serving { wants_gpus: false }, &observed, &self.durable, self.world.now)
    }

    /// Plans, and begins what the plan says; a kill comes after so many boundaries.
    pub(in crate::models::plan) fn pass(&mut self, killed_after: Option<usize>) -> Plan {
        let plan = self.plan();
        let coming = self.coming();
        let mut left = killed_after;
        let mut killed = |node: &mut Node| match &mut left {
            Some(0) => {
                node.tell(format_args!("the agent is killed"));
                node.memory = Memory::default();
                true
            }
            Some(more) => {
                *more -= 1;
                false
            }
            None => false,
        };
        for note in &plan.notes {
            if killed(self) {
                return plan;
            }
            if !matches!(note, Note::Needed(_)) {
                self.tell(format_args!("note {note:?}"));
            }
            self.durable.note(note, self.world.now);
        }
        for name in &plan.lookups {
            self.look_up(&name.full());
        }
        for name in &plan.kinds {
            if let Some(digest) = self.world.names.get(&name.full()) {
                self.memory.kinds.insert(digest.clone(), Kind::Generates);
            }
        }
        if killed(self) {
            return plan;
        }
        if let Some(why) = &plan.drop_pull {
            self.tell(format_args!("drops the pull: {why}"));
            assert!(self.memory.pulling.take().is_some(), "no pull to drop");
        }
        if let Some(why) = &plan.drop_step {
            self.tell(format_args!("puts off the step: {why}"));
            assert!(self.memory.step.take().is_some(), "no step to drop");
        }
        if let Some(Step { model, action: Action::Pull { digest, .. }, .. }) = &plan.pull {
            self.begin_pull(model, digest);
        }
        if killed(self) {
            return plan;
        }
        if let Some(step) = &plan.step {
            self.begin_step(step);
            self.memory.coming = coming;
        }
        plan
    }

    fn begin_step(&mut self, step: &Step) {
        if let Action::Delete { name } = &step.action {
            let ours = name.full() != full(FOREIGN) || self.settings.reclaim == Reclaim::All;
            assert!(ours, "deletes what is not ours\n{}", self.story());
        }
        self.tell(format_args!("begins {:?}: {}", step.action, step.reason));
        self.begun += 1;
        self.loads += u32::from(step.action.kind() == StepKind::Load);
        assert!(self.memory.step.is_none(), "two steps at once\n{}", self.story());
        self.memory.step = Some(step.clone());
        self.memory.step_since = Some(self.world.now);
    }

    fn begin_pull(&mut self, model: &str, digest: &str) {
        self.tell(format_args!("begins to pull {model} {digest}"));
        self.begun += 1;
        assert!(self.memory.pulling.is_none(), "two pulls at once\n{}", self.story());
        if self.knows_files {
            let missing =
                super::super::disk::missing(&files(&self.world), manifest_of(digest), &BTreeSet::new());
            let enough = self.world.free() >= missing + RESERVE;
            assert!(enough, "a pull of {missing} breaks the reserve\n{}", self.story());
        }
        // The server asks the registry itself, and may see another version than the agent did.
        let digest = digest.to_owned();
        let now = self.world.now;
        let progress = PullProgress::default();
        self.memory.pulling =
            Some(PullUnderWay { model: model.to_owned(), digest, since: now, progress, moved_at: now });
    }

    fn look_up(&mut self, model: &str) {
        let known = self.memory.lookups.get(model).and_then(|lookup| lookup.known.clone());
        let answer = match self.world.registry_up {
            true => Ok(manifest_of(&self.world.tags[model]).clone()),
            false => Err(RegistryError {
                code: "model_registry_unreachable",
                message: "the registry does not answer".to_owned(),
                hint: None,
            }),
        };
        let known = answer.as_ref().ok().cloned().or(known);
        self.memory.lookups.insert(model.to_owned(), Lookup { at: self.world.now, answer, known });
    }

    /// The pull goes on by so many bytes; what the tag names *now* is what comes.
    pub(in crate::models::plan) fn pull_goes_on(&mut self, bytes: u64) {
        let Some(pulling) = self.memory.pulling.clone() else { return };
        if !self.world.running || !self.world.registry_up {
            return self.pull_fails("model_server_unreachable");
        }
        let digest = self.world.tags[&pulling.model].clone();
        let needed = self.needed();
        match self.world.fetch(&pulling.model, &digest, bytes) {
            Ok(false) => {}
            Ok(true) => {
                self.tell(format_args!("pulled {digest} as {}", pulling.model));
                let lost = needed.iter().find(|needed| !self.world.has(needed));
                assert!(lost.is_none(), "{lost:?} is lost by a pull\n{}", self.story());
                self.memory.pulling = None;
                self.attempted(&pulling.model, StepKind::Pull, Some(pulling.digest), Ok(()));
            }
            Err(code) => self.pull_fails(code),
        }
    }

    pub(in crate::models::plan) fn pull_fails(&mut self, code: &'static str) {
        if let Some(pulling) = self.memory.pulling.take() {
            self.tell(format_args!("the pull of {} fails: {code}", pulling.model));
            self.attempted(&pulling.model, StepKind::Pull, Some(pulling.digest), Err((code, false)));
        }
    }

    fn attempted(
        &mut self,
        model: &str,
        kind: StepKind,
        digest: Option<String>,
        result: Result<(), (&'static str, bool)>,
    ) {
        let key = (model.to_owned(), kind);
        let before = self.memory.attempts.get(&key).filter(|before| before.digest == digest);
        let row = before.map_or(0, |before| before.failures);
        let failure = result.err().map(|(code, blames_version)| Failure {
            code,
            message: format!("{kind:?} failed with {code}"),
            hint: None,
            blames_version,
        });
        // Comparing again after a repair is no success that wipes out how often it was needed.
        let failures = if failure.is_some() { row + 1 } else { 0 };
        let attempt = Attempt { failures, busy: 0, at: self.world.now, digest, failure };
        self.memory.attempts.insert(key, attempt);
    }

    /// The step ends; `lost`: the agent does not hear of it.
    pub(in crate::models::plan) fn step_ends(&mut self, fails: bool) {
        let Some(step) = self.memory.step.take() else { return };
        let model = step.model.clone();
        let digest = match &step.action {
            Action::Copy { digest, .. }
            | Action::Verify { digest, .. }
            | Action::Warm { digest, .. }
            | Action::Load { digest, .. }
            | Action::Smoke { digest, .. }
            | Action::Pull { digest, .. } => Some(digest.clone()),
            Action::Unload { .. } | Action::Delete { .. } | Action::Clean { .. } => None,
        };
        let on_files =
            matches!(step.action, Action::Verify { .. } | Action::Warm { .. } | Action::Clean { .. });
        let result = match fails || (!self.world.running && !on_files) {
            true => Err(("model_server_unreachable", false)),
            false => self.act(&step.action),
        };
        if let Err((code, _)) = result {
            self.tell(format_args!("{:?} of {model} fails: {code}", step.action.kind()));
        }
        self.attempted(&model, step.action.kind(), digest, result);
    }

    fn act(&mut self, action: &Action) -> Result<(), (&'static str, bool)> {
        let needed = self.needed();
        let result = match action {
            Action::Pull { .. } => Ok(()),
            Action::Copy { from, to, digest } => {
                assert_eq!(self.world.names.get(&from.full()), Some(digest), "{}", self.story());
                self.world.names.insert(to.full(), digest.clone());
                Ok(())
            }
            Action::Verify { layers, .. } => self.verify(layers),
            Action::Warm { digest, .. } => {
                let progress = crate::models::files::WarmProgress::default();
                self.memory.warmed.insert(digest.clone(), WarmedView { progress, not_kept: None });
                Ok(())
            }
            Action::Load { name, .. } => {
                let digest = self.world.names[&name.full()].clone();
                self.world.load(&name.full(), &digest)
            }
            Action::Smoke { digest, .. } if version_of(digest) == 3 => Err(("model_failed", true)),
            Action::Smoke { digest, .. } if version_of(digest) == 2 => Err(("model_failed", true)),
            Action::Smoke { .. } => Ok(()),
            Action::Unload { name, .. } => {
                let digest = self.world.names.get(&name.full()).cloned();
                self.world.loaded.retain(|(_, loaded)| Some(loaded) != digest.as_ref());
                Ok(())
            }
            Action::Delete { name } => self.delete(&name.full()),
            Action::Clean { partials, blobs } => {
                self.clean(partials, blobs);
                Ok(())
            }
        };
        for digest in needed {
            assert!(self.world.has(&digest), "{digest} is lost by {action:?}\n{}", self.story());
        }
        result
    }

    /// Versions that no act of ours may lose.
    pub(in crate::models::plan) fn needed(&self) -> Vec<String> {
        let records =
            self.settings.pull.values().filter_map(|model| self.durable.record(&model.reference.full()));
        let all = records.flat_map(|record| {
            [record.good.clone(), record.previous.clone(), record.pin.as_ref().map(|pin| pin.digest.clone())]
        });
        all.flatten().filter(|digest| self.world.has(digest)).collect()
    }

    fn verify(&mut self, layers: &[(String, u64)]) -> Result<(), (&'static str, bool)> {
        for (layer, size) in layers {
            if self.world.blobs.get(layer).is_none_or(|(found, _)| found != size) {
                return Err(("model_files_unreadable", false));
            }
            if self.world.corrupt.contains(layer) {
                self.memory.damaged.insert(layer.clone());
                self.durable.note(&Note::Unverified(layer.clone()), self.world.now);
                return Err(("model_damaged_layer", false));
            }
            self.durable.note(&Note::Verified(vec![(layer.clone(), *size)]), self.world.now);
        }
        Ok(())
    }

    fn delete(&mut self, name: &str) -> Result<(), (&'static str, bool)> {
        assert!(!self.settings.pull.keys().any(|listed| full(listed) == name), "deletes a listed one");
        let before: BTreeSet<String> = self.world.blobs.keys().cloned().collect();
        self.world.delete(name);
        let after = self.world.blobs.keys().cloned().collect();
        self.check_not_wanted(before.difference(&after));
        Ok(())
    }

    fn clean(&mut self, partials: &[String], blobs: &[String]) {
        let whole: Vec<String> =
            blobs.iter().filter(|layer| !self.world.corrupt.contains(*layer)).cloned().collect();
        self.check_not_wanted(whole.iter().chain(partials));
        let named = self.world.named();
        assert!(!whole.iter().any(|layer| named.contains(layer)), "removes a layer in use\n{}", self.story());
        for layer in blobs {
            self.world.remove_blob(layer);
            self.memory.damaged.remove(layer);
        }
        for layer in partials {
            self.world.remove_partial(layer);
        }
    }

    /// Layers of what the tags name, as far as the agent knows, unless it may not have them.
    fn coming(&self) -> BTreeSet<String> {
        let mut wanted = BTreeSet::new();
        for (name, model) in &self.settings.pull {
            let Some(lookup) = self.memory.lookups.get(&full(name)) else { continue };
            let Some(known) = &lookup.known else { continue };
            let record = self.durable.record(&full(name));
            let pinned = model.digest.is_some() || record.is_some_and(|record| record.pin.is_some());
            if !pinned && record.is_none_or(|record| record.barred(&known.digest).is_none()) {
                wanted.extend(known.layers.iter().map(|layer| layer.digest.clone()));
            }
        }
        wanted
    }

    /// Bytes that are there are not thrown away to be fetched again.
    fn check_not_wanted<'a>(&self, mut layers: impl Iterator<Item = &'a String>) {
        let again = layers.find(|layer| self.memory.coming.contains(*layer));
        assert!(again.is_none(), "{again:?} is removed and will be fetched again\n{}", self.story());
    }
}

fn server(world: &World) -> ServerView {
    if !world.running {
        return ServerView::NotRunning { reason: "it was stopped".to_owned() };
    }
    let shown = |name: &String| name.parse::<settings::ModelReference>().unwrap().to_string();
    let installed = world.names.iter().map(|(name, digest)| Installed {
        name: shown(name),
        digest: digest.clone(),
        size_bytes: World::size(digest),
        modified_at: None,
    });
    let loaded = world.loaded.iter().map(|(name, digest)| Loaded {
        name: shown(name),
        digest: digest.clone(),
        size_bytes: World::size(digest),
        size_vram_bytes: 0,
        expires_at: None,
    });
    ServerView::Up {
        endpoint: Endpoint("http://10.0.0.2:11434".to_owned()),
        version: "0.1".to_owned(),
        run: world.run.to_string(),
        since: world.up_since,
        installed: installed.collect(),
        loaded: loaded.collect(),
    }
}

pub(in crate::models::plan) fn files(world: &World) -> Files {
    let blob = |(digest, (size, at)): (&String, &(u64, Timestamp))| {
        (digest.clone(), Blob { size_bytes: *size, modified_at: *at })
    };
    let partial = |(digest, (size, at)): (&String, &(u64, Timestamp))| {
        (digest.clone(), Partial { allocated_bytes: *size, modified_at: *at, broken: false })
    };
    Files {
        disk: Some(Disk { free_bytes: world.free(), total_bytes: world.room }),
        blobs: world.blobs.iter().map(blob).collect(),
        partials: world.partials.iter().map(partial).collect(),
        manifests: world
            .names
            .iter()
            .map(|(name, digest)| (name.clone(), manifest_of(digest).clone()))
            .collect(),
        damaged_manifests: Vec::new(),
    }
}

/// What a version of a model has.
pub(in crate::models::plan) fn size_of(name: &str, version: usize) -> u64 {
    manifest(name, version).size_bytes()
}
