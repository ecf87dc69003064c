//! The board on which each task writes its part of the status, and from which everyone reads.
//!
//! In: parts, by the task that owns them. Out: a [`Status`] in which node state and order of problems are already
//! derived. Reading never waits for a task: the control API answers from here, whatever hangs.
//! Not its job: deciding anything but the node's state, which [`crate::status`] derives.

use crate::observed::Container;
use crate::status::{Explanation, Logs, Models, Node, NodeState, Secret, Service, Status, Volume, are_ready};
use jiff::Timestamp;
use node::identity::Facts;
use node::problem::Problem;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

/// Who found a problem; each owner replaces its own list and no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// From the handoff.
    Bootstrap,
    /// Configuration of the agent itself.
    Configuration,
    /// The reconcile loop.
    Services,
    /// The secrets task.
    Secrets,
    /// The loop of the models.
    Models,
    /// The log shipper.
    Logs,
    /// The endpoint of the metrics.
    Metrics,
}

/// All that is known, before the status is derived from it.
#[derive(Debug, Clone)]
struct Parts {
    node: Node,
    services: Option<Vec<Service>>,
    explanations: Vec<Explanation>,
    containers: Vec<Container>,
    models: Option<Models>,
    volumes: Vec<Volume>,
    secrets: Vec<Secret>,
    logs: Logs,
    problems: BTreeMap<Owner, Vec<Problem>>,
    draining: bool,
}

/// Codes of problems that may stand before the first pass ends, and keep it from ending.
const BEFORE_ANY_PASS: [&str; 2] = [IDENTITY_UNKNOWN, "docker_unresponsive"];

/// The code of the problem that the instance, and with it the configuration, is unknown.
pub const IDENTITY_UNKNOWN: &str = "identity_unknown";

/// The board; clones share it.
#[derive(Debug, Clone)]
pub struct Board {
    parts: Arc<watch::Sender<Parts>>,
}

impl Board {
    /// A board on which only the node's identity is written.
    pub fn new(node: Node) -> Board {
        let parts = Parts {
            node,
            services: None,
            explanations: Vec::new(),
            containers: Vec::new(),
            models: None,
            volumes: Vec::new(),
            secrets: Vec::new(),
            logs: Logs::default(),
            problems: BTreeMap::new(),
            draining: false,
        };
        Board { parts: Arc::new(watch::Sender::new(parts)) }
    }

    /// What one pass of the reconcile loop found.
    pub fn publish_services(
        &self,
        services: Vec<Service>,
        explanations: Vec<Explanation>,
        containers: Vec<Container>,
        now: Timestamp,
    ) {
        self.change(now, |parts| {
            parts.services = Some(services);
            parts.explanations = explanations;
            parts.containers = containers;
        });
    }

    /// What one pass of the loop of the models found. Before the first one a node with models is not ready: the loop
    /// publishes them as absent when it begins.
    pub fn publish_models(&self, models: Models, now: Timestamp) {
        self.change(now, |parts| parts.models = Some(models));
    }

    /// Nobody looks after models any more.
    pub fn withdraw_models(&self, now: Timestamp) {
        self.change(now, |parts| {
            parts.models = None;
            parts.problems.remove(&Owner::Models);
        });
    }

    /// Nothing is shipped or shown any more, until it is begun anew.
    pub fn withdraw_telemetry(&self, now: Timestamp) {
        self.change(now, |parts| {
            parts.logs = Logs::default();
            parts.problems.remove(&Owner::Logs);
            parts.problems.remove(&Owner::Metrics);
        });
    }

    /// The models, their server, and what is explained of them.
    pub fn models(&self) -> Models {
        let nothing = || Models { server: None, models: Vec::new(), explanations: Vec::new() };
        self.parts.borrow().models.clone().unwrap_or_else(nothing)
    }

    /// Replaces the volumes.
    pub fn publish_volumes(&self, volumes: Vec<Volume>, now: Timestamp) {
        self.change(now, |parts| parts.volumes = volumes);
    }

    /// Replaces the secrets.
    pub fn publish_secrets(&self, secrets: Vec<Secret>, now: Timestamp) {
        self.change(now, |parts| parts.secrets = secrets);
    }

