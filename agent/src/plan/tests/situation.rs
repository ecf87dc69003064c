//! Building a situation for one service, `api`, and comparing its whole plan.

use super::super::*;
use crate::desired::Service;
use crate::engine::ImageFacts;
use crate::health::Verdict;
use crate::history::memory::{Failure, ServiceMemory};
use crate::observed::ContainerState;
use crate::rules::{Rules, Target};
use crate::simulation::samples::{WEB, answered, at, container, image, routed, running, service};
use crate::snapshot::ImageState;
use crate::snapshot::RulesView;
use crate::status::{HealthState, ServiceState, UpdateState};
use std::net::{IpAddr, Ipv4Addr};

pub(super) const OLD: &str = "sha256:old";
pub(super) const NEW: &str = "sha256:new";
pub(super) const SPEC: &str = "spec";

/// What is known in a situation; the service is `api`.
pub(super) struct Situation {
    pub(super) service: Service,
    pub(super) observed: Observed,
    pub(super) history: History,
    pub(super) now: i64,
}

pub(super) fn situation() -> Situation {
    Situation {
        service: service("api", SPEC),
        observed: Observed {
            engine: EngineView::Up { since: at(0), containers: Vec::new() },
            candidates: BTreeMap::new(),
            verdicts: BTreeMap::new(),
            images: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            bridges: BTreeSet::new(),
            rules: RulesView::InForce(Rules::default()),
            connections: BTreeMap::new(),
            disk: None,
            store: None,
        },
        history: History::default(),
        now: 1000,
    }
}

/// Of the container of that generation.
pub(super) fn address(generation: u8) -> Ipv4Addr {
    Ipv4Addr::new(172, 30, 0, generation)
}

pub(super) fn version(digest: &str) -> Version {
    Version { digest: digest.to_owned(), spec: SPEC.to_owned() }
}

impl Situation {
    pub(super) fn names(mut self, digest: &str) -> Self {
        self.observed.candidates.insert("api".to_owned(), answered("api", digest));
        self
    }

    pub(super) fn good(mut self, digest: &str) -> Self {
        let record = self.history.durable.record_mut("api");
        record.record_good(&version(digest), "registry.example/api:latest".to_owned());
        record.generation = 1;
        self
    }

    pub(super) fn bad(mut self, digest: &str, cause: &str) -> Self {
        let record = self.history.durable.record_mut("api");
        record.record_bad(&version(digest), cause.to_owned(), vec!["last words".to_owned()], at(500));
        self
    }

    pub(super) fn pulled(mut self, digest: &str) -> Self {
        let facts = ImageFacts { has_healthcheck: false };
        self.observed.images.insert(image("api").pinned(digest), ImageState::Present(facts));
        self
    }

    pub(super) fn not_pulled(mut self, digest: &str) -> Self {
        self.observed.images.insert(image("api").pinned(digest), ImageState::Absent);
        self
    }

    pub(super) fn has(mut self, generation: u64, digest: &str, state: ContainerState) -> Self {
        if let EngineView::Up { containers, .. } = &mut self.observed.engine {
            containers.push(container("api", generation, (digest, SPEC), state));
        }
        self
    }

    /// The service takes over beside the old one, behind port 80 of the host.
    pub(super) fn beside(mut self) -> Self {
        self.service = routed(self.service);
        self
    }

    /// A container behind port 80 at `172.30.0.GENERATION`.
    pub(super) fn has_routed(self, generation: u8, digest: &str, since: i64) -> Self {
        let mut situation = self.has(generation.into(), digest, running(since));
        if let EngineView::Up { containers, .. } = &mut situation.observed.engine
            && let Some(made) = containers.last_mut()
        {
            made.routed_ports.clone_from(&situation.service.settings.ports);
            made.address = Some(IpAddr::V4(address(generation)));
            made.pid = Some(generation.into());
        }
        situation
    }

    /// The kernel leads port 80 to that container.
    pub(super) fn leads_to(mut self, generation: u8) -> Self {
        let mut rules = Rules::default();
        rules.routes.insert(WEB, Target { address: address(generation), port: 8000, ipv6_proxy: None });
        self.observed.rules = RulesView::InForce(rules);
        self
    }

