//! The layers of a model from a volume that is slow: read ahead by `node-agent warm-up` as the agent calls it, beside `cat`.
//!
//! In: a volume with limits. Out: mebibytes a second of each, in turn, from a file system that was mounted just before.

use super::samples::{Row, Samples};
use crate::slow_disk::{Limit, SlowDisk};
use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Instant;

/// Of the layer.
const BYTES: u64 = 96 << 20;
const ROUNDS: usize = 3;
/// The two take turns on a host that others use too: as fast is no more than so much slower.
pub const NOISE: f64 = 1.03;
const MEBIBYTE: u64 = 1 << 20;

/// What the volume lets through: bytes as of one whose blocks are fetched from a snapshot first, and requests.
const LIMITS: [(&str, Limit); 2] =
    [("24 MiB/s", Limit::Bytes(24 * MEBIBYTE)), ("75 requests/s", Limit::Requests(75))];

/// One row for each limit.
pub(super) fn rows(program: &Path) -> Result<Vec<Row>, Box<dyn Error>> {
    if let Some(why) = SlowDisk::is_missing() {
        return Err(why.into());
    }
    // The volume takes its thread into a mount namespace of its own.
    std::thread::scope(|scope| {
        let measured = scope.spawn(|| measure(program).map_err(|error| error.to_string()));
        measured.join().map_err(|_| "the measurement broke")?.map_err(Into::into)
    })
}

fn measure(program: &Path) -> Result<Vec<Row>, Box<dyn Error>> {
    let disk = SlowDisk::with_layer(BYTES)?;
    let mut rows = Vec::new();
    for (name, limit) in LIMITS {
        disk.limit(limit)?;
        let mut race = Race::default();
        for _ in 0..ROUNDS {
            race.round(&disk, program)?;
        }
        let (ours, cat) = (race.ours.median(), race.cat.median());
        let missed = if ours > cat * NOISE { ": missed" } else { "" };
        rows.push(Row {
            what: format!("a cold layer of {} MiB, volume of {name}, median of {ROUNDS}", BYTES / MEBIBYTE),
            bar: format!("as fast as cat{missed}"),
            ours: format!("{:.1} MiB/s", speed(ours)),
            instead: format!("cat: {:.1} MiB/s", speed(cat)),
            ratio: Some(cat / ours),
        });
    }
    Ok(rows)
}

#[expect(clippy::cast_precision_loss, reason = "shown to people")]
fn speed(milliseconds: f64) -> f64 {
    (BYTES / MEBIBYTE) as f64 / milliseconds * 1e3
}

/// How long each way took, round by round.
#[derive(Debug, Default)]
pub struct Race {
    /// Reading ahead.
    ours: Samples,
    /// `cat LAYER`
    cat: Samples,
}

impl Race {
    /// Both ways once more, one after the other, cold each time.
    ///
    /// # Errors
    /// What did not start, or did not read all of it.
    pub fn round(&mut self, disk: &SlowDisk, program: &Path) -> Result<(), Box<dyn Error>> {
        disk.cool()?;
        let start = now();
        let status = disk.behind("cat").arg(disk.layer()).stdout(Stdio::null()).status()?;
        self.cat.add(start.elapsed().as_secs_f64() * 1e3);
        if !status.success() {
            return Err(format!("cat ended with {status}").into());
        }
        disk.cool()?;
        let start = now();
        let lines = Reading::start(disk, program, None)?.end()?;
        self.ours.add(start.elapsed().as_secs_f64() * 1e3);
        let last = lines.last().cloned().unwrap_or_default();
        if last["ended"]["progress"]["from_device_bytes"] != disk.bytes() {
            return Err(format!("it did not read all of it from the volume: {last}").into());
        }
        Ok(())
    }

    /// How often each way has run.
    #[must_use]
    pub fn rounds(&self) -> usize {
        self.ours.count()
    }

    /// The fastest reading ahead and the fastest `cat`, milliseconds: what others took from a round is not in these.
    #[must_use]
    pub fn fastest(&self) -> (f64, f64) {
        (self.ours.min(), self.cat.min())
    }
}

/// `node-agent warm-up` at work behind the limits.
#[derive(Debug)]
pub struct Reading {
    child: Child,
}

impl Reading {
    /// Starts it; at most so many bytes a second.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(disk: &SlowDisk, program: &Path, rate: Option<u64>) -> Result<Reading, Box<dyn Error>> {
        let mut command = disk.behind(program);
        command.arg("warm-up").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let request = serde_json::json!({
            "directory": disk.models(), "digests": [disk.digest()], "bytes_per_second": rate,
        });
        let input = child.stdin.as_mut().ok_or("no standard input")?;
        writeln!(input, "{request}")?;
        Ok(Reading { child })
    }

    /// Whether it has ended.
    ///
    /// # Errors
    /// It cannot be asked.
    pub fn has_ended(&mut self) -> Result<bool, Box<dyn Error>> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Closes its standard input, as the agent's end does.
    pub fn abandon(&mut self) {
        self.child.stdin = None;
    }

    /// Hears it to its end: every line that it said.
    ///
    /// # Errors
    /// A line that is no JSON.
    pub fn end(mut self) -> Result<Vec<serde_json::Value>, Box<dyn Error>> {
        let output = self.child.stdout.take().ok_or("no standard output")?;
        let lines = BufReader::new(output).lines().map(|line| Ok(serde_json::from_str(&line?)?));
        let lines: Result<Vec<_>, Box<dyn Error>> = lines.collect();
        self.child.wait()?;
        lines
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "it measures")]
fn now() -> Instant {
    Instant::now()
}

/// Bytes of the layer that are not in memory: what comes from the volume when all of it is read.
///
/// # Errors
/// It cannot be read.
pub fn not_in_memory(disk: &SlowDisk) -> Result<u64, Box<dyn Error>> {
    let before = disk.read_bytes()?;
    let read = std::io::copy(&mut File::open(disk.layer())?, &mut std::io::sink())?;
    if read != disk.bytes() {
        return Err(format!("{read} bytes of {}", disk.bytes()).into());
    }
    Ok(disk.read_bytes()? - before)
}
