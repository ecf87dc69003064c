//! Carries out what was planned for one volume: `format` makes the file system, `partition` brings a partition into
//! place, `check` looks at a file system before it is mounted, `mount` mounts and grows it.
//!
//! In: the device and its plan. Out: what is worth telling beside the plan's reason. It always holds that whatever is
//! written to or mounted is first proven again, through the descriptor in use, to be what was planned; if anything
//! differs, nothing is written. Not its job: deciding (`plan`).

mod check;
mod exclusive;
mod format;
mod mount;
mod partition;

use super::plan::{Action, Device, Plan};
use crate::command::CommandError;
use nix::libc;
use node::config::settings::{Filesystem, Volume};
use node::fault::Hint;
use node::paths::Paths;
use std::io;
use std::time::Duration;

/// Reads of two MiB, a sync, or a mount that replays its journal.
const DEVICE_DEADLINE: Duration = Duration::from_secs(300);

/// Why a volume could not be made ready.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    #[error("cannot {operation} {object}")]
    Io {
        operation: &'static str,
        object: String,
        #[source]
        source: io::Error,
    },
    #[error("{device} is not what it was when it was planned ({what}); nothing was written")]
    Changed { device: String, what: String },
    #[error("cannot {operation} {object}")]
    Command {
        operation: &'static str,
        object: String,
        #[source]
        source: Box<CommandError>,
    },
    #[error("the file system on {object} is damaged: {what}")]
    Damaged { filesystem: Filesystem, object: String, what: String },
}

impl ApplyError {
    /// Code for `problems[]`.
    pub(super) fn code(&self) -> &'static str {
        match self {
            ApplyError::Changed { .. } => "volume_changed",
            ApplyError::Damaged { .. } => "volume_damaged",
            ApplyError::Io { source, .. } if source.raw_os_error() == Some(libc::EBUSY) => "volume_in_use",
            ApplyError::Command { .. } | ApplyError::Io { .. } => "volume_failed",
        }
    }

    fn command(operation: &'static str, object: &str) -> impl FnOnce(CommandError) -> ApplyError {
        let object = object.to_owned();
        move |source| ApplyError::Command { operation, object, source: Box::new(source) }
    }
}

impl Hint for ApplyError {
    fn hint(&self) -> Option<String> {
        match self {
            ApplyError::Io { source, .. } if source.raw_os_error() == Some(libc::EBUSY) => {
                Some("something else uses the device; see lsblk and /proc/*/mountinfo".to_owned())
            }
            ApplyError::Changed { .. } => Some("run node-bootstrap again".to_owned()),
            ApplyError::Command { source, .. } => source.hint(),
            ApplyError::Damaged { filesystem, object, .. } => {
                let repair = match filesystem {
                    Filesystem::Ext4 => "e2fsck -f",
                    Filesystem::Xfs => "xfs_repair",
                };
                Some(format!("take a snapshot of the volume first, then run {repair} {object} by hand"))
            }
            ApplyError::Io { .. } => None,
        }
    }
}

fn io_error(operation: &'static str, object: impl Into<String>) -> impl FnOnce(io::Error) -> ApplyError {
    let object = object.into();
    move |source| ApplyError::Io { operation, object, source }
}

/// What came of a plan beside what its reason says.
#[derive(Debug, Default)]
pub(super) struct Applied {
    /// Worth a few words, but nothing is wrong.
    pub(super) notes: Vec<String>,
    /// It is usable, only smaller than it could be.
    pub(super) not_grown: Option<ApplyError>,
}

/// What is mounted: the whole device or its only partition.
#[derive(Debug, Clone)]
struct Target {
    node: String,
    number: (u64, u64),
}

/// Does what is planned.
pub(super) async fn carry_out(
    paths: &Paths,
    name: &str,
    wanted: &Volume,
    (device, plan): (&Device, &Plan),
) -> Result<Applied, ApplyError> {
    let mut applied = Applied::default();
    if plan.mounts() {
        applied.notes.extend(mount::prepare_mount_point(&paths.at(&wanted.mount))?);
    }
    let work = format::Work { paths, name, wanted, device };
    match &plan.action {
        Action::Format => work.blank().await?,
        Action::FormatAgain(mark) => work.again(mark).await?,
        Action::Mount(mounting) => {
            if let Some(finish) = &mounting.finish {
                applied.notes.extend(work.finish(finish).await?);
            }
        }
        _ => {}
    }
    let mut target = Target { node: device.node.clone(), number: device.number };
    if let Some(partition) = &plan.partition {
        target = partition::bring_up(paths, device, partition).await?;
        if plan.growth() == Some(true) {
            applied.not_grown = partition::grow(device, partition).await.err();
        }
    }
    mount_and_grow(paths, wanted, (device, plan), &target, &mut applied).await?;
    Ok(applied)
}

async fn mount_and_grow(
    paths: &Paths,
    wanted: &Volume,
    (device, plan): (&Device, &Plan),
    target: &Target,
    applied: &mut Applied,
) -> Result<(), ApplyError> {
    if matches!(&plan.action, Action::Mount(mounting) if mounting.check) {
        applied.notes.extend(check::repair(device, target).await?);
    }
    if plan.mounts() {
        let (paths, wanted, target) = (paths.clone(), wanted.clone(), target.clone());
        blocking("mount", device, move || mount::mount(&paths, &wanted, &target)).await?;
    }
    if plan.changes() {
        let (paths, wanted, target) = (paths.clone(), wanted.clone(), target.clone());
        blocking("set the owner of", device, move || mount::set_access(&paths, &wanted, &target)).await?;
    }
    if plan.growth().is_some() && applied.not_grown.is_none() {
        applied.not_grown = mount::grow(paths, wanted, target).await.err();
    }
    Ok(())
}

/// Runs what may hang with its device beside everything else, with a deadline.
async fn blocking<T: Send + 'static>(
    operation: &'static str,
    device: &Device,
    work: impl FnOnce() -> Result<T, ApplyError> + Send + 'static,
) -> Result<T, ApplyError> {
    let failed = |source| ApplyError::Io { operation, object: device.node.clone(), source };
    match tokio::time::timeout(DEVICE_DEADLINE, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(result)) => result,
        Ok(Err(panicked)) => Err(failed(io::Error::other(panicked))),
        Err(_) => Err(failed(io::ErrorKind::TimedOut.into())),
    }
}
