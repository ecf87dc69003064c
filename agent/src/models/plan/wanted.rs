//! Which version a model is to be.
//!
//! Asked for is node.toml's digest, else a person's pin, else what the tag names at the registry, else what is there. What
//! was asked for and is barred, damaged, or cannot be had gives way to the last version that was good and is still there.

use super::view::{Listed, View};
use super::words::short;
use crate::models::observed::StepKind;

/// Pulls of one version that ended with a damaged file, before it is left alone.
pub(super) const DAMAGES: u32 = 3;

/// Who asks for a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// node.toml's digest.
    Configured,
    /// A person.
    Pinned,
    /// The tag, at the registry.
    Followed,
    /// Nobody else: it is there.
    Installed,
}

/// Why what was asked for is not gone to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Instead {
    /// It failed here before.
    Barred(String),
    /// It is neither here, nor what the tag names, which is that.
    Elsewhere(String),
    /// A file of it is not what it should be.
    Damaged,
}

/// What a model is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Goal {
    /// The version to go to or to stay at; absent where there is none.
    pub(super) digest: Option<String>,
    /// What was asked for, and by whom; absent while nobody knows.
    pub(super) asked: Option<(String, Source)>,
    /// Why the two differ.
    pub(super) instead: Option<Instead>,
}

pub(super) fn goal(view: &View<'_>, listed: &Listed<'_>) -> Goal {
    let Some((digest, source)) = asked(view, listed) else {
        return Goal { digest: None, asked: None, instead: None };
    };
    let instead = hindrance(view, listed, &digest, source);
    let to = match &instead {
        None => Some(digest.clone()),
        // With nothing to go back to, what is damaged is repaired in place.
        Some(Instead::Damaged) => Some(way_back(view, listed, &digest).unwrap_or(&digest).to_owned()),
        Some(_) => way_back(view, listed, &digest).map(str::to_owned),
    };
    Goal { digest: to, asked: Some((digest, source)), instead }
}

fn asked(view: &View<'_>, listed: &Listed<'_>) -> Option<(String, Source)> {
    let configured = listed.model.digest.clone().map(|digest| (digest, Source::Configured));
    let pinned = || listed.record.pin.as_ref().map(|pin| (pin.digest.clone(), Source::Pinned));
    let followed = || view.known(listed).map(|known| (known.digest.clone(), Source::Followed));
    let installed = || view.installed(listed).map(|digest| (digest.to_owned(), Source::Installed));
    configured.or_else(pinned).or_else(followed).or_else(installed)
}

fn hindrance(view: &View<'_>, listed: &Listed<'_>, digest: &str, source: Source) -> Option<Instead> {
    if let Some(barred) = listed.record.barred(digest) {
        return Some(Instead::Barred(barred.cause.clone()));
    }
    let at_registry = view.known(listed).map(|known| known.digest.as_str());
    let damages = view.attempt_on(listed, StepKind::Verify, digest).map_or(0, |attempt| attempt.failures);
    let here = view.installed(listed) == Some(digest);
    let broken = here && (view.is_hurt(listed, digest) || view.is_whole(digest) == Some(false));
    if broken || (damages >= DAMAGES && !view.is_there(listed, digest)) {
        return Some(Instead::Damaged);
    }
    let named = at_registry.filter(|named| *named != digest)?;
    let pinned = matches!(source, Source::Configured | Source::Pinned);
    (pinned && !view.is_there(listed, digest)).then(|| Instead::Elsewhere(named.to_owned()))
}

/// The version to be instead of that one: good, and there.
pub(super) fn way_back<'a>(view: &View<'_>, listed: &'a Listed<'_>, not: &str) -> Option<&'a str> {
    let record = &listed.record;
    let from = record.under_way().and_then(|open| open.from.as_deref());
    let usable =
        |digest: &&str| *digest != not && record.barred(digest).is_none() && view.is_there(listed, digest);
    [record.good.as_deref(), record.previous.as_deref(), from].into_iter().flatten().find(usable)
}

/// Versions that are never removed: what it is, was, and may be next.
pub(super) fn needed(listed: &Listed<'_>, goal: &Goal) -> Vec<String> {
    let record = &listed.record;
    let open = record.under_way();
    let asked = goal.asked.as_ref().map(|(digest, _)| digest.clone());
    let all = [
        goal.digest.clone(),
        asked,
        record.good.clone(),
        record.previous.clone(),
        record.pin.as_ref().map(|pin| pin.digest.clone()),
        listed.model.digest.clone(),
        open.map(|open| open.to.clone()),
        open.and_then(|open| open.from.clone()),
    ];
    all.into_iter().flatten().filter(|digest| record.barred(digest).is_none()).collect()
}

/// Why it is not what was asked for, in words.
pub(super) fn words(goal: &Goal, name: &str) -> Option<String> {
    let (asked, source) = goal.asked.as_ref()?;
    let asked = short(asked);
    let instead = match goal.instead.as_ref()? {
        Instead::Barred(cause) => {
            format!(
                "{asked} is in quarantine: {cause}; `agentctl models update {name} --retry` takes it again"
            )
        }
        Instead::Elsewhere(named) => {
            let by = if *source == Source::Configured { "node.toml" } else { "a person" };
            format!(
                "{by} pins {asked}, but the registry has {} under {name}, and {asked} is not kept here",
                short(named)
            )
        }
        Instead::Damaged => format!("a file of {asked} is missing or is not what its name says"),
    };
    Some(match &goal.digest {
        Some(stays) if *stays != *goal.asked.as_ref().map_or("", |(digest, _)| digest) => {
            format!("{instead}; it stays at {}", short(stays))
        }
        _ => instead,
    })
}
