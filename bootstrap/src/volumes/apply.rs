//! Carries out what was planned for one volume. It makes no decisions but one: right before the file system is made,
//! identity and blankness are read again through the descriptor that mkfs gets, and if anything differs, nothing is
//! written.

use super::plan::Device;
use super::signatures::Content;
use super::{kernel, observe};
use crate::command::{CommandError, Invocation};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use node::config::settings::{Filesystem, Volume};
use node::fault::Hint;
use node::paths::Paths;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

/// Lazy tables and no discard: seconds even on 16 TiB. More than that is a volume that does not answer.
const MKFS_DEADLINE: Duration = Duration::from_secs(300);
/// Reads of two MiB, a sync, or a mount that replays its journal.
const DEVICE_DEADLINE: Duration = Duration::from_secs(300);
/// Growing writes group descriptors or headers for what is new.
const GROW_DEADLINE: Duration = Duration::from_secs(600);

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
}

impl Hint for ApplyError {
    fn hint(&self) -> Option<String> {
        match self {
            ApplyError::Io { source, .. } if source.raw_os_error() == Some(nix::libc::EBUSY) => {
                Some("something else uses the device; see lsblk and /proc/*/mountinfo".to_owned())
            }
            ApplyError::Changed { .. } => Some("run node-bootstrap again".to_owned()),
            ApplyError::Command { source, .. } => source.hint(),
            ApplyError::Io { .. } => None,
        }
    }
}

fn io_error(operation: &'static str, object: impl Into<String>) -> impl FnOnce(io::Error) -> ApplyError {
    let object = object.into();
    move |source| ApplyError::Io { operation, object, source }
}

/// Makes the file system on a device that was planned as blank.
pub(super) async fn format(
    paths: &Paths,
    name: &str,
    wanted: &Volume,
    device: &Device,
) -> Result<(), ApplyError> {
    let file = blocking("prove blank", device, {
        let (paths, device) = (paths.clone(), device.clone());
        move || {
            let file = open_alone(&device)?;
            prove_again(&paths, &device, &file)?;
            Ok(file)
        }
    });
    let file = file.await?;
    // mkfs opens what this descriptor has open: while it is held, the kernel gives the device's number to no other
    // device, so that a volume that is swapped meanwhile cannot take its place.
    let target = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    let made = mkfs(wanted.filesystem, name, &target).run().await;
    let object = device.node.clone();
    made.map_err(|source| ApplyError::Command {
        operation: "make the file system on",
        object,
        source: Box::new(source),
    })?;
    let node = device.node.clone();
    blocking("sync", device, move || file.sync_all().map_err(io_error("sync", node))).await
}

/// Runs what may hang with its device beside everything else, with a deadline.
pub(super) async fn blocking<T: Send + 'static>(
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

/// Opens it for writing after the kernel has confirmed that nobody holds it in any mount namespace (`O_EXCL`). That
/// descriptor is given back at once, because mkfs asks for the same.
fn open_alone(device: &Device) -> Result<File, ApplyError> {
    let open = |flags| OpenOptions::new().read(true).write(true).custom_flags(flags).open(&device.node);
    let kept = open(0).map_err(io_error("open", &device.node))?;
    drop(open(nix::libc::O_EXCL).map_err(io_error("have for itself", &device.node))?);
    Ok(kept)
}

fn prove_again(paths: &Paths, device: &Device, file: &File) -> Result<(), ApplyError> {
    let changed = |what: String| ApplyError::Changed { device: device.node.clone(), what };
    let metadata = file.metadata().map_err(io_error("examine", &device.node))?;
    if observe::device_number(&metadata) != Some(device.number) {
        return Err(changed("another device number".to_owned()));
    }
    let bytes = kernel::device_bytes(file).map_err(io_error("measure", &device.node))?;
    if bytes != device.size_bytes {
        return Err(changed(format!("{bytes} bytes instead of {}", device.size_bytes)));
    }
    if observe::serial(paths, &device.name) != device.serial {
        return Err(changed("another serial number".to_owned()));
    }
    match observe::read_content(file, bytes).map_err(io_error("read", &device.node))? {
        Content::Blank => Ok(()),
        content => Err(changed(format!("it holds {content}"))),
    }
}

