//! The way down with the machine: nothing is planned or started any more, and every service is stopped, those that
//! others depend on last. The deciding is [`crate::plan::stopping`]'s.
//!
//! In: what should run, the engine. Out: containers that have ended, and a board that says who is waited for. Steps that
//! were under way are waited for, pulls are given up. What always holds: the loop turns at least every few seconds and
//! beats at each turn, so that whoever extends our time at systemd can tell a long stop from a hang.

use super::publish::Published;
use super::{Channels, Reconciler};
use crate::desired::Desired;
use crate::engine::{Engine, EngineError};
use crate::firewall::Firewall;
use crate::observed::{Container, ContainerState};
use crate::plan::Action;
use crate::plan::stopping::{self, Asked, GivenUp, Moment, Stop, Stopping};
use crate::reconcile::Gates;
use crate::registry::Registry;
use crate::status::{Explanation, HealthState, Reason, Service, ServiceState};
use jiff::Timestamp;
use node::fault::with_hint;
use node::problem::Problem;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Between two looks, at most.
const TURN: Duration = Duration::from_secs(1);
/// For steps that were under way. Making and starting a container have this as their own limit.
const STEPS: Duration = Duration::from_secs(35);

/// What is known on the way down.
struct Down {
    began: Instant,
    /// As last seen.
    containers: Vec<Container>,
    silent_since: Option<Instant>,
    asked: BTreeMap<String, Asked>,
    /// One request to the engine for each container that is being stopped.
    stops: JoinSet<(String, Result<(), EngineError>)>,
    /// Given up, and said so.
    told: BTreeSet<String>,
}

impl<E: Engine, R: Registry, G: Gates, F: Firewall> Reconciler<E, R, G, F> {
    /// Returns when nothing of ours runs any more, when the rest was given up, or at `shutdown`.
    pub(super) async fn drain(&mut self, desired: &Desired, channels: Channels) {
        tracing::info!("the machine goes down: services are stopped");
        // Whoever asks for something now is told that nobody takes it.
        let Channels { shutdown, .. } = channels;
        self.work.give_up_pulls();
        // Nobody asks how those are that are told to stop.
        self.gates.watch(&[]);
        let mut down = Down::new(self.containers.clone(), self.work.stops());
        loop {
            self.heartbeat.beat();
            down.look(self.observer.engine().as_ref()).await;
            let busy = if down.began.elapsed() < STEPS { self.work.busy() } else { BTreeSet::new() };
            let plan = stopping::plan(&Moment {
                desired,
                history: &self.history,
                containers: &down.containers,
                silent_for: down.silent_since.map(|since| since.elapsed()),
                asked: &down.asked,
                busy: &busy,
                elapsed: down.began.elapsed(),
            });
            down.tell(&plan);
            self.show(&down, &plan);
            if plan.over {
                break;
            }
            for stop in plan.stop {
                down.ask(self.observer.engine(), stop);
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                // Each of these takes a result only by returning it.
                Some(Ok((container_id, result))) = down.stops.join_next() => down.answered(&container_id, &result),
                finished = self.work.next() => {
                    if let Action::Stop { container_id, .. } = &finished.action {
                        down.answer_came(container_id);
                    }
                    self.finished(finished, desired);
                }
                // Both only say that it is time to look.
                () = self.observer.changed() => {}
                () = tokio::time::sleep(TURN) => {}
            }
        }
        tracing::info!("services are stopped, after {} s", down.began.elapsed().as_secs());
    }

    /// What the board shows on the way down: the last status, with what is stopped by now and who waits for whom.
    fn show(&mut self, down: &Down, plan: &Stopping) {
        let now = (self.clock)();
        let Some(before) = self.published.clone() else { return };
        let runs = |name: &str| {
            down.containers.iter().any(|container| container.service == name && !has_ended(&container.state))
        };
        let services = before.services.into_iter();
        let services: Vec<_> = services
            .map(|service| if runs(&service.name) { service } else { stopped(service, now) })
            .collect();
        let explanations = before.explanations.into_iter().map(|explanation| Explanation {
            reasons: vec![Reason { text: reason(&explanation.service, &services, plan), until: None }],
            ..explanation
        });
        let published = Published {
            explanations: explanations.collect(),
            services,
            containers: down.containers.clone(),
            problems: plan.given_up.iter().map(|given_up| problem(given_up, now)).collect(),
        };
        self.tell(published, now);
    }
}

