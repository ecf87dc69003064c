//! What to do with a device that nothing uses, by what is on it.

use super::super::mark::Mark;
use super::super::signatures::{Content, Found, Partition};
use super::device::gigabytes;
use super::{Action, Device, MountPoint, Observation, Plan, access};
use node::config::settings::{Filesystem, Volume};

/// A file system is grown when its device is larger by at least this much. EBS volumes grow by whole GiB; what is
/// smaller than one block group of ext4 can never be used by it.
const GROW_FROM_BYTES: u64 = 128 << 20;
/// An MBR counts 512-byte sectors in 32 bits.
const MBR_ENDS_AT: u64 = (1 << 32) * 512;

/// How a file system that is there is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mounting {
    /// `mkfs` came to its end and our mark still lies there.
    pub finish: Option<Finish>,
    /// It has to be checked before.
    pub check: bool,
    /// It is grown when it is mounted.
    pub grow: bool,
    /// Its partition is grown before that.
    pub grow_partition: bool,
}

/// The end of a formatting that was cut off after `mkfs`: if the file system is sound, the mark is removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finish {
    /// The mark that lies there.
    pub mark: Mark,
    /// If it is not sound, it is made anew: it is certain that it was never mounted.
    pub may_format_again: bool,
}

/// Nothing uses the device.
pub(super) fn plan_free(wanted: &Volume, device: &Device, observation: &Observation) -> Plan {
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
    let after = format!("{hides}{}", access::after_mount(wanted));
    let kind = wanted.filesystem.name();
    match content {
        Content::Blank => plan_format(wanted, device, (Action::Format, "is blank"), &after),
        Content::HalfMade(mark) => plan_half_made(wanted, device, mark, &after),
        Content::Filesystem(found) if found.kind == kind => {
            plan_matching(wanted, device, (found, None), &after)
        }
        Content::Partition(partition) => match &*partition.content {
            Content::Filesystem(found) if found.kind == kind => {
                plan_matching(wanted, device, (found, Some(partition)), &after)
            }
            inside => refuse_partition(wanted, device, partition, inside),
        },
        Content::Filesystem(_) | Content::Other { .. } | Content::NotBlank { .. } => {
            refuse_kind(wanted, &format!("{name} holds {content}"))
        }
    }
}

/// `is` completes the sentence of why the device may be formatted.
fn plan_format(wanted: &Volume, device: &Device, (action, is): (Action, &str), after: &str) -> Plan {
    let name = &device.name;
    if !wanted.format_if_blank {
        return Plan::refuse(
            "volume_blank",
            format!("{name} {is} and format = \"never\""),
            "make the file system yourself, or set format = \"if-blank\"",
        );
    }
    if device.read_only {
        return refuse_read_only(format!("{name} {is} and is read-only"));
    }
    let kind = wanted.filesystem.name();
    Plan::new(action, format!("{name} {is}: make {kind} and mount it at {}{after}", wanted.mount))
}

/// Only a mark of exactly this device and this file system is one that a run for this volume has written.
fn plan_half_made(wanted: &Volume, device: &Device, mark: &Mark, after: &str) -> Plan {
    if let Some(plan) = refuse_mark(wanted, device, mark) {
        return plan;
    }
    let is = "holds a file system that a run before began and did not finish";
    plan_format(wanted, device, (Action::FormatAgain(mark.clone()), is), after)
}

/// What the mark says that this device is not.
fn refuse_mark(wanted: &Volume, device: &Device, mark: &Mark) -> Option<Plan> {
    let serial = device.serial.as_deref().unwrap_or_default();
    let kind = wanted.filesystem.name();
    let differs = if mark.size_bytes != device.size_bytes {
        format!("a device of {} bytes, and this one has {}", mark.size_bytes, device.size_bytes)
    } else if mark.serial != serial {
        let quoted = |serial: &str| if serial.is_empty() { "none".to_owned() } else { format!("{serial:?}") };
        format!("a device with serial number {}, and this one has {}", quoted(&mark.serial), quoted(serial))
    } else if mark.filesystem != kind {
        format!("{}, and wanted is {kind}", mark.filesystem)
    } else {
        return None;
    };
    let reason =
        format!("{} holds a file system that was begun and not finished, for {differs}", device.name);
    let hint = "it may be a copy of another volume: look at it by hand; if the data can go, wipe it yourself with \
                wipefs -a and zero both ends";
    Some(Plan::refuse("volume_foreign", reason, hint))
}

