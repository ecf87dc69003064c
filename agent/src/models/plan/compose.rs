//! One plan of what the rules say of each model.

use super::clean::Cleaning;
use super::draft::{Draft, Urgency};
use super::gpu::{Gpu, gpu, tell};
use super::stages::{Stage, switch};
use super::view::{Listed, View};
use super::wanted::{Goal, Instead, Source, goal};
use super::{Note, Plan, Step, lookups, pulls, report, whole};
use crate::models::observed::StepKind;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::time::Duration;

/// How often it is remembered that node.toml still asks for a model.
const REMEMBERED_EVERY: Duration = Duration::from_secs(3600);

/// All models, their steps in one order.
pub(super) fn compose(view: &View<'_>) -> Plan {
    let goals: Vec<(&Listed<'_>, Goal)> =
        view.listed.iter().map(|listed| (listed, goal(view, listed))).collect();
    let cleaning = Cleaning::new(view, &goals);
    let gpu = gpu(view);
    let mut drafts: Vec<Option<Draft>> = goals.iter().map(|_| None).collect();
    let mut promised = 0;
    for index in order(&goals) {
        let (listed, goal) = &goals[index];
        let mut draft = consider(view, listed, goal, (&cleaning, promised), gpu.lost.as_deref());
        tell(view, &gpu, listed, &mut draft);
        promised += draft.promised_bytes;
        drafts[index] = Some(draft);
    }
    let drafts: Vec<Draft> = drafts.into_iter().map(Option::unwrap_or_default).collect();
    finish(view, &goals, &cleaning, gpu, drafts)
}

/// Those that the node is not ready without come first.
fn order(goals: &[(&Listed<'_>, Goal)]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..goals.len()).collect();
    order.sort_by_key(|index| !goals[*index].0.model.required);
    order
}

/// What one model needs next.
fn consider(
    view: &View<'_>,
    listed: &Listed<'_>,
    goal: &Goal,
    given: (&Cleaning<'_>, u64),
    hold: Option<&str>,
) -> Draft {
    let mut draft = Draft::default();
    if listed.model.digest.is_some() && listed.record.pin.is_some() {
        draft.notes.push(Note::PinOver(listed.full.clone()));
    }
    if let Some(why) = report::no_server(view) {
        draft.because(why);
        return draft;
    }
    draft.notes.extend(called(view, listed));
    report::instead(view, listed, goal, &mut draft);
    let installed = view.installed(listed);
    match (goal.digest.as_deref(), installed) {
        (None, _) if goal.asked.is_none() => {
            pulls::ask(view, listed, "", &mut draft);
        }
        (None, _) => {}
        (Some(to), Some(installed)) if to == installed => {
            let broken = view.is_hurt(listed, to) || view.is_whole(to) == Some(false);
            if broken {
                pulls::pull(view, listed, to, given, &mut draft);
            } else {
                Stage::new(view, listed, installed, hold).go_on(&mut draft);
            }
        }
        (Some(to), installed) => {
            if view.is_kept(listed, to) && view.is_there(listed, to) {
                match hold.filter(|_| goal.instead.is_none()) {
                    Some(why) => draft.because(format!("waits with another version: {why}")),
                    None => switch(view, listed, goal, to, &mut draft),
                }
            } else {
                pulls::pull(view, listed, to, given, &mut draft);
            }
            if let Some(installed) = installed.filter(|installed| serves(listed, goal, installed)) {
                meanwhile(view, listed, installed, &mut draft);
            }
        }
    }
    draft
}

/// The move under way has brought what it was to, under the digest that a server gives it that encodes manifests anew.
fn called(view: &View<'_>, listed: &Listed<'_>) -> Option<Note> {
    let (open, known) = (listed.record.under_way()?, view.known(listed)?);
    let installed =
        view.installed(listed).filter(|installed| *installed == known.digest && *installed != open.to)?;
    let (model, digest) = (listed.full.clone(), installed.to_owned());
    known.also.contains(&open.to).then_some(Note::Called { model, digest })
}

/// What is there serves until another version is: not what failed, nor what a pin does not ask for and never passed.
fn serves(listed: &Listed<'_>, goal: &Goal, installed: &str) -> bool {
    let record = &listed.record;
    let pinned =
        goal.asked.as_ref().is_some_and(|(_, source)| matches!(source, Source::Configured | Source::Pinned));
    let from = record.under_way().and_then(|open| open.from.as_deref()) == Some(installed);
    let passed = listed.is_good(installed) || record.previous.as_deref() == Some(installed) || from;
    record.barred(installed).is_none() && (passed || !pinned)
}

fn meanwhile(view: &View<'_>, listed: &Listed<'_>, installed: &str, draft: &mut Draft) {
    let switching = draft.steps.iter().any(|(_, step)| step.action.kind() == StepKind::Name);
    let usable = !view.is_hurt(listed, installed) && view.is_whole(installed) != Some(false);
    if usable && !switching {
        Stage::leaving(view, listed, installed).served(draft);
    }
}

fn finish(
    view: &View<'_>,
    goals: &[(&Listed<'_>, Goal)],
    cleaning: &Cleaning<'_>,
    gpu: Gpu,
    mut drafts: Vec<Draft>,
) -> Plan {
    let mut wake: Vec<Timestamp> = gpu.wake.into_iter().chain(cleaning.next()).collect();
    let (mut problems, silence) = whole::problems(view);
    wake.extend(silence);
    problems.extend(gpu.problems);
    let mut asked = Vec::new();
    for ((listed, goal), draft) in goals.iter().zip(&drafts) {
        // What a server has that is still to answer may be all that is needed.
        let needed =
            view.up.is_some() && (draft.asks_registry || goal.asked.is_none() || missing(view, listed, goal));
        match lookups::due(view, listed, needed) {
            Some(due) if due <= view.now || (draft.asks_registry && lookups::is_outdated(view, listed)) => {
                asked.push(listed.model.reference.clone());
            }
            due => wake.extend(due),
        }
    }
    let kinds = goals.iter().zip(&drafts).filter(|(_, draft)| draft.asks_kind);
    let kinds = kinds.map(|((listed, _), _)| listed.model.reference.clone()).collect();
    let models =
        goals.iter().zip(&drafts).map(|((listed, goal), draft)| report::model(view, listed, goal, draft));
    let models = models.collect();
    let pull = order(goals).into_iter().find_map(|index| drafts[index].pull.clone());
    let mut notes = notes(view);
    let mut steps: Vec<(Urgency, Step)> = Vec::new();
    for index in order(goals) {
        let draft = &mut drafts[index];
        notes.append(&mut draft.notes);
        steps.append(&mut draft.steps);
        problems.append(&mut draft.problems);
        wake.append(&mut draft.wake);
    }
    if view.up.is_some() {
        steps.extend(cleaning.unusable().map(|step| (Urgency::Room, step)));
        steps.extend(cleaning.damaged().map(|step| (Urgency::Room, step)));
        steps.extend(cleaning.by_age().map(|step| (Urgency::Clean, step)));
    }
    Plan {
        pull: pull.filter(|_| view.observed.pulling.is_none()),
        drop_step: gives_way(view, &steps),
        step: first(view, steps, &mut wake),
        drop_pull: pulls::dropped(view, goals),
        restart_server: gpu.restart,
        gpu_is_lost: gpu.is_lost,
        lookups: asked,
        kinds,
        notes,
        models,
        server: report::server(view),
        problems,
        wake_at: wake.into_iter().filter(|at| *at > view.now).min(),
    }
}

/// Its version has to come from the registry.
fn missing(view: &View<'_>, listed: &Listed<'_>, goal: &Goal) -> bool {
    let elsewhere = matches!(goal.instead, Some(Instead::Elsewhere(_) | Instead::Damaged));
    elsewhere || goal.digest.as_ref().is_some_and(|digest| !view.is_there(listed, digest))
}

/// The most urgent step, where none is under way; removals that failed have to wait.
fn first(view: &View<'_>, mut steps: Vec<(Urgency, Step)>, wake: &mut Vec<Timestamp>) -> Option<Step> {
    if view.observed.step.is_some() {
        return None;
    }
    // Reading ahead can take half an hour: whatever else brings service back comes before it.
    steps.sort_by_key(|(urgency, step)| (*urgency, step.action.kind() == StepKind::Warm));
    steps.into_iter().map(|(_, step)| step).find(|step| {
        let removes = step.action.kind() == StepKind::Remove;
        let attempt = view.attempt(&step.model, StepKind::Remove).filter(|_| removes);
        let until = view.backs_off(attempt);
        wake.extend(until);
        until.is_none()
    })
}

/// Why the step under way gives way to one that brings service back. What failed before has no such right: it would keep
/// its files from ever being compared, which may be what it fails for.
fn gives_way(view: &View<'_>, steps: &[(Urgency, Step)]) -> Option<String> {
    let under_way = view.observed.step.as_ref()?;
    let fresh = |step: &Step| {
        view.attempt(&step.model, step.action.kind()).is_none_or(|attempt| attempt.failure.is_none())
    };
    let mut service = steps.iter().filter(|(urgency, step)| *urgency == Urgency::Service && fresh(step));
    let (_, step) = match under_way.kind {
        StepKind::Verify => service.next(),
        StepKind::Warm => {
            service.find(|(_, step)| step.model != under_way.model && step.action.kind() != StepKind::Warm)
        }
        _ => None,
    }?;
    Some(format!("{}: {} comes first", step.model, step.reason))
}

/// What is remembered whatever becomes of the models.
fn notes(view: &View<'_>) -> Vec<Note> {
    let mut notes = Vec::new();
    let old = |listed: &Listed<'_>| {
        listed.record.needed_at.is_none_or(|at| view.since(at) >= REMEMBERED_EVERY || at > view.now)
    };
    if view.listed.iter().any(old) {
        let all: BTreeSet<String> = view.listed.iter().map(|listed| listed.full.clone()).collect();
        notes.push(Note::Needed(all));
    }
    if let (Some(files), true) = (view.files(), view.up.is_some()) {
        let gone = view.durable.verified.keys().filter(|layer| !files.blobs.contains_key(*layer));
        notes.extend(gone.map(|layer| Note::Unverified(layer.clone())));
    }
    notes
}
