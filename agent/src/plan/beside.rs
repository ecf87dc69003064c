//! The blue-green update: the new container runs beside the old one; once it is good its ports lead to it, and the old
//! one is stopped when its clients are gone.
//!
//! The order is: start beside, gate, note it good, rules, drain, stop. A gate that says no ends at the second; neither the
//! old container nor its ports were touched until then.

use super::draft::Draft;
use super::rules::all_lead_to;
use super::steps;
use super::view::{View, is_of, paused, runs, version_of};
use crate::history::Version;
use crate::history::memory::{StopCause, pending};
use crate::observed::Container;
use crate::snapshot::RulesView;
use std::time::Duration;

/// An old container is given this long even if nobody is connected: a client may just have looked up its address.
const SHORTEST_DRAIN: Duration = Duration::from_secs(1);
/// How often the connections of an old container are counted.
const COUNT: Duration = Duration::from_secs(1);

/// Moves `target` one step towards being the one that serves, and all others towards their end.
pub(super) fn run(draft: &mut Draft, view: &View<'_>, target: &Version) {
    intruders(draft, view, target);
    let good = view.record.good.as_ref().filter(|good| *good != target);
    let old = good.and_then(|good| Some((view.container_of(good)?, good)));
    // What serves goes before what is to serve.
    if let Some((old, good)) = old.filter(|(old, _)| !runs(old)) {
        steps::drive(draft, view, old, good);
    }
    steps::run(draft, view, target);
    if let Some((old, good)) = old.filter(|(old, _)| runs(old)) {
        steps::drive(draft, view, old, good);
    }
    for old in others(view, target).filter(|old| served(view, old)) {
        drain(draft, view, target, old);
    }
}

/// Running containers that are neither the wanted nor the good one.
fn others<'a>(view: &View<'a>, target: &Version) -> impl Iterator<Item = &'a Container> {
    let good = view.record.good.as_ref().and_then(|good| view.container_of(good));
    let kept = [view.container_of(target), good, view.serving()];
    let other = move |container: &&'a Container| {
        (runs(container) || paused(container)) && !kept.iter().flatten().any(|kept| kept.id == container.id)
    };
    view.containers.iter().copied().filter(other)
}

/// Clients may be connected to it: it had the ports of the service before, and is not known to be bad.
fn served(view: &View<'_>, container: &Container) -> bool {
    let had_them = [&view.record.good, &view.record.previous].into_iter().flatten();
    view.record.barred(&version_of(container)).is_none()
        && (view.memory.draining.contains_key(&container.id)
            || view.leads_to(container) == Some(true)
            || had_them.into_iter().any(|version| is_of(container, version)))
}

/// What was overtaken, failed, or was started by somebody else is stopped at once.
fn intruders(draft: &mut Draft, view: &View<'_>, target: &Version) {
    for other in others(view, target).filter(|other| !served(view, other)) {
        let reason = format!("{} is not the version that is to run", other.name);
        steps::stop(draft, view, other, StopCause::Replaced, reason);
    }
}

/// A container that has to go before this one may start: one update at a time. What served before is started again at
/// once.
pub(super) fn too_many<'a>(view: &View<'a>, container: &Container) -> Option<&'a Container> {
    let good = view.record.good.as_ref();
    if good.is_some_and(|good| is_of(container, good)) {
        return None;
    }
    let serving = view.serving().map(|serving| &serving.id);
    view.containers.iter().copied().find(|other| {
        (runs(other) || paused(other))
            && other.id != container.id
            && Some(&other.id) != serving
            && !good.is_some_and(|good| is_of(other, good))
    })
}

/// Stops an old container once nobody is connected to it, or its time is over. Nothing of that begins before the ports
/// lead to the new one.
fn drain(draft: &mut Draft, view: &View<'_>, target: &Version, old: &Container) {
    if view.leads_to(old) != Some(true)
        && let Some(since) = view.memory.draining.get(&old.id)
    {
        // A clock that was set back makes the wait begin anew: better too long than connections cut.
        draft.draining.insert(old.id.clone(), (*since).min(view.now));
    }
    let Some(new) = view.serving() else { return };
    draft.retiring |= is_of(new, target);
    let RulesView::InForce(rules) = &view.observed.rules else {
        return draft.say(format!("{} runs on until the firewall can be changed", old.name));
    };
    if !all_lead_to(rules, new) || view.leads_to(old) == Some(true) {
        return draft.say(format!("{} runs on until its ports lead to {}", old.name, new.name));
    }
    let since = *draft.draining.entry(old.id.clone()).or_insert(view.now);
    let limit = pending(since, view.wanted.settings.update.drain, view.now);
    let shortest = pending(since, SHORTEST_DRAIN, view.now);
    let connections = view.observed.connections.get(&old.id).copied();
    let Some(until) = limit.filter(|_| shortest.is_some() || connections != Some(0)) else {
        let left = match connections {
            Some(0) => "nobody is connected to it any more".to_owned(),
            Some(count) => format!("its time to drain is over, with {count} connections open"),
            None => "its time to drain is over".to_owned(),
        };
        let reason = format!("{} makes room for {}: {left}", old.name, new.name);
        return steps::stop(draft, view, old, StopCause::Replaced, reason);
    };
    let open = connections.map_or_else(
        || "its connections cannot be counted".to_owned(),
        |count| format!("{count} connections"),
    );
    draft.wait(format!("draining {}: {open}, at most", old.name), until);
    draft.wakes.extend(view.now.checked_add(COUNT));
}
