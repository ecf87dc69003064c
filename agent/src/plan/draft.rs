//! The plan of one service while the rules write it. The first step wins; a step whose like failed just now becomes a
//! wait.

use super::view::View;
use super::{Action, Step};
use crate::history::memory::{StepKind, StopCause};
use crate::observed::Container;
use crate::status::{Reason, ServiceState};
use jiff::Timestamp;
use node::problem::Problem;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A wait longer than this is shown as failed: nobody should sit and watch for it.
const FAR_OFF: Duration = Duration::from_secs(60);

/// What the rules have said so far.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) step: Option<Step>,
    pub(super) pull: Option<Step>,
    pub(super) reasons: Vec<Reason>,
    pub(super) problems: Vec<Problem>,
    pub(super) wakes: Vec<Timestamp>,
    /// What the service is doing, should nothing of it run.
    pub(super) idle_state: Option<ServiceState>,
    /// Containers that are to be stopped: no port may lead to them any more.
    pub(super) leaving: BTreeSet<String>,
    /// Containers that run on until their clients are gone, and since when.
    pub(super) draining: BTreeMap<String, Timestamp>,
    /// The new version is good, and an old container is not gone yet.
    pub(super) retiring: bool,
}

impl Draft {
    /// Wants `action`, now or once the wait after its last failure is over. Returns whether it is taken.
    pub(super) fn step(&mut self, view: &View<'_>, action: Action, reason: String) -> bool {
        if self.step.is_some() {
            return false;
        }
        if let Some(until) = self.retry_wait(view, &action) {
            self.wait(format!("{reason}: tried and failed, tried again later"), until);
            return false;
        }
        self.say(reason.clone());
        self.step = Some(Step { action, reason });
        true
    }

    /// Wants a container stopped. While a port leads to it, that is ended first.
    pub(super) fn stop(&mut self, view: &View<'_>, container: &Container, action: Action, reason: String) {
        if self.step.is_some() {
            return;
        }
        self.leaving.insert(container.id.clone());
        // One that is only restarted keeps its place; a firewall that cannot be asked must not keep it sick.
        let comes_back =
            matches!(action, Action::Stop { cause: StopCause::Unhealthy | StopCause::Requested, .. });
        match view.leads_to(container) {
            Some(true) => self.say(format!("{reason}: first its ports lead elsewhere")),
            None if !container.routed_ports.is_empty() && !comes_back => {
                self.say(format!("{reason}: waits until the firewall can be changed"));
            }
            _ => drop(self.step(view, action, reason)),
        }
    }

    /// Wants a pull, unless one is under way.
    pub(super) fn pull(&mut self, view: &View<'_>, action: Action, reason: String) {
        let under_way = view.in_flight().is_some_and(|in_flight| in_flight.pull.is_some());
        if self.pull.is_some() || under_way {
            return;
        }
        if let Action::Pull { digest } = &action
            && let Some(other) = view.pulled_by(digest)
        {
            return self.say(format!("{reason}: waits for the same pull of service {other}"));
        }
        match self.retry_wait(view, &action) {
            Some(until) => self.wait(format!("{reason}: tried and failed, tried again later"), until),
            None => {
                self.say(reason.clone());
                self.pull = Some(Step { action, reason });
            }
        }
    }

    /// Until when to wait after the last failure of the same thing.
    fn retry_wait(&mut self, view: &View<'_>, action: &Action) -> Option<Timestamp> {
        let key = action.key()?;
        let failure = view.memory.failures.get(&key)?;
        let until = failure.retry_at(key.kind, view.now)?;
        let state = if key.kind == StepKind::Pull { ServiceState::Waiting } else { ServiceState::Restarting };
        self.idle_until(view, state, until);
        Some(until)
    }

    /// A reason without an end.
    pub(super) fn say(&mut self, text: String) {
        self.reasons.push(Reason { text, until: None });
    }

    /// A reason that ends.
    pub(super) fn wait(&mut self, text: String, until: Timestamp) {
        self.reasons.push(Reason { text, until: Some(until) });
        self.wakes.push(until);
    }

    /// What the service is doing while nothing of it runs; the first rule to say so is the one that stands in the way.
    pub(super) fn idle(&mut self, state: ServiceState) {
        self.idle_state.get_or_insert(state);
    }

    /// [`Draft::idle`], or failed where `until` is far off.
    pub(super) fn idle_until(&mut self, view: &View<'_>, state: ServiceState, until: Timestamp) {
        let far = view.now.checked_add(FAR_OFF).is_ok_and(|horizon| until > horizon);
        self.idle(if far { ServiceState::Failed } else { state });
    }

    /// Something is wrong.
    pub(super) fn problem(&mut self, view: &View<'_>, code: &str, message: String, hint: Option<String>) {
        self.problems.push(Problem { code: code.to_owned(), message, hint, since: view.now });
    }
}
