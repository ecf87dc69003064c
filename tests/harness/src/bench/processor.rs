//! What a program inside the instance costs while nothing happens: CPU time and memory.
//!
//! CPU time is the kernel's own account of its threads in nanoseconds, which the load of the host does not change; the
//! ticks of `/proc/PID/stat` are too coarse for tenths of a percent.

#![expect(clippy::disallowed_methods, reason = "what is measured is the passing of this time")]

use crate::stage::Stage;
use std::error::Error;
use std::time::{Duration, Instant};

/// What a program used between two looks.
pub struct Usage {
    /// Of one core.
    pub percent: f64,
    /// Of its memory.
    pub resident_bytes: u64,
}

/// Measures the main processes of these units side by side.
///
/// # Errors
/// Which of them does not run, or could not be looked at.
pub fn of_units(stage: &Stage, units: &[&str], duration: Duration) -> Result<Vec<Usage>, Box<dyn Error>> {
    let pids: Vec<u32> = units.iter().map(|unit| main_pid(stage, unit)).collect::<Result<_, _>>()?;
    let look = || pids.iter().map(|pid| processor_seconds(stage, *pid)).collect::<Result<Vec<_>, _>>();
    let (before, began) = (look()?, Instant::now());
    std::thread::sleep(duration);
    let (after, took) = (look()?, began.elapsed().as_secs_f64());
    let used = before.iter().zip(after).zip(&pids).map(|((before, after), pid)| {
        Ok(Usage {
            percent: 100.0 * (after - before) / took,
            resident_bytes: resident_kib(stage, *pid)? * 1024,
        })
    });
    used.collect()
}

fn main_pid(stage: &Stage, unit: &str) -> Result<u32, Box<dyn Error>> {
    let answer = stage.instance().run(["systemctl", "show", "--property=MainPID", "--value", unit]);
    match answer.expect_success().trim().parse()? {
        0 => Err(format!("{unit} does not run").into()),
        pid => Ok(pid),
    }
}

/// A thread that ended between the looks is missing from the sum: programs that keep their threads are measured.
fn processor_seconds(stage: &Stage, pid: u32) -> Result<f64, Box<dyn Error>> {
    let text = stage.instance().shell(&format!("cat /proc/{pid}/task/*/schedstat")).expect_success();
    let first = text.lines().map(|line| line.split_whitespace().next().unwrap_or_default().parse::<u64>());
    let nanoseconds: u64 = first.sum::<Result<u64, _>>()?;
    Ok(Duration::from_nanos(nanoseconds).as_secs_f64())
}

fn resident_kib(stage: &Stage, pid: u32) -> Result<u64, Box<dyn Error>> {
    let status = stage.instance().run(["cat", &format!("/proc/{pid}/status")]).expect_success();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = resident.and_then(|rest| rest.split_whitespace().next()).ok_or("no VmRSS")?;
    Ok(resident.parse()?)
}
