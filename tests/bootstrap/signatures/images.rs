//! One image of each kind, by the tool that makes it in the world; where there is none that runs on a file, by the
//! format's documented layout.

use super::sparse::Sparse;
use super::{MIB, image};
use harness::requirements::{is_on_path, is_root, skipped};
use std::path::Path;
use std::process::Command;

pub(crate) const SIZE: u64 = 320 * MIB;
const GIB: u64 = 1024 * MIB;

/// Name, tool and arguments (`IMAGE` is the file), and size.
const TOOLS: [(&str, &str, u64); 27] = [
    ("ext2", "mkfs.ext2 -q -F IMAGE", SIZE),
    ("ext3", "mkfs.ext3 -q -F IMAGE", SIZE),
    ("ext4", "mkfs.ext4 -q -F IMAGE", SIZE),
    ("ext4, 1 GiB", "mkfs.ext4 -q -F IMAGE", GIB),
    ("ext4, 20 GiB", "mkfs.ext4 -q -F -E lazy_itable_init=1,lazy_journal_init=1 -J size=4 IMAGE", 20 * GIB),
    ("ext4 with blocks of 2 KiB", "mkfs.ext4 -q -F -b 2048 IMAGE", SIZE),
    ("xfs", "mkfs.xfs -q -f IMAGE", SIZE),
    ("xfs, 20 GiB", "mkfs.xfs -q -f -l size=64m IMAGE", 20 * GIB),
    ("xfs, 501 GiB", "mkfs.xfs -q -f -l size=64m IMAGE", 501 * GIB),
    ("xfs, striped", "mkfs.xfs -q -f -l size=64m -d su=64k,sw=4 IMAGE", 20 * GIB),
    ("xfs, 5 TiB", "mkfs.xfs -q -f -l size=64m IMAGE", 5 << 40),
    ("btrfs", "mkfs.btrfs -q -f IMAGE", SIZE),
    ("btrfs, 20 GiB", "mkfs.btrfs -q -f IMAGE", 20 * GIB),
    ("f2fs", "mkfs.f2fs -q -f IMAGE", SIZE),
    ("f2fs, 20 GiB", "mkfs.f2fs -q -f IMAGE", 20 * GIB),
    ("vfat", "mkfs.vfat IMAGE", SIZE),
    ("vfat, 20 GiB", "mkfs.vfat IMAGE", 20 * GIB),
    ("ntfs", "mkntfs -q -F -f IMAGE", SIZE / 4),
    ("swap", "mkswap -q IMAGE", SIZE),
    (
        "luks1",
        "cryptsetup -q luksFormat --type luks1 --pbkdf-force-iterations 1000 --key-file /etc/passwd IMAGE",
        SIZE,
    ),
    (
        "luks2",
        "cryptsetup -q luksFormat --type luks2 --luks2-keyslots-size 256k --pbkdf pbkdf2 \
         --pbkdf-force-iterations 1000 --key-file /etc/passwd IMAGE",
        SIZE,
    ),
    ("bcache", "make-bcache -B IMAGE", SIZE),
    ("gpt", "sgdisk -n 1:0:+10M -n 2:0:+10M -n 3:0:0 IMAGE", SIZE),
    ("gpt without a partition", "sfdisk -q IMAGE < label: gpt\\n", SIZE),
    ("gpt by sfdisk", "sfdisk -q IMAGE < label: gpt\\n,8M\\n", SIZE),
    ("mbr", "sfdisk -q IMAGE < label: dos\\n,8M\\n", SIZE),
    ("mbr with an extended partition", "sfdisk -q IMAGE < label: dos\\n,8M\\n,,E\\n,8M\\n", SIZE),
];

/// Runs `TOOL ARGUMENT… [< INPUT]` on an image; its outputs when it fails.
pub(crate) fn run(line: &str, image: &Path) -> Result<String, String> {
    let (line, input) = line.split_once(" < ").unwrap_or((line, ""));
    let words = line.split_whitespace().map(|word| word.replace("IMAGE", image.to_str().unwrap()));
    let words: Vec<String> = words.collect();
    let input_file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut input_file.as_file(), input.replace("\\n", "\n").as_bytes()).unwrap();
    let stdin = std::fs::File::open(input_file.path()).unwrap();
    let output = Command::new(&words[0]).args(&words[1..]).stdin(stdin).output();
    let output = output.map_err(|error| format!("{line}: {error}"))?;
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(text) } else { Err(format!("{line}: {text}")) }
}

