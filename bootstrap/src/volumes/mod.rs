//! Volumes: found by identity, proven blank before they are formatted, mounted, grown.
//!
//! Data flows sysfs and the device -> [`observe`] -> [`plan`] (pure) -> `apply`. In: the settings of one volume; out: a
//! step's ending and a [`handoff::Volume`]. The truth is on the disk: nothing is remembered between runs.

mod apply;
pub mod identify;
mod kernel;
pub mod mark;
pub(crate) mod observe;
pub mod plan;
pub mod signatures;
mod superblock;

use crate::clock::Clock;
use crate::step::{Ending, Fault, Intent, PlannedStep};
use apply::ApplyError;
use node::config::settings::Volume;
use node::handoff;
use node::paths::Paths;
use plan::{Action, Device, Match, Observation, Plan};
use signatures::Content;
use std::collections::BTreeMap;
use std::time::Duration;

/// How often sysfs is read while an attachment is awaited: at first often, because it mostly is about to come.
const FIRST_POLL: Duration = Duration::from_millis(250);
/// Two MiB of reads and a few ioctls.
const LOOK_DEADLINE: Duration = Duration::from_secs(60);
const LONGEST_POLL: Duration = Duration::from_secs(1);

/// What `run` would do with a volume.
pub(crate) fn preview(paths: &Paths, name: &str, wanted: &Volume) -> PlannedStep {
    let step = format!("volume {name}");
    match observe_and_plan(paths, name, wanted) {
        Err(fault) => PlannedStep::refuse(step, &fault),
        Ok((_, plan)) => match (&plan.action, plan.fault(name, wanted.optional)) {
            (Action::Wait, _) => {
                let reason = format!("wait up to {} s: {}", wanted.wait.as_secs(), plan.reason);
                PlannedStep::new(step, Intent::Change, reason)
            }
            (_, Some(fault)) => PlannedStep::refuse(step, &fault),
            (Action::Keep, None) => PlannedStep::new(step, Intent::Unchanged, plan.reason),
            (_, None) => PlannedStep::new(step, Intent::Change, plan.reason),
        },
    }
}

/// Makes a volume ready.
pub(crate) async fn run(
    paths: &Paths,
    clock: &Clock,
    name: &str,
    wanted: &Volume,
) -> (Ending, handoff::Volume) {
    let (observation, plan) = match wait_for_attachment(paths, clock, name, wanted).await {
        Ok(found) => found,
        Err(fault) => {
            let volume = describe(name, wanted, None, &fault.message);
            return (Ending::failed(fault), volume);
        }
    };
    if matches!(plan.action, Action::Format | Action::Mount { .. } | Action::Grow) {
        // What follows may take its time; what was decided is in the log before it is begun.
        tracing::info!("volume {name}: begins: {}", plan.reason);
    }
    let Match::One(device) = &observation.device else {
        let fault = plan
            .fault(name, wanted.optional)
            .unwrap_or_else(|| Fault::new("volume_absent", plan.reason.clone(), None));
        return (Ending::failed(fault), describe(name, wanted, None, &plan.reason));
    };
    let ending = match apply(paths, name, wanted, (device, &plan)).await {
        Ok(ending) => ending,
        Err(error) => {
            let mut fault = Fault::from_error(code(&error), &error);
            fault.message = format!("volume {name}: {}", fault.message);
            Ending::failed(fault)
        }
    };
    let now = observe::observe(paths, wanted).ok();
    let volume = describe(name, wanted, now.as_ref().or(Some(&observation)), &ending.reason);
    (ending, volume)
}

fn code(error: &ApplyError) -> &'static str {
    match error {
        ApplyError::Changed { .. } => "volume_changed",
        ApplyError::Command { .. } | ApplyError::Io { .. } => "volume_failed",
    }
}

fn observe_and_plan(paths: &Paths, name: &str, wanted: &Volume) -> Result<(Observation, Plan), Fault> {
    let observation = observe::observe(paths, wanted).map_err(|error| {
        let message = format!("volume {name}: cannot read the block devices: {error}");
        Fault::new("volume_unreadable", message, Some("/proc and /sys must be mounted"))
    })?;
    let plan = plan::plan(wanted, &observation);
    Ok((observation, plan))
}

