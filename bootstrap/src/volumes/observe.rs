//! What block devices there are, what they are called, what they are used for, and what is on one of them. Reads only.
//!
//! Every disk of `/sys/block` counts; loop devices only where a device node `/dev/xvd*` or `/dev/sd*` leads to them
//! (what bears such a name was attached under it). Not its job: choosing one (`plan`).

mod mounts;
mod uses;

pub(super) use mounts::{Mount, mounts};

use super::plan::{Device, Match, MountPoint, Observation, PartitionNode, RootFolder, Use, find};
use super::signatures::{self, Content};
use super::{identify, kernel};
use node::config::settings::{Filesystem, Volume};
use node::nvme;
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
    let mut observation =
        Observation { device, content: None, mount_point, mounted_bytes: None, root_folder: None };
    if let Match::One(device) = &observation.device {
        observation.content = Some(content(device).map_err(|error| error.to_string()));
        let here = |used: &Use| matches!(used, Use::Mounted { at, .. } | Use::PartitionMounted { at, .. } if *at == wanted.mount);
        if device.uses.iter().any(here) {
            let at = paths.at(&wanted.mount);
            observation.mounted_bytes = mounted_bytes(&at, wanted.filesystem);
            observation.root_folder = fs::metadata(&at).ok().map(|metadata| root_folder(&metadata));
        }
    }
    Ok(observation)
}

/// Owner and permissions.
pub(super) fn root_folder(metadata: &fs::Metadata) -> RootFolder {
    RootFolder { uid: metadata.uid(), gid: metadata.gid(), mode: metadata.mode() & 0o7777 }
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
    let used = uses::Used::read(paths, mounts);
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

fn device(
    paths: &Paths,
    name: &str,
    names: &BTreeMap<String, Vec<PathBuf>>,
    used: &uses::Used,
) -> Option<Device> {
    let folder = paths.at("/sys/block").join(name);
    let number = parse_number(&attribute(&folder, "dev")?)?;
    // One without any size has no medium (yet).
    let size_bytes = bytes(&folder, "size").filter(|bytes| *bytes > 0)?;
    let model = attribute(&folder, "device/model");
    let serial = serial(paths, name);
    let nodes = names.get(name).map(Vec::as_slice).unwrap_or_default();
    let plain = paths.at("/dev").join(name);
    let node = if plain.exists() { plain } else { nodes.first()?.clone() };
    let volume_id = serial.as_deref().and_then(identify::volume_id);
    let attach_names = if name.starts_with("nvme") {
        // Links such as /dev/sdf -> nvme1n1 come from udev rules, which order devices as they please; the controller
        // itself is asked instead.
        nvme_attach_name(&node, model.as_deref()).into_iter().collect()
    } else {
        attach_names(name, nodes)
    };
    let partitions = partitions(paths, name);
    let mut device = Device {
        name: name.to_owned(),
        node: node.to_string_lossy().into_owned(),
        number,
        size_bytes,
        model,
        serial,
        volume_id,
        attach_names,
        read_only: attribute(&folder, "ro").as_deref() == Some("1"),
        uses: used.of(&folder, number, &partitions),
        partitions,
    };
    if device.is_instance_store() {
        device.volume_id = None;
    }
    Some(device)
}

/// The partitions of a disk that the kernel knows now.
pub(super) fn partitions(paths: &Paths, disk: &str) -> Vec<PartitionNode> {
    let folder = paths.at("/sys/block").join(disk);
    let one = |folder: PathBuf| {
        let name = folder.file_name()?.to_str()?.to_owned();
        Some(PartitionNode {
            node: paths.at("/dev").join(&name).to_string_lossy().into_owned(),
            name,
            number: parse_number(&attribute(&folder, "dev")?)?,
            index: attribute(&folder, "partition")?.parse().ok()?,
            start_bytes: bytes(&folder, "start")?,
            size_bytes: bytes(&folder, "size")?,
        })
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut partitions: Vec<PartitionNode> = entries.filter_map(|entry| one(entry.path())).collect();
    partitions.sort_by_key(|partition| partition.index);
    partitions
}

/// sysfs counts sectors of 512 bytes, whatever the device's own are.
fn bytes(folder: &Path, name: &str) -> Option<u64> {
    const SECTOR: u64 = 512;
    attribute(folder, name)?.parse::<u64>().ok()?.checked_mul(SECTOR)
}

/// The device number that a disk has now.
pub(super) fn number(paths: &Paths, name: &str) -> Option<(u64, u64)> {
    parse_number(&attribute(&paths.at("/sys/block").join(name), "dev")?)
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
    let asked = File::open(node).and_then(|file| nvme::identify_controller(&file));
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

fn attribute(folder: &Path, name: &str) -> Option<String> {
    let text = fs::read_to_string(folder.join(name)).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests;
