//! The signature reader against images that the real tools make, and blkid's opinion of them.

#![expect(clippy::unwrap_used, reason = "a failing test panics with its story")]
#![expect(clippy::disallowed_methods, reason = "makes images with the real tools")]

mod images;
mod marks;
mod mutations;
mod sparse;
mod tables;
mod wipes;

use bootstrap::volumes::signatures::{Content, Found, PROBE_BYTES, inspect};
use proptest::prelude::*;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

const MIB: u64 = 1 << 20;

fn inspect_file(path: &Path) -> Content {
    let file = File::open(path).unwrap();
    let size = file.metadata().unwrap().len();
    inspect(size, &mut |offset, buffer| file.read_exact_at(buffer, offset)).unwrap()
}

fn inspect_bytes(size: u64, pieces: &[(u64, &[u8])]) -> Content {
    let read = &mut |offset: u64, buffer: &mut [u8]| {
        assert!(offset + buffer.len() as u64 <= size, "a read past the end");
        for (at, bytes) in pieces {
            for (position, byte) in bytes.iter().enumerate() {
                let index = (at + position as u64).wrapping_sub(offset);
                if let Some(place) = usize::try_from(index).ok().and_then(|index| buffer.get_mut(index)) {
                    *place = *byte;
                }
            }
        }
        Ok(())
    };
    inspect(size, read).unwrap()
}

/// In memory where that can be: the tools sync, and a hundred of these files are made.
fn image(size: u64) -> tempfile::NamedTempFile {
    let memory = tempfile::Builder::new().prefix("signatures").tempfile_in("/dev/shm");
    let file = memory.or_else(|_| tempfile::NamedTempFile::new()).unwrap();
    file.as_file().set_len(size).unwrap();
    file
}

/// Runs a tool on an image; `None`, with a word, where the tool is not installed.
fn made_by(tool: &str, arguments: &[&str], size: u64) -> Option<tempfile::NamedTempFile> {
    let image = image(size);
    match Command::new(tool).args(arguments).arg(image.path()).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            harness::requirements::skipped(&format!("{tool} is not installed"));
            None
        }
        output => {
            let output = output.unwrap();
            assert!(output.status.success(), "{tool}: {}", String::from_utf8_lossy(&output.stderr));
            Some(image)
        }
    }
}

/// One property in blkid's own low-level view.
fn blkid(path: &Path, property: &str) -> Option<String> {
    let output = Command::new("blkid").args(["-p", "-o", "value", "-s", property]).arg(path).output().ok()?;
    let text = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    (!text.is_empty()).then_some(text)
}

fn filesystem(path: &Path) -> Found {
    match inspect_file(path) {
        Content::Filesystem(found) => found,
        other => panic!("{other:?}"),
    }
}

#[test]
fn file_systems_of_the_real_tools_are_known_with_uuid_label_and_size() {
    let table: [(&str, &[&str], &str); 5] = [
        ("mkfs.ext2", &["-q", "-F", "-L", "two"], "ext2"),
        ("mkfs.ext3", &["-q", "-F", "-L", "three"], "ext3"),
        ("mkfs.ext4", &["-q", "-F", "-L", "sixteen-letters!"], "ext4"),
        ("mkfs.ext4", &["-q", "-F", "-b", "1024", "-O", "^64bit,^metadata_csum", "-L", "old"], "ext4"),
        ("mkfs.xfs", &["-q", "-f", "-L", "twelve-chars"], "xfs"),
    ];
    for (tool, arguments, kind) in table {
        let Some(image) = made_by(tool, arguments, 320 * MIB) else { continue };
        let found = filesystem(image.path());
        assert_eq!(found.kind, kind, "{tool} {arguments:?}");
        assert_eq!(blkid(image.path(), "TYPE").as_deref(), Some(kind));
        assert_eq!(found.uuid, blkid(image.path(), "UUID"));
        assert_eq!(found.label, blkid(image.path(), "LABEL"));
        let size = found.size_bytes.unwrap();
        assert!(size > 319 * MIB && size <= 320 * MIB, "{tool}: {size}");
    }
}

#[test]
fn other_file_systems_are_known_and_swap_is_none() {
    let table: [(&str, &[&str], &str); 6] = [
        ("mkfs.btrfs", &["-q", "-f"], "btrfs"),
        ("mkfs.vfat", &[], "vfat"),
        ("mkfs.vfat", &["-F", "32"], "vfat"),
        ("mkfs.f2fs", &["-q"], "f2fs"),
        ("mkfs.ntfs", &["-q", "-F"], "ntfs"),
        ("mkfs.exfat", &[], "exfat"),
    ];
    for (tool, arguments, kind) in table {
        let Some(image) = made_by(tool, arguments, 320 * MIB) else { continue };
        assert_eq!(filesystem(image.path()).kind, kind, "{tool} {arguments:?}");
        assert_eq!(blkid(image.path(), "TYPE").as_deref(), Some(kind));
    }
    let Some(swap) = made_by("mkswap", &[], 8 * MIB) else { return };
    assert!(matches!(inspect_file(swap.path()), Content::Other { what, .. } if what == "swap space"));
}