fn plan_matching(
    wanted: &Volume,
    device: &Device,
    (found, partition): (&Found, Option<&Partition>),
    after: &str,
) -> Plan {
    let place = place(device, partition);
    let kind = found.kind;
    if found.condition.unfinished || (found.mark.is_some() && partition.is_some()) {
        let what = format!("{place} holds a file system {kind} that was begun and not finished");
        return refuse_kind(wanted, &what);
    }
    if let Some(plan) = found.mark.as_ref().and_then(|mark| refuse_mark(wanted, device, mark)) {
        return plan;
    }
    if device.read_only {
        return refuse_read_only(format!("{place} holds {kind} and is read-only"));
    }
    let space = Space::of(device, partition);
    if found.size_bytes.is_some_and(|size| size > space.now) {
        let reason = format!("{kind} on {place} is larger than its device");
        return Plan::refuse("volume_damaged", reason, "restore the volume from a snapshot of its full size");
    }
    let ext4 = wanted.filesystem == Filesystem::Ext4;
    let finish = found.mark.clone().map(|mark| Finish {
        mark,
        may_format_again: wanted.format_if_blank && ext4 && found.condition.never_mounted,
    });
    let check = ext4 && finish.is_none() && (found.condition.needs_check || found.condition.has_errors);
    let growth = space.growth(found.size_bytes);
    let mut steps = String::new();
    if finish.is_some() {
        steps.push_str("check what a run before made and did not come to mount, then ");
    } else if check {
        let why = if found.condition.has_errors { "has errors" } else { "was not left in order" };
        steps.push_str(&format!("it {why}, check it with e2fsck -p, then "));
    }
    let growth_text = growth.as_ref().map(|growth| format!(", {growth}")).unwrap_or_default();
    let mounting = Mounting {
        finish,
        check,
        grow: growth.is_some(),
        grow_partition: growth.is_some() && space.grows_partition(),
    };
    let reason = format!("{place} holds {kind}: {steps}mount it at {}{growth_text}{after}", wanted.mount);
    Plan::new(Action::Mount(mounting), reason).with(partition)
}

fn refuse_read_only(reason: String) -> Plan {
    let hint = "a volume that is attached read-only cannot be used: attach it for writing, or read the kernel's log \
                for errors of the device";
    Plan::refuse("volume_read_only", reason, hint)
}

pub(super) fn refuse_kind(wanted: &Volume, what: &str) -> Plan {
    let reason =
        format!("{what}; wanted is {}, and only a blank device is ever formatted", wanted.filesystem.name());
    let hint = "correct `device`, `volume_id` or `filesystem`; if the data can go, wipe it yourself with wipefs -a and \
                zero both ends";
    Plan::refuse("volume_foreign", reason, hint)
}

fn refuse_partition(wanted: &Volume, device: &Device, partition: &Partition, inside: &Content) -> Plan {
    let kind = wanted.filesystem.name();
    let Partition { table, number, .. } = partition;
    let reason = format!(
        "{} holds a {table} whose only partition ({number}) holds {inside}; wanted is {kind}, and a partition is never \
         formatted",
        device.name
    );
    let hint =
        "correct `device`, `volume_id` or `filesystem`, or make the file system in the partition yourself";
    Plan::refuse("volume_foreign", reason, hint)
}

/// What the file system lies on, for messages.
pub(super) fn place(device: &Device, partition: Option<&Partition>) -> String {
    match partition {
        Some(partition) => format!("partition {} of {}", partition.number, device.name),
        None => device.name.clone(),
    }
}

/// How much room a file system has, and how much it can get.
#[derive(Debug, Clone, Copy)]
pub(super) struct Space {
    now: u64,
    /// After its partition was grown to the end of the device.
    possible: u64,
}

impl Space {
    pub(super) fn of(device: &Device, partition: Option<&Partition>) -> Space {
        let Some(partition) = partition else {
            return Space { now: device.size_bytes, possible: device.size_bytes };
        };
        let end =
            if partition.table == "MBR" { device.size_bytes.min(MBR_ENDS_AT) } else { device.size_bytes };
        let now = partition.size_bytes;
        let longest = end.saturating_sub(partition.start_bytes);
        let grows = longest >= now.saturating_add(GROW_FROM_BYTES);
        Space { now, possible: if grows { longest } else { now } }
    }

    pub(super) fn grows_partition(self) -> bool {
        self.possible > self.now
    }

    /// What is grown, if a file system of this size is.
    pub(super) fn growth(self, size: Option<u64>) -> Option<String> {
        let size = size.filter(|size| size.saturating_add(GROW_FROM_BYTES) <= self.possible)?;
        let what = if self.grows_partition() { "grow the partition and it" } else { "grow it" };
        Some(format!("{what} from {} to {}", gigabytes(size), gigabytes(self.possible)))
    }
}
