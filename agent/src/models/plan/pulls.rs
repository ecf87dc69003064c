//! The first lane: which version is pulled next, and why one is not.
//!
//! One pull at a time, in the order of the models, those that the node is not ready without first. What the version that
//! is there now is kept under its own name comes before.

use super::clean::Cleaning;
use super::disk::room;
use super::draft::{Draft, Urgency};
use super::lookups;
use super::view::{Listed, View};
use super::wanted::{DAMAGES, Goal, Source};
use super::words::{bytes, short};
use super::{Action, Note, Step};
use crate::models::observed::StepKind;
use crate::models::registry::Manifest;
use jiff::Timestamp;
use std::time::Duration;

/// A pull that brought something else than the registry names is not repeated sooner.
const AFTER_ANOTHER: Duration = Duration::from_secs(300);
/// A version whose files came damaged time and again is not pulled again sooner.
const AFTER_DAMAGES: Duration = Duration::from_secs(6 * 3600);
/// The silence of a pull is shown in steps of so much: each is a change of the status.
const SILENCE_STEP: Duration = Duration::from_secs(10);

/// The model is to be a version that is not there.
pub(super) fn pull(
    view: &View<'_>,
    listed: &Listed<'_>,
    digest: &str,
    given: (&Cleaning<'_>, u64),
    draft: &mut Draft,
) {
    let Some(manifest) = ask(view, listed, digest, draft) else { return };
    let (cleaning, promised) = given;
    if view.observed.pulling.as_ref().is_some_and(|pulling| pulling.model == listed.full) {
        draft.promised_bytes = room(view, manifest, promised).map_or(0, |room| room.needs);
        return;
    }
    if waits(view, listed, digest, draft) {
        return;
    }
    if let Some(until) = cleaning.blocks(manifest) {
        failed(view, listed, digest, draft);
        draft.until("what an earlier pull left is broken and is removed first".to_owned(), until);
        return;
    }
    match room(view, manifest, promised) {
        Some(room) if !room.is_enough() => {
            refuse(view, listed, (&room.words(), digest), draft);
            let step = cleaning.for_room(room, manifest);
            if let Some(step) = step {
                draft.because(format!("removes {} first", what(&step)));
                draft.steps.push((Urgency::Room, step));
            }
            return;
        }
        Some(room) => draft.promised_bytes = room.needs,
        None if view.settings.directory.is_some() => {
            let why = view.observed.files_problem.as_deref().unwrap_or("it has not been looked at yet");
            draft.because(format!(
                "waits until it is known how much room the folder of the models has: {why}"
            ));
            return;
        }
        None => draft.because("how much room there is is not known: [models] has no directory".to_owned()),
    }
    if let Some(until) = view.backs_off(view.attempt_on(listed, StepKind::Pull, digest)) {
        failed(view, listed, digest, draft);
        draft.wake.push(until);
        return;
    }
    if let Some(other) = &view.observed.pulling {
        draft.because(format!("waits for the pull of {}: one at a time", other.model));
        return;
    }
    begin(view, listed, digest, draft);
    draft.notes.extend((!listed.record.ours).then(|| Note::Ours(listed.full.clone())));
    let reason = match view.installed(listed) {
        Some(installed) if installed == digest => format!("files of {} are missing", short(digest)),
        Some(installed) => format!("from {} to {}", short(installed), short(digest)),
        None => format!("the server does not have {}", short(digest)),
    };
    let action = Action::Pull { name: listed.model.reference.clone(), digest: digest.to_owned() };
    draft.pull = Some(Step { model: listed.full.clone(), action, reason });
}

/// A move begins, unless it has.
pub(super) fn begin(view: &View<'_>, listed: &Listed<'_>, digest: &str, draft: &mut Draft) {
    let from = view.installed(listed).filter(|from| *from != digest && listed.record.barred(from).is_none());
    let open = listed.record.under_way().filter(|open| open.to == digest);
    if open.is_some_and(|open| from.is_none() || open.from.as_deref() == from) {
        return;
    }
    let (model, from, to) = (listed.full.clone(), from.map(str::to_owned), digest.to_owned());
    draft.notes.push(Note::Begun { model, from, to });
}

/// What the registry says of the version, where it names it.
pub(super) fn ask<'a>(
    view: &View<'a>,
    listed: &Listed<'_>,
    digest: &str,
    draft: &mut Draft,
) -> Option<&'a Manifest> {
    let lookup = view.observed.lookups.get(&listed.full);
    let outdated = lookups::is_outdated(view, listed);
    if outdated || lookup.is_none() {
        draft.asks_registry = true;
        draft.because("asks the registry what the tag names".to_owned());
        return None;
    }
    let lookup = lookup?;
    if let Err(error) = &lookup.answer
        && lookup.known.is_none()
    {
        draft.failed = true;
        let hint = error.hint.as_deref().unwrap_or("look at the name and at the registry");
        draft.problem(error.code, error.message.clone(), hint, lookup.at);
        draft.because(error.message.clone());
        return None;
    }
    lookup.known.as_ref().filter(|known| known.digest == digest)
}

