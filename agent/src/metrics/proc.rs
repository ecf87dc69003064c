//! What the files of `/proc` say: text in, numbers out. Pure.
//!
//! Fields are found by name or by their place from the left, so that a kernel that says more is understood as well. What
//! is not there, or no number, is `None`. Source: proc(5).

use super::collection::{Cpu, Interface, Load, Memory, Process, Traffic};

/// Modes of `/proc/stat` in their order. What comes after them (`guest`) is in `user` already.
const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];

/// `/proc/meminfo`
pub fn memory(meminfo: &str) -> Option<Memory> {
    let bytes = |name: &str| kibibytes(meminfo, name)?.checked_mul(1024);
    let free_bytes = bytes("MemFree")?;
    Some(Memory {
        total_bytes: bytes("MemTotal")?,
        free_bytes,
        // Kernels have it since 3.14.
        available_bytes: bytes("MemAvailable").unwrap_or(free_bytes),
        cached_bytes: bytes("Cached").unwrap_or(0),
        buffers_bytes: bytes("Buffers").unwrap_or(0),
        swap_total_bytes: bytes("SwapTotal").unwrap_or(0),
        swap_free_bytes: bytes("SwapFree").unwrap_or(0),
    })
}

/// The value of a line `NAME:   1234 kB`.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    value.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// `/proc/loadavg`
pub fn load(loadavg: &str) -> Option<Load> {
    let mut numbers =
        loadavg.split_whitespace().map(|word| word.parse::<f64>().ok().filter(|it| it.is_finite()));
    Some(Load { one: numbers.next()??, five: numbers.next()??, fifteen: numbers.next()?? })
}

/// `/proc/stat`, which counts in ticks.
pub fn cpu(stat: &str, ticks_per_second: u64) -> Option<Cpu> {
    let all = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let mut ticks = all.split_whitespace();
    let seconds: Vec<(&'static str, f64)> = MODES
        .iter()
        .map_while(|mode| Some((*mode, seconds(ticks.next()?.parse().ok()?, ticks_per_second))))
        .collect();
    let one = |line: &&str| {
        line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let count = stat.lines().filter(one).count();
    (seconds.len() == MODES.len()).then_some(Cpu { seconds, count })
}

/// `/proc/net/dev`: every interface.
pub fn interfaces(dev: &str) -> Vec<Interface> {
    // The two lines of the head have no colon.
    dev.lines().filter_map(|line| interface(line.split_once(':')?)).collect()
}

fn interface((name, numbers): (&str, &str)) -> Option<Interface> {
    let numbers: Vec<u64> = numbers.split_whitespace().map_while(|word| word.parse().ok()).collect();
    let traffic = |first: usize| {
        let number = |index: usize| numbers.get(first + index).copied();
        Some(Traffic { bytes: number(0)?, packets: number(1)?, errors: number(2)?, dropped: number(3)? })
    };
    Some(Interface { name: name.trim().to_owned(), received: traffic(0)?, sent: traffic(8)? })
}

/// `/proc/PID/stat` and `/proc/PID/status`
pub fn process(stat: &str, status: &str, ticks_per_second: u64) -> Option<Process> {
    // The second field is the program's name in parentheses, and may have anything in it.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(Process {
        cpu_seconds: seconds(user.saturating_add(system), ticks_per_second),
        resident_bytes: kibibytes(status, "VmRSS")?.checked_mul(1024)?,
    })
}

fn seconds(ticks: u64, ticks_per_second: u64) -> f64 {
    ticks as f64 / ticks_per_second.max(1) as f64
}

#[cfg(test)]
#[path = "proc_tests.rs"]
mod tests;
