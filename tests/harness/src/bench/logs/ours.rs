//! The agent: over a json-file that is there already, and live.

use super::super::samples::{Row, megabytes};
use super::usage::{peak_bytes, processor_seconds};
use super::{DEADLINE, LINES, Measured, SHIPPER, outcome, times};
use crate::log_node::{GROUP, LogNode, Writer, stream};
use crate::wait::wait_for;
use log_endpoint::numbered::append_json_file;
use std::error::Error;
use std::time::{Duration, Instant};

/// Of one line as the json-file has it, on average; for lines that were in none.
pub(super) const FILE_BYTES_PER_TEXT_BYTE: f64 = 1.359;
const LIVE: Duration = Duration::from_secs(30);
/// A megabyte of 200-byte lines.
const LIVE_LINES_PER_SECOND: u64 = 5_000;
const TEXT_BYTES: u64 = 200;

/// Containers that have written one line each, then all at once as many as make up a gigabyte while the agent was away.
pub(super) fn catch_up(node: &mut LogNode, containers: usize) -> Result<Measured, Box<dyn Error>> {
    node.renew()?;
    let names: Vec<String> = (0..containers).map(|number| format!("n{number}")).collect();
    let writers: Vec<Writer> = names.iter().map(|name| Writer::of(name, "numbered=1")).collect();
    node.configure(&writers, "")?;
    node.start_agent(None)?;
    let mut files = Vec::new();
    for name in &names {
        files.push(node.log_file(&node.running(name)?)?);
    }
    for name in &names {
        node.arrived(name, 1, DEADLINE)?;
    }
    node.stop_agent()?;
    node.endpoint.forget_span();
    let each = LINES / containers as u64;
    let mut file_bytes = 0;
    for file in &files {
        file_bytes += append_json_file(file, 1..each, times(each))?;
    }
    let pid = node.start_agent(Some(SHIPPER))?;
    for name in &names {
        let arrived = node.arrived(name, each, DEADLINE);
        arrived.map_err(|error| format!("{error}\n{}", node.agent_log()))?;
    }
    let streams: Vec<_> = names.iter().map(|name| (GROUP.to_owned(), stream(name))).collect();
    let (lost, duplicates) = outcome(&node.endpoint, &streams, each);
    let measured = Measured {
        name: "agent".to_owned(),
        text_bytes: each * containers as u64 * TEXT_BYTES,
        file_bytes,
        seconds: node.endpoint.span().as_secs_f64(),
        processor_seconds: processor_seconds(pid)?,
        peak_bytes: peak_bytes(pid)?,
        lost,
        duplicates,
    };
    node.stop_agent()?;
    Ok(measured)
}

/// A container that writes a megabyte a second, while the agent and the engine are looked at.
pub(super) fn live(node: &mut LogNode) -> Result<Vec<Row>, Box<dyn Error>> {
    node.renew()?;
    let lines = LIVE_LINES_PER_SECOND * (LIVE.as_secs() + 15);
    node.configure(&[Writer::of("live", &format!("numbered={lines}@{LIVE_LINES_PER_SECOND}"))], "")?;
    let pid = node.start_agent(Some(SHIPPER))?;
    node.arrived("live", 3 * LIVE_LINES_PER_SECOND, DEADLINE)?;
    let engine = node.engine.id().ok_or("the engine does not run")?;
    let look = || Ok::<_, Box<dyn Error>>((processor_seconds(pid)?, processor_seconds(engine)?));
    let (before, began) = (look()?, now());
    wait_for("half a minute to pass", 2 * LIVE, || match began.elapsed() {
        passed if passed >= LIVE => Ok(()),
        passed => Err(format!("{passed:?}")),
    })?;
    let (after, took) = (look()?, began.elapsed().as_secs_f64());
    let percent = |before: f64, after: f64| 100.0 * (after - before) / took;
    let peak = peak_bytes(pid)?;
    node.arrived("live", lines, DEADLINE)?;
    let streams = [(GROUP.to_owned(), stream("live"))];
    let (lost, duplicates) = outcome(&node.endpoint, &streams, lines);
    node.stop_agent()?;
    Ok(vec![Row {
        what: format!("live, 1 MB/s, {} s: CPU, peak memory", LIVE.as_secs()),
        bar: "1 % of a core".to_owned(),
        ours: format!(
            "{:.2} %, {}, {lost} lost, {duplicates} twice",
            percent(before.0, after.0),
            megabytes(peak)
        ),
        instead: format!(
            "for scale: dockerd, which writes the json-file, {:.1} %",
            percent(before.1, after.1)
        ),
        ratio: None,
    }])
}

#[expect(clippy::disallowed_methods, reason = "it measures")]
fn now() -> Instant {
    Instant::now()
}
