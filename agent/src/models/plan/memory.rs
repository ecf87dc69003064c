//! Which models stay in memory where it cannot hold all that are to.
//!
//! In the order of their names: a model whose place another one before it took is left out, with the sizes, until another
//! version is there, the server is started again, or some time has passed. So they never push each other out in turn.

use super::view::{Listed, View};
use super::words::bytes;
use crate::models::observed::StepKind;
use jiff::Timestamp;
use std::time::Duration;

/// A model that was pushed out is not tried again sooner.
const AFTER_EVICTION: Duration = Duration::from_secs(1800);
/// A model that goes while another is being loaded, or so soon after, went for it.
const SHORTLY: Duration = Duration::from_secs(60);

/// Why a model is left out.
pub(super) struct Short {
    /// With the sizes.
    pub(super) text: String,
    /// When it is tried again, where time alone brings that.
    pub(super) until: Option<Timestamp>,
}

/// Whether the model has to be left out of memory.
pub(super) fn short(view: &View<'_>, listed: &Listed<'_>) -> Option<Short> {
    let digest = view.installed(listed)?;
    if view.in_memory(digest).is_some() {
        return None;
    }
    too_large(view, listed).or_else(|| pushed_out(view, listed, digest))
}

/// By what is known of the memory. GPUs have a memory of their own, of which nothing is known.
fn too_large(view: &View<'_>, listed: &Listed<'_>) -> Option<Short> {
    let holds = view.observed.memory_bytes.filter(|_| !view.serving.wants_gpus)?;
    let needs = size(view, listed)?;
    let mut taken: u64 = 0;
    for other in before(view, listed) {
        let size = size(view, other).unwrap_or(0);
        if taken.saturating_add(size) <= holds {
            taken += size;
        }
    }
    let text = || {
        let beside =
            if taken > 0 { format!(" beside {} of models before it", bytes(taken)) } else { String::new() };
        format!("its {} do not fit into the memory of {}{beside}", bytes(needs), bytes(holds))
    };
    (taken.saturating_add(needs) > holds).then(|| Short { text: text(), until: None })
}

/// By what the server did: it let go of this one to load one before it.
fn pushed_out(view: &View<'_>, listed: &Listed<'_>, digest: &str) -> Option<Short> {
    let gone = *view.observed.vanished.get(&listed.full)?;
    let up = view.up.as_ref()?;
    let loaded = view.attempt_on(listed, StepKind::Load, digest)?;
    if loaded.failure.is_some() || loaded.at < up.since || gone < loaded.at {
        return None;
    }
    let took = |other: &&Listed<'_>| {
        let Some(load) = view.attempt(&other.full, StepKind::Load) else { return false };
        let there = load.digest.as_deref().is_some_and(|digest| view.in_memory(digest).is_some());
        load.failure.is_none() && there && load.at >= loaded.at && gone <= load.at + SHORTLY
    };
    let other = before(view, listed).find(|other| took(other))?;
    let until = gone + AFTER_EVICTION;
    let sizes = |listed: &Listed<'_>| bytes(size(view, listed).unwrap_or_default());
    let text = format!(
        "the server let go of it ({}) to load {} ({}): its memory does not hold both",
        sizes(listed),
        other.name(),
        sizes(other)
    );
    (until > view.now).then_some(Short { text, until: Some(until) })
}

/// Models that are to be in memory and come before that one.
fn before<'v>(view: &'v View<'_>, listed: &Listed<'_>) -> impl Iterator<Item = &'v Listed<'v>> {
    let full = listed.full.clone();
    let others = view.listed.iter().take_while(move |other| other.full != full);
    others.filter(|other| other.model.keep_loaded)
}

/// In memory, else of its files, which is the least that it needs.
fn size(view: &View<'_>, listed: &Listed<'_>) -> Option<u64> {
    let digest = view.installed(listed)?;
    let loaded = view.in_memory(digest).map(|loaded| loaded.size_bytes);
    let installed = || view.up.as_ref()?.names.get(&listed.full).map(|name| name.installed.size_bytes);
    loaded.or_else(installed)
}
