//! CPU time and memory of a process of this host, from the kernel.

use std::error::Error;
use std::fs;

/// CPU seconds since its start, all its threads, also those that have ended, to a hundredth.
pub(super) fn processor_seconds(pid: u32) -> Result<f64, Box<dyn Error>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in brackets, may have anything in it.
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |index: usize| {
        fields.get(index).and_then(|field| field.parse::<f64>().ok()).ok_or("no times in stat")
    };
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.unwrap_or(100);
    let per_second = f64::from(u32::try_from(per_second)?);
    Ok((ticks(11)? + ticks(12)?) / per_second)
}

/// The most that was resident.
pub(super) fn peak_bytes(pid: u32) -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.split_whitespace().next().ok_or("no VmHWM")?.parse::<u64>()? * 1024)
}

/// Lets the peak begin anew with what is resident now.
pub(super) fn forget_peak(pid: u32) -> Result<(), Box<dyn Error>> {
    #[expect(clippy::disallowed_methods, reason = "a file of the kernel")]
    Ok(fs::write(format!("/proc/{pid}/clear_refs"), "5")?)
}
