//! `[volumes.NAME]`, validated.

use schemars::JsonSchema;
use serde::Serialize;
use std::time::Duration;

/// `[volumes.NAME]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Volume {
    /// `device` or `volume_id`
    pub identity: VolumeIdentity,
    /// Absolute mount point.
    pub mount: String,
    /// The file system that it has or gets.
    pub filesystem: Filesystem,
    /// A blank device may be formatted (`if-blank`).
    pub format_if_blank: bool,
    /// How long to wait for the attachment.
    pub wait: Duration,
    /// The node can do without it.
    pub optional: bool,
    /// Who its root folder belongs to; absent: as it is.
    pub owner: Option<Owner>,
    /// Permission bits of its root folder, at most `0o7777`; absent: as they are.
    pub mode: Option<u32>,
}

/// How a volume is found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VolumeIdentity {
    /// The name it was attached under, normalised to `sdf` (never `/dev/…`, never `xvdf`).
    AttachName(String),
    /// `vol-` and hexadecimal digits.
    VolumeId(String),
}

/// A file system that bootstrap can make, mount and grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Filesystem {
    /// XFS
    Xfs,
    /// ext4
    Ext4,
}

impl Filesystem {
    /// The kernel's name for it, as in mount(8).
    pub fn name(self) -> &'static str {
        match self {
            Filesystem::Xfs => "xfs",
            Filesystem::Ext4 => "ext4",
        }
    }
}

/// Who a folder belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Owner {
    /// Number of the user.
    pub uid: u32,
    /// Number of the group; absent: as it is.
    pub gid: Option<u32>,
}

impl std::fmt::Display for Owner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}", self.uid)?;
        self.gid.iter().try_for_each(|gid| write!(formatter, ":{gid}"))
    }
}
