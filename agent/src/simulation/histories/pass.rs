//! One pass of the agent on a node: plan, rules, steps, each cut off by a kill where chance wants it; and the checks of
//! every deed.

use super::SERVICES;
use super::node::{Node, host_port};
use crate::apply::ApplyError;
use crate::desired::Desired;
use crate::history::Version;
use crate::observed::{Container, ContainerState};
use crate::outcome::{self, Outcome};
use crate::plan::{Action, NODE, Plan, Step, plan};
use crate::rules::Rules;
use crate::simulation::engine::engine_error;
use crate::simulation::samples::{container, image};
use crate::simulation::{Gap, Trouble};
use node::config::settings::Strategy;

impl Node {
    /// Plans and applies. Returns the plan.
    pub(super) fn pass(&mut self, killed_after: Option<u8>) -> Plan {
        self.world.advance(self.world.now);
        let (desired, observed) = (self.desired(), self.observed());
        self.watch(&desired);
        let plan = plan(&desired, &observed, &self.history, self.world.now);
        if outcome::remember(&mut self.history, &plan, &observed) {
            self.save();
        }
        let mut boundaries = killed_after;
        let steps: Vec<(String, Step)> = steps(&plan);
        let quiet = steps.is_empty() && plan.rules.is_none();
        assert!(self.world.up || quiet, "deeds while the engine is silent\n{}", self.story());
        let mut alive = self.reroute(&desired, &plan, &mut boundaries);
        for (name, step) in steps {
            alive = alive && self.take(&desired, &name, &step.action, &mut boundaries);
        }
        if !alive {
            self.world.story.push(format!("{} killed", self.world.now));
            self.kill();
        }
        plan
    }

    /// Clients expect answers of the services that are updated without a gap.
    fn watch(&mut self, desired: &Desired) {
        let beside = |name: &str| {
            let wanted = desired.service(name);
            wanted.is_some_and(|wanted| wanted.settings.update.strategy == Strategy::BlueGreen)
        };
        let watched = SERVICES.iter().enumerate().filter(|(_, name)| beside(name));
        self.world.watched = watched.map(|(index, name)| ((*name).to_owned(), host_port(index))).collect();
    }

    /// Puts the rules in force; `false` when the agent is killed on the way.
    fn reroute(&mut self, desired: &Desired, plan: &Plan, boundaries: &mut Option<u8>) -> bool {
        self.rerouted = false;
        let Some(rules) = plan.rules.as_ref().filter(|rules| **rules != self.world.rules) else {
            return true;
        };
        if reached(boundaries) {
            return false;
        }
        self.rerouted = self.world.replace_rules(rules);
        self.check_rules(rules);
        self.check_gaps(desired);
        !reached(boundaries)
    }

    /// Carries one step out; `false` when the agent is killed on the way.
    fn take(&mut self, desired: &Desired, name: &str, action: &Action, boundaries: &mut Option<u8>) -> bool {
        if reached(boundaries) {
            return false;
        }
        self.check(desired, name, action);
        let wanted = desired.service(name);
        if outcome::begun(&mut self.history, (name, wanted), action, self.world.now) {
            self.save();
        }
        if reached(boundaries) {
            return false;
        }
        let result = self.perform(desired, name, action);
        self.check_gaps(desired);
        if reached(boundaries) {
            return false;
        }
        match result {
            Ok(outcome) => {
                if outcome::done(&mut self.history, (name, wanted), action, outcome, self.world.now) {
                    self.save();
                }
            }
            Err(trouble) => {
                let source = engine_error(&trouble, name);
                let failure = ApplyError::Engine { service: name.to_owned(), source }.failure(self.world.now);
                outcome::failed(&mut self.history, name, action, failure);
            }
        }
        !reached(boundaries)
    }

    fn perform(&mut self, desired: &Desired, name: &str, action: &Action) -> Result<Outcome, Trouble> {
        match action {
            Action::Pull { digest } => self.world.pull(&image(name).pinned(digest))?,
            Action::Create { version, generation } => {
                let labels = (version.digest.as_str(), version.spec.as_str());
                let mut made = container(name, *generation, labels, ContainerState::Created);
                let settings = &desired.service(name).unwrap().settings;
                if settings.update.strategy == Strategy::BlueGreen {
                    made.routed_ports.clone_from(&settings.ports);
                }
                self.world.create(made)?;
            }
            Action::Start { container_id, .. } => self.world.start(container_id)?,
            Action::Stop { container_id, .. } => self.world.stop(container_id)?,
            Action::Remove { container_id } => self.world.remove(container_id)?,
            Action::RemoveImage { name } => self.world.remove_image(name)?,
            Action::AskBefore { .. } | Action::AskAfter { .. } => {}
            Action::RecordGood { version } => {
                self.world.story.push(format!("{} {name} good {version:?}", self.world.now));
            }
            Action::Quarantine { version, cause, .. } => {
                self.world.story.push(format!("{} {name} bars {version:?}: {cause}", self.world.now));
            }
        }
        Ok(Outcome::Done)
    }