    /// To which generation the plan wants port 80 to lead.
    pub(super) fn led(&self) -> Option<u8> {
        let rules = self.plan().rules.unwrap();
        rules.routes.get(&WEB).map(|target| target.address.octets()[3])
    }

    pub(super) fn says(mut self, generation: u64, state: HealthState, since: i64) -> Self {
        let verdict = Verdict { state, since: at(since), detail: "GET /health: 200".to_owned() };
        self.observed.verdicts.insert(format!("id-api-{generation}"), verdict);
        self
    }

    pub(super) fn remembers(mut self, change: impl FnOnce(&mut ServiceMemory)) -> Self {
        change(self.history.memory.service_mut("api"));
        self
    }

    pub(super) fn failed(
        self,
        action: &Action,
        code: &str,
        version_to_blame: bool,
        seconds_ago: i64,
    ) -> Self {
        let key = action.key().unwrap();
        let at = at(self.now - seconds_ago);
        self.remembers(|memory| {
            let failure = Failure {
                code: code.to_owned(),
                message: format!("service api: {code}"),
                hint: None,
                version_to_blame,
                container_spent: version_to_blame,
                at,
                count: 1,
            };
            memory.note_failure(key, failure);
        })
    }

    pub(super) fn plan(&self) -> Plan {
        let desired = Desired { services: vec![self.service.clone()], ..Desired::default() };
        plan(&desired, &self.observed, &self.history, at(self.now))
    }

    /// The plan must be exactly this, in the parts that decide.
    pub(super) fn expect(&self, expected: &Expected) -> ServicePlan {
        let plan = self.plan();
        let service = plan.services[0].clone();
        let found = Expected {
            step: service.step.as_ref().map(|step| step.action.clone()),
            pull: service.pull.as_ref().map(|step| step.action.clone()),
            state: service.status.state,
            health: service.status.health,
            update: service.status.update.state,
            problems: service.problems.iter().map(|problem| problem.code.clone()).collect(),
            wake: plan.wake_at.map(|wake| wake.duration_since(at(0)).as_secs()),
        };
        assert_eq!(found, *expected, "{plan:#?}");
        service
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Expected {
    pub(super) step: Option<Action>,
    pub(super) pull: Option<Action>,
    pub(super) state: ServiceState,
    pub(super) health: HealthState,
    pub(super) update: UpdateState,
    pub(super) problems: Vec<String>,
    pub(super) wake: Option<i64>,
}

/// Nothing to do, all well.
pub(super) fn quiet() -> Expected {
    Expected {
        step: None,
        pull: None,
        state: ServiceState::Running,
        health: HealthState::Passing,
        update: UpdateState::Current,
        problems: Vec::new(),
        wake: None,
    }
}

/// Nothing runs.
pub(super) fn idle(state: ServiceState, update: UpdateState) -> Expected {
    Expected { state, update, health: HealthState::None, ..quiet() }
}

pub(super) fn pull(digest: &str) -> Option<Action> {
    Some(Action::Pull { digest: digest.to_owned() })
}

pub(super) fn create(digest: &str, generation: u64) -> Option<Action> {
    Some(Action::Create { version: version(digest), generation })
}

pub(super) fn start(generation: u64, digest: &str, restart: Option<u32>) -> Option<Action> {
    Some(Action::Start { container_id: format!("id-api-{generation}"), version: version(digest), restart })
}

pub(super) fn stop(generation: u64, cause: StopCause) -> Option<Action> {
    let timeout = Duration::from_secs(30);
    Some(Action::Stop { container_id: format!("id-api-{generation}"), timeout, cause })
}

pub(super) fn remove(generation: u64) -> Option<Action> {
    Some(Action::Remove { container_id: format!("id-api-{generation}") })
}

pub(super) fn quarantine(digest: &str, cause: &str, generation: Option<u64>) -> Option<Action> {
    let container_id = generation.map(|generation| format!("id-api-{generation}"));
    Some(Action::Quarantine { version: version(digest), cause: cause.to_owned(), container_id })
}

pub(super) fn problems(codes: &[&str]) -> Vec<String> {
    codes.iter().map(|code| (*code).to_owned()).collect()
}