impl Down {
    fn new<'a>(containers: Vec<Container>, being_stopped: impl Iterator<Item = &'a String>) -> Down {
        let since = Asked { first: Duration::ZERO, last: Duration::ZERO, under_way: true };
        Down {
            began: Instant::now(),
            containers,
            silent_since: None,
            asked: being_stopped.map(|container_id| (container_id.clone(), since)).collect(),
            stops: JoinSet::new(),
            told: BTreeSet::new(),
        }
    }

    async fn look(&mut self, engine: &impl Engine) {
        match engine.containers().await {
            Ok(containers) => {
                self.silent_since = None;
                self.notice_ends(&containers);
                self.containers = containers;
            }
            Err(error) => {
                if self.silent_since.is_none() {
                    tracing::warn!("{}", with_hint(&error));
                }
                self.silent_since.get_or_insert_with(Instant::now);
            }
        }
    }

    fn notice_ends(&self, containers: &[Container]) {
        let ran = |id: &str| self.containers.iter().any(|one| one.id == id && !has_ended(&one.state));
        for container in containers.iter().filter(|container| ran(&container.id)) {
            if let ContainerState::Exited { code, .. } = container.state {
                let (service, name) = (&container.service, &container.name);
                tracing::info!(service, container = name, "{name} has ended with code {code}");
            }
        }
    }

    fn ask<E: Engine>(&mut self, engine: &Arc<E>, stop: Stop) {
        let Stop { container_id, name, service, timeout } = stop;
        tracing::info!(
            service,
            container = name,
            "stopping {name}, which has {} s to end",
            timeout.as_secs()
        );
        let now = self.began.elapsed();
        let first = self.asked.get(&container_id).map_or(now, |asked| asked.first);
        self.asked.insert(container_id.clone(), Asked { first, last: now, under_way: true });
        let engine = Arc::clone(engine);
        self.stops.spawn(async move {
            let result = engine.stop(&container_id, timeout).await;
            (container_id, result)
        });
    }

    fn answered(&mut self, container_id: &str, result: &Result<(), EngineError>) {
        if let Err(error) = result {
            tracing::warn!("{}", with_hint(error));
        }
        self.answer_came(container_id);
    }

    fn answer_came(&mut self, container_id: &str) {
        if let Some(asked) = self.asked.get_mut(container_id) {
            asked.under_way = false;
        }
    }

    fn tell(&mut self, plan: &Stopping) {
        for given_up in &plan.given_up {
            if self.told.insert(given_up.container_id.clone()) {
                let GivenUp { name, service, reason, .. } = given_up;
                tracing::error!(service, container = name, "{name} is waited for no longer: {reason}");
            }
        }
    }
}

fn has_ended(state: &ContainerState) -> bool {
    matches!(state, ContainerState::Exited { .. } | ContainerState::Created)
}

fn stopped(service: Service, now: Timestamp) -> Service {
    let since = if service.state == ServiceState::Stopped { service.since } else { now };
    Service { state: ServiceState::Stopped, health: HealthState::None, container_id: None, since, ..service }
}

fn reason(name: &str, services: &[Service], plan: &Stopping) -> String {
    let ended = services.iter().any(|service| service.name == name && service.state == ServiceState::Stopped);
    match plan.waiting.get(name) {
        _ if ended => "stopped: the machine goes down".to_owned(),
        Some(others) => {
            let others = others.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            format!("the machine goes down; it is stopped when {others} have ended")
        }
        None => "the machine goes down; it is being stopped".to_owned(),
    }
}

fn problem(given_up: &GivenUp, now: Timestamp) -> Problem {
    Problem {
        code: "stop_failed".to_owned(),
        message: format!("{} still runs: {}", given_up.name, given_up.reason),
        hint: Some("see `journalctl -u docker -n 50`; the machine goes down all the same".to_owned()),
        since: now,
    }
}
