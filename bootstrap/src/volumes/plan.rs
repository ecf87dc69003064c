//! What to do with a volume: pure, from what node.toml wants and what was seen, to an action with its reason.
//!
//! It always holds that a device is formatted only if it was found by its identity, is used by nothing and can be
//! written, node.toml allows it, and it was proven blank or bears our mark of exactly this device. Everything that is
//! not understood is refused. `device` says what a device is, `content` decides by what is on it.

mod access;
mod content;
mod device;

pub use access::RootFolder;
pub use content::{Finish, Mounting};
pub use device::{Device, Match, PartitionNode, Use, find, identity_text};

use super::mark::Mark;
use super::signatures::{Content, Partition};
use crate::step::Fault;
use node::config::settings::{Volume, VolumeIdentity};

/// What lies at the mount point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountPoint {
    /// Nothing is mounted there; the folder may or may not exist.
    Free {
        /// It holds files, which the mount will hide.
        holds_files: bool,
    },
    /// Something is mounted there.
    Taken {
        /// Major and minor number.
        number: (u64, u64),
        /// Its source, for messages.
        source: String,
    },
    /// It exists and is no folder.
    NoFolder,
}

/// All that is known about one volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// The device by its identity.
    pub device: Match,
    /// What is on it, or why that could not be read; absent without a device.
    pub content: Option<Result<Content, String>>,
    /// Where it belongs.
    pub mount_point: MountPoint,
    /// Size of the file system as mounted, where that is known better than from its superblock.
    pub mounted_bytes: Option<u64>,
    /// The root folder of its file system, where it is mounted in its place.
    pub root_folder: Option<RootFolder>,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// All is as wanted.
    Keep,
    /// Make the file system, then mount it.
    Format,
    /// Make the file system that a run before was killed at, then mount it.
    FormatAgain(Mark),
    /// Mount what is there.
    Mount(Mounting),
    /// It is mounted and the device has become larger.
    Grow {
        /// The partition first.
        partition: bool,
    },
    /// It is mounted, only its root folder has another owner or mode.
    SetAccess,
    /// The device is not there (yet).
    Wait,
    /// Touch nothing.
    Refuse(Refusal),
}

/// Why nothing is touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Code for `problems[]`.
    pub code: &'static str,
    /// What a person can do.
    pub hint: String,
}

/// An action and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What to do.
    pub action: Action,
    /// The partition that it is done with; absent: the whole device.
    pub partition: Option<Partition>,
    /// One line.
    pub reason: String,
}

impl Plan {
    fn new(action: Action, reason: impl Into<String>) -> Plan {
        Plan { action, partition: None, reason: reason.into() }
    }

    fn refuse(code: &'static str, reason: String, hint: &str) -> Plan {
        Plan::new(Action::Refuse(Refusal { code, hint: hint.to_owned() }), reason)
    }

    fn with(self, partition: Option<&Partition>) -> Plan {
        Plan { partition: partition.cloned(), ..self }
    }

    /// Something is written.
    pub(crate) fn changes(&self) -> bool {
        !matches!(self.action, Action::Keep | Action::Wait | Action::Refuse(_))
    }

    /// It is mounted by this plan.
    pub(crate) fn mounts(&self) -> bool {
        matches!(self.action, Action::Format | Action::FormatAgain(_) | Action::Mount(_))
    }

    /// The file system is grown, and whether its partition is grown before it.
    pub(crate) fn growth(&self) -> Option<bool> {
        match &self.action {
            Action::Grow { partition } => Some(*partition),
            Action::Mount(mounting) if mounting.grow => Some(mounting.grow_partition),
            _ => None,
        }
    }

    /// What is wrong, if this is a refusal or the wait is over.
    pub(crate) fn fault(&self, name: &str, optional: bool) -> Option<Fault> {
        let message = format!("volume {name}: {}", self.reason);
        match &self.action {
            Action::Refuse(refusal) => Some(Fault::new(refusal.code, message, Some(&refusal.hint))),
            Action::Wait => {
                let hint = if optional {
                    "attach the volume and run node-bootstrap again, or take it out of node.toml"
                } else {
                    "attach the volume and run node-bootstrap again, or correct `device` or `volume_id`; set \
                     `optional = true` if the node can do without it"
                };
                Some(Fault::new("volume_absent", message, Some(hint)))
            }
            _ => None,
        }
    }
}

