//! Disks of a scene: loop devices over sparse files on tmpfs, made as copies of a template, so that every run begins
//! with the same bytes. In: how the template is made; out: disks.

#![expect(clippy::disallowed_methods, reason = "makes devices with the real tools")]

use crate::world::World;
use harness::loop_device::LoopDevice;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

pub(crate) const MIB: u64 = 1 << 20;

/// Where images lie: a sync costs nothing there, and holes stay holes.
const MEMORY: &str = "/dev/shm";

/// As small as mkfs takes it.
pub(crate) fn smallest(filesystem: &str) -> u64 {
    if filesystem == "xfs" { 300 * MIB } else { 64 * MIB }
}

/// mkfs as bootstrap calls it, by hand.
pub(crate) fn mkfs(filesystem: &str) -> (&'static str, &'static [&'static str]) {
    match filesystem {
        "xfs" => ("mkfs.xfs", &["-q", "-K", "-L", "models"]),
        _ => ("mkfs.ext4", &["-q", "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1", "-L", "models"]),
    }
}

/// A file system with files in it, on a disk of this size.
pub(crate) fn filled(filesystem: &str, size: u64) -> Template {
    let (tool, arguments) = mkfs(filesystem);
    Template::blank(size).with(tool, arguments).filled()
}

/// An image that disks are copied from.
pub(crate) struct Template {
    file: tempfile::NamedTempFile,
}

impl Template {
    pub(crate) fn blank(size: u64) -> Template {
        let file = tempfile::NamedTempFile::new_in(MEMORY).unwrap();
        file.as_file().set_len(size).unwrap();
        Template { file }
    }

    /// A template that holds what a run has left on a disk.
    pub(crate) fn of(disk: &Disk) -> Template {
        disk.flush();
        let file = tempfile::NamedTempFile::new_in(MEMORY).unwrap();
        copy(disk.file.path(), file.path());
        Template { file }
    }

    pub(crate) fn image(&self) -> &Path {
        self.file.path()
    }

    /// Puts a few bytes into the image.
    pub(crate) fn write(&self, at: u64, bytes: &[u8]) {
        self.file.as_file().write_all_at(bytes, at).unwrap();
    }

    /// Runs a tool with the image as its last argument.
    pub(crate) fn with(self, tool: &str, arguments: &[&str]) -> Template {
        expect(Command::new(tool).args(arguments).arg(self.file.path()));
        self
    }

    /// Mounts the image for as long as files are put into it.
    pub(crate) fn filled(self) -> Template {
        let folder = tempfile::tempdir().unwrap();
        let image = self.file.path();
        let script = "mount -o loop \"$1\" \"$2\" && mkdir \"$2/models\" && echo kept > \"$2/models/small\" && \
                      head -c 3000000 /dev/zero | tr '\\0' 'm' > \"$2/models/large\" && umount \"$2\"";
        let unshare = ["--mount", "--propagation", "private", "sh", "-c", script, "sh"];
        expect(Command::new("unshare").args(unshare).arg(image).arg(folder.path()));
        self
    }

    pub(crate) fn enlarged(self, size: u64) -> Template {
        self.file.as_file().set_len(size).unwrap();
        self
    }

    pub(crate) fn disk(&self) -> Disk {
        let file = tempfile::NamedTempFile::new_in(MEMORY).unwrap();
        copy(self.file.path(), file.path());
        let device = LoopDevice::new(&whole(file.path())).unwrap();
        Disk { device, file }
    }
}

fn whole(image: &Path) -> File {
    File::options().read(true).write(true).open(image).unwrap()
}

fn copy(from: &Path, to: &Path) {
    expect(Command::new("cp").args(["--sparse=always"]).arg(from).arg(to));
}

fn expect(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}

pub(crate) struct Superblock {
    pub(crate) kind: &'static str,
    pub(crate) uuid: Vec<u8>,
    pub(crate) label: String,
}

/// A loop device over an image of its own.
pub(crate) struct Disk {
    device: LoopDevice,
    file: tempfile::NamedTempFile,
}

impl Disk {
    pub(crate) fn name(&self) -> String {
        self.device.name()
    }

    pub(crate) fn number(&self) -> u64 {
        self.device.device_number()
    }

    /// Makes it appear in a world as `/dev/NAME`, in the place of what bore that name.
    pub(crate) fn attach(&self, world: &World, name: &str) {
        let path = world.seen(&format!("/dev/{name}"));
        let _ = fs::remove_file(&path);
        let kind = nix::sys::stat::SFlag::S_IFBLK;
        let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
        nix::sys::stat::mknod(&path, kind, mode, self.number()).unwrap();
    }

    /// The device leads to nothing any more, as soon as nobody has it open.
    pub(crate) fn detach(&self) {
        self.device.detach();
    }

    /// The device leads to the image of another disk; false when it still leads to its own, because it is in use.
    pub(crate) fn swap(&self, other: &Disk) -> bool {
        self.device.detach();
        self.device.attach(&whole(other.file.path())).is_ok()
    }

    /// As if the storage behind it had gone.
    pub(crate) fn empty(&self) {
        self.file.as_file().set_len(0).unwrap();
    }

    /// Bytes of the image, which are those of the device once it was synced.
    pub(crate) fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        self.flush();
        let mut bytes = vec![0; length];
        self.file.as_file().read_exact_at(&mut bytes, offset).unwrap();
        bytes
    }

    /// What kind of file system lies on it, by its own word.
    pub(crate) fn superblock(&self) -> Superblock {
        let head = self.read(0, 4096);
        let (kind, uuid, label) = match (&head[..4], &head[1080..1082]) {
            (b"XFSB", _) => ("xfs", &head[32..48], &head[108..120]),
            (_, [0x53, 0xef]) => ("ext4", &head[1128..1144], &head[1144..1160]),
            _ => ("none", &head[..0], &head[..0]),
        };
        let label = String::from_utf8_lossy(label).trim_end_matches('\0').to_owned();
        Superblock { kind, uuid: uuid.to_vec(), label }
    }

    pub(crate) fn size(&self) -> u64 {
        self.file.as_file().metadata().unwrap().len()
    }

    /// What was written to the device and is only in the kernel's memory so far goes to the image.
    fn flush(&self) {
        // One that a test has detached or emptied has nothing left to write.
        let _ = self.device.flush();
    }

    /// Over every byte that is not in a hole, and where it lies: two images with the same sum are the same.
    pub(crate) fn sum(&self) -> String {
        self.flush();
        let mut sum = Sha256::new();
        sum.update(self.size().to_le_bytes());
        each_block(self.file.as_file(), &mut |offset, block| {
            sum.update(offset.to_le_bytes());
            sum.update(block);
        })
        .unwrap();
        hexadecimal(&sum.finalize())
    }
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every block of the file with a byte in it that is not zero.
fn each_block(file: &File, then: &mut dyn FnMut(u64, &[u8])) -> io::Result<()> {
    use nix::unistd::{Whence, lseek};
    const BLOCK: usize = 64 << 10;
    let size = file.metadata()?.len();
    let mut block = vec![0; BLOCK];
    let mut offset = 0;
    while offset < size {
        // ENXIO: only a hole is left.
        let Ok(data) = lseek(file, i64::try_from(offset).unwrap(), Whence::SeekData) else { break };
        offset = data.unsigned_abs() / BLOCK as u64 * BLOCK as u64;
        let length = BLOCK.min(usize::try_from(size - offset).unwrap_or(BLOCK));
        file.read_exact_at(&mut block[..length], offset)?;
        if block[..length].iter().any(|byte| *byte != 0) {
            then(offset, &block[..length]);
        }
        offset += BLOCK as u64;
    }
    Ok(())
}
