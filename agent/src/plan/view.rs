//! All that matters for one service, taken out of the inputs, with the questions that the rules ask of it.

use super::Others;
use super::rules::leads_to;
use crate::desired;
use crate::history::memory::{Failure, Run, ServiceMemory, StepKey, StepKind};
use crate::history::{History, Record, Version};
use crate::observed::{Container, ContainerState};
use crate::snapshot::{Candidate, EngineView, ImageState, InFlight, Observed, RulesView};
use jiff::Timestamp;
use node::config::settings::Strategy;

/// One service at one moment.
pub(super) struct View<'a> {
    pub(super) wanted: &'a desired::Service,
    pub(super) observed: &'a Observed,
    /// Its containers, the newest generation first; as last known while the engine is silent.
    pub(super) containers: Vec<&'a Container>,
    /// Since when the engine has been watched; see [`EngineView::Up`].
    pub(super) watched_since: Timestamp,
    pub(super) record: &'a Record,
    pub(super) memory: &'a ServiceMemory,
    pub(super) now: Timestamp,
    others: &'a Others<'a>,
}

impl<'a> View<'a> {
    pub(super) fn new(
        wanted: &'a desired::Service,
        observed: &'a Observed,
        history: &'a History,
        others: &'a Others<'a>,
        now: Timestamp,
    ) -> View<'a> {
        let (all, watched_since) = match &observed.engine {
            EngineView::Up { since, containers } => (containers, *since),
            EngineView::Down { since, last_known, .. } => (last_known, *since),
        };
        let mut containers: Vec<_> =
            all.iter().filter(|container| container.service == wanted.name).collect();
        containers
            .sort_by(|a, b| (b.generation, b.created_at, &b.id).cmp(&(a.generation, a.created_at, &a.id)));
        View {
            wanted,
            observed,
            containers,
            watched_since,
            record: history.durable.record(&wanted.name),
            memory: history.memory.service(&wanted.name),
            now,
            others,
        }
    }

    pub(super) fn name(&self) -> &'a str {
        &self.wanted.name
    }

    /// The answer and failures of the registry for the reference that is followed now.
    pub(super) fn candidate(&self) -> Option<&'a Candidate> {
        let candidate = self.observed.candidates.get(self.name())?;
        (candidate.reference == self.wanted.settings.image).then_some(candidate)
    }

    pub(super) fn in_flight(&self) -> Option<&'a InFlight> {
        self.observed.in_flight.get(self.name())
    }

    pub(super) fn image(&self, digest: &str) -> Option<ImageState> {
        self.observed.images.get(&super::image_key(&self.wanted.settings.image, digest)).copied()
    }

    /// The version of what the reference names, under the spec that is wanted.
    pub(super) fn wanted_version(&self, digest: &str) -> Version {
        Version { digest: digest.to_owned(), spec: self.wanted.spec_hash.clone() }
    }

    /// The container that stands for the version: one that runs, else the newest; never one that the engine refuses to
    /// start or is getting rid of.
    pub(super) fn container_of(&self, version: &Version) -> Option<&'a Container> {
        let mut usable = self.containers.iter().copied().filter(|container| {
            is_of(container, version) && !self.memory.refused.contains(&container.id) && !going(container)
        });
        let newest = usable.next()?;
        Some(std::iter::once(newest).chain(usable).find(|container| runs(container)).unwrap_or(newest))
    }

    /// The newest container of the version, whatever became of it.
    pub(super) fn any_container_of(&self, version: &Version) -> Option<&'a Container> {
        self.containers.iter().copied().find(|container| is_of(container, version))
    }

    /// What a failed `version` would return to: the good one, if it still can be run.
    pub(super) fn way_back(&self, version: &Version) -> Option<&'a Version> {
        self.record.good.as_ref().filter(|good| *good != version && self.can_run(good))
    }

    /// The container that serves until `version` takes its place.
    pub(super) fn predecessor(&self, version: &Version) -> Option<&'a Container> {
        self.way_back(version).and_then(|good| self.container_of(good))
    }

    /// A container of it is there, or can be made: settings of an older spec are gone.
    pub(super) fn can_run(&self, version: &Version) -> bool {
        version.spec == self.wanted.spec_hash || self.container_of(version).is_some()
    }

    /// Another container of the service that runs (or is paused, and may run any moment).
    pub(super) fn other_running(&self, container: &Container) -> Option<&'a Container> {
        self.containers
            .iter()
            .copied()
            .find(|other| other.id != container.id && (runs(other) || paused(other)))
    }

    /// A new container runs beside the old one until it has passed its gate.
    pub(super) fn blue_green(&self) -> bool {
        self.wanted.settings.update.strategy == Strategy::BlueGreen
    }

    /// The running container to which the service's ports are to lead: that of the good version. While that does not
    /// run, the one that has them already. Where there is no good one at all, the newest. Never one of a barred version.
    pub(super) fn serving(&self) -> Option<&'a Container> {
        let good = self.record.good.as_ref().and_then(|good| self.container_of(good));
        if let Some(good) = good.filter(|container| runs(container)) {
            return Some(good);
        }
        let allowed =
            |container: &&Container| runs(container) && self.record.barred(&version_of(container)).is_none();
        let mut running = self.containers.iter().copied().filter(allowed);
        // What the engine published itself is reached without any rule.
        let has_them = running
            .clone()
            .find(|container| self.leads_to(container) == Some(true))
            .or_else(|| running.clone().find(|container| container.routed_ports.is_empty()));
        has_them.or_else(|| if good.is_some() { None } else { running.next() })
    }

    /// Whether some port leads to the container now; `None` while that cannot be seen.
    pub(super) fn leads_to(&self, container: &Container) -> Option<bool> {
        match &self.observed.rules {
            RulesView::InForce(rules) => Some(leads_to(rules, container)),
            RulesView::Unknown => None,
        }
    }

    /// The other service for which the image is being pulled.
    pub(super) fn pulled_by(&self, digest: &str) -> Option<&'a str> {
        let service = self.others.pulls.get(&self.wanted.settings.image.pinned(digest)).copied();
        service.filter(|service| *service != self.name())
    }

    /// What failed last under that key, if it has not succeeded since.
    pub(super) fn failure(&self, kind: StepKind, version: &Version) -> Option<&'a Failure> {
        self.memory.failures.get(&StepKey { kind, subject: super::version_subject(version) })
    }

    pub(super) fn pull_failure(&self, digest: &str) -> Option<&'a Failure> {
        self.memory.failures.get(&StepKey { kind: StepKind::Pull, subject: digest.to_owned() })
    }

    /// Why no container of the service may be made or started, apart from other services.
    pub(super) fn obstacle(&self) -> Option<String> {
        self.wanted.obstacles.first().map(ToString::to_string)
    }

    /// Why no container of the service may be started.
    pub(super) fn start_obstacle(&self) -> Option<String> {
        let absent = |name: &&String| self.others.serves.get(name.as_str()).is_some_and(|serves| !serves);
        self.obstacle().or_else(|| {
            let dependency = self.wanted.settings.depends_on.iter().find(absent)?;
            Some(format!("service {dependency}, on which it depends, is not healthy"))
        })
    }

    /// The run passed its gate before, since the agent started.
    pub(super) fn passed_before(&self, container: &Container) -> bool {
        run_of(container).is_some_and(|run| self.memory.passed.as_ref() == Some(&run))
    }
}

pub(super) fn version_of(container: &Container) -> Version {
    Version { digest: container.digest.clone(), spec: container.spec.clone() }
}

pub(super) fn is_of(container: &Container, version: &Version) -> bool {
    container.digest == version.digest && container.spec == version.spec
}

pub(super) fn runs(container: &Container) -> bool {
    matches!(container.state, ContainerState::Running { .. })
}

pub(super) fn paused(container: &Container) -> bool {
    matches!(&container.state, ContainerState::Other(state) if !is_going(state))
}

fn going(container: &Container) -> bool {
    matches!(&container.state, ContainerState::Other(state) if is_going(state))
}

/// The engine's words for a container that will not come back.
fn is_going(state: &str) -> bool {
    matches!(state, "removing" | "dead")
}

pub(super) fn run_of(container: &Container) -> Option<Run> {
    match container.state {
        ContainerState::Running { started_at } => {
            Some(Run { container_id: container.id.clone(), started_at })
        }
        _ => None,
    }
}
