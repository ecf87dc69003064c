//! What is told of a volume when its step has ended: the step's ending, and what the handoff says of it. Values only.

use super::apply::Applied;
use super::plan::{Action, Match, Observation, Plan, Use};
use super::signatures::{Content, Found, Partition};
use crate::step::{Ending, Fault};
use node::config::settings::Volume;
use node::fault::Hint;
use node::handoff;

/// How the step ended that did what was planned.
pub(super) fn ending(name: &str, plan: &Plan, applied: Applied) -> Ending {
    let mut reason = plan.reason.clone();
    if !applied.notes.is_empty() {
        reason = format!("{reason} ({})", applied.notes.join("; "));
    }
    match (&plan.action, applied.not_grown) {
        (Action::Keep, _) => Ending::unchanged(reason),
        (Action::Grow { .. }, Some(error)) => {
            Ending::unchanged(format!("{reason}: failed")).with_fault(Some(not_grown(name, &error)))
        }
        (_, Some(error)) => {
            Ending::done(format!("{reason}: not grown")).with_fault(Some(not_grown(name, &error)))
        }
        (_, None) => Ending::done(reason),
    }
}

/// The volume is there and works, only smaller than it could be: a problem, but no failure of the step.
fn not_grown(name: &str, error: &dyn Hint) -> Fault {
    fault(name, "volume_not_grown", error)
}

pub(super) fn fault(name: &str, code: &str, error: &dyn Hint) -> Fault {
    let mut fault = Fault::from_error(code, error);
    fault.message = format!("volume {name}: {}", fault.message);
    fault
}

/// A volume as it is now.
pub(super) fn describe(
    name: &str,
    wanted: &Volume,
    observation: Option<&Observation>,
    reason: &str,
) -> handoff::Volume {
    let device = observation.and_then(|observation| match &observation.device {
        Match::One(device) => Some(device),
        _ => None,
    });
    let (found, partition) = observation.map(contents).unwrap_or_default();
    let node = device.map(|device| {
        let known =
            device.partitions.iter().find(|known| partition.is_some_and(|only| only.number == known.index));
        known.map_or_else(|| device.node.clone(), |known| known.node.clone())
    });
    let size = partition.map(|partition| partition.size_bytes);
    handoff::Volume {
        name: name.to_owned(),
        volume_id: device.and_then(|device| device.volume_id.clone()),
        device: node,
        mount: wanted.mount.clone(),
        mounted: device.is_some_and(|device| device.uses.iter().any(|used| is_in_place(wanted, used))),
        filesystem: found.map(|found| found.kind.to_owned()),
        uuid: found.and_then(|found| found.uuid.clone()),
        label: found.and_then(|found| found.label.clone()),
        size_bytes: size.or(device.map(|device| device.size_bytes)),
        optional: wanted.optional,
        reason: reason.to_owned(),
    }
}

/// The file system, and the partition that it is in, if it is in one.
fn contents(observation: &Observation) -> (Option<&Found>, Option<&Partition>) {
    match &observation.content {
        Some(Ok(Content::Filesystem(found))) => (Some(found), None),
        Some(Ok(Content::Partition(partition))) => match &*partition.content {
            Content::Filesystem(found) => (Some(found), Some(partition)),
            _ => (None, None),
        },
        _ => (None, None),
    }
}

fn is_in_place(wanted: &Volume, used: &Use) -> bool {
    match used {
        Use::Mounted { at, filesystem, read_only }
        | Use::PartitionMounted { at, filesystem, read_only, .. } => {
            *at == wanted.mount && filesystem == wanted.filesystem.name() && !read_only
        }
        _ => false,
    }
}
