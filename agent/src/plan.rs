//! What to do next, and why: `plan(desired, observed, history, now) -> Plan`.
//!
//! In: values. Out: for each service at most one step on its containers and at most one pull, its status, the reasons
//! in words, problems, the rules of the firewall for the whole node, and when to look again. Nothing is remembered
//! between two plans but what [`History`] holds, and every step is derived anew from labels and history: whatever was
//! killed wherever, the next plan goes on.
//!
//! What always holds: with the engine silent nothing is done; two containers of one service run together only in a
//! blue-green update, or when somebody else started one; a barred version is never started; a running container is
//! stopped only for a named reason, and not while a port still leads to it.
//! Not its job: I/O, the clock, logging.

mod beside;
mod draft;
mod gate;
mod hooks;
mod images;
mod policy;
mod remembered;
mod removed;
mod report;
mod restart;
mod rules;
mod service;
mod steps;
pub mod stopping;
mod view;
mod wanted;
mod words;

#[cfg(test)]
mod tests;

use crate::desired::Desired;
use crate::history::memory::{Run, StepKey, StepKind, StopCause};
use crate::history::{History, Note, Version};
use crate::rules::Rules;
use crate::snapshot::{EngineView, Observed};
use crate::status::{self, Explanation};
pub use images::Reclaim;
use jiff::Timestamp;
use node::config::settings::{ImageReference, ImageVersion};
use node::problem::Problem;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Under which name work for the node as a whole is known; no service can have it.
pub const NODE: &str = "";

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Every wanted service, dependencies first.
    pub services: Vec<ServicePlan>,
    /// Services that left node.toml and still have containers.
    pub removals: Vec<Removal>,
    /// What the firewall should do; `None` leaves it alone, because the engine or the firewall is silent.
    pub rules: Option<Rules>,
    /// What becomes of images.
    pub reclaim: Reclaim,
    /// Of the node as a whole; those of a service are with it.
    pub problems: Vec<Problem>,
    /// When to plan again even if nothing happens.
    pub wake_at: Option<Timestamp>,
}

/// What to do next for one service.
#[derive(Debug, Clone, PartialEq)]
pub struct ServicePlan {
    /// `[services.NAME]`
    pub name: String,
    /// A step on its containers or its history.
    pub step: Option<Step>,
    /// A pull; runs beside the steps, so that a long one does not keep a crashed container down.
    pub pull: Option<Step>,
    /// For `agentctl status`.
    pub status: status::Service,
    /// For `agentctl explain`.
    pub explanation: Explanation,
    /// What is wrong with it.
    pub problems: Vec<Problem>,
    /// The run that passes its gate now, to be remembered.
    pub passed: Option<Run>,
    /// Services that depend on it may start.
    pub serves: bool,
    /// The container to which its ports are to lead.
    pub routed: Option<String>,
    /// Containers that run on until their clients are gone, and since when; to be remembered.
    pub draining: BTreeMap<String, Timestamp>,
    /// To be remembered for good, whatever becomes of the steps.
    pub notes: Vec<Note>,
}

/// What to do next for a service that is no longer wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// From the labels.
    pub service: String,
    /// Absent while another one goes first, or after a failure.
    pub step: Option<Step>,
    /// The container to which its ports still lead.
    pub routed: Option<String>,
}

/// One step, with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What to do.
    pub action: Action,
    /// Why, one line.
    pub reason: String,
}

/// What can be done. Each is safe to do twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Pull the digest of the service's image.
    Pull {
        /// `sha256:…`
        digest: String,
    },
    /// Make a container of the service's current settings.
    Create {
        /// Its labels.
        version: Version,
        /// Its generation, higher than any before.
        generation: u64,
    },
    /// Start a container.
    Start {
        /// Which.
        container_id: String,
        /// What it is.
        version: Version,
        /// For a restart, how many in a row this makes; absent when it is none.
        restart: Option<u32>,
    },
    /// Stop a container.
    Stop {
        /// Which.
        container_id: String,
        /// From the stop signal to SIGKILL.
        timeout: Duration,
        /// Why.
        cause: StopCause,
    },
    /// Remove a container that does not run.
    Remove {
        /// Which.
        container_id: String,
    },
    /// Write to the history that the version passed its gate.
    RecordGood {
        /// Which.
        version: Version,
    },
    /// Write to the history that the version failed its gate, with the last lines of its container.
    Quarantine {
        /// Which.
        version: Version,
        /// What failed.
        cause: String,
        /// Where the lines are, if it got that far.
        container_id: Option<String>,
    },
    /// Run the service's `before` command in the container that is to be replaced.
    AskBefore {
        /// In which.
        container_id: String,
        /// What is to take its place.
        digest: String,
    },
    /// Run the service's `after` command in the new container.
    AskAfter {
        /// In which, and in which of its runs.
        run: Run,
    },
    /// Remove an image from the engine's store.
    RemoveImage {
        /// `registry/repository@digest`, or as the engine calls it.
        name: String,
    },
}

