//! How the plan of a service is shown: state, health, update, explanation.

use super::ServicePlan;
use super::draft::Draft;
use super::gate::{Judgement, judge};
use super::policy;
use super::policy::Preparation;
use super::remembered::remembered;
use super::view::{View, run_of, runs};
use super::wanted::{Named, asked_for, named};
use super::words::{self, short};
use crate::history::Version;
use crate::observed::Container;
use crate::snapshot::{EngineView, ImageState};
use crate::status::{
    Explanation, HealthState, Quarantined, Reason, Service, ServiceState, UpdateState, UpdateStatus,
};
use jiff::Timestamp;

/// The finished plan of one service. `target` is the version that should run; `None` where nothing can be decided.
pub(super) fn report(view: &View<'_>, mut draft: Draft, target: Option<&Version>) -> ServicePlan {
    let shown = shown(view, target);
    let judged = shown.and_then(|container| judge(view, container));
    let engine_up = matches!(view.observed.engine, EngineView::Up { .. });
    let state = if engine_up { state(view, &draft, target, judged.as_ref()) } else { last_state(view) };
    let health = match &judged {
        None => HealthState::None,
        Some(_) if !engine_up => HealthState::Unknown,
        Some(judged) => judged.state,
    };
    let update = update(view, &draft, target, shown);
    if update.state == UpdateState::RolledBack || update.state == UpdateState::Quarantined {
        rolled_back_problem(view, &mut draft, target, shown);
    }
    let passing = engine_up && health == HealthState::Passing;
    let passed_before = shown.is_some_and(|container| view.passed_before(container));
    let status = Service {
        name: view.name().to_owned(),
        state,
        health,
        image: view.wanted.settings.image.to_string(),
        digest: shown.map(|container| container.digest.clone()),
        container_id: shown.map(|container| container.id.clone()),
        since: since(view, state),
        restarts: view.memory.restarts,
        update,
    };
    let routed = routed(view, &draft);
    let explanation = explanation(view, draft.reasons, judged.as_ref(), shown);
    ServicePlan {
        name: view.name().to_owned(),
        step: draft.step,
        pull: draft.pull,
        status,
        explanation,
        problems: draft.problems,
        passed: shown.and_then(run_of).filter(|_| passing),
        notes: policy::notes(view, target),
        serves: passing || (engine_up && passed_before && health == HealthState::Unknown),
        routed,
        draining: draft.draining,
    }
}

/// The container that gets the ports: the one that serves, unless it is about to be stopped or is being stopped.
fn routed(view: &View<'_>, draft: &Draft) -> Option<String> {
    let busy = view.in_flight().is_some_and(|in_flight| in_flight.step.is_some());
    let serving = view.serving().map(|serving| &serving.id);
    let stays =
        |id: &&String| !draft.leaving.contains(*id) && !(busy && view.memory.stopped.contains_key(*id));
    serving.filter(stays).cloned()
}

/// The container that serves: the wanted one if it runs, else the newest that does. In a blue-green update that is the
/// old one until the new one is good.
fn shown<'a>(view: &View<'a>, target: Option<&Version>) -> Option<&'a Container> {
    if view.blue_green()
        && let Some(serving) = view.serving()
    {
        return Some(serving);
    }
    let wanted = target.and_then(|version| view.container_of(version)).filter(|container| runs(container));
    wanted.or_else(|| view.containers.iter().copied().find(|container| runs(container)))
}

fn state(
    view: &View<'_>,
    draft: &Draft,
    target: Option<&Version>,
    judged: Option<&Judgement>,
) -> ServiceState {
    let retiring = draft.retiring && judged.is_some();
    if retiring || target.is_some_and(|target| switching(view, target, judged.is_some())) {
        return ServiceState::Updating;
    }
    let Some(judged) = judged else { return draft.idle_state.unwrap_or(ServiceState::Waiting) };
    let passed_before = shown(view, target).is_some_and(|container| view.passed_before(container));
    match judged.state {
        HealthState::Failing => ServiceState::Unhealthy,
        HealthState::Passing => ServiceState::Running,
        HealthState::Unknown | HealthState::None if passed_before => ServiceState::Running,
        HealthState::Unknown | HealthState::None => ServiceState::Starting,
    }
}

/// A version that is not the good one is between its start and the end of its gate, or the good one was just stopped
/// for it.
fn switching(view: &View<'_>, target: &Version, something_runs: bool) -> bool {
    let Some(new) = view.way_back(target).and_then(|_| view.container_of(target)) else { return false };
    runs(new) || !something_runs
}

fn last_state(view: &View<'_>) -> ServiceState {
    view.memory.state.map_or(ServiceState::Waiting, |(state, _)| state)
}

fn since(view: &View<'_>, state: ServiceState) -> Timestamp {
    match view.memory.state {
        Some((before, since)) if before == state => since,
        _ => view.now,
    }
}

