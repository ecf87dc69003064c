//! What to do with a volume: pure, from what node.toml wants and what was seen, to an action with its reason.
//!
//! It always holds that a device is formatted only if it was found by its identity, is used by nothing, was proven
//! blank and node.toml allows it. Everything that is not understood is refused.

use super::signatures::{Content, Found};
use crate::step::Fault;
use node::config::settings::{Volume, VolumeIdentity};

/// A file system is grown when its device is larger by at least this much. EBS volumes grow by whole GiB; what is
/// smaller than one block group of ext4 can never be used by it.
const GROW_FROM_BYTES: u64 = 128 << 20;

/// A block device as it was observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The kernel's name, `nvme1n1`.
    pub name: String,
    /// The device node to open.
    pub node: String,
    /// Major and minor number.
    pub number: (u64, u64),
    /// Size.
    pub size_bytes: u64,
    /// Model, where there is one.
    pub model: Option<String>,
    /// Serial number as the device says it, where there is one.
    pub serial: Option<String>,
    /// EBS volume id, by the serial number.
    pub volume_id: Option<String>,
    /// Normalised names that it is attached under.
    pub attach_names: Vec<String>,
    /// What it is used for already; empty when it is free.
    pub uses: Vec<Use>,
}

/// What a device is used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Use {
    /// The running system lies on it.
    Root,
    /// It, as a whole, is mounted.
    Mounted {
        /// Mount point.
        at: String,
        /// The kernel's name of the file system.
        filesystem: String,
        /// The mount or its file system is read-only.
        read_only: bool,
    },
    /// One of its partitions is mounted.
    PartitionMounted {
        /// Mount point.
        at: String,
    },
    /// It or one of its partitions is swap space.
    Swap,
    /// LVM, md, dm-crypt or the like holds it.
    Held {
        /// The holder's name.
        by: String,
    },
}

impl std::fmt::Display for Use {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Use::Root => formatter.write_str("it holds the running system"),
            Use::Mounted { at, .. } => write!(formatter, "it is mounted at {at}"),
            Use::PartitionMounted { at } => write!(formatter, "a partition of it is mounted at {at}"),
            Use::Swap => formatter.write_str("it is used as swap space"),
            Use::Held { by } => write!(formatter, "it is held by {by}"),
        }
    }
}

/// What the identity of a volume leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// Exactly one device.
    One(Device),
    /// None; what there is instead.
    Absent {
        /// One line.
        seen: String,
    },
    /// More than one claims the identity.
    Ambiguous {
        /// One line.
        seen: String,
    },
}

/// Finds the device with an identity among all.
pub fn find(identity: &VolumeIdentity, devices: &[Device]) -> Match {
    let is_it = |device: &&Device| match identity {
        VolumeIdentity::AttachName(name) => device.attach_names.contains(name),
        VolumeIdentity::VolumeId(id) => device.volume_id.as_ref() == Some(id),
    };
    let found: Vec<&Device> = devices.iter().filter(is_it).collect();
    match found.as_slice() {
        [device] => Match::One((*device).clone()),
        [] => Match::Absent { seen: describe(devices.iter()) },
        several => Match::Ambiguous { seen: describe(several.iter().copied()) },
    }
}

fn describe<'device>(devices: impl Iterator<Item = &'device Device>) -> String {
    let one = |device: &Device| {
        let mut names = device.attach_names.clone();
        names.extend(device.volume_id.clone());
        let names = if names.is_empty() { "without a known identity".to_owned() } else { names.join(", ") };
        format!("{} ({names}, {})", device.name, gigabytes(device.size_bytes))
    };
    let all: Vec<String> = devices.map(one).collect();
    if all.is_empty() { "no block device".to_owned() } else { all.join("; ") }
}

fn gigabytes(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) >> 30;
    format!("{}.{} GiB", tenths / 10, tenths % 10)
}

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
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// All is as wanted.
    Keep,
    /// Make the file system, then mount it.
    Format,
    /// Mount what is there, and grow it.
    Mount {
        /// The device has become larger.
        grow: bool,
    },
    /// It is mounted and the device has become larger.
    Grow,
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
    /// One line.
    pub reason: String,
}

impl Plan {
    fn new(action: Action, reason: impl Into<String>) -> Plan {
        Plan { action, reason: reason.into() }
    }