    /// What must hold of every single step.
    fn check(&self, desired: &Desired, name: &str, action: &Action) {
        let record = self.history.durable.record(name);
        let story = || format!("{action:?}\n{}", self.story());
        match action {
            Action::Start { container_id, version, .. } => {
                assert!(record.barred(version).is_none(), "a barred version is started: {}", story());
                assert!(record.stopped_since.is_none(), "what a person stopped is started: {}", story());
                let running = self.world.running(name);
                let others: Vec<_> = running.into_iter().filter(|other| other.id != *container_id).collect();
                self.check_company(desired, (name, version), &others);
            }
            Action::Create { version, generation } => {
                assert!(record.barred(version).is_none(), "a barred version is made: {}", story());
                let mut ours = self.world.containers.iter().filter(|container| container.service == name);
                let newest = ours.all(|container| container.generation < *generation);
                assert!(newest && record.generation < *generation, "old generation: {}", story());
            }
            Action::Remove { container_id } => {
                let runs = self.world.running(name).iter().any(|container| container.id == *container_id);
                assert!(!runs, "a running container is removed: {}", story());
            }
            Action::Quarantine { version, .. } => {
                let way_back = match record.good.as_ref() == Some(version) {
                    true => record.previous.as_ref(),
                    false => record.good.as_ref(),
                };
                let open = way_back.is_some_and(|way_back| record.barred(way_back).is_none());
                assert!(open, "barred with nothing to return to: {}", story());
            }
            _ => {}
        }
    }

    /// Which containers of a service may run when another one of it is started.
    fn check_company(&self, desired: &Desired, (name, version): (&str, &Version), others: &[&Container]) {
        let wanted = desired.service(name);
        if wanted.is_none_or(|wanted| wanted.settings.update.strategy == Strategy::Recreate) {
            assert!(others.is_empty(), "two of {name} run at once: {}", self.story());
            return;
        }
        let good = self.history.durable.record(name).good.as_ref();
        let is_good = |other: &Container| {
            good.is_some_and(|good| good.digest == other.digest && good.spec == other.spec)
        };
        if good == Some(version) {
            return;
        }
        let strangers = others.iter().filter(|other| !is_good(other)).count();
        let served = others.iter().any(|other| is_good(other));
        assert!(strangers <= usize::from(!served), "two updates of {name} at once: {}", self.story());
    }

    /// No port leads to what does not run, or to another service.
    fn check_rules(&self, rules: &Rules) {
        for (index, name) in SERVICES.iter().enumerate() {
            if !rules.routes.contains_key(&host_port(index)) || !self.world.firewall_works {
                continue;
            }
            let behind = self.world.behind(name, host_port(index));
            let right = behind.is_some_and(|container| {
                container.service == *name && matches!(container.state, ContainerState::Running { .. })
            });
            assert!(right, "port of {name} leads to {behind:?}\n{}", self.story());
        }
    }

    /// Clients lose their answers only for what a person asked, or where the version was given up.
    fn check_gaps(&mut self, desired: &Desired) {
        for Gap { service, before, deed } in std::mem::take(&mut self.world.gaps) {
            let version = Version { digest: before.digest.clone(), spec: before.spec.clone() };
            let asked = self.history.memory.service(&service).restart.is_some();
            let record = self.history.durable.record(&service);
            let asked = asked || record.stopped_since.is_some();
            let given_up = record.barred(&version).is_some();
            let excused = asked || given_up || desired.service(&service).is_none();
            assert!(excused, "{service} lost {} by {deed}\n{}", before.name, self.story());
        }
    }

    /// Passes until a plan is empty.
    pub(super) fn settle(&mut self) -> Plan {
        for _ in 0..400 {
            let plan = self.pass(None);
            if !steps(&plan).is_empty() || self.rerouted {
                continue;
            }
            let next = [plan.wake_at, self.world.next_end()].into_iter().flatten().min();
            match next {
                None => return plan,
                Some(next) => self.world.advance(next),
            }
        }
        panic!("it never came to rest\n{}", self.story());
    }
}

fn reached(boundaries: &mut Option<u8>) -> bool {
    match boundaries {
        Some(0) => true,
        Some(left) => {
            *left -= 1;
            false
        }
        None => false,
    }
}

pub(super) fn steps(plan: &Plan) -> Vec<(String, Step)> {
    let services = plan.services.iter().flat_map(|planned| {
        planned.step.iter().chain(&planned.pull).map(|step| (planned.name.clone(), step.clone()))
    });
    let removals = plan.removals.iter();
    let images = plan.reclaim.step.iter().map(|step| (NODE.to_owned(), step.clone()));
    services
        .chain(images)
        .chain(
            removals
                .flat_map(|removal| removal.step.iter().map(|step| (removal.service.clone(), step.clone()))),
        )
        .collect()
}
