//! What a device is used for: mounts, swap, holders, of itself and of its partitions.

use super::device_number;
use super::mounts::{Mount, mounts_by_device, unescape};
use crate::volumes::plan::{PartitionNode, Use};
use node::paths::Paths;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// What is in use, by device number.
pub(super) struct Used {
    mounts: BTreeMap<(u64, u64), Vec<Mount>>,
    swaps: Vec<(u64, u64)>,
}

impl Used {
    pub(super) fn read(paths: &Paths, mounts: &[Mount]) -> Used {
        Used { mounts: mounts_by_device(paths, mounts), swaps: swaps(paths) }
    }

    /// All uses of a disk, given its folder in sysfs.
    pub(super) fn of(&self, folder: &Path, number: (u64, u64), partitions: &[PartitionNode]) -> Vec<Use> {
        let mut uses = self.directly(folder, number);
        for partition in partitions {
            let inside = self.directly(&folder.join(&partition.name), partition.number);
            uses.extend(inside.into_iter().map(|used| match used {
                Use::Mounted { at, filesystem, read_only } => {
                    Use::PartitionMounted { index: partition.index, at, filesystem, read_only }
                }
                other => other,
            }));
        }
        let is_root = |used: &Use| matches!(used, Use::Mounted { at, .. } | Use::PartitionMounted { at, .. } if at == "/");
        if uses.iter().any(is_root) {
            uses.insert(0, Use::Root);
        }
        uses.dedup();
        tracing::debug!("{} is used for {uses:?}", folder.display());
        uses
    }

    fn directly(&self, folder: &Path, number: (u64, u64)) -> Vec<Use> {
        let mounted = self.mounts.get(&number).into_iter().flatten().map(|mount| Use::Mounted {
            at: mount.at.clone(),
            filesystem: mount.filesystem.clone(),
            read_only: mount.read_only,
        });
        let holders = fs::read_dir(folder.join("holders")).into_iter().flatten().flatten();
        let held = holders.map(|holder| Use::Held { by: holder.file_name().to_string_lossy().into_owned() });
        let swap = self.swaps.contains(&number).then_some(Use::Swap);
        mounted.chain(held).chain(swap).collect()
    }
}

fn swaps(paths: &Paths) -> Vec<(u64, u64)> {
    let text = fs::read_to_string(paths.at("/proc/swaps")).unwrap_or_default();
    let number = |line: &str| {
        let path = unescape(line.split_whitespace().next()?);
        device_number(&fs::metadata(paths.at(path)).ok()?)
    };
    text.lines().skip(1).filter_map(number).collect()
}