    fn refuse(code: &'static str, reason: String, hint: &str) -> Plan {
        Plan { action: Action::Refuse(Refusal { code, hint: hint.to_owned() }), reason }
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

/// As a person writes the identity.
pub fn identity_text(identity: &VolumeIdentity) -> String {
    match identity {
        VolumeIdentity::AttachName(name) => format!("attached as {name}"),
        VolumeIdentity::VolumeId(id) => format!("with id {id}"),
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
    if let Some(plan) = refuse_mount_point(wanted, device, &observation.mount_point) {
        return plan;
    }
    match device.uses.as_slice() {
        [] => plan_free(wanted, device, observation),
        uses => {
            if let Some(mounted) = mounted_in_place(wanted, uses) {
                return plan_mounted(wanted, device, observation, mounted);
            }
            let uses: Vec<String> = uses.iter().map(ToString::to_string).collect();
            let reason = format!("{} is in use: {}", device.name, uses.join(", "));
            Plan::refuse("volume_in_use", reason, "free the device, or correct `device` or `volume_id`")
        }
    }
}

/// File system and read-only flag of the wanted mount, if that is there and only mounts use the device: further ones
/// are bind mounts of it.
fn mounted_in_place<'uses>(wanted: &Volume, uses: &'uses [Use]) -> Option<(&'uses str, bool)> {
    if !uses.iter().all(|used| matches!(used, Use::Mounted { .. })) {
        return None;
    }
    uses.iter().find_map(|used| match used {
        Use::Mounted { at, filesystem, read_only } if *at == wanted.mount => {
            Some((filesystem.as_str(), *read_only))
        }
        _ => None,
    })
}

fn refuse_mount_point(wanted: &Volume, device: &Device, mount_point: &MountPoint) -> Option<Plan> {
    match mount_point {
        MountPoint::Taken { number, source } if *number != device.number => Some(Plan::refuse(
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
fn plan_mounted(
    wanted: &Volume,
    device: &Device,
    observation: &Observation,
    (filesystem, read_only): (&str, bool),
) -> Plan {
    let at = &wanted.mount;
    if filesystem != wanted.filesystem.name() {
        return refuse_kind(wanted, &format!("{} at {at} is a file system {filesystem}", device.name));
    }
    if read_only {
        let reason = format!("{} is mounted read-only at {at}", device.name);
        let hint =
            "read the kernel's log for errors of the device, then unmount it and check the file system";
        return Plan::refuse("volume_read_only", reason, hint);
    }
    let size = observation.mounted_bytes.or(match &observation.content {
        Some(Ok(Content::Filesystem(found))) => found.size_bytes,
        _ => None,
    });
    if can_grow(size, device) {
        return Plan::new(
            Action::Grow,
            format!("{filesystem} on {} is mounted at {at}, {}", device.name, growth(size, device)),
        );
    }
    Plan::new(Action::Keep, format!("{filesystem} on {} is mounted at {at}", device.name))
}

/// Nothing uses it.
fn plan_free(wanted: &Volume, device: &Device, observation: &Observation) -> Plan {
    let kind = wanted.filesystem.name();
    let name = &device.name;
    let content = match &observation.content {
        Some(Ok(content)) => content,
        Some(Err(error)) => {
            let hint = "check the volume in the EC2 console and the kernel's log";
            return Plan::refuse("volume_unreadable", format!("cannot read {name}: {error}"), hint);
        }
        None => return Plan::refuse("volume_unreadable", format!("{name} was not read"), "run it again"),
    };
    let hides = match observation.mount_point {
        MountPoint::Free { holds_files: true } => format!("; it hides the files in {}", wanted.mount),
        _ => String::new(),
    };
    match content {
        Content::Blank if wanted.format_if_blank => Plan::new(
            Action::Format,
            format!("{name} is blank: make {kind} and mount it at {}{hides}", wanted.mount),
        ),
        Content::Blank => Plan::refuse(
            "volume_blank",
            format!("{name} is blank and format = \"never\""),
            "make the file system yourself, or set format = \"if-blank\"",
        ),
        Content::Filesystem(found) if found.kind == kind => plan_matching(wanted, device, found, &hides),
        Content::Filesystem(_)
        | Content::Partition(_)
        | Content::HalfMade(_)
        | Content::Other { .. }
        | Content::NotBlank { .. } => refuse_kind(wanted, &format!("{name} holds {content}")),
    }
}

fn plan_matching(wanted: &Volume, device: &Device, found: &Found, hides: &str) -> Plan {
    let Device { name, .. } = device;
    if found.size_bytes.is_some_and(|size| size > device.size_bytes) {
        let reason = format!("{} on {name} is larger than its device", found.kind);
        return Plan::refuse("volume_damaged", reason, "restore the volume from a snapshot of its full size");
    }
    let grow = can_grow(found.size_bytes, device);
    let growth = if grow { format!(", {}", growth(found.size_bytes, device)) } else { String::new() };
    let reason = format!("{name} holds {}: mount it at {}{growth}{hides}", found.kind, wanted.mount);
    Plan::new(Action::Mount { grow }, reason)
}

fn refuse_kind(wanted: &Volume, what: &str) -> Plan {
    let reason =
        format!("{what}; wanted is {}, and only a blank device is ever formatted", wanted.filesystem.name());
    let hint = "correct `device`, `volume_id` or `filesystem`; if the data can go, wipe it yourself with wipefs -a and \
                zero both ends";
    Plan::refuse("volume_foreign", reason, hint)
}

fn can_grow(size: Option<u64>, device: &Device) -> bool {
    size.is_some_and(|size| size.saturating_add(GROW_FROM_BYTES) <= device.size_bytes)
}

fn growth(size: Option<u64>, device: &Device) -> String {
    format!("grow it from {} to {}", gigabytes(size.unwrap_or(0)), gigabytes(device.size_bytes))
}

#[cfg(test)]
mod tests;