fn update(
    view: &View<'_>,
    draft: &Draft,
    target: Option<&Version>,
    shown: Option<&Container>,
) -> UpdateStatus {
    let candidate = view.candidate();
    let checked_at =
        candidate.and_then(|candidate| candidate.answer.as_ref()).map(|answer| answer.checked_at);
    let digest = match named(view) {
        Named::Digest(digest) => digest,
        Named::Unknown(why) => return current(Some(why), checked_at),
        Named::NotAsked => {
            return current(Some("the registry has not been asked yet".to_owned()), checked_at);
        }
    };
    let version = view.wanted_version(&digest);
    if let Some(entry) = view.record.barred(&version) {
        let last = view.record.quarantine.last() == Some(entry);
        let state = if last { UpdateState::RolledBack } else { UpdateState::Quarantined };
        return UpdateStatus {
            state,
            candidate: Some(digest),
            reason: Some(entry.cause.clone()),
            checked_at,
        };
    }
    if draft.retiring && target == Some(&version) {
        let reason = draft.reasons.first().map(|reason| reason.text.clone());
        return UpdateStatus { state: UpdateState::Updating, candidate: Some(digest), reason, checked_at };
    }
    let arrived = shown.is_some_and(|container| container.digest == digest && container.spec == version.spec);
    let good = view.record.good.as_ref() == Some(&version);
    if good || (arrived && view.way_back(&version).is_none()) {
        return settled(view, checked_at);
    }
    let (state, reason) = match policy::delay(view, &version) {
        Some(delay) if delay.next != Some(Preparation::Pull) => (delay.state, Some(delay.reason)),
        delay => on_its_way(view, draft, delay.is_some() || target == Some(&version)),
    };
    UpdateStatus { state, candidate: Some(digest), reason, checked_at }
}

fn current(reason: Option<String>, checked_at: Option<Timestamp>) -> UpdateStatus {
    UpdateStatus { state: UpdateState::Current, candidate: None, reason, checked_at }
}

/// What runs is what is named.
fn settled(view: &View<'_>, checked_at: Option<Timestamp>) -> UpdateStatus {
    if let Some(since) = view.record.held_since {
        let reason = Some(format!("held since {since:.0}; `agentctl release {}` ends that", view.name()));
        return UpdateStatus { state: UpdateState::Held, ..current(reason, checked_at) };
    }
    let asked = asked_for(view).map(|target| {
        format!("{} was asked for at {:.0} instead of {}", target.named, target.at, target.instead_of)
    });
    let failure = view.candidate().and_then(|candidate| candidate.failure.as_ref());
    current(asked.or_else(|| failure.map(|failure| failure.message.clone())), checked_at)
}

fn on_its_way(view: &View<'_>, draft: &Draft, is_target: bool) -> (UpdateState, Option<String>) {
    let reason = draft.reasons.first().map(|reason| reason.text.clone());
    let busy = view.in_flight().is_some_and(|in_flight| in_flight.pull.is_some() || in_flight.step.is_some());
    let moves = busy || draft.step.is_some() || draft.pull.is_some();
    let waits = draft.reasons.iter().any(|reason| reason.until.is_some()) || view.start_obstacle().is_some();
    match (is_target, moves, waits) {
        (false, ..) => (UpdateState::Available, reason),
        (true, false, true) if shown_new(view).is_none() => (UpdateState::Waiting, reason),
        (true, ..) => (UpdateState::Updating, reason),
    }
}

/// A container of the wanted spec that is not the good one and runs: the switch is under way.
fn shown_new<'a>(view: &View<'a>) -> Option<&'a Container> {
    let good = view.record.good.as_ref()?;
    view.containers
        .iter()
        .copied()
        .find(|container| runs(container) && (container.digest != good.digest || container.spec != good.spec))
}

fn rolled_back_problem(
    view: &View<'_>,
    draft: &mut Draft,
    target: Option<&Version>,
    shown: Option<&Container>,
) {
    let Named::Digest(digest) = named(view) else { return };
    let Some(entry) = view.record.barred(&view.wanted_version(&digest)) else { return };
    let name = view.name();
    let stays = shown.map(|container| &container.digest).or(target.map(|target| &target.digest));
    let failed = format!("the update to {} failed: {}", short(&digest), entry.cause);
    let (code, message) = match stays {
        Some(stays) => {
            (crate::status::ROLLED_BACK, format!("service {name} stays on {}: {failed}", short(stays)))
        }
        None => {
            ("update_failed", format!("service {name} does not run: {failed}; there is nothing to return to"))
        }
    };
    let hint = format!("push a fixed image; `agentctl explain {name}` shows the last log lines");
    draft.problem(view, code, message, Some(hint));
    if let Some(problem) = draft.problems.last_mut() {
        problem.since = entry.at;
    }
}

fn explanation(
    view: &View<'_>,
    mut reasons: Vec<Reason>,
    judged: Option<&Judgement>,
    shown: Option<&Container>,
) -> Explanation {
    if let Some((judged, container)) = judged.zip(shown) {
        let text =
            format!("{} runs; its gate says {}: {}", container.name, word(judged.state), judged.detail);
        reasons.push(Reason { text, until: judged.until });
    }
    let digest =
        shown.map(|container| &container.digest).or(view.record.good.as_ref().map(|good| &good.digest));
    let facts = digest.and_then(|digest| match view.image(digest) {
        Some(ImageState::Present(facts)) => Some(facts.has_healthcheck),
        _ => None,
    });
    let quarantined = view.record.quarantine.iter().map(|entry| Quarantined {
        digest: entry.digest.clone(),
        at: entry.at,
        cause: entry.cause.clone(),
        last_log_lines: entry.last_log_lines.clone(),
    });
    Explanation {
        gate: words::gate(&view.wanted.settings, facts),
        reasons,
        quarantined: quarantined.collect(),
        ..remembered(view)
    }
}

fn word(state: HealthState) -> &'static str {
    match state {
        HealthState::Passing => "passing",
        HealthState::Failing => "failing",
        HealthState::Unknown => "unknown",
        HealthState::None => "nothing",
    }
}
