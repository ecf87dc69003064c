//! A volume with one large layer of a model on it, behind limits of the kernel's: so many bytes, or so many requests, a
//! second (`io.max` of cgroup v2, `blkio.throttle` of v1), which are a volume's own limits as far as its readers can tell.
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

/// Of cgroup v1.
const BLKIO: &str = "/sys/fs/cgroup/blkio";
/// Of cgroup v2, where nothing else is mounted there.
const UNIFIED: &str = "/sys/fs/cgroup";
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
    version: Version,
    group: PathBuf,
    digest: String,
    bytes: u64,
    device: LoopDevice,
    folder: tempfile::TempDir,
}

/// The kernel's two ways of limiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Version {
    /// What this host has. Where it has version two, groups get to limit devices from now on.
    fn of_this_host() -> Option<Version> {
        if Path::new(BLKIO).join("blkio.throttle.io_serviced").exists() {
            return Some(Version::One);
        }
        let control = Path::new(UNIFIED).join("cgroup.subtree_control");
        let has =
            || fs::read_to_string(&control).is_ok_and(|text| text.split_whitespace().any(|it| it == "io"));
        (has() || (fs::write(&control, "+io").is_ok() && has())).then_some(Version::Two)
    }

    fn groups(self) -> &'static Path {
        Path::new(if self == Version::One { BLKIO } else { UNIFIED })
    }

    /// Files of a group, with what is written to each.
    fn limits(self, device: &str, limit: Limit) -> Vec<(&'static str, String)> {
        let (bytes, requests) = match limit {
            Limit::Bytes(bytes) => (Some(bytes), None),
            Limit::Requests(requests) => (None, Some(requests)),
        };
        let or =
            |number: Option<u64>, none: &str| number.map_or(none.to_owned(), |number| number.to_string());
        match self {
            Version::One => vec![
                ("blkio.throttle.read_bps_device", format!("{device} {}", or(bytes, "0"))),
                ("blkio.throttle.read_iops_device", format!("{device} {}", or(requests, "0"))),
            ],
            Version::Two => {
                vec![("io.max", format!("{device} rbps={} riops={}", or(bytes, "max"), or(requests, "max")))]
            }
        }
    }
}

impl SlowDisk {
    /// Why this host cannot have one, if so.
    #[must_use]
    pub fn is_missing() -> Option<&'static str> {
        if !is_root() {
            return Some("it takes root to mount");
        }
        let limits = Version::of_this_host();
        limits
            .is_none()
            .then_some("the kernel's limits are not there (blkio.throttle or io.max of control groups)")
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
        let version = Version::of_this_host().ok_or_else(|| io::Error::other("no limits for devices"))?;
        let group = version.groups().join(format!("slow-disk-{}-{}", std::process::id(), device.name()));
        fs::create_dir(&group)?;
        let mut disk = SlowDisk { version, group, digest: String::new(), bytes, device, folder };
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
        let limits = self.version.limits(&number, limit);
        limits.into_iter().try_for_each(|(file, text)| fs::write(self.group.join(file), text))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_on_bytes_takes_one_on_requests_away_and_the_other_way_round() {
        let text = |version: Version, limit| {
            let limits = version.limits("7:9", limit).into_iter();
            limits.map(|(file, text)| format!("{file}: {text}")).collect::<Vec<_>>().join(", ")
        };
        let one = "blkio.throttle.read_bps_device: 7:9 5, blkio.throttle.read_iops_device: 7:9 0";
        assert_eq!(text(Version::One, Limit::Bytes(5)), one);
        assert_eq!(text(Version::Two, Limit::Bytes(5)), "io.max: 7:9 rbps=5 riops=max");
        assert_eq!(text(Version::Two, Limit::Requests(75)), "io.max: 7:9 rbps=max riops=75");
    }
}
