//! Brings the only partition of a device into the kernel's view, and grows it to the device's end. No table is ever
//! made, and nothing in a partition is ever formatted.

use super::proven::Proven;
use super::{ApplyError, Target, blocking, io_error};
use crate::command::Invocation;
use crate::volumes::plan::PartitionNode;
use crate::volumes::signatures::{Content, Partition};
use crate::volumes::{kernel, observe};
use nix::libc;
use node::paths::Paths;
use std::io;
use std::time::Duration;

const SFDISK_DEADLINE: Duration = Duration::from_secs(60);
/// devtmpfs makes the node at once, udev's replacements take a moment.
const NODE_AT_MOST: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The partition as something that can be mounted; the kernel is told of it where it has not looked.
pub(super) async fn bring_up(
    paths: &Paths,
    disk: &Proven,
    partition: &Partition,
) -> Result<Target, ApplyError> {
    let work = {
        let (paths, disk, partition) = (paths.clone(), disk.clone(), partition.clone());
        move || agree(&paths, &disk, &partition)
    };
    let known = blocking("read the partitions of", &disk.device, work).await?;
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

/// Makes the kernel know the partition as the table has it.
fn agree(paths: &Paths, disk: &Proven, partition: &Partition) -> Result<PartitionNode, ApplyError> {
    let (device, file) = (&disk.device, &disk.file);
    let Partition { number, start_bytes, size_bytes, .. } = partition;
    let known = || observe::partitions(paths, &device.name).into_iter().find(|known| known.index == *number);
    let tell = |told: io::Result<()>| match told {
        // It has been found meanwhile.
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => Ok(()),
        told => told.map_err(io_error("tell the kernel of the partition of", &device.node)),
    };
    match known() {
        None => tell(kernel::add_partition(file, *number, *start_bytes, *size_bytes))?,
        Some(known) if known.start_bytes == *start_bytes && known.size_bytes < *size_bytes => {
            tell(kernel::resize_partition(file, *number, *start_bytes, *size_bytes))?;
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
pub(super) async fn grow(disk: &Proven, partition: &Partition) -> Result<(), ApplyError> {
    let node = &disk.device.node;
    let sfdisk = Invocation::new("sfdisk", SFDISK_DEADLINE)
        .brought_by("util-linux (Debian, Ubuntu: fdisk)")
        .arguments(["--quiet", "--no-reread", "--no-tell-kernel", "-N"])
        .arguments([partition.number.to_string(), disk.path()])
        // The same beginning, all the room behind it.
        .input(", +\n");
    sfdisk.run().await.map_err(ApplyError::command("grow the partition of", node))?;
    let (disk, before) = (disk.clone(), partition.clone());
    let device = disk.device.clone();
    blocking("read the partitions of", &device, move || {
        let node = &disk.device.node;
        let content = observe::read_content(&disk.file, disk.device.size_bytes);
        let after = match content.map_err(io_error("read", node))? {
            Content::Partition(after) => after,
            content => return Err(disk.changed(format!("it holds {content}"))),
        };
        let same = after.number == before.number && after.start_bytes == before.start_bytes;
        if !same || after.size_bytes < before.size_bytes {
            return Err(disk.changed("another partition than before".to_owned()));
        }
        kernel::resize_partition(&disk.file, after.number, after.start_bytes, after.size_bytes)
            .map_err(io_error("tell the kernel of the larger partition of", node))
    })
    .await
}
