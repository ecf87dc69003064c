//! What is measured at one moment: values only, read by [`super::families`] and [`super::embedded`].
//!
//! What could not be read is absent, never zero. Sizes are bytes, times are seconds; counters count from the start of
//! what counts them.

use crate::status::Status;
use jiff::Timestamp;

/// How the file system of the root is called, and its volume, where they are not in node.toml.
pub const ROOT: &str = "/";

/// Everything that is shown, measured within one look.
#[derive(Debug, Clone, PartialEq)]
pub struct Collection {
    /// When the look ended.
    pub at: Timestamp,
    /// How long it took.
    pub took_seconds: f64,
    /// What is on the board.
    pub status: Status,
    /// From the kernel; absent when that did not answer in time.
    pub kernel: Option<Kernel>,
    /// How full the file systems are; absent when a device did not answer in time.
    pub file_systems: Option<Vec<FileSystem>>,
    /// Attached volumes of EBS; absent when one did not answer in time, empty where there are none.
    pub ebs: Option<Vec<EbsVolume>>,
    /// Lines for CloudWatch that nobody took in time, since the agent started.
    pub lines_dropped: u64,
}

/// What the kernel says without asking a device.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Kernel {
    /// Of the node.
    pub memory: Option<Memory>,
    /// Of the node.
    pub load: Option<Load>,
    /// Of the node, all processors together.
    pub cpu: Option<Cpu>,
    /// Those that are hardware.
    pub interfaces: Vec<Interface>,
    /// Those of our containers that run.
    pub containers: Vec<ContainerUse>,
    /// The agent itself.
    pub agent: Option<Process>,
}

/// `/proc/meminfo`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// In all.
    pub total_bytes: u64,
    /// Used by nobody.
    pub free_bytes: u64,
    /// What a new program could get without swapping.
    pub available_bytes: u64,
    /// Pages of files.
    pub cached_bytes: u64,
    /// Pages of block devices.
    pub buffers_bytes: u64,
    /// Swap in all; 0 without any.
    pub swap_total_bytes: u64,
    /// Of that, used by nobody.
    pub swap_free_bytes: u64,
}

/// `/proc/loadavg`
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Over a minute.
    pub one: f64,
    /// Over five.
    pub five: f64,
    /// Over fifteen.
    pub fifteen: f64,
}

/// What processors have done, by what they did: the first line of `/proc/stat`.
#[derive(Debug, Clone, PartialEq)]
pub struct Cpu {
    /// `user`, `nice`, `system`, `idle`, `iowait`, `irq`, `softirq` and `steal`, with the seconds of each.
    pub seconds: Vec<(&'static str, f64)>,
    /// How many processors there are.
    pub count: usize,
}

impl Cpu {
    /// Seconds in which processors worked, and in all.
    pub fn busy_and_all(&self) -> (f64, f64) {
        let all: f64 = self.seconds.iter().map(|(_, seconds)| seconds).sum();
        let waits = self.seconds.iter().filter(|(mode, _)| ["idle", "iowait"].contains(mode));
        (all - waits.map(|(_, seconds)| seconds).sum::<f64>(), all)
    }
}

/// One line of `/proc/net/dev`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// `ens5`
    pub name: String,
    /// To the node.
    pub received: Traffic,
    /// From the node.
    pub sent: Traffic,
}

/// What went one way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
    /// Packets that were damaged.
    pub errors: u64,
    /// Packets for which there was no room.
    pub dropped: u64,
}

/// What one container uses, from its control groups.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerUse {
    /// 64 hexadecimal digits.
    pub id: String,
    /// `api-3`
    pub name: String,
    /// `[services.NAME]`
    pub service: String,
    /// Processor time since it was made.
    pub cpu_seconds: Option<f64>,
    /// Its memory.
    pub memory: Option<ContainerMemory>,
}

/// Memory of one container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContainerMemory {
    /// What it uses but for pages of files that were not needed lately: what counts when memory runs short.
    pub working_set_bytes: u64,
    /// What it may use; absent where that is all there is.
    pub limit_bytes: Option<u64>,
}

/// What a process uses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Process {
    /// Processor time of all its threads.
    pub cpu_seconds: f64,
    /// What of it is in memory.
    pub resident_bytes: u64,
}

/// One file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSystem {
    /// `[volumes.NAME]`; the path of one that is not in node.toml, which no such name can be.
    pub volume: String,
    /// Where it is mounted, or the folder by which it was found.
    pub mount: String,
    /// Its size.
    pub size_bytes: u64,
    /// Used by nobody, what is kept for root included.
    pub free_bytes: u64,
    /// What a program without privileges could still write.
    pub available_bytes: u64,
    /// How many files it can hold; 0 where it has no such limit.
    pub inodes: u64,
    /// Of these, used by nobody.
    pub inodes_free: u64,
}

/// What a volume of EBS says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EbsVolume {
    /// `vol-…`
    pub volume_id: String,
    /// The root file system lies on it.
    pub is_root: bool,
    /// Since it was attached.
    pub counters: EbsCounters,
}

/// The counters of EBS's log page, in its units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EbsCounters {
    /// Read operations that were completed.
    pub read_operations: u64,
    /// Write operations that were completed.
    pub write_operations: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Time that read operations took, all together.
    pub read_microseconds: u64,
    /// Time that write operations took, all together.
    pub write_microseconds: u64,
    /// Time in which more operations were asked for than the volume's IOPS.
    pub volume_iops_exceeded_microseconds: u64,
    /// Time in which more bytes were asked for than the volume's throughput.
    pub volume_throughput_exceeded_microseconds: u64,
    /// Time in which more operations were asked for than the instance may have.
    pub instance_iops_exceeded_microseconds: u64,
    /// Time in which more bytes were asked for than the instance may have.
    pub instance_throughput_exceeded_microseconds: u64,
    /// Operations that wait at this moment.
    pub queue_length: u64,
}
