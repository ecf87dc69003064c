//! A volume with one large layer of a model on it, behind limits of the kernel's: so many bytes, or so many requests, a
//! second (cgroup v1, `blkio.throttle`), which are a volume's own limits as far as its readers can tell.
//!
//! What always holds: the calling thread gets a mount namespace of its own, so that the mount goes with the process; the
//! device takes requests as an NVMe volume does (256 KiB, 128 KiB read ahead).

#![expect(clippy::disallowed_methods, reason = "the harness drives the host: commands, files")]

use crate::loop_device::LoopDevice;
use crate::requirements::is_root;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use sha2::{Digest, Sha256};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

const GROUPS: &str = "/sys/fs/cgroup/blkio";
/// Beside the layer: the file system's own.
const ROOM: u64 = 64 << 20;
const MEBIBYTE: usize = 1 << 20;

/// What the device lets through, a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Bytes.
    Bytes(u64),
    /// Requests, of whatever size.
    Requests(u64),
}

/// The volume.
#[derive(Debug)]
pub struct SlowDisk {
    group: PathBuf,
    digest: String,
    bytes: u64,
    device: LoopDevice,
    folder: tempfile::TempDir,
}

impl SlowDisk {
    /// Why this host cannot have one, if so.
    #[must_use]
    pub fn is_missing() -> Option<&'static str> {
        if !is_root() {
            return Some("it takes root to mount");
        }
        let limits = Path::new(GROUPS).join("blkio.throttle.io_serviced");
        (!limits.exists()).then_some("the kernel has no blkio.throttle limits (cgroup v1)")
    }

    /// A layer of so many bytes that nobody can guess.
    pub fn with_layer(bytes: u64) -> io::Result<SlowDisk> {
        let folder = tempfile::tempdir()?;
        let image_path = folder.path().join("image");
        let image = File::create_new(&image_path)?;
        image.set_len(bytes + ROOM)?;
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image_path))?;
        let image = fs::OpenOptions::new().read(true).write(true).open(&image_path)?;
        let device = LoopDevice::new(&image)?;
        let queue = Path::new("/sys/block").join(device.name()).join("queue");
        for (name, kibibytes) in [("max_sectors_kb", "256"), ("read_ahead_kb", "128")] {
            fs::write(queue.join(name), kibibytes)?;
        }
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
        let group = Path::new(GROUPS).join(format!("slow-disk-{}-{}", std::process::id(), device.name()));
        fs::create_dir(&group)?;
        let mut disk = SlowDisk { group, digest: String::new(), bytes, device, folder };
        fs::create_dir(disk.models())?;
        disk.mount()?;
        disk.digest = disk.write_layer()?;
        Ok(disk)
    }

    /// The models' folder.
    #[must_use]
    pub fn models(&self) -> PathBuf {
        self.folder.path().join("models")
    }

    /// The layer's.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The layer's.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The layer's file.
    #[must_use]
    pub fn layer(&self) -> PathBuf {
        self.models().join("blobs").join(self.digest.replacen(':', "-", 1))
    }

    /// Lets no more through from now on, to programs that [`SlowDisk::behind`] starts.
    pub fn limit(&self, limit: Limit) -> io::Result<()> {
        let number = self.device.device_number();
        let number = format!("{}:{}", nix::sys::stat::major(number), nix::sys::stat::minor(number));
        let (bytes, requests) = match limit {
            Limit::Bytes(bytes) => (bytes, 0),
            Limit::Requests(requests) => (0, requests),
        };
        fs::write(self.group.join("blkio.throttle.read_bps_device"), format!("{number} {bytes}"))?;
        fs::write(self.group.join("blkio.throttle.read_iops_device"), format!("{number} {requests}"))
    }

    /// Nothing of it is in memory any more.
    pub fn cool(&self) -> io::Result<()> {
        umount2(&self.models(), MntFlags::empty())?;
        self.mount()
    }

    /// A program behind the limits.
    pub fn behind(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ > \"$1\" && shift && exec \"$@\"", "sh"]);
        command.arg(self.group.join("cgroup.procs")).arg(program);
        command
    }

    /// Bytes that came from the device so far.
    pub fn read_bytes(&self) -> io::Result<u64> {
        const SECTOR: u64 = 512;
        let text = fs::read_to_string(Path::new("/sys/block").join(self.device.name()).join("stat"))?;
        // Third: sectors read (Documentation/block/stat.rst).
        let sectors = text.split_whitespace().nth(2).and_then(|sectors| sectors.parse::<u64>().ok());
        sectors.map(|sectors| sectors * SECTOR).ok_or_else(|| io::Error::other(format!("odd counts: {text}")))
    }

    fn mount(&self) -> io::Result<()> {
        // Nothing else is read or written meanwhile.
        let flags = MsFlags::MS_NOATIME;
        Ok(mount(Some(&self.device.node()), &self.models(), Some("ext4"), flags, None::<&str>)?)
    }

    fn write_layer(&self) -> io::Result<String> {
        let blobs = self.models().join("blobs");
        fs::create_dir(&blobs)?;
        let mut file = File::create_new(blobs.join("new"))?;
        let (mut sum, mut state) = (Sha256::new(), 0x9e37_79b9_7f4a_7c15_u64);
        let mut left = usize::try_from(self.bytes).map_err(io::Error::other)?;
        while left > 0 {
            let words = std::iter::repeat_with(|| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()
            });
            let piece: Vec<u8> = words.take(MEBIBYTE / 8).flatten().take(left).collect();
            sum.update(&piece);
            file.write_all(&piece)?;
            left -= piece.len();
        }
        file.sync_all()?;
        let digits: String = sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        fs::rename(blobs.join("new"), blobs.join(format!("sha256-{digits}")))?;
        Ok(format!("sha256:{digits}"))
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        let _ = umount2(&self.models(), MntFlags::MNT_DETACH);
        let _ = fs::remove_dir(&self.group);
    }
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim())))
}
