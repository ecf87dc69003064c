//! Observation on made-up trees of sysfs and procfs under a temporary root.

use super::mounts::parse_mounts;
use super::*;
use node::config::settings::VolumeIdentity;
use node::files::replace;

#[test]
fn mounts_are_read_with_their_escapes_and_read_only_flags() {
    let text = "22 1 259:1 / / rw,relatime shared:1 - ext4 /dev/root rw,discard\n\
                90 22 259:4 / /mnt/my\\040models rw,nosuid,nodev - xfs /dev/nvme1n1 ro,attr2\n\
                91 22 0:40 /@ /home rw - btrfs /dev/nvme2n1 rw\n\
                not a mount\n";
    let mounts = parse_mounts(text);
    let shown: Vec<_> =
        mounts.iter().map(|mount| (mount.number, mount.at.as_str(), mount.read_only)).collect();
    assert_eq!(
        shown,
        [((259, 1), "/", false), ((259, 4), "/mnt/my models", true), ((0, 40), "/home", false)]
    );
    assert_eq!(mounts[2].source, "/dev/nvme2n1");
}

/// Name, number, and attributes with their values.
type Disk<'text> = (&'text str, &'text str, &'text [(&'text str, &'text str)]);

fn tree(disks: &[Disk<'_>], mountinfo: &str) -> (tempfile::TempDir, Paths) {
    let root = tempfile::tempdir().unwrap();
    let paths = Paths::under(root.path());
    fs::create_dir_all(paths.at("/sys/block")).unwrap();
    for (name, number, attributes) in disks {
        let folder = paths.at("/sys/block").join(name);
        replace(&folder.join("dev"), number.as_bytes(), 0o644).unwrap();
        replace(&folder.join("size"), b"2097152\n", 0o644).unwrap();
        for (attribute, value) in *attributes {
            replace(&folder.join(attribute), value.as_bytes(), 0o644).unwrap();
        }
        replace(&paths.at("/dev").join(name), b"", 0o644).unwrap();
    }
    replace(&paths.at("/proc/self/mountinfo"), mountinfo.as_bytes(), 0o644).unwrap();
    (root, paths)
}

#[test]
fn a_nitro_instance_shows_volume_ids_uses_and_no_instance_store() {
    let ebs = "Amazon Elastic Block Store              \n";
    let (_root, paths) = tree(
        &[
            (
                "nvme0n1",
                "259:0",
                &[
                    ("device/model", ebs),
                    ("device/serial", "vol0aaaaaaaaaaaaaaaa\n"),
                    ("nvme0n1p1/partition", "1"),
                    ("nvme0n1p1/dev", "259:1"),
                    ("nvme0n1p1/start", "2048"),
                    ("nvme0n1p1/size", "2000000"),
                    ("ro", "0"),
                ],
            ),
            ("nvme1n1", "259:4", &[("device/model", ebs), ("device/serial", "vol0bbbbbbbbbbbbbbbb\n")]),
            (
                "nvme2n1",
                "259:5",
                &[("device/model", "Amazon EC2 NVMe Instance Storage"), ("device/serial", "AWS1")],
            ),
            ("nvme3n1", "259:6", &[("device/serial", "vol0cccccccccccccccc"), ("holders/dm-0/dev", "253:0")]),
            ("ram0", "1:0", &[]),
            ("loop0", "7:0", &[]),
        ],
        "22 1 259:1 / / rw - ext4 /dev/root rw\n",
    );
    let devices = devices(&paths, &mounts(&paths).unwrap()).unwrap();
    let shown: Vec<_> = devices
        .iter()
        .map(|device| (device.name.as_str(), device.volume_id.as_deref(), device.uses.as_slice()))
        .collect();
    let root_uses = [
        Use::Root,
        Use::PartitionMounted {
            index: 1,
            at: "/".to_owned(),
            filesystem: "ext4".to_owned(),
            read_only: false,
        },
    ];
    let held = [Use::Held { by: "dm-0".to_owned() }];
    assert_eq!(
        shown,
        [
            ("nvme0n1", Some("vol-0aaaaaaaaaaaaaaaa"), root_uses.as_slice()),
            ("nvme1n1", Some("vol-0bbbbbbbbbbbbbbbb"), &[]),
            ("nvme2n1", None, &[]),
            ("nvme3n1", Some("vol-0cccccccccccccccc"), held.as_slice()),
        ]
    );
    assert_eq!(devices[1].size_bytes, 1 << 30);
    assert!(devices[2].is_instance_store() && !devices[1].is_instance_store());
    let [partition] = devices[0].partitions.as_slice() else { panic!("{:?}", devices[0]) };
    assert_eq!(
        (partition.index, partition.number, partition.start_bytes, partition.size_bytes),
        (1, (259, 1), 1 << 20, 1_024_000_000)
    );
}

#[test]
fn xen_disks_have_their_name_as_attach_name() {
    let (_root, paths) = tree(&[("xvda", "202:0", &[]), ("xvdf", "202:80", &[])], "");
    let wanted = VolumeIdentity::AttachName("sdf".to_owned());
    let devices = devices(&paths, &[]).unwrap();
    let Match::One(device) = find(&wanted, &devices) else { panic!("{devices:?}") };
    assert_eq!(device.name, "xvdf");
}

#[test]
fn a_disk_that_the_kernel_does_not_write_to_says_so_and_one_without_medium_is_none() {
    let (_root, paths) =
        tree(&[("xvdf", "202:80", &[("ro", "1\n")]), ("xvdg", "202:96", &[("ro", "0\n")])], "");
    replace(&paths.at("/sys/block/xvdg/size"), b"0\n", 0o644).unwrap();
    let devices = devices(&paths, &[]).unwrap();
    let shown: Vec<_> = devices.iter().map(|device| (device.name.as_str(), device.read_only)).collect();
    assert_eq!(shown, [("xvdf", true)]);
}
