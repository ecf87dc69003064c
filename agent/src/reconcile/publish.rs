//! What the loop tells: the status of the services, their explanations and problems, as the last plan has them.
//!
//! In: a plan. Out: the board, only when something is different from what it has. Decides nothing.

use super::{Reconciler, Unsaved};
use crate::board::Owner;
use crate::desired::Desired;
use crate::firewall::Firewall;
use crate::history::store::StoreError;
use crate::observed::Container;
use crate::plan::Plan;
use crate::status::{Explanation, Service};
use jiff::Timestamp;
use node::problem::Problem;

/// What was published last: the board wakes its readers at every change, so nothing is published twice.
#[derive(Clone)]
pub(super) struct Published {
    pub(super) services: Vec<Service>,
    pub(super) explanations: Vec<Explanation>,
    pub(super) containers: Vec<Container>,
    pub(super) problems: Vec<Problem>,
}

impl Published {
    /// But for the beginning of problems, of which the board keeps the first.
    fn same(&self, other: &Published) -> bool {
        let text = |problem: &Problem| (problem.code.clone(), problem.message.clone(), problem.hint.clone());
        self.services == other.services
            && self.explanations == other.explanations
            && self.containers == other.containers
            && self.problems.iter().map(text).eq(other.problems.iter().map(text))
    }
}

impl<E, R, G, F: Firewall> Reconciler<E, R, G, F> {
    pub(super) fn publish(&mut self, plan: &Plan, desired: &Desired, now: Timestamp) {
        let mut services: Vec<_> = plan.services.iter().map(|planned| planned.status.clone()).collect();
        services.sort_by(|a, b| a.name.cmp(&b.name));
        let explanations: Vec<_> = plan.services.iter().map(|planned| planned.explanation.clone()).collect();
        let of_services = plan.services.iter().flat_map(|planned| planned.problems.iter());
        let problems =
            plan.problems.iter().chain(of_services).cloned().chain(self.history_problems(desired, now));
        let problems = problems.chain(self.routing.problem());
        let problems: Vec<_> = problems.collect();
        self.tell(Published { services, explanations, containers: self.containers.clone(), problems }, now);
    }

    /// Puts it on the board, unless that has it already.
    pub(super) fn tell(&mut self, published: Published, now: Timestamp) {
        if self.published.as_ref().is_some_and(|before| before.same(&published)) {
            return;
        }
        self.published = Some(published.clone());
        let Published { services, explanations, containers, problems } = published;
        // Problems first: for a moment between the two, a node must not look better than it is.
        self.board.publish_problems(Owner::Services, problems, now);
        self.board.publish_services(services, explanations, containers, now);
    }

    fn history_problems(&self, desired: &Desired, now: Timestamp) -> Vec<Problem> {
        let unsaved = match &self.unsaved {
            Some(Unsaved::Failed(error)) => Some(error),
            _ => None,
        };
        // What was lost matters for as long as some service has nothing to return to.
        let without_good =
            desired.services.iter().any(|service| self.history.durable.record(&service.name).good.is_none());
        let damage = self.damage.as_ref().filter(|_| without_good);
        let problem = |error: &StoreError| Problem::from_error(error.code(), error, now);
        damage.into_iter().chain(unsaved).map(problem).collect()
    }
}