/// Looks until the volume is attached or its `wait` is over.
async fn wait_for_attachment(
    paths: &Paths,
    clock: &Clock,
    name: &str,
    wanted: &Volume,
) -> Result<(Observation, Plan), Fault> {
    let until = clock.elapsed() + wanted.wait;
    let mut pause = FIRST_POLL;
    let mut said = false;
    loop {
        let (paths, owned_name, owned) = (paths.clone(), name.to_owned(), wanted.clone());
        let look = tokio::task::spawn_blocking(move || observe_and_plan(&paths, &owned_name, &owned));
        let (observation, mut plan) = match tokio::time::timeout(LOOK_DEADLINE, look).await {
            Ok(Ok(looked)) => looked?,
            Ok(Err(panicked)) => return Err(Fault::new("internal_error", panicked.to_string(), None)),
            Err(_) => {
                let message =
                    format!("volume {name}: a device did not answer within {} s", LOOK_DEADLINE.as_secs());
                return Err(Fault::new("volume_unreadable", message, Some("see the kernel's log")));
            }
        };
        if plan.action != Action::Wait {
            return Ok((observation, plan));
        }
        if clock.elapsed() >= until {
            plan.reason = format!("waited {} s, but {}", wanted.wait.as_secs(), plan.reason);
            return Ok((observation, plan));
        }
        if !said {
            said = true;
            tracing::info!("volume {name}: {}; waits up to {} s for it", plan.reason, wanted.wait.as_secs());
        }
        tokio::time::sleep(pause.min(until.saturating_sub(clock.elapsed()))).await;
        pause = (pause * 2).min(LONGEST_POLL);
    }
}

async fn apply(
    paths: &Paths,
    name: &str,
    wanted: &Volume,
    (device, plan): (&Device, &Plan),
) -> Result<Ending, ApplyError> {
    if let Some(fault) = plan.fault(name, wanted.optional) {
        return Ok(Ending::failed(fault));
    }
    let mut note = None;
    if matches!(plan.action, Action::Format | Action::Mount { .. }) {
        note = apply::prepare_mount_point(&paths.at(&wanted.mount))?;
    }
    if plan.action == Action::Format {
        apply::format(paths, name, wanted, device).await?;
    }
    if matches!(plan.action, Action::Format | Action::Mount { .. }) {
        let (paths, wanted, mounted) = (paths.clone(), wanted.clone(), device.clone());
        apply::blocking("mount", device, move || apply::mount_device(&paths, &wanted, &mounted)).await?;
    }
    let grows = matches!(plan.action, Action::Grow | Action::Mount { grow: true });
    let not_grown = if grows { apply::grow(paths, wanted, device).await.err() } else { None };
    let note = note.map(|note| format!(" ({note})")).unwrap_or_default();
    let reason = format!("{}{note}", plan.reason);
    Ok(match (&plan.action, not_grown) {
        (Action::Keep, _) => Ending::unchanged(reason),
        (Action::Grow, Some(error)) => {
            Ending::unchanged(format!("{reason}: failed")).with_fault(not_grown_fault(name, &error))
        }
        (_, Some(error)) => {
            Ending::done(format!("{reason}: not grown")).with_fault(not_grown_fault(name, &error))
        }
        (_, None) => Ending::done(reason),
    })
}

/// The volume is there and works, only smaller than it could be: a problem, but no failure of the step.
fn not_grown_fault(name: &str, error: &ApplyError) -> Option<Fault> {
    let mut fault = Fault::from_error("volume_not_grown", error);
    fault.message = format!("volume {name}: {}", fault.message);
    Some(fault)
}

fn describe(name: &str, wanted: &Volume, observation: Option<&Observation>, reason: &str) -> handoff::Volume {
    let device = observation.and_then(|observation| match &observation.device {
        Match::One(device) => Some(device),
        _ => None,
    });
    let found = observation.and_then(|observation| match &observation.content {
        Some(Ok(Content::Filesystem(found))) => Some(found),
        _ => None,
    });
    let in_place = |used: &plan::Use| {
        matches!(used, plan::Use::Mounted { at, filesystem, read_only: false }
            if *at == wanted.mount && filesystem == wanted.filesystem.name())
    };
    handoff::Volume {
        name: name.to_owned(),
        volume_id: device.and_then(|device| device.volume_id.clone()),
        device: device.map(|device| device.node.clone()),
        mount: wanted.mount.clone(),
        mounted: device.is_some_and(|device| device.uses.iter().any(in_place)),
        filesystem: found.map(|found| found.kind.to_owned()),
        uuid: found.and_then(|found| found.uuid.clone()),
        size_bytes: device.map(|device| device.size_bytes),
        optional: wanted.optional,
        reason: reason.to_owned(),
    }
}

/// Volumes in groups that can be made ready side by side. A volume that is mounted inside another one comes after it,
/// in the same group.
pub(crate) fn groups(volumes: &BTreeMap<String, Volume>) -> Vec<Vec<String>> {
    let inside =
        |inner: &str, outer: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'));
    let mut by_mount: Vec<(&String, &Volume)> = volumes.iter().collect();
    by_mount.sort_by(|(_, left), (_, right)| left.mount.cmp(&right.mount));
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for (name, volume) in by_mount {
        match groups.iter_mut().find(|(outer, _)| inside(&volume.mount, outer)) {
            Some((_, group)) => group.push(name.clone()),
            None => groups.push((volume.mount.clone(), vec![name.clone()])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}
