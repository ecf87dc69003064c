//! What block devices there are, what they are called, what they are used for, and what is on one of them. Reads only.
//!
//! Every disk of `/sys/block` counts; loop devices only where a device node `/dev/xvd*` or `/dev/sd*` leads to them
//! (what bears such a name was attached under it). Not its job: choosing one (`plan`).

use super::plan::{Device, Match, MountPoint, Observation, Use, find};
use super::signatures::{self, Content};
use super::{identify, kernel};
use node::config::settings::{Filesystem, Volume};
use node::paths::Paths;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Disks that are made of other things, or that nothing can be attached as.
const NOT_ATTACHABLE: [&str; 8] = ["ram", "zram", "loop", "dm-", "md", "sr", "fd", "nbd"];

/// Everything about one volume. Errors of the observation itself (no sysfs, say) are returned.
pub(crate) fn observe(paths: &Paths, wanted: &Volume) -> io::Result<Observation> {
    let mounts = mounts(paths)?;
    let devices = devices(paths, &mounts)?;
    let device = find(&wanted.identity, &devices);
    let mount_point = mount_point(paths, &wanted.mount, &mounts);
    let (content, mounted_bytes) = match &device {
        Match::One(device) => {
            let mounted =
                device.uses.iter().any(|used| matches!(used, Use::Mounted { at, .. } if *at == wanted.mount));
            let bytes =
                if mounted { mounted_bytes(&paths.at(&wanted.mount), wanted.filesystem) } else { None };
            (Some(content(device).map_err(|error| error.to_string())), bytes)
        }
        _ => (None, None),
    };
    Ok(Observation { device, content, mount_point, mounted_bytes })
}

/// Reads what is on a device through its node, which must still lead to it.
fn content(device: &Device) -> io::Result<Content> {
    let file = File::open(&device.node)?;
    let number = device_number(&file.metadata()?);
    if number != Some(device.number) {
        return Err(io::Error::other(format!("{} is another device now", device.node)));
    }
    read_content(&file, device.size_bytes)
}

/// [`signatures::inspect`] on an open device.
pub(super) fn read_content(file: &File, size: u64) -> io::Result<Content> {
    signatures::inspect(size, &mut |offset, buffer| file.read_exact_at(buffer, offset))
}

/// Major and minor number, if it is a block device.
pub(super) fn device_number(metadata: &fs::Metadata) -> Option<(u64, u64)> {
    metadata.file_type().is_block_device().then(|| {
        let number = metadata.rdev();
        (nix::sys::stat::major(number), nix::sys::stat::minor(number))
    })
}

fn mounted_bytes(mount: &Path, filesystem: Filesystem) -> Option<u64> {
    match filesystem {
        Filesystem::Xfs => kernel::xfs_bytes(&File::open(mount).ok()?).ok(),
        // The superblock that is read from the device is the one in use.
        Filesystem::Ext4 => None,
    }
}

/// One line of `/proc/self/mountinfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) number: (u64, u64),
    pub(super) at: String,
    pub(super) filesystem: String,
    pub(super) source: String,
    pub(super) read_only: bool,
}

pub(super) fn mounts(paths: &Paths) -> io::Result<Vec<Mount>> {
    let text = fs::read_to_string(paths.at("/proc/self/mountinfo"))?;
    Ok(parse_mounts(&text))
}

/// proc(5): `ID PARENT MAJ:MIN ROOT MOUNT-POINT OPTIONS [TAGS…] - TYPE SOURCE SUPER-OPTIONS`
fn parse_mounts(text: &str) -> Vec<Mount> {
    let line = |line: &str| {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(2);
        let number = parse_number(mount.next()?)?;
        let at = unescape(mount.nth(1)?);
        let options = mount.next()?;
        let mut file_system = file_system.split(' ');
        let (kind, source) = (file_system.next()?.to_owned(), unescape(file_system.next()?));
        let has_ro = |options: &str| options.split(',').any(|option| option == "ro");
        let read_only = has_ro(options) || file_system.next().is_some_and(has_ro);
        Some(Mount { number, at, filesystem: kind, source, read_only })
    };
    text.lines().filter_map(line).collect()
}

