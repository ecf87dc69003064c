//! Whether this host's processor can run the machine, found out by booting the kernel on it.
//!
//! `/dev/kvm` may be there, and even make a virtual processor, where it cannot run one: on a host that is itself a
//! virtual machine. Only a kernel that came to its end tells.

use crate::processes::Process;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

/// A kernel without a root gives up in a second where it runs at all.
const PROBE_DEADLINE: Duration = Duration::from_secs(20);

/// How QEMU runs the machine's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acceleration {
    /// On the host's processor.
    Kvm,
    /// By translation; about ten times slower.
    Tcg,
}

impl Acceleration {
    /// What this host can.
    ///
    /// # Errors
    /// When QEMU cannot be started.
    pub(super) fn probe(kernel: &Path, directory: &Path) -> io::Result<Acceleration> {
        if !Path::new("/dev/kvm").exists() {
            return Ok(Acceleration::Tcg);
        }
        let console = directory.join("probe.log");
        let mut command = super::mortal("qemu-system-x86_64");
        command
            .args(Acceleration::Kvm.arguments())
            .args(["-machine", "q35", "-m", "256", "-nodefaults", "-display", "none", "-no-reboot"])
            .arg("-serial")
            .arg(format!("file:{}", console.display()))
            .arg("-kernel")
            .arg(kernel)
            .args(["-append", "console=ttyS0 panic=-1"]);
        let mut probe = Process::start("the probe of KVM", command)?;
        // A QEMU that hangs is ended when it is dropped, and was no use.
        let ended = probe.wait_for_exit(PROBE_DEADLINE).is_ok_and(|status| status.success());
        let text = fs::read(&console).unwrap_or_default();
        let panicked = String::from_utf8_lossy(&text).contains("Unable to mount root fs");
        Ok(if ended && panicked { Acceleration::Kvm } else { Acceleration::Tcg })
    }

    pub(super) fn arguments(self) -> [&'static str; 4] {
        match self {
            Acceleration::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Acceleration::Tcg => ["-accel", "tcg,thread=multi", "-cpu", "max"],
        }
    }
}

impl std::fmt::Display for Acceleration {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Acceleration::Kvm => "KVM",
            Acceleration::Tcg => "TCG, no hardware acceleration",
        })
    }
}
