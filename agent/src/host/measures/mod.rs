//! What the metrics are read from: `/proc`, control groups, file systems, controllers of EBS.
//!
//! Thin: files and ioctls here, what they mean is said by the pure parts of [`crate::metrics`]. A thing that cannot be read
//! is absent; why is the kernel's log's to tell. Everything is read below one root, so that tests bring folders.

mod containers;
mod ebs;
mod file_systems;

use crate::metrics::Source;
use crate::metrics::collection::{EbsVolume, FileSystem, Interface, Kernel};
use crate::metrics::proc;
use crate::observed::Container;
use crate::status::Volume;
use nix::unistd::{SysconfVar, sysconf};
use node::paths::Paths;
use std::path::PathBuf;
use std::sync::Arc;

/// What the kernel counts processor time in, where it does not say: it has said nothing else since Linux 2.6.
const TICKS_PER_SECOND: u64 = 100;

/// Says which folders the engine stores in, as far as that is known; never waits for it.
pub type EngineFolders = Arc<dyn Fn() -> Vec<PathBuf> + Send + Sync>;

/// This host.
#[derive(Clone)]
pub struct Host {
    /// Of the running kernel: `/proc`, `/sys` and `/dev`.
    system: Paths,
    /// Of the node's own files and mounts.
    paths: Paths,
    engine_folders: EngineFolders,
    ticks_per_second: u64,
}

impl Host {
    /// The kernel's files below `system`, volumes below `paths`; the same on a real node.
    pub fn new(system: Paths, paths: Paths, engine_folders: EngineFolders) -> Host {
        let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten();
        let ticks_per_second = ticks.and_then(|ticks| u64::try_from(ticks).ok()).unwrap_or(TICKS_PER_SECOND);
        Host { system, paths, engine_folders, ticks_per_second }
    }

    fn text(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.system.at(path)).ok()
    }

    /// Hardware has a device; bridges, the ends of containers and the loopback have none.
    fn is_hardware(&self, interface: &Interface) -> bool {
        self.system.at("/sys/class/net").join(&interface.name).join("device").exists()
    }
}

impl Source for Host {
    fn kernel(&self, containers: &[Container]) -> Kernel {
        let interfaces = self.text("/proc/net/dev").map(|text| proc::interfaces(&text)).unwrap_or_default();
        let agent = self.text("/proc/self/stat").zip(self.text("/proc/self/status"));
        let ticks = self.ticks_per_second;
        Kernel {
            memory: self.text("/proc/meminfo").and_then(|text| proc::memory(&text)),
            load: self.text("/proc/loadavg").and_then(|text| proc::load(&text)),
            cpu: self.text("/proc/stat").and_then(|text| proc::cpu(&text, ticks)),
            interfaces: interfaces.into_iter().filter(|interface| self.is_hardware(interface)).collect(),
            containers: containers::uses(&self.system, containers),
            agent: agent.and_then(|(stat, status)| proc::process(&stat, &status, ticks)),
        }
    }

    fn file_systems(&self, volumes: &[Volume]) -> Vec<FileSystem> {
        file_systems::all(&self.paths, &(self.engine_folders)(), volumes)
    }

    fn ebs(&self) -> Vec<EbsVolume> {
        ebs::volumes(&self.system)
    }
}

#[cfg(test)]
mod tests;
