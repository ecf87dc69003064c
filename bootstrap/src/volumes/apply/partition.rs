//! Brings the only partition of a device into the kernel's view, and grows it to the device's end. No table is ever
//! made, and nothing in a partition is ever formatted.

use super::{ApplyError, Target, blocking, io_error};
use crate::command::Invocation;
use crate::volumes::plan::{Device, PartitionNode};
use crate::volumes::signatures::{Content, Partition};
use crate::volumes::{kernel, observe};
use nix::libc;
use node::paths::Paths;
use std::fs::{File, OpenOptions};
use std::io;
use std::sync::Arc;
use std::time::Duration;

const SFDISK_DEADLINE: Duration = Duration::from_secs(60);
/// devtmpfs makes the node at once, udev's replacements take a moment.
const NODE_AT_MOST: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The partition as something that can be mounted; the kernel is told of it where it has not looked.
pub(super) async fn bring_up(
    paths: &Paths,
    device: &Device,
    partition: &Partition,
) -> Result<Target, ApplyError> {
    let disk = open(device).await?;
    let work = {
        let (paths, device, partition, disk) =
            (paths.clone(), device.clone(), partition.clone(), disk.clone());
        move || agree(&paths, &device, &partition, &disk)
    };
    let known = blocking("read the partitions of", device, work).await?;
    let looks = NODE_AT_MOST.as_millis() / LOOK_AGAIN.as_millis();
    for _ in 0..looks {
        let number = std::fs::metadata(&known.node).ok().as_ref().and_then(observe::device_number);
        if number == Some(known.number) {
            return Ok(Target { node: known.node, number: known.number });
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    let source = io::Error::from(io::ErrorKind::NotFound);
    Err(io_error("find the device node of a partition,", known.node)(source))
}

async fn open(device: &Device) -> Result<Arc<File>, ApplyError> {
    let planned = device.clone();
    blocking("open", device, move || {
        let node = &planned.node;
        let file = OpenOptions::new().read(true).write(true).open(node).map_err(io_error("open", node))?;
        let metadata = file.metadata().map_err(io_error("examine", node))?;
        if observe::device_number(&metadata) != Some(planned.number) {
            let what = "another device number".to_owned();
            return Err(ApplyError::Changed { device: planned.node, what });
        }
        Ok(Arc::new(file))
    })
    .await
}

/// Makes the kernel know the partition as the table has it.
fn agree(
    paths: &Paths,
    device: &Device,
    partition: &Partition,
    disk: &File,
) -> Result<PartitionNode, ApplyError> {
    let Partition { number, start_bytes, size_bytes, .. } = partition;
    let known = || observe::partitions(paths, &device.name).into_iter().find(|known| known.index == *number);
    let tell = |told: io::Result<()>| match told {
        // It has been found meanwhile.
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => Ok(()),
        told => told.map_err(io_error("tell the kernel of the partition of", &device.node)),
    };
    match known() {
        None => tell(kernel::add_partition(disk, *number, *start_bytes, *size_bytes))?,
        Some(known) if known.start_bytes == *start_bytes && known.size_bytes < *size_bytes => {
            tell(kernel::resize_partition(disk, *number, *start_bytes, *size_bytes))?;
        }
        Some(_) => {}
    }
    known().filter(|known| known.start_bytes == *start_bytes && known.size_bytes == *size_bytes).ok_or_else(
        || ApplyError::Changed {
            device: device.node.clone(),
            what: format!("the kernel knows partition {number} otherwise than its table"),
        },
    )
}

/// Moves the end of the partition to the end of the device.
pub(super) async fn grow(device: &Device, partition: &Partition) -> Result<(), ApplyError> {
    // While it is open, its number leads to no other device.
    let disk = open(device).await?;
    let sfdisk = Invocation::new("sfdisk", SFDISK_DEADLINE)
        .brought_by("util-linux (Debian, Ubuntu: fdisk)")
        .arguments(["--quiet", "--no-reread", "--no-tell-kernel", "-N"])
        .arguments([partition.number.to_string().as_str(), device.node.as_str()])
        // The same beginning, all the room behind it.
        .input(", +\n");
    sfdisk.run().await.map_err(ApplyError::command("grow the partition of", &device.node))?;
    let (planned, before) = (device.clone(), partition.clone());
    blocking("read the partitions of", device, move || {
        let node = &planned.node;
        let content = observe::read_content(&disk, planned.size_bytes).map_err(io_error("read", node))?;
        let after = match content {
            Content::Partition(after) => after,
            content => {
                let what = format!("it holds {content}");
                return Err(ApplyError::Changed { device: planned.node, what });
            }
        };
        let same = after.number == before.number && after.start_bytes == before.start_bytes;
        if !same || after.size_bytes < before.size_bytes {
            let what = "another partition than before".to_owned();
            return Err(ApplyError::Changed { device: planned.node, what });
        }
        kernel::resize_partition(&disk, after.number, after.start_bytes, after.size_bytes)
            .map_err(io_error("tell the kernel of the larger partition of", node))
    })
    .await
}