    /// Replaces the counters of the log shipper.
    pub fn publish_logs(&self, logs: Logs, now: Timestamp) {
        self.change(now, |parts| parts.logs = logs);
    }

    /// Replaces the problems that `owner` found. One that stood before keeps its `since`.
    pub fn publish_problems(&self, owner: Owner, problems: Vec<Problem>, now: Timestamp) {
        self.change(now, |parts| {
            let before = parts.problems.remove(&owner).unwrap_or_default();
            let kept = problems.into_iter().map(|mut problem| {
                let same = |old: &&Problem| old.code == problem.code && old.message == problem.message;
                if let Some(old) = before.iter().find(same) {
                    problem.since = old.since;
                }
                problem
            });
            parts.problems.insert(owner, kept.collect());
        });
    }

    /// Replaces who the node is, once that is known.
    pub fn identify(&self, name: &str, facts: &Facts, now: Timestamp) {
        self.change(now, |parts| {
            parts.node = Node {
                name: name.to_owned(),
                instance_id: facts.instance_id.clone(),
                instance_type: facts.instance_type.clone(),
                region: facts.region.clone(),
                availability_zone: facts.availability_zone.clone(),
                ..parts.node.clone()
            };
        });
    }

    /// The machine goes down: from now on the node is being emptied, whatever else is found.
    pub fn drain(&self, now: Timestamp) {
        self.change(now, |parts| parts.draining = true);
    }

    /// Whether the agent has seen what there is to see for now: one pass was published, or what keeps it from one.
    pub fn first_look_is_over(&self) -> bool {
        let parts = self.parts.borrow();
        let known = |problem: &Problem| BEFORE_ANY_PASS.contains(&problem.code.as_str());
        parts.services.is_some() || parts.problems.values().flatten().any(known)
    }

    /// The status as of the last change.
    pub fn status(&self) -> Status {
        let parts = self.parts.borrow();
        let mut problems: Vec<Problem> = parts.problems.values().flatten().cloned().collect();
        // The worst first; among equals, in the order of their owners, which is that of causes before effects.
        problems.sort_by_key(|problem| !crate::status::degrades(problem));
        let models = parts.models.as_ref();
        Status {
            node: parts.node.clone(),
            services: parts.services.clone().unwrap_or_default(),
            models: models.map(|models| models.models.clone()).unwrap_or_default(),
            model_server: models.and_then(|models| models.server.clone()),
            volumes: parts.volumes.clone(),
            logs: parts.logs.clone(),
            secrets: parts.secrets.clone(),
            problems,
        }
    }

    /// The reasons of the plan that is in force.
    pub fn explanations(&self) -> Vec<Explanation> {
        self.parts.borrow().explanations.clone()
    }

    /// Our containers as last seen, for the log shipper.
    pub fn containers(&self) -> Vec<Container> {
        self.parts.borrow().containers.clone()
    }

    /// Wakes at every change of the board.
    pub fn changes(&self) -> Changes {
        Changes { receiver: self.parts.subscribe() }
    }

    fn change(&self, now: Timestamp, change: impl FnOnce(&mut Parts)) {
        self.parts.send_modify(|parts| {
            change(parts);
            let state = node_state(parts);
            if state != parts.node.state {
                parts.node.state = state;
                parts.node.since = now;
            }
        });
    }
}

fn node_state(parts: &Parts) -> NodeState {
    let problems = parts.problems.values().flatten().any(crate::status::degrades);
    match &parts.services {
        _ if parts.draining => NodeState::Draining,
        _ if problems => NodeState::Degraded,
        None => NodeState::Starting,
        Some(services) => match crate::status::state_of(services) {
            NodeState::Ready if !parts.models.as_ref().is_none_or(|all| are_ready(&all.models)) => {
                NodeState::Starting
            }
            state => state,
        },
    }
}

/// A subscription to the board.
#[derive(Debug)]
pub struct Changes {
    receiver: watch::Receiver<Parts>,
}

impl Changes {
    /// Waits for the next change since the last call. Cancel safe. `false` when the board is gone.
    pub async fn next(&mut self) -> bool {
        self.receiver.changed().await.is_ok()
    }
}