impl Action {
    /// Under what its failure is remembered; `None` where it cannot fail.
    pub fn key(&self) -> Option<StepKey> {
        let (kind, subject) = match self {
            Action::Pull { digest } => (StepKind::Pull, digest.clone()),
            Action::Create { version, .. } => (StepKind::Create, version_subject(version)),
            Action::Start { version, .. } => (StepKind::Start, version_subject(version)),
            Action::Stop { container_id, .. } => (StepKind::Stop, container_id.clone()),
            Action::Remove { container_id } => (StepKind::Remove, container_id.clone()),
            Action::AskBefore { digest, .. } => (StepKind::Before, digest.clone()),
            Action::RemoveImage { name } => (StepKind::RemoveImage, name.clone()),
            Action::AskAfter { run } => (StepKind::After, run.container_id.clone()),
            Action::RecordGood { .. } | Action::Quarantine { .. } => return None,
        };
        Some(StepKey { kind, subject })
    }
}

pub(crate) fn version_subject(version: &Version) -> String {
    format!("{} {}", version.digest, version.spec)
}

/// Decides. Pure.
pub fn plan(desired: &Desired, observed: &Observed, history: &History, now: Timestamp) -> Plan {
    let mut others = Others { serves: BTreeMap::new(), pulls: pulls(desired, observed) };
    let mut services = Vec::new();
    let mut wakes = Vec::new();
    let mut lacks = Vec::new();
    for wanted in &desired.services {
        let view = view::View::new(wanted, observed, history, &others, now);
        let (mut planned, wake_at) = service::plan(&view);
        let lack = images::admit((desired, observed), wanted, &mut planned, now);
        lacks.extend(lack.map(|lack| (wanted.name.clone(), lack)));
        others.serves.insert(wanted.name.as_str(), planned.serves);
        if let Some(Step { action: Action::Pull { digest }, .. }) = &planned.pull {
            others.pulls.insert(wanted.settings.image.pinned(digest), wanted.name.as_str());
        }
        wakes.extend(wake_at);
        services.push(planned);
    }
    let (removals, wake_at) = removed::plan(desired, observed, history, now);
    wakes.extend(wake_at);
    let rules = rules::rules(desired, observed, (&services, &removals));
    let reclaim = images::plan((desired, observed), &services, &lacks, history, now);
    let makes_room = reclaim.step.is_some() || observed.in_flight.contains_key(NODE);
    let lacks = lacks.iter().filter(|_| !makes_room);
    let lacks = lacks.map(|(service, lack)| images::problem(service, lack, now));
    let problems = engine_problem(observed).into_iter().chain(lacks).collect();
    Plan { services, removals, rules, reclaim, problems, wake_at: wakes.into_iter().min() }
}

/// What a service has to know of the others.
struct Others<'a> {
    /// Of the services planned before, which ones serve.
    serves: BTreeMap<&'a str, bool>,
    /// Pinned images that are being pulled, and for which service.
    pulls: BTreeMap<String, &'a str>,
}

fn pulls<'a>(desired: &'a Desired, observed: &Observed) -> BTreeMap<String, &'a str> {
    let under_way = desired.services.iter().filter_map(|wanted| {
        let pull = observed.in_flight.get(&wanted.name)?.pull.as_ref()?;
        Some((wanted.settings.image.pinned(&pull.digest), wanted.name.as_str()))
    });
    under_way.collect()
}

fn engine_problem(observed: &Observed) -> Option<Problem> {
    match &observed.engine {
        EngineView::Up { .. } => None,
        EngineView::Down { since, message, hint, .. } => Some(Problem {
            code: "docker_unresponsive".to_owned(),
            message: message.clone(),
            hint: hint.clone(),
            since: *since,
        }),
    }
}

/// The images of which the plan has to know whether they are in the engine's store.
pub fn images_of_interest(
    desired: &Desired,
    observed: &Observed,
    history: &History,
) -> BTreeSet<(ImageReference, String)> {
    let containers = match &observed.engine {
        EngineView::Up { containers, .. } => containers.as_slice(),
        EngineView::Down { .. } => &[],
    };
    let mut images = BTreeSet::new();
    for service in &desired.services {
        let image = &service.settings.image;
        if let ImageVersion::Digest(digest) = &image.version {
            images.insert((image.clone(), digest.clone()));
        }
        let candidate = observed.candidates.get(&service.name);
        let answer = candidate
            .filter(|candidate| candidate.reference == *image)
            .and_then(|known| known.answer.as_ref());
        let good = history.durable.record(&service.name).good.as_ref();
        let made = containers.iter().filter(|container| container.service == service.name);
        let target = history.durable.record(&service.name).target.as_ref().map(|target| &target.digest);
        let digests = answer.map(|answer| &answer.digest).into_iter().chain(target);
        let digests =
            digests.chain(good.map(|good| &good.digest)).chain(made.map(|container| &container.digest));
        images.extend(digests.map(|digest| (image.clone(), digest.clone())));
    }
    images
}

/// Under which key [`Observed::images`] holds an image.
pub fn image_key(image: &ImageReference, digest: &str) -> String {
    image.pinned(digest)
}
