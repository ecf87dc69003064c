//! Our mark on a device: what lies beside it decides, and a real mkfs that is killed at any of its writes leaves
//! nothing that is taken for something else.

use super::{MIB, image, inspect_bytes, inspect_file, made_by};
use bootstrap::volumes::mark::Mark;
use bootstrap::volumes::signatures::{Content, Found};
use harness::requirements::{is_on_path, skipped};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

const UUID: &str = "0b6f5a0e-7a3c-4f52-9f1e-2f6c3b8d9a10";
const OTHER_UUID: &str = "11111111-2222-4333-8444-555555555555";

fn mark(filesystem: &'static str, uuid: &str, size: u64) -> Mark {
    Mark { filesystem, uuid: uuid.to_owned(), size_bytes: size, serial: "vol0a1b2c3d4e5f60718".to_owned() }
}

fn write_mark(file: &File, mark: &Mark) {
    let size = file.metadata().unwrap().len();
    file.write_all_at(&mark.encode().unwrap(), Mark::place(size).unwrap()).unwrap();
}

fn command_line(filesystem: &str, image: &Path) -> Vec<String> {
    let image = image.to_str().unwrap();
    let identity = format!("uuid={UUID}");
    let words: Vec<&str> = match filesystem {
        "xfs" => vec!["mkfs.xfs", "-q", "-K", "-L", "models", "-m", &identity, image],
        _ => {
            let lazy = "nodiscard,lazy_itable_init=1,lazy_journal_init=1";
            vec!["mkfs.ext4", "-q", "-E", lazy, "-L", "models", "-U", UUID, image]
        }
    };
    words.into_iter().map(str::to_owned).collect()
}

