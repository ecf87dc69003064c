//! When the registry is asked what a tag names.
//!
//! A tag that is followed is asked for at the interval of node.toml, moved a little by its name so that a node does not
//! ask for all at once. One whose version has to be pulled is asked for however it is set. What is pinned and there is
//! never asked for.

use super::view::{Listed, View};
use crate::models::observed::{Lookup, StepKind};
use jiff::Timestamp;
use std::time::Duration;

/// From an answer that was none to the next question, at most.
const AFTER_FAILURE: Duration = Duration::from_secs(60);

/// When to ask; now, where that is not after now. `None`: never. `needed`: a pull waits for the answer.
pub(super) fn due(view: &View<'_>, listed: &Listed<'_>, needed: bool) -> Option<Timestamp> {
    let lookup = view.observed.lookups.get(&listed.full);
    let follows = listed.model.digest.is_none() && listed.record.pin.is_none();
    let every = view.settings.every.map(|every| moved(every, &listed.full));
    let interval = every.filter(|_| follows).or_else(|| needed.then_some(Duration::from_secs(3600)))?;
    let Some(Lookup { at, answer, .. }) = lookup else { return Some(view.now) };
    match answer {
        Err(_) => Some(*at + interval.min(AFTER_FAILURE)),
        Ok(_) => Some(*at + interval),
    }
}

/// A pull ended after the registry was asked, and did not bring what it said: the tag may have moved meanwhile.
pub(super) fn is_outdated(view: &View<'_>, listed: &Listed<'_>) -> bool {
    let pulled = view.attempt(&listed.full, StepKind::Pull).filter(|attempt| attempt.failure.is_none());
    let brought = pulled.filter(|attempt| attempt.digest.as_deref() != view.installed(listed));
    let lookup = view.observed.lookups.get(&listed.full);
    brought.is_some_and(|pulled| lookup.is_some_and(|lookup| lookup.at <= pulled.at))
}

/// Up to a tenth more, by name.
fn moved(every: Duration, name: &str) -> Duration {
    let spread = name.bytes().fold(7_u64, |sum, byte| (sum * 31 + u64::from(byte)) % 1009);
    every + every / 10 * u32::try_from(spread).unwrap_or_default() / 1009
}
