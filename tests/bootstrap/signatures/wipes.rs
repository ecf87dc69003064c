//! Devices that people have wiped in the ways that people wipe devices: which are blank to us is a list.

use super::images::{self, SIZE, run};
use super::sparse::Sparse;
use super::{MIB, blkid};
use bootstrap::volumes::signatures::{Content, places_between};
use harness::requirements::is_on_path;
use std::collections::BTreeSet;

#[test]
fn what_blkid_and_wipefs_see_on_an_image_of_any_kind_is_never_blank_and_has_the_same_name() {
    let images = images::all();
    for (name, device) in &images {
        let file = device.to_file();
        let wipefs = run("wipefs --no-act IMAGE", file.path()).unwrap();
        assert!(!wipefs.trim().is_empty(), "{name}: wipefs sees nothing");
        let content = device.inspect();
        let (theirs, table) = (blkid(file.path(), "TYPE"), blkid(file.path(), "PTTYPE"));
        match &content {
            Content::Filesystem(found) => {
                assert_eq!(Some(found.kind), theirs.as_deref(), "{name}");
                if found.uuid.is_some() {
                    assert_eq!(found.uuid, blkid(file.path(), "UUID"), "{name}");
                    assert_eq!(found.label, blkid(file.path(), "LABEL"), "{name}");
                }
            }
            Content::Partition(partition) => {
                assert_eq!(Some(partition.table.to_lowercase().replace("mbr", "dos")), table, "{name}");
            }
            Content::Other { what, .. } => {
                let theirs = theirs.or(table).unwrap();
                let words = match theirs.as_str() {
                    "crypto_LUKS" => "LUKS",
                    "LVM2_member" => "LVM2",
                    "linux_raid_member" => "md RAID",
                    "zfs_member" => "ZFS",
                    "gpt" => "GPT",
                    "dos" => "MBR",
                    other => other,
                };
                assert!(what.contains(words), "{name}: {what}; blkid says {theirs}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    harness::requirements::tried(&format!("{} kinds of images", images.len()));
}

/// A way to wipe, by its name.
type Wipe = (&'static str, fn(&Sparse) -> Sparse);

fn with(device: &Sparse, change: impl FnOnce(&mut Sparse)) -> Sparse {
    let mut device = device.clone();
    change(&mut device);
    device
}

fn head(device: &Sparse, mib: u64) -> Sparse {
    with(device, |device| device.zero(0, mib * MIB))
}

fn both(device: &Sparse, mib: u64) -> Sparse {
    with(device, |device| {
        device.zero(0, mib * MIB);
        device.zero(device.size.saturating_sub(mib * MIB), device.size);
    })
}

fn by_tool(device: &Sparse, line: &str) -> Sparse {
    let file = device.to_file();
    run(line, file.path()).unwrap();
    Sparse::from_file(file.path())
}

const WIPES: [Wipe; 12] = [
    ("head 1", |device| head(device, 1)),
    ("head 4", |device| head(device, 4)),
    ("head 16", |device| head(device, 16)),
    ("head 100", |device| head(device, 100)),
    ("both 1", |device| both(device, 1)),
    ("both 4", |device| both(device, 4)),
    ("both 16", |device| both(device, 16)),
    ("both 100", |device| both(device, 100)),
    ("head 1, then enlarged", |device| with(&head(device, 1), |device| device.resize(2 * device.size))),
    ("head 1, then cut", |device| with(&head(device, 1), |device| device.resize(device.size / 2 + 4096))),
    ("wipefs -a", |device| by_tool(device, "wipefs --all IMAGE")),
    ("sgdisk -Z", |device| by_tool(device, "sgdisk -Z IMAGE")),
];

fn can_be_done(name: &str, device: &Sparse, wipe: &str) -> bool {
    match wipe {
        // Needs a file of the whole size, and not every file system has those of 5 TiB.
        "wipefs -a" => device.size < 1 << 40,
        // It waits a second, so only for what it is for.
        "sgdisk -Z" => ["gpt", "gpt with ext4", "gpt with xfs"].contains(&name) && is_on_path("sgdisk"),
        _ => true,
    }
}

/// The wiped devices that are blank to us although there are bytes left on them, where images are as their tools make
/// them, without any file. No superblock is left on any of these: it is a part of a tree, an empty folder, or what lay at
/// the end of a device that has become larger since.
const BLANK_WITH_BYTES_LEFT: [(&str, &str); 18] = [
    ("btrfs, 20 GiB", "head 100"),
    ("btrfs, 20 GiB", "both 100"),
    ("f2fs, 20 GiB", "head 16"),
    ("f2fs, 20 GiB", "head 100"),
    ("f2fs, 20 GiB", "both 16"),
    ("f2fs, 20 GiB", "both 100"),
    ("vfat, 20 GiB", "head 1"),
    ("vfat, 20 GiB", "head 4"),
    ("vfat, 20 GiB", "both 1"),
    ("vfat, 20 GiB", "both 4"),
    ("vfat, 20 GiB", "head 1, then enlarged"),
    ("vfat, 20 GiB", "head 1, then cut"),
    ("gpt", "head 1, then enlarged"),
    ("gpt without a partition", "head 1, then enlarged"),
    ("gpt by sfdisk", "head 1, then enlarged"),
    ("md 0.90", "head 1, then enlarged"),
    ("md 1.0", "head 1, then enlarged"),
    ("zfs", "head 1, then enlarged"),
];

#[test]
fn a_wiped_device_is_blank_only_when_nothing_is_left_or_when_it_is_on_the_list() {
    let mut blank = BTreeSet::new();
    let (mut cases, mut empty) = (0, 0);
    let images = images::all();
    let named: BTreeSet<&str> = images.iter().map(|(name, _)| *name).collect();
    for (name, device) in &images {
        for (wipe, carry_out) in WIPES.iter().filter(|(wipe, _)| can_be_done(name, device, wipe)) {
            let wiped = carry_out(device);
            cases += 1;
            let is_blank = wiped.inspect() == Content::Blank;
            if wiped.not_zero().next().is_none() {
                assert!(is_blank, "{name} after {wipe}: there is nothing, and it is not blank");
                empty += 1;
            } else if is_blank {
                let left: Vec<u64> = wiped.not_zero().take(4).collect();
                eprintln!("{name} after {wipe} is blank; left at {left:?}");
                blank.insert((*name, *wipe));
            }
        }
    }
    harness::requirements::tried(&format!("{cases} wiped devices, {empty} of them empty"));
    let list = BLANK_WITH_BYTES_LEFT.into_iter().filter(|(name, _)| named.contains(name)).collect();
    assert_eq!(blank, list);
}

#[test]
fn the_places_between_are_few_lie_between_the_ends_and_are_whole_blocks() {
    for size in [
        0,
        4096,
        MIB,
        2 * MIB,
        3 * MIB + 512,
        SIZE,
        20 << 30,
        (501 << 30) + 512,
        16 << 40,
        64 << 40,
        u64::MAX,
    ] {
        let places = places_between(size);
        assert!(places.len() <= 256, "{size}: {}", places.len());
        assert!(places.is_sorted(), "{size}");
        for at in places {
            assert!(at % 4096 == 0 && at >= MIB && at + 4096 <= size - MIB, "{size}: {at}");
        }
    }
    // More would have no effect: the largest EBS volume stays below the bound.
    assert!(places_between(64 << 40).len() < 256);
}
