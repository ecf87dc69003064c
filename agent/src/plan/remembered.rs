//! What is remembered of a service, as `agentctl explain` shows it: its last updates, and what persons asked of it.

use super::view::View;
use super::wanted::asked_for;
use crate::history::{Update, UpdateEnd};
use crate::status::{Explanation, PastUpdate, PastUpdateState, Target};

/// An explanation that holds only what is on disk.
pub(super) fn remembered(view: &View<'_>) -> Explanation {
    let record = view.record;
    Explanation {
        service: view.name().to_owned(),
        good: record.good.as_ref().map(|good| good.digest.clone()),
        previous: record.previous.as_ref().map(|previous| previous.digest.clone()),
        target: asked_for(view).map(|target| Target {
            digest: target.digest.clone(),
            named: target.named.clone(),
            at: target.at,
        }),
        held_since: record.held_since,
        stopped_since: record.stopped_since,
        updates: record.updates.iter().map(shown).collect(),
        ..Explanation::default()
    }
}

fn shown(update: &Update) -> PastUpdate {
    let (state, cause) = match &update.end {
        None => (PastUpdateState::UnderWay, None),
        Some(UpdateEnd::Passed) => (PastUpdateState::Passed, None),
        Some(UpdateEnd::Failed(cause)) => (PastUpdateState::Failed, Some(cause.clone())),
        Some(UpdateEnd::Overtaken) => (PastUpdateState::Overtaken, None),
    };
    PastUpdate {
        digest: update.version.digest.clone(),
        from: update.from.as_ref().map(|from| from.digest.clone()),
        began: update.began,
        ended: update.ended,
        state,
        cause,
    }
}
