//! Partition tables of the real tools, and what is wrong with them.

use super::images::run;
use super::sparse::Sparse;
use super::{MIB, blkid, image};
use bootstrap::volumes::signatures::{Content, Partition};
use harness::requirements::{is_on_path, skipped};

const SIZE: u64 = 64 * MIB;
const SECTOR: u64 = 512;

/// A GPT or MBR of sfdisk with an ext4 where its (first) partition begins; `None` without sfdisk.
fn with_ext4(script: &str) -> Option<Sparse> {
    if !is_on_path("sfdisk") {
        skipped("sfdisk is not installed");
        return None;
    }
    let table = image(SIZE);
    run(&format!("sfdisk -q IMAGE < {script}"), table.path()).unwrap();
    let mut device = Sparse::from_file(table.path());
    let inner = image(32 * MIB);
    run("mkfs.ext4 -q -F -L inside IMAGE", inner.path()).unwrap();
    device.lay_over(MIB, &Sparse::from_file(inner.path()));
    Some(device)
}

const GPT: &str = "label: gpt\\n,40M\\n";

fn single(device: &Sparse) -> Partition {
    match device.inspect() {
        Content::Partition(partition) => partition,
        other => panic!("{other:?}"),
    }
}

fn refused(device: &Sparse) -> String {
    match device.inspect() {
        Content::Other { what, .. } => what,
        other => panic!("{other:?}"),
    }
}

fn flip(device: &mut Sparse, at: u64) {
    let mut byte = [0];
    device.read(at, &mut byte);
    device.write(at, &[!byte[0]]);
}

#[test]
fn the_only_partition_is_found_with_what_is_in_it() {
    for (script, table, size) in [
        (GPT, "GPT", 40 * MIB),
        ("label: dos\\n,40M\\n", "MBR", 40 * MIB),
        ("label: gpt\\n,,\\n", "GPT", SIZE - MIB - 33 * SECTOR),
    ] {
        let Some(device) = with_ext4(script) else { return };
        let file = device.to_file();
        assert!(blkid(file.path(), "PTTYPE").is_some());
        let found = single(&device);
        assert_eq!((found.table, found.number, found.start_bytes), (table, 1, MIB));
        // The tools end a partition at a multiple of 1 MiB.
        assert!(found.size_bytes <= size && found.size_bytes > size - MIB, "{}", found.size_bytes);
        let Content::Filesystem(inside) = *found.content else { panic!("{script}") };
        assert_eq!((inside.kind, inside.label.as_deref(), inside.mark), ("ext4", Some("inside"), None));
    }
}

#[test]
fn a_partition_of_another_number_is_the_only_one_too() {
    let Some(device) = with_ext4("label: gpt\\n3: start=2048, size=40M\\n") else { return };
    assert_eq!(single(&device).number, 3);
}

#[test]
fn the_table_of_a_volume_that_was_enlarged_is_sound() {
    let Some(mut device) = with_ext4(GPT) else { return };
    device.resize(3 * SIZE);
    assert_eq!(single(&device).size_bytes, 40 * MIB);
    // The backup of another table at the new end makes it two.
    let mut header = vec![0; 512];
    device.read(SIZE - SECTOR, &mut header);
    device.write(3 * SIZE - SECTOR, &header);
    assert_eq!(refused(&device), "a GPT partition table beside the backup of another one");
}

/// What is done to a sound table, and what is said then.
type Damage = (&'static str, fn(&mut Sparse));

#[test]
fn a_table_with_a_fault_is_refused_with_what_is_wrong() {
    let table: [Damage; 10] = [
        ("a GPT partition table whose primary header is damaged", |device| flip(device, SECTOR + 50)),
        ("a GPT partition table whose primary header is damaged", |device| device.zero(SECTOR, 2 * SECTOR)),
        ("a GPT partition table whose entries are damaged", |device| flip(device, 2 * SECTOR + 60)),
        ("a GPT partition table whose backup is damaged", |device| flip(device, SIZE - SECTOR + 20)),
        ("a GPT partition table whose backup is damaged", |device| flip(device, SIZE - 33 * SECTOR + 1)),
        ("a GPT partition table that is larger than the device", |device| device.resize(SIZE - MIB)),
        ("a GPT partition table without its protective MBR", |device| device.zero(0, SECTOR)),
        ("a GPT partition table beside an MBR with partitions", |device| device.write(446 + 16 + 4, &[0x83])),
        ("an LVM2 physical volume", |device| device.write(SECTOR, b"LABELONE")),
        ("both a GPT partition table and a file system btrfs", |device| device.write(65600, b"_BHRfS_M")),
    ];
    for (sentence, damage) in table {
        let Some(mut device) = with_ext4(GPT) else { return };
        damage(&mut device);
        assert_eq!(refused(&device), sentence);
    }
}

#[test]
fn any_other_number_of_partitions_or_another_content_is_refused() {
    let table = [
        ("label: gpt\\n,10M\\n,10M\\n,10M\\n", "a GPT partition table with 3 partitions"),
        ("label: gpt\\n", "a GPT partition table without a partition"),
        ("label: dos\\n,10M\\n,10M\\n", "an MBR partition table with 2 partitions"),
        ("label: dos\\n,10M\\n,,E\\n,8M\\n", "an MBR partition table with an extended partition"),
        ("label: dos\\n", "an MBR partition table without a partition, or a boot sector"),
    ];
    for (script, sentence) in table {
        let Some(device) = with_ext4(script) else { return };
        assert_eq!(refused(&device), sentence);
    }
    let Some(mut device) = with_ext4("label: dos\\n,40M\\n") else { return };
    device.zero(MIB, SIZE);
    assert_eq!(refused(&device), "an MBR partition table with one partition that holds nothing");
    device.write(MIB + 510, &[0x55, 0xaa]);
    assert!(refused(&device).contains("holds a partition table or a boot sector"));
    device.resize(8 * MIB);
    assert_eq!(refused(&device), "an MBR partition table whose partition 1 does not lie on the device");
}

#[test]
fn a_table_for_sectors_of_4096_bytes_is_read() {
    if !is_on_path("sfdisk") || !harness::requirements::is_root() {
        return skipped("not root, or sfdisk is not installed");
    }
    let file = image(SIZE);
    let output = std::process::Command::new("losetup")
        .args(["--find", "--show", "--sector-size", "4096"])
        .arg(file.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let node = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    let made = run(&format!("sfdisk -q --no-reread --no-tell-kernel {node} < {GPT}"), file.path());
    assert!(std::process::Command::new("losetup").args(["-d", &node]).status().unwrap().success());
    made.unwrap();
    let mut device = Sparse::from_file(file.path());
    let inner = image(32 * MIB);
    run("mkfs.ext4 -q -F IMAGE", inner.path()).unwrap();
    device.lay_over(MIB, &Sparse::from_file(inner.path()));
    assert_eq!(single(&device).size_bytes, 40 * MIB);
    flip(&mut device, 4096 + 40);
    assert_eq!(refused(&device), "a GPT partition table whose primary header is damaged");
}
