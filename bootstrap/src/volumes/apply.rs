//! Carries out what was planned for one volume: `format` makes the file system, `partition` brings a partition into
//! place, `check` looks at a file system before it is mounted, `mount` mounts and grows it.
//!
//! In: what was seen and planned. Out: what is worth telling beside the plan's reason. It always holds that the device is
//! first proven again to be what was planned for, through a descriptor that stays open until the end (`proven`); if
//! anything differs, nothing is written. Not its job: deciding (`plan`).

mod check;
mod format;
mod mount;
mod partition;
mod proven;

use super::plan::{Action, Device, MountPoint, Mounting, Observation, Plan};
use super::signatures::Content;
use crate::command::CommandError;
use nix::libc;
use node::config::settings::{Filesystem, Volume};
use node::fault::Hint;
use node::paths::Paths;
use proven::Proven;
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
            ApplyError::Io { operation: "mount", source, .. }
                if source.raw_os_error() == Some(libc::EINVAL) =>
            {
                let hint = "the kernel's log says why; a volume made of a snapshot bears the UUID of the first one, and \
                            xfs does not mount both on one machine";
                Some(hint.to_owned())
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
            ApplyError::Io { object, .. } => {
                Some(format!("look for errors of {object} in `dmesg | tail`, then run node-bootstrap again"))
            }
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

/// Does what is planned for `device`, by what was read of it; only what is mounted already may be unreadable.
pub(super) async fn carry_out(
    paths: &Paths,
    name: &str,
    wanted: &Volume,
    (device, content): (&Device, Option<&Content>),
    plan: &Plan,
) -> Result<Applied, ApplyError> {
    let mut applied = Applied::default();
    if !plan.changes() {
        return Ok(applied);
    }
    if plan.mounts() {
        applied.notes.extend(mount::prepare_mount_point(&paths.at(&wanted.mount))?);
    }
    let work = format::Work { paths, name, wanted, device };
    let disk = prepare(&work, content, plan, &mut applied).await?;
    let mut target = Target { node: device.node.clone(), number: device.number };
    if let Some(partition) = &plan.partition {
        target = partition::bring_up(paths, &disk, partition).await?;
        if plan.growth() == Some(true) {
            applied.not_grown = partition::grow(&disk, partition).await.err();
        }
    }
    if matches!(&plan.action, Action::Mount(mounting) if mounting.check) {
        applied.notes.extend(check::repair(&target).await?);
    }
    mount_and_grow(paths, wanted, (device, plan), &target, &mut applied).await?;
    Ok(applied)
}

/// Closes a mount point that stays empty for now: its volume is awaited or refused, and what writes below it must
/// fail instead of filling the root volume. Nothing else depends on it.
pub(super) fn close_mount_point(paths: &Paths, name: &str, wanted: &Volume, seen: &Observation) {
    if !matches!(seen.mount_point, MountPoint::Free { .. }) {
        return;
    }
    match mount::prepare_mount_point(&paths.at(&wanted.mount)) {
        Ok(None) => {}
        Ok(Some(note)) => tracing::warn!("volume {name}: {note}"),
        Err(error) => tracing::warn!("volume {name}: {}", node::fault::one_line(&error)),
    }
}

/// Proves the device, and brings its file system to where it can be mounted.
async fn prepare(
    work: &format::Work<'_>,
    content: Option<&Content>,
    plan: &Plan,
    applied: &mut Applied,
) -> Result<Proven, ApplyError> {
    let (paths, device) = (work.paths, work.device);
    let alone = |write| Proven::alone(paths, device, content.cloned(), write);
    match &plan.action {
        Action::Format => {
            work.have_mkfs()?;
            let disk = alone(true).await?;
            work.blank(&disk).await?;
            disk.only_reading()
        }
        Action::FormatAgain(_) => {
            work.have_mkfs()?;
            let disk = alone(true).await?;
            work.again(&disk).await?;
            disk.only_reading()
        }
        Action::Mount(Mounting { finish: Some(finish), .. }) => {
            let disk = alone(true).await?;
            applied.notes.extend(work.finish(&disk, finish).await?);
            disk.only_reading()
        }
        Action::Mount(_) => alone(false).await,
        _ => Proven::in_use(paths, device).await,
    }
}

async fn mount_and_grow(
    paths: &Paths,
    wanted: &Volume,
    (device, plan): (&Device, &Plan),
    target: &Target,
    applied: &mut Applied,
) -> Result<(), ApplyError> {
    if plan.mounts() {
        let (paths, wanted, target) = (paths.clone(), wanted.clone(), target.clone());
        blocking("mount", device, move || mount::mount(&paths, &wanted, &target)).await?;
    }
    let (owned_paths, owned_wanted, owned_target) = (paths.clone(), wanted.clone(), target.clone());
    let set_access = move || mount::set_access(&owned_paths, &owned_wanted, &owned_target);
    blocking("set the owner of", device, set_access).await?;
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