/// Decides.
pub fn plan(wanted: &Volume, observation: &Observation) -> Plan {
    let device = match &observation.device {
        Match::One(device) => device,
        Match::Absent { seen } => {
            let absent = match &wanted.identity {
                VolumeIdentity::AttachName(name) => format!("nothing is attached as {name}"),
                VolumeIdentity::VolumeId(id) => format!("{id} is not attached"),
            };
            return Plan::new(Action::Wait, format!("{absent}; seen: {seen}"));
        }
        Match::Ambiguous { seen } => {
            let identity = identity_text(&wanted.identity);
            let reason = format!("more than one device is {identity}: {seen}");
            return Plan::refuse("volume_ambiguous", reason, "name the volume by `volume_id`");
        }
    };
    if device.is_instance_store() {
        let reason = format!("{} is an instance store, which is lost with the instance", device.name);
        return Plan::refuse("volume_foreign", reason, "attach an EBS volume, or correct `device`");
    }
    if let Some(plan) = refuse_mount_point(wanted, device, &observation.mount_point) {
        return plan;
    }
    match device.uses.as_slice() {
        [] => content::plan_free(wanted, device, observation),
        uses => {
            if let Some(mounted) = mounted_in_place(wanted, device, observation) {
                return plan_mounted(wanted, device, observation, mounted);
            }
            let uses: Vec<String> = uses.iter().map(ToString::to_string).collect();
            let reason = format!("{} is in use: {}", device.name, uses.join(", "));
            Plan::refuse("volume_in_use", reason, "free the device, or correct `device` or `volume_id`")
        }
    }
}

/// The wanted mount as it is.
#[derive(Clone, Copy)]
struct Mounted<'seen> {
    filesystem: &'seen str,
    read_only: bool,
    /// It is the only partition of the device.
    partition: Option<&'seen Partition>,
}

/// The wanted mount, if that is there and only mounts of one and the same file system use the device: further ones are
/// bind mounts of it.
fn mounted_in_place<'seen>(
    wanted: &Volume,
    device: &'seen Device,
    observation: &'seen Observation,
) -> Option<Mounted<'seen>> {
    let partition = match &observation.content {
        Some(Ok(Content::Partition(partition))) => Some(partition),
        _ => None,
    };
    let here = |used: &'seen Use| match (used, partition) {
        (Use::Mounted { at, filesystem, read_only }, None) => Some((at, filesystem, *read_only)),
        (Use::PartitionMounted { index, at, filesystem, read_only }, Some(only)) if *index == only.number => {
            Some((at, filesystem, *read_only))
        }
        _ => None,
    };
    if !device.uses.iter().all(|used| here(used).is_some()) {
        return None;
    }
    let (_, filesystem, read_only) =
        device.uses.iter().filter_map(here).find(|(at, ..)| **at == wanted.mount)?;
    Some(Mounted { filesystem, read_only, partition })
}

fn refuse_mount_point(wanted: &Volume, device: &Device, mount_point: &MountPoint) -> Option<Plan> {
    let its_own = |number: &(u64, u64)| {
        *number == device.number || device.partitions.iter().any(|partition| partition.number == *number)
    };
    match mount_point {
        MountPoint::Taken { number, source } if !its_own(number) => Some(Plan::refuse(
            "mount_point_taken",
            format!("{source} is mounted at {}", wanted.mount),
            "unmount it (an fstab line may bring it back), or choose another `mount`",
        )),
        MountPoint::NoFolder => Some(Plan::refuse(
            "mount_point_taken",
            format!("{} exists and is no folder", wanted.mount),
            "remove it, or choose another `mount`",
        )),
        _ => None,
    }
}

/// It is mounted where it belongs.
fn plan_mounted(wanted: &Volume, device: &Device, observation: &Observation, mounted: Mounted<'_>) -> Plan {
    let Mounted { filesystem, read_only, partition } = mounted;
    let at = &wanted.mount;
    let place = content::place(device, partition);
    if filesystem != wanted.filesystem.name() {
        return content::refuse_kind(wanted, &format!("{place} at {at} is a file system {filesystem}"));
    }
    if read_only || device.read_only {
        let reason = format!("{place} is mounted read-only at {at}");
        let hint =
            "read the kernel's log for errors of the device, then unmount it and check the file system";
        return Plan::refuse("volume_read_only", reason, hint);
    }
    let in_superblock = match &observation.content {
        Some(Ok(Content::Filesystem(found))) => found.size_bytes,
        Some(Ok(Content::Partition(partition))) => match &*partition.content {
            Content::Filesystem(found) => found.size_bytes,
            _ => None,
        },
        _ => None,
    };
    let size = observation.mounted_bytes.or(in_superblock);
    let space = content::Space::of(device, partition);
    let mounted = format!("{filesystem} on {place} is mounted at {at}");
    let access = observation.root_folder.and_then(|folder| access::difference(wanted, folder));
    let also = access.as_ref().map(|access| format!("; {access}")).unwrap_or_default();
    let plan = match (space.growth(size), access) {
        (Some(growth), _) => {
            let partition = space.grows_partition();
            Plan::new(Action::Grow { partition }, format!("{mounted}, {growth}{also}"))
        }
        (None, Some(_)) => Plan::new(Action::SetAccess, format!("{mounted}{also}")),
        (None, None) => Plan::new(Action::Keep, mounted),
    };
    plan.with(partition)
}

#[cfg(test)]
mod tests;
