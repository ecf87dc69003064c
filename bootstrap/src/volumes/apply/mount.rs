//! Mounts, grows, and gives the root folder its owner.

use super::{ApplyError, Target, io_error};
use crate::command::Invocation;
use crate::volumes::{kernel, observe};
use nix::errno::Errno;
use nix::libc;
use nix::mount::{MntFlags, MsFlags, umount2};
use node::config::settings::{Filesystem, Volume};
use node::paths::Paths;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;
use std::time::Duration;

/// Growing writes group descriptors or headers for what is new.
const GROW_DEADLINE: Duration = Duration::from_secs(600);

/// Makes the mount point where it is missing and closes it for writing, so that nothing lands on the root volume while
/// the real one is missing. Returns a note where the file system below knows no such flag.
pub(super) fn prepare_mount_point(path: &Path) -> Result<Option<String>, ApplyError> {
    let object = path.display().to_string();
    DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(io_error("create", &object))?;
    let folder = File::open(path).map_err(io_error("open", &object))?;
    let closed = kernel::make_immutable(&folder);
    Ok(closed.err().map(|error| format!("{object} could not be made immutable: {error}")))
}

/// Mounts the target and makes sure that it is this device that was mounted.
///
/// `nodev` and `nosuid`: a data volume may come from another instance and brings neither devices nor privileges.
/// Programs may run from it, because environments and model runners live on such volumes. `noatime`: reading a model
/// must not write.
pub(super) fn mount(paths: &Paths, wanted: &Volume, target: &Target) -> Result<(), ApplyError> {
    let at = paths.at(&wanted.mount);
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOATIME;
    let object = format!("{} at {}", target.node, wanted.mount);
    let failed = |errno: Errno| io_error("mount", object.clone())(errno.into());
    let kind = wanted.filesystem.name();
    nix::mount::mount(Some(target.node.as_str()), &at, Some(kind), flags, None::<&str>)
        .map_err(|errno| damage(wanted.filesystem, target, errno).unwrap_or_else(|| failed(errno)))?;
    let mounts = observe::mounts(paths).map_err(io_error("read", "/proc/self/mountinfo"))?;
    let on_top = mounts.iter().rev().find(|mount| mount.at == wanted.mount);
    if on_top.map(|mount| mount.number) == Some(target.number) {
        return Ok(());
    }
    umount2(&at, MntFlags::UMOUNT_NOFOLLOW).map_err(failed)?;
    Err(ApplyError::Changed { device: target.node.clone(), what: "another device was mounted".to_owned() })
}

/// What the kernel says of a file system that it cannot read: that it must be cleaned, that a checksum is wrong, or that
/// the device does not give its blocks.
fn damage(filesystem: Filesystem, target: &Target, errno: Errno) -> Option<ApplyError> {
    matches!(errno, Errno::EUCLEAN | Errno::EBADMSG | Errno::EIO).then(|| ApplyError::Damaged {
        filesystem,
        object: target.node.clone(),
        what: format!("the kernel does not mount it: {}; its log says more", errno.desc()),
    })
}

/// Gives the root folder of the mounted file system the owner and the mode that it should have.
pub(super) fn set_access(paths: &Paths, wanted: &Volume, target: &Target) -> Result<(), ApplyError> {
    if wanted.owner.is_none() && wanted.mode.is_none() {
        return Ok(());
    }
    let path = paths.at(&wanted.mount);
    let object = &wanted.mount;
    let folder = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
        .open(path)
        .map_err(io_error("open", object))?;
    let examine = || folder.metadata().map_err(io_error("examine", object));
    let metadata = examine()?;
    let number = metadata.dev();
    if (nix::sys::stat::major(number), nix::sys::stat::minor(number)) != target.number {
        let what = format!("something else is mounted at {object}");
        return Err(ApplyError::Changed { device: target.node.clone(), what });
    }
    if let Some(owner) = wanted.owner.filter(|_| observe::root_folder(&metadata).has_other_owner(wanted)) {
        fchown(&folder, Some(owner.uid), owner.gid).map_err(io_error("set the owner of", object))?;
    }
    // A new owner may have cost it some bits.
    let folder_now = observe::root_folder(&examine()?);
    if let Some(mode) = wanted.mode.filter(|_| folder_now.has_other_mode(wanted)) {
        folder.set_permissions(Permissions::from_mode(mode)).map_err(io_error("set the mode of", object))?;
    }
    Ok(())
}

/// Grows the mounted file system to the size of its device.
pub(super) async fn grow(paths: &Paths, wanted: &Volume, target: &Target) -> Result<(), ApplyError> {
    let at = paths.at(&wanted.mount).display().to_string();
    let invocation = match wanted.filesystem {
        Filesystem::Xfs => {
            Invocation::new("xfs_growfs", GROW_DEADLINE).brought_by("xfsprogs").arguments(["-d", at.as_str()])
        }
        Filesystem::Ext4 => Invocation::new("resize2fs", GROW_DEADLINE)
            .brought_by("e2fsprogs")
            .arguments([target.node.as_str()]),
    };
    let grown = invocation.run().await;
    grown.map(|_| ()).map_err(ApplyError::command("grow the file system on", &target.node))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_of_damage_is_told_from_what_it_says_of_us() {
        let target = Target { node: "/dev/nvme1n1".to_owned(), number: (259, 1) };
        for errno in [Errno::EUCLEAN, Errno::EBADMSG, Errno::EIO] {
            let error = damage(Filesystem::Xfs, &target, errno).unwrap();
            assert_eq!(error.code(), "volume_damaged", "{errno}");
        }
        for errno in [Errno::EINVAL, Errno::EBUSY, Errno::ENOENT, Errno::EPERM, Errno::ENODEV] {
            assert!(damage(Filesystem::Xfs, &target, errno).is_none(), "{errno}");
        }
    }
}