/// Things that come before a pull.
fn waits(view: &View<'_>, listed: &Listed<'_>, digest: &str, draft: &mut Draft) -> bool {
    if view.is_hurt(listed, digest) {
        draft.because("waits until its damaged file is removed".to_owned());
        return true;
    }
    let verified = view.attempt_on(listed, StepKind::Verify, digest);
    if let Some(attempt) = verified.filter(|attempt| attempt.failures >= DAMAGES) {
        let until = attempt.at + AFTER_DAMAGES;
        if until > view.now {
            draft.failed = true;
            draft.until(
                "its files came damaged time and again, and it is not pulled for now".to_owned(),
                until,
            );
            return true;
        }
    }
    let pulled = view.attempt_on(listed, StepKind::Pull, digest);
    // What was looked at after the pull had come with it, and gave way since.
    let came = |since: Timestamp| {
        let looked = [StepKind::Verify, StepKind::Load, StepKind::Smoke].into_iter();
        looked.filter_map(|kind| view.attempt_on(listed, kind, digest)).any(|attempt| attempt.at >= since)
    };
    let another = pulled.filter(|attempt| {
        let elsewhere = attempt.failure.is_none() && view.installed(listed) != Some(digest);
        elsewhere && !came(attempt.at) && !listed.record.was_judged(digest, attempt.at)
    });
    if let Some(until) = another.map(|attempt| attempt.at + AFTER_ANOTHER).filter(|until| *until > view.now) {
        let text = format!("a pull brought something else than {}, which the registry names", short(digest));
        draft.until(text, until);
        return true;
    }
    keep(view, listed, digest, draft)
}

/// Gives the version that is there a name of its own, before another takes its place. Whether that is still to be done.
pub(super) fn keep(view: &View<'_>, listed: &Listed<'_>, digest: &str, draft: &mut Draft) -> bool {
    let Some(installed) = view.installed(listed).filter(|installed| *installed != digest) else {
        return false;
    };
    let worth = listed.record.barred(installed).is_none()
        && !view.is_hurt(listed, installed)
        && view.is_whole(installed) != Some(false);
    if !worth || view.is_kept(listed, installed) {
        return false;
    }
    begin(view, listed, digest, draft);
    let attempt = view.attempt(&listed.full, StepKind::Name);
    if let Some(until) = view.backs_off(attempt) {
        let why = attempt.and_then(|attempt| attempt.failure.as_ref()).map_or("", |failure| &failure.message);
        draft.until(format!("{} could not be kept under a name of its own: {why}", short(installed)), until);
        return true;
    }
    let (from, to) = (listed.model.reference.clone(), listed.kept(installed));
    let action = Action::Copy { from, to, digest: installed.to_owned() };
    let reason = format!("keeps {} before {} takes its place", short(installed), short(digest));
    draft.because(reason.clone());
    draft.steps.push((Urgency::Move, Step { model: listed.full.clone(), action, reason }));
    true
}

fn refuse(view: &View<'_>, listed: &Listed<'_>, why: (&str, &str), draft: &mut Draft) {
    let (room, digest) = why;
    draft.failed |= view.installed(listed).is_none();
    let message = format!("{} is not pulled at {}: {room}", listed.name(), short(digest));
    draft.because(format!("the pull of {} is refused: {room}", short(digest)));
    let hint = "enlarge the volume, take a model out of node.toml, or lower `[models] reserve`";
    draft.problem("model_disk_full", message, hint, view.now);
}

/// The last pull failed.
fn failed(view: &View<'_>, listed: &Listed<'_>, digest: &str, draft: &mut Draft) {
    let Some(attempt) = view.attempt_on(listed, StepKind::Pull, digest) else { return };
    let Some(failure) = &attempt.failure else { return };
    draft.failed |= view.installed(listed).is_none();
    let until = view.backs_off(Some(attempt)).unwrap_or(view.now);
    draft.until(format!("{} ({} failures in a row)", failure.message, attempt.failures), until);
    let hint = failure.hint.as_deref().unwrap_or("what came is kept, and the pull is taken up again");
    draft.problem(failure.code, failure.message.clone(), hint, attempt.at);
}

fn what(step: &Step) -> String {
    match &step.action {
        Action::Delete { name } => name.to_string(),
        _ => "files that no model needs".to_owned(),
    }
}

/// How far the pull is, in words.
pub(super) fn progress(view: &View<'_>, listed: &Listed<'_>) -> Option<(f64, String)> {
    let pulling = view.observed.pulling.as_ref().filter(|pulling| pulling.model == listed.full)?;
    let (done, total) = (pulling.progress.completed_bytes, pulling.progress.total_bytes);
    let known = view.known(listed).filter(|known| known.digest == pulling.digest).map(Manifest::size_bytes);
    let total = total.max(known.unwrap_or_default());
    let idle = view.since(pulling.moved_at).as_secs() / SILENCE_STEP.as_secs() * SILENCE_STEP.as_secs();
    let silence = if idle > 0 { format!(", and nothing has come for {idle} s") } else { String::new() };
    let before = super::report::before(view.attempt_on(listed, StepKind::Pull, &pulling.digest));
    Some((
        super::report::share(done, total),
        format!("pulls {}: {} of {}{silence}{before}", short(&pulling.digest), bytes(done), bytes(total)),
    ))
}

/// A pull that is under way and that nobody wants any more.
pub(super) fn dropped(view: &View<'_>, goals: &[(&Listed<'_>, Goal)]) -> Option<String> {
    let pulling = view.observed.pulling.as_ref()?;
    let goal = goals.iter().find(|(listed, _)| listed.full == pulling.model).map(|(_, goal)| goal);
    match goal {
        None => Some(format!("node.toml no longer has {}", pulling.model)),
        Some(goal) if goal.digest.as_deref() == Some(pulling.digest.as_str()) => None,
        // The server does not answer, and nothing else is known.
        Some(goal) if goal.asked.is_none() => None,
        Some(goal) => {
            let to = goal.digest.as_deref().map_or("no version".to_owned(), short);
            let by = goal.asked.as_ref().is_some_and(|(_, source)| *source == Source::Followed);
            let why = if by { "the tag has moved" } else { "another one is asked for" };
            Some(format!("{} is to be {to} and not {}: {why}", pulling.model, short(&pulling.digest)))
        }
    }
}