#[test]
fn partition_tables_of_sfdisk_are_refused() {
    for label in ["gpt", "dos"] {
        let image = image(16 * MIB);
        let script = format!("label: {label}\n,8M\n");
        let run = format!("printf '{script}' | sfdisk -q {}", image.path().display());
        let output = Command::new("sh").args(["-c", &run]).output().unwrap();
        if output.status.code() == Some(127) {
            harness::requirements::skipped("sfdisk is not installed");
            return;
        }
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(blkid(image.path(), "PTTYPE").as_deref(), Some(label));
        assert!(matches!(inspect_file(image.path()), Content::Other { .. }), "{label}");
    }
}

#[test]
fn every_other_signature_is_refused_where_its_specification_puts_it() {
    let size = 64 * MIB;
    let md = 0xa92b_4efc_u32.to_le_bytes();
    let zfs = 0x00ba_b10c_u64.to_le_bytes();
    let table: [(&str, u64, &[u8]); 18] = [
        ("LUKS", 0, b"LUKS\xba\xbe\x00\x02"),
        ("LUKS", 0x4000, b"SKUL\xba\xbe\x00\x02"),
        ("LUKS", 0x40_0000, b"SKUL\xba\xbe\x00\x02"),
        ("LVM2", 512, b"LABELONE"),
        ("md RAID (0.90)", size - 65536, &md),
        ("md RAID (1.0)", size - 8192, &md),
        ("md RAID (1.1)", 0, &md),
        ("md RAID (1.2)", 4096, &md),
        ("ZFS", 128 << 10, &zfs),
        ("ZFS", size - (256 << 10) + (129 << 10), &zfs),
        ("GPT", 512, b"EFI PART"),
        ("GPT", 4096, b"EFI PART"),
        ("backup GPT", size - 512, b"EFI PART"),
        ("MBR", 510, &[0x55, 0xaa]),
        ("bcache", 4120, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"),
        ("swap", 65526, b"SWAPSPACE2"),
        ("jfs", 32768, b"JFS1"),
        ("ext superblock", (8193 << 10) + 0x38, &[0x53, 0xef]),
    ];
    for (what, at, bytes) in table {
        match inspect_bytes(size, &[(at, bytes)]) {
            Content::Other { what: found, .. } => assert!(found.contains(what), "{found} is not {what}"),
            other => panic!("{what} at {at}: {other:?}"),
        }
    }
    assert!(
        matches!(inspect_bytes(size, &[(32769, b"CD001")]), Content::Filesystem(found) if found.kind == "iso9660")
    );
}

#[test]
fn a_raid_member_or_a_second_file_system_is_not_taken_for_the_file_system_on_it() {
    let Some(image) = made_by("mkfs.xfs", &["-q", "-f"], 320 * MIB) else { return };
    let size = 320 * MIB;
    image.as_file().write_all_at(&0xa92b_4efc_u32.to_le_bytes(), size - 8192).unwrap();
    assert!(
        matches!(inspect_file(image.path()), Content::Other { what, .. } if what.contains("md RAID (1.0)"))
    );
    image.as_file().write_all_at(&[0; 4], size - 8192).unwrap();
    image.as_file().write_all_at(b"_BHRfS_M", 65536 + 64).unwrap();
    assert!(
        matches!(inspect_file(image.path()), Content::Other { what, .. } if what == "both xfs and btrfs")
    );
}

#[test]
fn a_device_whose_beginning_was_wiped_is_not_blank_while_copies_are_left() {
    for (tool, arguments) in [("mkfs.ext4", ["-q", "-F"]), ("mkfs.btrfs", ["-q", "-f"])] {
        let Some(image) = made_by(tool, &arguments, 320 * MIB) else { continue };
        let mib = vec![0; usize::try_from(MIB).unwrap()];
        image.as_file().write_all_at(&mib, 0).unwrap();
        image.as_file().write_all_at(&mib, 319 * MIB).unwrap();
        assert!(
            matches!(inspect_file(image.path()), Content::Other { what, .. } if what.contains("a copy")),
            "{tool}"
        );
    }
}

#[test]
fn zeros_of_any_size_are_blank() {
    for size in [4096, 65536, MIB, MIB + 512, 2 * MIB, 65 * MIB, 17 << 40] {
        assert_eq!(inspect_bytes(size, &[]), Content::Blank, "{size}");
    }
}

#[test]
fn an_error_while_reading_is_an_error_and_never_blank() {
    for failing in 0..4 {
        let mut reads = 0;
        let read = &mut |_: u64, _: &mut [u8]| {
            reads += 1;
            if reads == failing + 1 { Err(std::io::Error::other("medium error")) } else { Ok(()) }
        };
        assert!(inspect(64 * MIB, read).is_err(), "read {failing}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn one_byte_anywhere_in_the_first_or_last_mib_is_never_blank(
        at_end: bool,
        position in 0..PROBE_BYTES,
        byte in 1_u8..,
        size in (1_u64 << 21)..(1_u64 << 34),
    ) {
        let at = if at_end { size - PROBE_BYTES + position } else { position };
        let content = inspect_bytes(size, &[(at, &[byte])]);
        prop_assert_ne!(&content, &Content::Blank);
        if let Content::NotBlank { offset } = content {
            prop_assert_eq!(offset, at);
        }
    }

    #[test]
    fn no_content_makes_it_panic(
        size in 0_u64..(1 << 22),
        at in 0_u64..(1 << 20),
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        let _ = inspect_bytes(size, &[(at, &bytes), (1024, &bytes), (0, b"XFSB")]);
    }
}
