//! What the agent costs while nothing happens but a health check every 10 s per service, and where they log a line
//! every second of each.

use super::processor;
use super::samples::{Row, megabytes};
use crate::stage::Stage;
use std::error::Error;
use std::time::Duration;

/// Nine of ten services write nothing.
pub(super) const SILENT: &str = "silent";
/// Each service writes a line every second.
pub(super) const LOGGING: &str = "logging";
/// Six rounds of looks and of health checks.
const DURATION: Duration = Duration::from_secs(60);

pub(super) fn rows(stage: &Stage, services: usize, what: &str) -> Result<Vec<Row>, Box<dyn Error>> {
    let used = processor::of_units(stage, &["node-agent", "docker", "containerd"], DURATION)?;
    let percent = |index: usize| used[index].percent;
    let memory = |index: usize| megabytes(used[index].resident_bytes);
    let plural = if services == 1 { "service" } else { "services" };
    Ok(vec![
        Row {
            what: format!("agent memory, {services} {what} {plural}"),
            bar: "30 MB (10 services)".to_owned(),
            ours: memory(0),
            instead: format!("for scale: dockerd {}, containerd {}", memory(1), memory(2)),
            ratio: None,
        },
        Row {
            what: format!("agent CPU, {services} {what} {plural}, {} s", DURATION.as_secs()),
            bar: "0.2 % (10 services)".to_owned(),
            ours: format!("{:.3} %", percent(0)),
            instead: format!("for scale: dockerd {:.2} %, containerd {:.2} %", percent(1), percent(2)),
            // Waking up costs a few times more where other guests are busy: this is what can be compared between days.
            ratio: Some(percent(1) / percent(0)),
        },
    ])
}
