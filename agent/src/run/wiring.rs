//! The tasks that need to know the instance, and what connects them.
//!
//! ```text
//! settings, volumes of the handoff, secret versions -> desired -> reconcile -> board -> logs
//!                                                         |           ^  \
//!                                                         v           |   v
//!                                                        updates -> candidates, asks
//! ```
//! The loop of the models stands beside that: [`models`]; and what measures all of it: [`metrics`]. Each of the three can
//! be ended and begun anew without the others.

#![expect(clippy::disallowed_methods, reason = "hands the clock to the loops")]

mod metrics;
mod models;

use super::Agent;
use crate::change::Tasks;
use crate::clock::Clock;
use crate::cloud::ecr::Ecr;
use crate::cloud::logs::CloudWatchLogs;
use crate::desired::Desired;
use crate::health::Health;
use crate::history;
use crate::host::firewall::Nftables;
use crate::host::log_files::{ContainerLogs, Keep, Rules};
use crate::logs::lines::LinesFeed;
use crate::logs::source::Left;
use crate::metrics::Lines;
use crate::reconcile::{self, Outside};
use crate::registries::Registries;
use crate::secrets::{Refresh, Versions};
use crate::{apply, logs, updates};
use jiff::Timestamp;
use node::cloud::secrets_manager::SecretsManager;
use node::config::Settings;
use node::handoff;
use node::identity::Facts;
use node::secrets::Store;
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Requests to ask a registry; the loop sends one per command of an operator.
const ASKS_WAITING: usize = 16;
/// The name of the loop, for whose end the way down with the machine waits.
pub(super) const RECONCILE: &str = "reconcile";

/// Starts those of `which`. None of them runs; [`Agent::settings`] has `settings` already.
pub(crate) async fn start(
    agent: &mut Agent,
    settings: &Arc<Settings>,
    (facts, which): (&Facts, &BTreeSet<Tasks>),
) {
    let cloud = node::cloud::sdk_config(&agent.imds, &facts.region, &agent.start.environment).await;
    // Before the services can make the node ready.
    if which.contains(&Tasks::Models) {
        agent.board.withdraw_models(Timestamp::now());
        models::start(agent, settings);
    }
    if which.contains(&Tasks::Services) {
        let store = Store::new(&agent.start.paths);
        let versions = secrets(agent, settings, facts, SecretsManager::new(&cloud));
        agent.versions = versions.clone();
        let desired = desired(agent, Arc::clone(settings), versions);
        let registries = Registries::new(
            settings.registries.clone(),
            facts,
            Ecr::new(&cloud),
            agent.docker.clone(),
            store.clone(),
        );
        services(agent, facts, desired, Arc::new(registries), store);
    }
    if which.contains(&Tasks::Telemetry) {
        agent.board.withdraw_telemetry(Timestamp::now());
        let lines = metrics::start(agent, settings);
        if let Some(logs) = &settings.logs {
            shipping(agent, facts, settings, (CloudWatchLogs::new(&cloud, logs), lines));
        }
    }
}

fn secrets(
    agent: &mut Agent,
    settings: &Settings,
    facts: &Facts,
    source: SecretsManager,
) -> watch::Receiver<Versions> {
    let (sender, versions) = watch::channel(Versions::new());
    let store = Store::new(&agent.start.paths);
    let refresh = Refresh::new(source, store, &settings.secrets, agent.board.clone(), sender);
    let mut hasher = DefaultHasher::new();
    facts.instance_id.hash(&mut hasher);
    let (seed, stop) = (hasher.finish(), agent.parts.services.stop.clone());
    agent.parts.services.spawn("secrets", async move {
        refresh.run(seed, stop).await;
    });
    versions
}

/// What should run, made anew whenever a volume came, or a secret or the services of node.toml changed.
fn desired(
    agent: &mut Agent,
    settings: Arc<Settings>,
    versions: watch::Receiver<Versions>,
) -> watch::Receiver<Desired> {
    let in_force = agent.settings.subscribe();
    let mut sources = Sources { settings, in_force, volumes: agent.volumes.clone(), versions };
    let (sender, desired) = watch::channel(sources.desired());
    let stop = agent.parts.services.stop.clone();
    agent.parts.services.spawn("desired", async move {
        while sources.changed(&stop).await {
            let next = sources.desired();
            sender.send_if_modified(|current| {
                let changed = *current != next;
                *current = next;
                changed
            });
        }
    });
    desired
}

