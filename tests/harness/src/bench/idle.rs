//! What the agent costs while nothing happens but a health check every 10 s and a line of log every second per service.

use super::samples::{Row, megabytes};
use crate::stage::Stage;
use std::error::Error;
use std::time::Duration;

const SECONDS: u32 = 30;

struct Usage {
    ticks: f64,
    resident_kib: u64,
}

pub(super) fn rows(stage: &Stage, services: usize) -> Result<Vec<Row>, Box<dyn Error>> {
    let ticks_per_second: f64 = stage.instance().shell("getconf CLK_TCK").expect_success().trim().parse()?;
    let units = ["node-agent", "docker", "containerd"];
    let pids: Vec<u32> = units.iter().map(|unit| main_pid(stage, unit)).collect::<Result<_, _>>()?;
    let before: Vec<Usage> = pids.iter().map(|pid| usage(stage, *pid)).collect::<Result<_, _>>()?;
    pause();
    let after: Vec<Usage> = pids.iter().map(|pid| usage(stage, *pid)).collect::<Result<_, _>>()?;
    let percent = |index: usize| {
        100.0 * (after[index].ticks - before[index].ticks) / ticks_per_second / f64::from(SECONDS)
    };
    let memory = |index: usize| megabytes(after[index].resident_kib * 1024);
    let plural = if services == 1 { "service" } else { "services" };
    Ok(vec![
        Row {
            what: format!("agent memory, {services} {plural} with logs flowing"),
            bar: "30 MB (10 services)".to_owned(),
            ours: memory(0),
            instead: format!("for scale: dockerd {}, containerd {}", memory(1), memory(2)),
            ratio: None,
        },
        Row {
            what: format!("agent CPU, {services} idle {plural}, {SECONDS} s"),
            bar: "0.2 % (10 services)".to_owned(),
            ours: format!("{:.2} %", percent(0)),
            instead: format!("for scale: dockerd {:.2} %, containerd {:.2} %", percent(1), percent(2)),
            ratio: None,
        },
    ])
}

fn main_pid(stage: &Stage, unit: &str) -> Result<u32, Box<dyn Error>> {
    let answer = stage.instance().run(["systemctl", "show", "--property=MainPID", "--value", unit]);
    match answer.expect_success().trim().parse()? {
        0 => Err(format!("{unit} does not run").into()),
        pid => Ok(pid),
    }
}

fn usage(stage: &Stage, pid: u32) -> Result<Usage, Box<dyn Error>> {
    let stat = stage.instance().run(["cat", &format!("/proc/{pid}/stat")]).expect_success();
    // proc(5): the second field may hold spaces; utime and stime are the 14th and 15th.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).ok_or("a short /proc/PID/stat");
    let ticks = field(14)?.parse::<f64>()? + field(15)?.parse::<f64>()?;
    let status = stage.instance().run(["cat", &format!("/proc/{pid}/status")]).expect_success();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = resident.and_then(|rest| rest.split_whitespace().next()).ok_or("no VmRSS")?;
    Ok(Usage { ticks, resident_kib: resident.parse()? })
}

#[expect(clippy::disallowed_methods, reason = "what is measured is the passing of this time")]
fn pause() {
    std::thread::sleep(Duration::from_secs(u64::from(SECONDS)));
}
