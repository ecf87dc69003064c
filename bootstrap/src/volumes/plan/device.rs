//! Block devices as values: who they are, what they are used for, and which of them an identity leads to.

use super::super::identify;
use node::config::settings::VolumeIdentity;

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
    /// The kernel writes nothing to it.
    pub read_only: bool,
    /// Its partitions, as far as the kernel knows them.
    pub partitions: Vec<PartitionNode>,
    /// What it is used for already; empty when it is free.
    pub uses: Vec<Use>,
}

impl Device {
    /// Its disk is the instance's and ends with it.
    pub fn is_instance_store(&self) -> bool {
        self.model.as_deref() == Some(identify::INSTANCE_STORE_MODEL)
    }
}

/// A partition as the kernel knows it; its table may say something newer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionNode {
    /// The kernel's name, `nvme1n1p1`.
    pub name: String,
    /// The device node to open.
    pub node: String,
    /// Major and minor number.
    pub number: (u64, u64),
    /// Its number in the table, counted from 1.
    pub index: u32,
    /// Where it begins on the device.
    pub start_bytes: u64,
    /// Its length.
    pub size_bytes: u64,
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
        /// Number of the partition in the table.
        index: u32,
        /// Mount point.
        at: String,
        /// The kernel's name of the file system.
        filesystem: String,
        /// The mount or its file system is read-only.
        read_only: bool,
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
            Use::PartitionMounted { index, at, .. } => {
                write!(formatter, "its partition {index} is mounted at {at}")
            }
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
        if device.is_instance_store() {
            names.push("instance store, lost with the instance".to_owned());
        }
        let names = if names.is_empty() { "without a known identity".to_owned() } else { names.join(", ") };
        format!("{} ({names}, {})", device.name, gigabytes(device.size_bytes))
    };
    let all: Vec<String> = devices.map(one).collect();
    if all.is_empty() { "no block device".to_owned() } else { all.join("; ") }
}

/// Rounded down to a tenth.
pub(super) fn gigabytes(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) >> 30;
    format!("{}.{} GiB", tenths / 10, tenths % 10)
}

/// As a person writes the identity.
pub fn identity_text(identity: &VolumeIdentity) -> String {
    match identity {
        VolumeIdentity::AttachName(name) => format!("attached as {name}"),
        VolumeIdentity::VolumeId(id) => format!("with id {id}"),
    }
}