/// What it is made of.
struct Sources {
    settings: Arc<Settings>,
    in_force: watch::Receiver<Option<Arc<Settings>>>,
    volumes: watch::Receiver<Vec<handoff::Volume>>,
    versions: watch::Receiver<Versions>,
}

impl Sources {
    fn desired(&mut self) -> Desired {
        if let Some(newest) = self.in_force.borrow_and_update().clone() {
            self.settings = newest;
        }
        Desired::new(&self.settings, &self.volumes.borrow_and_update(), &self.versions.borrow_and_update())
    }

    /// `false` when it is time to stop. A sender that is gone has ended with the agent.
    async fn changed(&mut self, stop: &CancellationToken) -> bool {
        // A change that is not returned for is seen at the next call.
        tokio::select! {
            () = stop.cancelled() => false,
            changed = self.in_force.changed() => changed.is_ok(),
            changed = self.volumes.changed() => changed.is_ok(),
            changed = self.versions.changed() => changed.is_ok(),
        }
    }
}

fn services(
    agent: &mut Agent,
    facts: &Facts,
    desired: watch::Receiver<Desired>,
    registry: Arc<Registries>,
    secrets: Store,
) {
    let clock: Clock = Arc::new(Timestamp::now);
    let (asks, asked) = mpsc::channel(ASKS_WAITING);
    let (sender, candidates) = watch::channel(updates::Candidates::new());
    let polling = updates::Inputs {
        desired: desired.clone(),
        asks: asked,
        candidates: sender,
        seed: facts.instance_id.clone(),
        shutdown: agent.parts.services.drain.clone(),
    };
    agent.parts.services.spawn("updates", updates::run(Arc::clone(&registry), Arc::clone(&clock), polling));
    let engine = Arc::new(agent.docker.clone());
    let outside = Outside {
        tools: apply::Tools { engine: Arc::clone(&engine), registry, secrets },
        gates: Arc::new(Health::with_clock(engine, Arc::clone(&clock))),
        firewall: Arc::new(Nftables::open()),
        history: history::store::Store::new(&agent.start.paths),
    };
    let (stop, drain) = (agent.parts.services.stop.clone(), agent.parts.services.drain.clone());
    let (commands, hand_over) = agent.commands.lend(stop.clone());
    agent.parts.services.spawn("commands", hand_over);
    let inputs = reconcile::Inputs {
        desired,
        candidates,
        commands,
        asks,
        board: agent.board.clone(),
        heartbeat: agent.heartbeat.clone(),
        clock,
        shutdown: stop,
        drain,
    };
    agent.parts.services.spawn(RECONCILE, reconcile::run(outside, inputs));
}

fn shipping(
    agent: &mut Agent,
    facts: &Facts,
    settings: &Settings,
    (sink, lines): (CloudWatchLogs, Option<Lines>),
) {
    let Some(logs) = settings.logs.clone() else { return };
    let state = agent.start.paths.state();
    let rules = Rules {
        max_event: logs.max_event_bytes,
        services: settings
            .services
            .iter()
            .map(|(name, service)| (name.clone(), service.logs.clone()))
            .collect(),
        files: logs.files.clone(),
        journal: logs.journal.clone(),
        kernel: logs.kernel,
        instance_id: facts.instance_id.clone(),
    };
    let beside = lines.map(|lines| of_metrics(lines, logs.max_event_bytes)).into_iter().collect();
    let shipper = logs::Shipper {
        board: agent.board.clone(),
        settings: logs,
        instance_id: facts.instance_id.clone(),
        node_name: settings.node_name.clone(),
        source: ContainerLogs::new(agent.docker.clone(), Keep::new(&state), rules, &state),
        sink,
        beside,
        state,
        clock: Arc::new(Timestamp::now),
    };
    let stop = agent.parts.telemetry.stop.clone();
    agent.parts.telemetry.spawn("logs", logs::run(shipper, stop));
}

/// Metrics for CloudWatch, in a stream of their own.
fn of_metrics(mut lines: Lines, max_event: usize) -> Left {
    const NAME: &str = "metrics";
    let next = move || lines.try_recv().ok().map(|line| (line.at.as_millisecond(), line.json));
    let feed = Box::new(LinesFeed::new(next, max_event));
    Left { source: NAME.to_owned(), name: NAME.to_owned(), stream: None, of_container: false, feed }
}