/// Without a force option: mkfs looks for itself, too, and refuses what it knows.
fn mkfs(filesystem: Filesystem, name: &str, target: &str) -> Invocation {
    match filesystem {
        // -K: no discard.
        Filesystem::Xfs => Invocation::new("mkfs.xfs", MKFS_DEADLINE).brought_by("xfsprogs").arguments([
            "-q",
            "-K",
            "-L",
            &label(name, 12),
            target,
        ]),
        Filesystem::Ext4 => Invocation::new("mkfs.ext4", MKFS_DEADLINE).brought_by("e2fsprogs").arguments([
            "-q",
            "-E",
            "nodiscard,lazy_itable_init=1,lazy_journal_init=1",
            "-L",
            &label(name, 16),
            target,
        ]),
    }
}

/// Labels have few bytes (xfs 12, ext4 16) and no room for anything odd.
fn label(name: &str, longest: usize) -> String {
    let plain = |character: &char| character.is_ascii_alphanumeric() || "-_.".contains(*character);
    name.chars().filter(plain).take(longest).collect()
}

/// Makes the mount point where it is missing and closes it for writing, so that nothing lands on the root volume while
/// the real one is missing. Returns a note where the file system below knows no such flag.
pub(super) fn prepare_mount_point(path: &Path) -> Result<Option<String>, ApplyError> {
    let object = path.display().to_string();
    DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(io_error("create", &object))?;
    let folder = File::open(path).map_err(io_error("open", &object))?;
    let closed = kernel::make_immutable(&folder);
    Ok(closed.err().map(|error| format!("{object} could not be made immutable: {error}")))
}

/// Mounts the device and makes sure that it is this device that was mounted.
///
/// `nodev` and `nosuid`: a data volume may come from another instance and brings neither devices nor privileges.
/// Programs may run from it, because environments and model runners live on such volumes. `noatime`: reading a model
/// must not write.
pub(super) fn mount_device(paths: &Paths, wanted: &Volume, device: &Device) -> Result<(), ApplyError> {
    let at = paths.at(&wanted.mount);
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOATIME;
    let object = format!("{} at {}", device.node, wanted.mount);
    let failed = |errno: nix::errno::Errno| io_error("mount", object.clone())(errno.into());
    mount(Some(device.node.as_str()), &at, Some(wanted.filesystem.name()), flags, None::<&str>)
        .map_err(failed)?;
    let mounts = observe::mounts(paths).map_err(io_error("read", "/proc/self/mountinfo"))?;
    let on_top = mounts.iter().rev().find(|mount| mount.at == wanted.mount);
    if on_top.map(|mount| mount.number) == Some(device.number) {
        return Ok(());
    }
    umount2(&at, MntFlags::UMOUNT_NOFOLLOW).map_err(failed)?;
    Err(ApplyError::Changed { device: device.node.clone(), what: "another device was mounted".to_owned() })
}

/// Grows the mounted file system to the size of its device.
pub(super) async fn grow(paths: &Paths, wanted: &Volume, device: &Device) -> Result<(), ApplyError> {
    let at = paths.at(&wanted.mount).display().to_string();
    let invocation = match wanted.filesystem {
        Filesystem::Xfs => {
            Invocation::new("xfs_growfs", GROW_DEADLINE).brought_by("xfsprogs").arguments(["-d", at.as_str()])
        }
        Filesystem::Ext4 => Invocation::new("resize2fs", GROW_DEADLINE)
            .brought_by("e2fsprogs")
            .arguments([device.node.as_str()]),
    };
    let grown = invocation.run().await;
    let object = device.node.clone();
    grown.map(|_| ()).map_err(|source| ApplyError::Command {
        operation: "grow the file system on",
        object,
        source: Box::new(source),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_fit_and_hold_nothing_odd() {
        assert_eq!(label("models-of-the-team", 12), "models-of-th");
        assert_eq!(label("a b/c", 16), "abc");
    }
}