/// All kinds. One whose tool is not installed is left out, and that is said once.
pub(crate) fn all() -> Vec<(&'static str, Sparse)> {
    let mut images = Vec::new();
    for (name, line, size) in TOOLS {
        let tool = line.split(' ').next().unwrap_or_default();
        if !is_on_path(tool) {
            skipped(&format!("{tool} is not installed; no image {name}"));
            continue;
        }
        let image = image(size);
        run(line, image.path()).unwrap();
        images.push((name, Sparse::from_file(image.path())));
    }
    images.extend(in_a_partition(
        "gpt with ext4",
        "sfdisk -q IMAGE < label: gpt\\n,,\\n",
        "mkfs.ext4 -q -F IMAGE",
    ));
    images.extend(in_a_partition(
        "gpt with xfs",
        "sfdisk -q IMAGE < label: gpt\\n,,\\n",
        "mkfs.xfs -q -f IMAGE",
    ));
    images.extend(in_a_partition(
        "mbr with xfs",
        "sfdisk -q IMAGE < label: dos\\n,,\\n",
        "mkfs.xfs -q -f IMAGE",
    ));
    images.extend(iso9660());
    images.extend(lvm2());
    images.extend([
        ("md 0.90", md_0_90()),
        ("md 1.0", md_1(SIZE - 8192)),
        ("md 1.1", md_1(0)),
        ("md 1.2", md_1(4096)),
        ("zfs", zfs()),
    ]);
    images
}

/// A table with one partition from 1 MiB on, and a file system in it.
fn in_a_partition(name: &'static str, table: &str, mkfs: &str) -> Option<(&'static str, Sparse)> {
    if !is_on_path("sfdisk") {
        skipped(&format!("sfdisk is not installed; no image {name}"));
        return None;
    }
    let image = image(SIZE);
    run(table, image.path()).unwrap();
    let mut device = Sparse::from_file(image.path());
    let backup = if name.starts_with("gpt") { 33 * 512 } else { 0 };
    let inner = super::image(SIZE - MIB - backup);
    run(mkfs, inner.path()).unwrap();
    device.lay_over(MIB, &Sparse::from_file(inner.path()));
    Some((name, device))
}

fn iso9660() -> Option<(&'static str, Sparse)> {
    if !is_on_path("genisoimage") {
        skipped("genisoimage is not installed; no image iso9660");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = image(0);
    run(&format!("genisoimage -quiet -o IMAGE {}", folder.path().display()), image.path()).unwrap();
    let mut device = Sparse::from_file(image.path());
    device.resize(SIZE);
    Some(("iso9660", device))
}

/// `pvcreate` takes block devices only.
fn lvm2() -> Option<(&'static str, Sparse)> {
    if !is_root() || !is_on_path("pvcreate") {
        skipped("not root, or lvm2 is not installed; no image lvm2");
        return None;
    }
    let image = image(SIZE);
    let output = Command::new("losetup").args(["--find", "--show"]).arg(image.path()).output().unwrap();
    let node = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    let made = run(&format!("pvcreate -q -y --devices {node} {node}"), image.path());
    assert!(Command::new("losetup").args(["-d", &node]).status().unwrap().success());
    made.unwrap();
    Some(("lvm2", Sparse::from_file(image.path())))
}

/// `struct mdp_superblock_1` of the kernel's `include/uapi/linux/raid/md_p.h`.
fn md_1(at: u64) -> Sparse {
    let mut block = [0_u8; 256];
    block[..4].copy_from_slice(&0xa92b_4efc_u32.to_le_bytes());
    block[4] = 1;
    block[16..32].copy_from_slice(b"sixteen uuid len");
    block[32..36].copy_from_slice(b"name");
    block[72] = 1;
    block[92] = 2;
    block[144..152].copy_from_slice(&(at / 512).to_le_bytes());
    let words = block.chunks_exact(4).map(|word| u64::from(u32::from_le_bytes(word.try_into().unwrap())));
    let sum: u64 = words.sum();
    let checksum = u32::try_from((sum & 0xffff_ffff) + (sum >> 32)).unwrap();
    block[216..220].copy_from_slice(&checksum.to_le_bytes());
    let mut device = Sparse::of(SIZE);
    device.write(at, &block);
    device
}

/// `mdp_super_t` of the same file, in the last 64 KiB that begin at a multiple of that.
fn md_0_90() -> Sparse {
    let words = [0xa92b_4efc_u32, 0, 90, 0, 0, 0x1234_5678, 0x6543_2100, 1, 1000, 2, 2];
    let block: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let mut device = Sparse::of(SIZE);
    device.write(SIZE - 65536, &block);
    device
}

/// Four labels of 256 KiB, two at either end, the second half of each an array of uberblocks (ZFS On-Disk
/// Specification, chapter 1).
fn zfs() -> Sparse {
    let mut device = Sparse::of(SIZE);
    for label in [0, 256 << 10, SIZE - (512 << 10), SIZE - (256 << 10)] {
        for number in 0..16 {
            let uberblock = [0x00ba_b10c_u64, 5000, number, 77, 88].map(u64::to_le_bytes).concat();
            device.write(label + (128 << 10) + number * 1024, &uberblock);
        }
    }
    device
}
