//! Volumes and other file systems: mounted, writable, with room, and without errors.

use super::some;
use crate::ctl::render::text::bytes as size;
use crate::examined::{Disks, FileSystem, Space, VolumeFacts};
use crate::finding::{Area, Finding};

/// With less than so many percent left a node is in trouble now, with less than so many it will be.
const FULL_PERCENT: u64 = 3;
const NEARLY_FULL_PERCENT: u64 = 10;
/// EBS keeps a request that long in an outage of its own; a kernel that gives up earlier makes it an error of the file
/// system. What ec2-utils sets is 4294967295 s; kernels default to 30.
const PATIENT_SECONDS: u64 = 240;
/// The last lines are enough to see what happens.
const ERRORS_SHOWN: usize = 1;

/// All of it.
pub fn disks(facts: &Disks) -> Vec<Finding> {
    let mut findings: Vec<Finding> = facts.volumes.iter().map(volume).collect();
    findings.extend(facts.file_systems.iter().map(file_system));
    findings.push(errors(&facts.errors));
    findings.extend(timeouts(facts));
    findings
}

fn volume(facts: &VolumeFacts) -> Finding {
    let VolumeFacts { name, mount, optional, mounted, reason } = facts;
    let check = format!("volume {name}");
    if *mounted {
        return Finding::pass(Area::Disks, check, format!("mounted at {mount}"));
    }
    let why = reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    let message = format!("not mounted at {mount}{why}");
    let remedy = "see `node-bootstrap plan` for what would be done, then `systemctl restart node-bootstrap`";
    if *optional {
        return Finding::warn(Area::Disks, check, format!("{message} (the node can do without it)"), remedy);
    }
    Finding::fail(Area::Disks, check, message, remedy)
}

fn file_system(facts: &FileSystem) -> Finding {
    let FileSystem { name, mount, state } = facts;
    let check = format!("room on {name}");
    let space = match state {
        Ok(space) => space,
        Err(why) => {
            let message = format!("{mount} does not answer: {why}");
            return Finding::fail(Area::Disks, check, message, "look at `dmesg` for errors of its disk");
        }
    };
    if space.read_only {
        let remedy = "look at `dmesg`: a kernel that finds an error makes a file system read-only; repair it with fsck or \
                      xfs_repair while it is not mounted";
        return Finding::fail(Area::Disks, check, format!("{mount} is read-only"), remedy);
    }
    full(check, mount, *space)
}

fn full(check: String, mount: &str, space: Space) -> Finding {
    const REMEDY: &str = "see what takes it with `du -x` and `docker system df`; enlarge the EBS volume, and bootstrap \
                          grows the file system at its next run";
    const FILES: &str =
        "remove files that are many and small (`du --inodes -x`); ext4 cannot be given more later";
    let bytes = percent(space.available_bytes, space.size_bytes);
    // Some file systems have as many as they have room.
    let inodes = if space.inodes == 0 { 100 } else { percent(space.inodes_free, space.inodes) };
    let free = format!("{} of {} free", size(space.available_bytes), size(space.size_bytes));
    let message = match inodes < NEARLY_FULL_PERCENT {
        true => format!("{mount}: {free}, and {} of {} inodes", space.inodes_free, space.inodes),
        false => format!("{mount}: {free}"),
    };
    let remedy = if inodes < bytes { FILES } else { REMEDY };
    match bytes.min(inodes) {
        left if left < FULL_PERCENT => Finding::fail(Area::Disks, check, message, remedy),
        left if left < NEARLY_FULL_PERCENT => Finding::warn(Area::Disks, check, message, remedy),
        _ => Finding::pass(Area::Disks, check, message),
    }
}

fn percent(part: u64, whole: u64) -> u64 {
    u64::try_from(u128::from(part) * 100 / u128::from(whole.max(1))).unwrap_or(100)
}

fn errors(lines: &Result<Vec<String>, String>) -> Finding {
    const CHECK: &str = "errors of disks";
    let lines = match lines {
        Ok(lines) => lines,
        Err(why) => {
            return Finding::skip(Area::Disks, CHECK, format!("the kernel's messages cannot be read: {why}"));
        }
    };
    if lines.is_empty() {
        return Finding::pass(Area::Disks, CHECK, "the kernel tells of none since the boot");
    }
    let last = lines[lines.len().saturating_sub(ERRORS_SHOWN)..].join("; ");
    let message = format!("{} of the kernel, the last: {last}", some(lines.len(), "line"));
    let remedy = "see them with `journalctl -k -b`; check the volume's state in EC2, take a snapshot, then repair the \
                  file system while it is not mounted";
    Finding::fail(Area::Disks, CHECK, message, remedy)
}

fn timeouts(facts: &Disks) -> Option<Finding> {
    const CHECK: &str = "NVMe time-outs";
    let (disk, shortest) = facts.nvme_timeouts.iter().min_by_key(|(_, seconds)| **seconds)?;
    let message = format!("the kernel gives up on {disk} after {shortest} s");
    if *shortest >= PATIENT_SECONDS {
        return Some(Finding::pass(Area::Disks, CHECK, message));
    }
    Some(Finding::warn(
        Area::Disks,
        CHECK,
        format!("{message}: a short outage of EBS becomes an error of the file system"),
        "start the kernel with nvme_core.io_timeout=4294967295 (255 before Linux 4.15)",
    ))
}
