//! `[services.NAME.update]`

use crate::config::findings::{Findings, Wrong};
use crate::config::settings::{Strategy, Update};
use crate::config::text::quantity;
use crate::config::tree::Place;
use crate::config::written;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Registries throttle; a node that asks more often than this is refused some day.
const EVERY: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(720 * 60 * 60);
const DEADLINE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 60 * 60);
const MIN_HEALTHY: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(24 * 60 * 60);

/// Checks `[services.NAME.update]`.
pub(super) fn update(written: &written::Update, place: Place<'_>, findings: &mut Findings) -> Option<Update> {
    let every = match written.every.as_str() {
        "never" => Some(None),
        text => {
            let hint = "write a duration from 1s to 720h such as \"60s\", or \"never\"";
            let every = quantity::duration_in(text, EVERY).map_err(|wrong| wrong.hint(hint));
            findings.take(place.key("every").at(), every).map(Some)
        }
    };
    let mut duration =
        |key, text: &str, range| findings.take(place.key(key).at(), quantity::duration_in(text, range));
    let deadline = duration("deadline", &written.deadline, DEADLINE);
    let min_healthy = duration("min_healthy", &written.min_healthy, MIN_HEALTHY);
    let (every, deadline, min_healthy) = (every?, deadline?, min_healthy?);
    if min_healthy >= deadline {
        let culprit = if place.key("min_healthy").is_written() { "min_healthy" } else { "deadline" };
        let wrong = Wrong::new(format!(
            "no update can pass: it has to be healthy for {} within {}",
            quantity::written(min_healthy),
            quantity::written(deadline)
        ));
        findings.add(place.key(culprit).at(), wrong.hint("make `deadline` longer than `min_healthy`"));
        return None;
    }
    Some(Update {
        every,
        deadline,
        min_healthy,
        strategy: Strategy::Recreate,
        min_age: Duration::ZERO,
        windows: Vec::new(),
        drain: Duration::from_secs(30),
        before: Vec::new(),
        after: Vec::new(),
    })
}