/// How many writes the tool makes.
fn count_writes(filesystem: &str, size: u64) -> usize {
    let image = image(size);
    let log = tempfile::NamedTempFile::new().unwrap();
    let output = Command::new("strace")
        .args(["-f", "-e", "trace=pwrite64", "-o"])
        .arg(log.path())
        .args(command_line(filesystem, image.path()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    std::fs::read_to_string(log.path()).unwrap().matches("pwrite64(").count()
}

/// A device with our mark on which a real mkfs was killed at its n-th write.
fn killed_at(filesystem: &'static str, size: u64, write: usize) -> tempfile::NamedTempFile {
    let image = image(size);
    write_mark(image.as_file(), &mark(filesystem, UUID, size));
    let output = Command::new("strace")
        .args(["-f", "-o", "/dev/null", "-e", "trace=pwrite64", "-e"])
        .arg(format!("inject=pwrite64:signal=KILL:when={write}"))
        .args(command_line(filesystem, image.path()))
        .output()
        .unwrap();
    assert!(!output.status.success(), "write {write} of {filesystem} was not the end of it");
    image
}

fn is_sound(filesystem: &str, image: &Path) -> bool {
    let (tool, option) = if filesystem == "xfs" { ("xfs_repair", "-n") } else { ("e2fsck", "-fn") };
    Command::new(tool).arg(option).arg(image).output().unwrap().status.success()
}

#[test]
fn a_mkfs_that_is_killed_at_any_write_leaves_what_is_known_as_begun_by_us() {
    if !is_on_path("strace") {
        return skipped("strace is not installed; no mkfs was killed");
    }
    let (mut half_made, mut complete) = (0, 0);
    for (filesystem, size) in [("xfs", 320 * MIB), ("ext4", 320 * MIB), ("ext4", 1024 * MIB)] {
        let writes = count_writes(filesystem, size);
        let step = (writes / 24).max(1);
        let chosen = (1..=writes).filter(|write| *write <= 8 || *write + 8 > writes || write % step == 0);
        for write in chosen {
            let image = killed_at(filesystem, size, write);
            match inspect_file(image.path()) {
                Content::HalfMade(found) => {
                    assert_eq!(found, mark(filesystem, UUID, size));
                    half_made += 1;
                }
                Content::Filesystem(found) => {
                    assert_eq!(found.mark, Some(mark(filesystem, UUID, size)), "write {write} of {writes}");
                    assert!(is_sound(filesystem, image.path()), "{filesystem}: write {write} of {writes}");
                    complete += 1;
                }
                other => panic!("{filesystem} killed at write {write} of {writes}: {other:?}"),
            }
        }
    }
    harness::requirements::tried(&format!(
        "mkfs killed {} times: {half_made} half made, {complete} complete",
        half_made + complete
    ));
    assert!(half_made > 60, "{half_made}");
}

#[test]
fn a_mkfs_that_has_come_to_its_end_beside_the_mark_has_made_a_file_system_that_bears_it() {
    for filesystem in ["xfs", "ext4"] {
        let size = 320 * MIB;
        let image = image(size);
        write_mark(image.as_file(), &mark(filesystem, UUID, size));
        let words = command_line(filesystem, image.path());
        assert!(Command::new(&words[0]).args(&words[1..]).status().unwrap().success());
        let Content::Filesystem(found) = inspect_file(image.path()) else { panic!("{filesystem}") };
        assert_eq!(found.mark, Some(mark(filesystem, UUID, size)));
        assert_eq!(found.condition.never_mounted, filesystem == "ext4");
        assert!(!found.condition.unfinished && !found.condition.needs_check && !found.condition.has_errors);
        assert!(is_sound(filesystem, image.path()));
    }
}

fn marked(mark: &Mark, pieces: &[(u64, &[u8])]) -> Content {
    let sector = mark.encode().unwrap();
    let size = mark.size_bytes;
    let mut all: Vec<(u64, &[u8])> = vec![(Mark::place(size).unwrap(), &sector)];
    all.extend(pieces);
    inspect_bytes(size, &all)
}

#[test]
fn a_mark_alone_or_with_unknown_bytes_is_half_made_on_a_device_of_any_size() {
    for size in [4 * MIB, 64 * MIB + 512, 320 * MIB + 4096, 100 << 30, (17 << 40) + 1024] {
        let mark = mark("xfs", UUID, size);
        assert_eq!(marked(&mark, &[]), Content::HalfMade(mark.clone()), "{size}");
        assert_eq!(marked(&mark, &[(5000, b"x"), (size - 3, b"y")]), Content::HalfMade(mark.clone()));
        assert_eq!(marked(&mark, &[(2 * MIB, b"z")]), Content::HalfMade(mark.clone()));
    }
}

#[test]
fn beside_a_mark_whatever_bears_another_name_is_what_it_is() {
    let size = 320 * MIB;
    let mark = mark("ext4", UUID, size);
    let table: [(&str, u64, &[u8]); 7] = [
        ("LUKS", 0, b"LUKS\xba\xbe\x00\x02"),
        ("LUKS2", 4 * MIB, b"SKUL\xba\xbe\x00\x02"),
        ("LVM2", 512, b"LABELONE"),
        ("md RAID (1.0)", size - 8192, &0xa92b_4efc_u32.to_le_bytes()),
        ("a GPT partition table", 512, b"EFI PART"),
        ("a backup GPT", size - 512, b"EFI PART"),
        ("MBR", 510, &[0x55, 0xaa]),
    ];
    for (what, at, bytes) in table {
        match marked(&mark, &[(at, bytes)]) {
            Content::Other { what: found, .. } => assert!(found.contains(what), "{found} is not {what}"),
            other => panic!("{what} at {at}: {other:?}"),
        }
    }
    let foreign = marked(&mark, &[(65536 + 64, b"_BHRfS_M")]);
    assert!(matches!(foreign, Content::Filesystem(Found { kind: "btrfs", mark: None, .. })), "{foreign:?}");
}

#[test]
fn a_file_system_of_another_uuid_or_kind_does_not_bear_the_mark() {
    for (tool, arguments, kind) in
        [("mkfs.xfs", ["-q", "-f"].as_slice(), "xfs"), ("mkfs.ext4", ["-q", "-F"].as_slice(), "ext4")]
    {
        let Some(image) = made_by(tool, arguments, 320 * MIB) else { continue };
        for filesystem in ["xfs", "ext4"] {
            write_mark(image.as_file(), &mark(filesystem, OTHER_UUID, 320 * MIB));
            let Content::Filesystem(found) = inspect_file(image.path()) else { panic!("{tool}") };
            assert_eq!((found.kind, found.mark), (kind, None));
        }
        // The head is gone, and the copies between the ends bear another name than the mark.
        image.as_file().write_all_at(&vec![0; usize::try_from(MIB).unwrap()], 0).unwrap();
        let content = inspect_file(image.path());
        assert!(matches!(content, Content::Other { .. }), "{tool}: {content:?}");
    }
}

#[test]
fn a_mark_for_another_size_or_a_damaged_one_is_only_bytes_that_are_not_zero() {
    let size = 64 * MIB;
    let place = Mark::place(size).unwrap();
    let sector = mark("xfs", UUID, 2 * size).encode().unwrap();
    assert_eq!(inspect_bytes(size, &[(place, &sector)]), Content::NotBlank { offset: place });
    let mut sector = mark("xfs", UUID, size).encode().unwrap();
    sector[100] ^= 1;
    assert_eq!(inspect_bytes(size, &[(place, &sector)]), Content::NotBlank { offset: place });
    let sector = mark("xfs", UUID, size).encode().unwrap();
    let elsewhere = inspect_bytes(size, &[(place + 4096, &sector)]);
    assert_eq!(elsewhere, Content::NotBlank { offset: place + 4096 });
}

#[test]
fn the_state_of_an_ext_file_system_is_read_as_debugfs_sets_it() {
    let table: [(&str, [bool; 3]); 5] = [
        ("set_super_value mnt_count 3", [false, false, false]),
        ("set_super_value mtime 20260101", [false, false, false]),
        ("set_super_value state 3", [true, true, false]),
        ("set_super_value state 0", [true, false, true]),
        ("feature needs_recovery", [true, false, false]),
    ];
    for (request, [never_mounted, has_errors, needs_check]) in table {
        let Some(image) = made_by("mkfs.ext4", &["-q", "-F"], 64 * MIB) else { return };
        let output = Command::new("debugfs").args(["-w", "-R", request]).arg(image.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let Content::Filesystem(Found { condition, .. }) = inspect_file(image.path()) else { panic!() };
        let seen = [condition.never_mounted, condition.has_errors, condition.needs_check];
        assert_eq!(seen, [never_mounted, has_errors, needs_check], "{request}");
    }
}