/// Space, tab, newline and backslash are written in octal, `\040`.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if *first == b'\\' => {
                bytes.push(byte);
                rest = &after[3..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn parse_number(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn mount_point(paths: &Paths, mount: &str, mounts: &[Mount]) -> MountPoint {
    // The last one is on top.
    if let Some(mount) = mounts.iter().rev().find(|candidate| candidate.at == mount) {
        return MountPoint::Taken { number: mount.number, source: mount.source.clone() };
    }
    match fs::read_dir(paths.at(mount)) {
        Ok(mut entries) => MountPoint::Free { holds_files: entries.next().is_some() },
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => MountPoint::NoFolder,
        Err(_) => MountPoint::Free { holds_files: false },
    }
}

/// All devices that could be a volume.
fn devices(paths: &Paths, mounts: &[Mount]) -> io::Result<Vec<Device>> {
    let used = Used { mounts: mounts_by_device(paths, mounts), swaps: swaps(paths) };
    let names = node_names(paths);
    let mut disks: Vec<String> = Vec::new();
    for entry in fs::read_dir(paths.at("/sys/block"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let reached = names.contains_key(&name);
        let attachable = !NOT_ATTACHABLE.iter().any(|prefix| name.starts_with(prefix));
        if attachable || (reached && name.starts_with("loop")) {
            disks.push(name);
        }
    }
    disks.sort();
    Ok(disks.iter().filter_map(|name| device(paths, name, &names, &used)).collect())
}

/// What is in use, by device number.
struct Used {
    mounts: BTreeMap<(u64, u64), Vec<Mount>>,
    swaps: Vec<(u64, u64)>,
}

fn device(paths: &Paths, name: &str, names: &BTreeMap<String, Vec<PathBuf>>, used: &Used) -> Option<Device> {
    const SECTOR: u64 = 512;
    let folder = paths.at("/sys/block").join(name);
    let number = parse_number(&attribute(&folder, "dev")?)?;
    let sectors: u64 = attribute(&folder, "size")?.parse().ok()?;
    let model = attribute(&folder, "device/model");
    let serial = serial(paths, name);
    let nodes = names.get(name).map(Vec::as_slice).unwrap_or_default();
    let plain = paths.at("/dev").join(name);
    let node = if plain.exists() { plain } else { nodes.first()?.clone() };
    let instance_store = model.as_deref() == Some(identify::INSTANCE_STORE_MODEL);
    let volume_id = serial.as_deref().and_then(identify::volume_id).filter(|_| !instance_store);
    let attach_names = if name.starts_with("nvme") {
        // Links such as /dev/sdf -> nvme1n1 come from udev rules, which order devices as they please; the controller
        // itself is asked instead.
        nvme_attach_name(&node, model.as_deref()).into_iter().collect()
    } else {
        attach_names(name, nodes)
    };
    Some(Device {
        name: name.to_owned(),
        node: node.to_string_lossy().into_owned(),
        number,
        size_bytes: sectors.checked_mul(SECTOR)?,
        model,
        serial,
        volume_id,
        attach_names,
        uses: uses(&folder, name, number, used),
    })
}

/// The serial number that a disk has now: NVMe controllers and virtio disks have one.
pub(super) fn serial(paths: &Paths, name: &str) -> Option<String> {
    let folder = paths.at("/sys/block").join(name);
    attribute(&folder, "device/serial").or_else(|| attribute(&folder, "serial"))
}

fn attach_names(name: &str, nodes: &[PathBuf]) -> Vec<String> {
    let nodes = nodes.iter().filter_map(|node| identify::normalise(node.file_name()?.to_str()?));
    let mut names: Vec<String> = identify::normalise(name).into_iter().chain(nodes).collect();
    names.sort();
    names.dedup();
    names
}

fn nvme_attach_name(node: &Path, model: Option<&str>) -> Option<String> {
    if model != Some(identify::EBS_MODEL) {
        return None;
    }
    let asked = File::open(node).and_then(|file| kernel::identify_controller(&file));
    match asked {
        Ok(data) => identify::attach_name(&data),
        Err(error) => {
            tracing::warn!("cannot ask {} for its attach name: {error}", node.display());
            None
        }
    }
}

/// `/dev/xvd*` and `/dev/sd*`, by the disk that they lead to.
fn node_names(paths: &Paths) -> BTreeMap<String, Vec<PathBuf>> {
    let mut names: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    let entries = fs::read_dir(paths.at("/dev")).into_iter().flatten().flatten();
    for entry in entries {
        let file_name = entry.file_name();
        if file_name.to_str().and_then(identify::normalise).is_none() {
            continue;
        }
        let path = entry.path();
        let number = fs::metadata(&path).ok().and_then(|metadata| device_number(&metadata));
        if let Some(disk) = number.and_then(|number| disk_of(paths, number)) {
            names.entry(disk).or_default().push(path);
        }
    }
    names.values_mut().for_each(|nodes| nodes.sort());
    names
}

/// The kernel's name of the whole disk that a device number belongs to.
fn disk_of(paths: &Paths, (major, minor): (u64, u64)) -> Option<String> {
    let link = paths.at("/sys/dev/block").join(format!("{major}:{minor}"));
    let mut folder = fs::canonicalize(link).ok()?;
    if folder.join("partition").exists() {
        folder.pop();
    }
    Some(folder.file_name()?.to_str()?.to_owned())
}

/// btrfs and overlays have device numbers of their own: for them the source counts.
fn mounts_by_device(paths: &Paths, mounts: &[Mount]) -> BTreeMap<(u64, u64), Vec<Mount>> {
    let mut by_device: BTreeMap<(u64, u64), Vec<Mount>> = BTreeMap::new();
    for mount in mounts {
        let source = fs::metadata(paths.at(&mount.source)).ok().and_then(|metadata| device_number(&metadata));
        let number = if mount.number.0 == 0 { source } else { Some(mount.number) };
        by_device.entry(number.unwrap_or(mount.number)).or_default().push(mount.clone());
    }
    by_device
}

fn swaps(paths: &Paths) -> Vec<(u64, u64)> {
    let text = fs::read_to_string(paths.at("/proc/swaps")).unwrap_or_default();
    let number = |line: &str| {
        let path = unescape(line.split_whitespace().next()?);
        device_number(&fs::metadata(paths.at(path)).ok()?)
    };
    text.lines().skip(1).filter_map(number).collect()
}

fn uses(folder: &Path, name: &str, number: (u64, u64), used: &Used) -> Vec<Use> {
    let mut uses = uses_of(folder, number, used);
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let partition = entry.path();
        if !partition.join("partition").exists() {
            continue;
        }
        let Some(number) = attribute(&partition, "dev").and_then(|text| parse_number(&text)) else {
            continue;
        };
        uses.extend(uses_of(&partition, number, used).into_iter().map(|used| match used {
            Use::Mounted { at, .. } => Use::PartitionMounted { at },
            other => other,
        }));
    }
    if uses
        .iter()
        .any(|used| matches!(used, Use::Mounted { at, .. } | Use::PartitionMounted { at } if at == "/"))
    {
        uses.insert(0, Use::Root);
    }
    uses.dedup();
    tracing::debug!("{name} is used for {uses:?}");
    uses
}

fn uses_of(folder: &Path, number: (u64, u64), used: &Used) -> Vec<Use> {
    let mounted = used.mounts.get(&number).into_iter().flatten().map(|mount| Use::Mounted {
        at: mount.at.clone(),
        filesystem: mount.filesystem.clone(),
        read_only: mount.read_only,
    });
    let holders = fs::read_dir(folder.join("holders")).into_iter().flatten().flatten();
    let held = holders.map(|holder| Use::Held { by: holder.file_name().to_string_lossy().into_owned() });
    let swap = used.swaps.contains(&number).then_some(Use::Swap);
    mounted.chain(held).chain(swap).collect()
}

fn attribute(folder: &Path, name: &str) -> Option<String> {
    let text = fs::read_to_string(folder.join(name)).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests;
