//! Volumes: found by identity, proven blank before they are formatted, mounted, grown.
//!
//! Data flows sysfs and the device -> [`observe`] -> [`plan`] (pure) -> `apply`. In: the settings of one volume; out: a
//! step's ending and a [`handoff::Volume`]. The truth is on the disk: nothing is remembered between runs.

mod apply;
mod attachments;
pub mod identify;
mod kernel;
pub mod mark;
pub(crate) mod observe;
pub mod plan;
mod report;
pub mod signatures;
mod superblock;

pub(crate) use attachments::Attachments;

use crate::clock::Clock;
use crate::step::{Ending, Fault, Intent, PlannedStep};
use apply::ApplyError;
use node::config::settings::Volume;
use node::handoff;
use node::paths::Paths;
use plan::{Action, Match, Observation, Plan};
use std::collections::BTreeMap;
use std::time::Duration;

/// A few MiB of reads and a few ioctls.
const LOOK_DEADLINE: Duration = Duration::from_secs(60);
/// How often a device that is not what it was when it was planned is planned for anew.
const PLANS: usize = 3;

/// What `run` would do with a volume.
pub(crate) async fn preview(paths: &Paths, name: &str, wanted: &Volume) -> PlannedStep {
    let step = format!("volume {name}");
    match look(paths, name, wanted).await {
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
    mut attachments: Attachments,
    (name, wanted): (&str, &Volume),
) -> (Ending, handoff::Volume) {
    let mut plans_left = PLANS;
    loop {
        plans_left -= 1;
        let looked = wait_for_attachment(paths, clock, &mut attachments, (name, wanted)).await;
        let (observation, plan) = match looked {
            Ok(looked) => looked,
            Err(fault) => {
                let volume = report::describe(name, wanted, None, &fault.message);
                return (Ending::failed(fault), volume);
            }
        };
        if !plan.mounts() {
            apply::close_mount_point(paths, name, wanted, &observation);
        }
        let ending = match carry_out(paths, name, wanted, (&observation, &plan)).await {
            Ok(ending) => ending,
            Err(ApplyError::Changed { what, .. }) if plans_left > 0 => {
                tracing::info!("volume {name}: it is not as it was ({what}); looks again");
                continue;
            }
            Err(error) => Ending::failed(report::fault(name, error.code(), &error)),
        };
        let now = look(paths, name, wanted).await.ok().map(|(now, _)| now);
        let volume = report::describe(name, wanted, now.as_ref().or(Some(&observation)), &ending.reason);
        return (ending, volume);
    }
}

/// Looks until the volume is attached or its `wait` is over.
async fn wait_for_attachment(
    paths: &Paths,
    clock: &Clock,
    attachments: &mut Attachments,
    (name, wanted): (&str, &Volume),
) -> Result<(Observation, Plan), Fault> {
    let until = clock.elapsed() + wanted.wait;
    let mut said = false;
    loop {
        attachments.forget();
        let (observation, mut plan) = look(paths, name, wanted).await?;
        if plan.action != Action::Wait {
            return Ok((observation, plan));
        }
        if clock.elapsed() >= until {
            plan.reason = format!("waited {} s, but {}", wanted.wait.as_secs(), plan.reason);
            return Ok((observation, plan));
        }
        if !said {
            said = true;
            apply::close_mount_point(paths, name, wanted, &observation);
            tracing::info!("volume {name}: {}; waits up to {} s for it", plan.reason, wanted.wait.as_secs());
        }
        attachments.next(until.saturating_sub(clock.elapsed())).await;
    }
}

/// Observes and plans, beside everything else.
async fn look(paths: &Paths, name: &str, wanted: &Volume) -> Result<(Observation, Plan), Fault> {
    let (paths, owned) = (paths.clone(), wanted.clone());
    let looking = tokio::task::spawn_blocking(move || {
        let observation = observe::observe(&paths, &owned)?;
        let plan = plan::plan(&owned, &observation);
        Ok::<_, std::io::Error>((observation, plan))
    });
    match tokio::time::timeout(LOOK_DEADLINE, looking).await {
        Ok(Ok(Ok(looked))) => Ok(looked),
        Ok(Ok(Err(error))) => {
            let message = format!("volume {name}: cannot read the block devices: {error}");
            Err(Fault::new("volume_unreadable", message, Some("/proc and /sys must be mounted")))
        }
        Ok(Err(panicked)) => {
            let message = format!("volume {name}: looking at the devices was cut off: {panicked}");
            Err(Fault::new("internal_error", message, Some("run node-bootstrap again")))
        }
        Err(_) => {
            let message =
                format!("volume {name}: a device did not answer within {} s", LOOK_DEADLINE.as_secs());
            Err(Fault::new("volume_unreadable", message, Some("see the kernel's log")))
        }
    }
}

async fn carry_out(
    paths: &Paths,
    name: &str,
    wanted: &Volume,
    (observation, plan): (&Observation, &Plan),
) -> Result<Ending, ApplyError> {
    if let Some(fault) = plan.fault(name, wanted.optional) {
        return Ok(Ending::failed(fault));
    }
    let Match::One(device) = &observation.device else {
        let hint = "attach the volume and run node-bootstrap again";
        let message = format!("volume {name}: {}", plan.reason);
        return Ok(Ending::failed(Fault::new("volume_absent", message, Some(hint))));
    };
    let content = observation.content.as_ref().and_then(|content| content.as_ref().ok());
    if plan.changes() {
        // What follows may take its time; what was decided is in the log before it is begun.
        tracing::info!("volume {name}: begins: {}", plan.reason);
    }
    let applied = apply::carry_out(paths, name, wanted, (device, content), plan).await?;
    Ok(report::ending(name, plan, applied))
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
