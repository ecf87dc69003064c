//! `[services.NAME.update]`

use super::{command, list};
use crate::config::findings::{Findings, Wrong};
use crate::config::settings::{Port, Strategy, Update};
use crate::config::text::{quantity, window};
use crate::config::tree::Place;
use crate::config::written;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Registries throttle; a node that asks more often than this is refused some day.
const EVERY: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(720 * 60 * 60);
const DEADLINE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 60 * 60);
const MIN_HEALTHY: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(24 * 60 * 60);

/// What nobody took for a year is not taken at all.
const MIN_AGE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(8760 * 60 * 60);
/// A connection that lives longer than a day outlives the next update too.
const DRAIN: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(24 * 60 * 60);

/// Checks `[services.NAME.update]`. `ports` is what the service publishes, if that is known.
pub(super) fn update(
    service: &written::Service,
    service_place: Place<'_>,
    ports: Option<&[Port]>,
    findings: &mut Findings,
) -> Option<Update> {
    let (written, place) = (&service.update, service_place.key("update"));
    let every = every(&written.every, place.key("every"), findings);
    let gate = gate(written, place, findings);
    let strategy = strategy(service, place.key("strategy"), ports, findings);
    let mut duration =
        |key, text: &str, range| findings.take(place.key(key).at(), quantity::duration_in(text, range));
    let min_age = duration("min_age", &written.min_age, MIN_AGE);
    let drain = duration("drain", &written.drain, DRAIN);
    let windows = list(&written.window, place.key("window"), findings, window::window);
    let before = command(&written.before, place.key("before"), findings);
    let after = command(&written.after, place.key("after"), findings);
    let (deadline, min_healthy) = gate?;
    Some(Update {
        every: every?,
        deadline,
        min_healthy,
        strategy: strategy?,
        min_age: min_age?,
        windows: windows?,
        drain: drain?,
        before: before?,
        after: after?,
    })
}

/// How often a registry is asked; the inner `None` is "never".
pub(super) fn every(text: &str, place: Place<'_>, findings: &mut Findings) -> Option<Option<Duration>> {
    if text == "never" {
        return Some(None);
    }
    let hint = "write a duration from 1s to 720h such as \"60s\", or \"never\"";
    let every = quantity::duration_in(text, EVERY).map_err(|wrong| wrong.hint(hint));
    findings.take(place.at(), every).map(Some)
}

/// `deadline` and `min_healthy`.
fn gate(
    written: &written::Update,
    place: Place<'_>,
    findings: &mut Findings,
) -> Option<(Duration, Duration)> {
    let mut duration =
        |key, text: &str, range| findings.take(place.key(key).at(), quantity::duration_in(text, range));
    let deadline = duration("deadline", &written.deadline, DEADLINE);
    let min_healthy = duration("min_healthy", &written.min_healthy, MIN_HEALTHY);
    let (deadline, min_healthy) = (deadline?, min_healthy?);
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
    Some((deadline, min_healthy))
}

/// The strategy that is written, else blue-green where new connections can be led to a container that is known to work
/// while the old one still runs. GPUs are seldom free for two.
fn strategy(
    service: &written::Service,
    place: Place<'_>,
    ports: Option<&[Port]>,
    findings: &mut Findings,
) -> Option<Strategy> {
    let ports = ports?;
    match service.update.strategy {
        Some(written::Strategy::Recreate) => Some(Strategy::Recreate),
        Some(written::Strategy::BlueGreen) if service.network == written::Network::Host => {
            let wrong = "\"blue-green\" is not possible on the host's network: two containers cannot have the same port there";
            findings.add(
                place.at(),
                Wrong::new(wrong).hint("write \"recreate\", or `ports` in place of `network = \"host\"`"),
            );
            None
        }
        Some(written::Strategy::BlueGreen) if ports.is_empty() => {
            let wrong =
                Wrong::absent("\"blue-green\" has nothing to switch: the service publishes no `ports`");
            findings.add(place.at(), wrong.hint("write \"recreate\", or `ports`"));
            None
        }
        Some(written::Strategy::BlueGreen) => Some(Strategy::BlueGreen),
        None => {
            let health = &service.health;
            let is_asked = health.http.is_some() || health.tcp.is_some() || health.exec.is_some();
            // What writes to a folder of the host may not expect a second one there: a database, a server of models.
            let writes = service.mounts.iter().any(|mount| !mount.ends_with(":ro"));
            let side_by_side = !ports.is_empty() && is_asked && service.gpus.is_none() && !writes;
            Some(if side_by_side { Strategy::BlueGreen } else { Strategy::Recreate })
        }
    }
}
