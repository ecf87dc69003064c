//! Writes numbered lines of 200 bytes, at a pace or as fast as they are taken, so that whoever reads the log can count what
//! was lost on the way.
//!
//! In: how many, how fast, `FIRST` (the number of the first, 0), `OUTPUT` (`stdout`, `stderr`, or `both`: even numbers to
//! the first, odd ones to the second) and `LIVES` (a file that counts its starts: each goes on behind the numbers of the one
//! before). Out: the lines and nothing else. It ends at once when it is told to.

use std::fmt;
use std::io::Write;
use std::ops::Range;
use std::str::FromStr;
use std::time::{Duration, Instant};

use tokio::signal::unix::Signal;

use crate::line::{self, LINE_BYTES};

/// Lines of one write: as much as a pipe holds.
const LINES_AT_ONCE: u64 = 300;
/// Between two writes at a pace.
const TICK: Duration = Duration::from_millis(10);

/// `COUNT[@LINES_PER_SECOND][,exit]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Numbered {
    lines: u64,
    per_second: Option<u64>,
    /// Ends after the last line; else it stays and is silent.
    exits: bool,
}

impl FromStr for Numbered {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (text, exits) = text.strip_suffix(",exit").map_or((text, false), |text| (text, true));
        let (lines, pace) = text.split_once('@').map_or((text, None), |(lines, pace)| (lines, Some(pace)));
        let number = |text: &str| text.parse::<u64>().map_err(drop);
        Ok(Self { lines: number(lines)?, per_second: pace.map(number).transpose()?, exits })
    }
}

impl fmt::Display for Numbered {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.lines)?;
        if let Some(pace) = self.per_second {
            write!(out, "@{pace}")?;
        }
        out.write_str(if self.exits { ",exit" } else { "" })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Output {
    Stdout,
    Stderr,
    Both,
}

/// Writes; ends early when it is asked to stop.
pub(crate) async fn run(terminated: &mut Signal, how: Numbered) -> Result<(), Box<dyn std::error::Error>> {
    let first: u64 = crate::environment("FIRST").map_or(Ok(0), |first| first.parse())?;
    let first = first + how.lines * lives_before()?;
    let output = match crate::environment("OUTPUT").as_deref() {
        None | Some("stdout") => Output::Stdout,
        Some("stderr") => Output::Stderr,
        Some("both") => Output::Both,
        Some(other) => return Err(format!("OUTPUT {other:?} is not one of stdout, stderr, both").into()),
    };
    // A reader that does not keep up blocks the writer, which must not keep the end of the program waiting.
    let (done, written) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || done.send(write_all(first, how, output)));
    tokio::select! {
        outcome = written => outcome??,
        _ = terminated.recv() => return Ok(()),
    }
    if !how.exits {
        terminated.recv().await;
    }
    Ok(())
}

/// Counts this one.
#[expect(clippy::disallowed_methods, reason = "nobody else has the file")]
fn lives_before() -> std::io::Result<u64> {
    let Some(file) = crate::environment("LIVES") else { return Ok(0) };
    let lives = std::fs::read(&file).map_or(0, |marks| marks.len());
    std::fs::write(&file, vec![b'.'; lives + 1])?;
    u64::try_from(lives).map_err(std::io::Error::other)
}

#[expect(clippy::disallowed_methods, reason = "it keeps a pace")]
fn write_all(first: u64, how: Numbered, output: Output) -> std::io::Result<()> {
    let (end, began) = (first + how.lines, Instant::now());
    let mut next = first;
    while next < end {
        let due = how.per_second.map_or(end, |pace| {
            let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            end.min(first + milliseconds.saturating_mul(pace) / 1000)
        });
        if due == next {
            std::thread::sleep(TICK);
        }
        while next < due {
            let upto = due.min(next + LINES_AT_ONCE);
            write_some(next..upto, output)?;
            next = upto;
        }
    }
    Ok(())
}

fn write_some(numbers: Range<u64>, output: Output) -> std::io::Result<()> {
    let of = |wanted: &dyn Fn(u64) -> bool| -> Vec<u8> {
        let mut text = Vec::new();
        for number in numbers.clone().filter(|number| wanted(*number)) {
            let mut line = [b'\n'; LINE_BYTES + 1];
            if let Some(place) = line.first_chunk_mut() {
                line::write(number, place);
            }
            text.extend_from_slice(&line);
        }
        text
    };
    let (out, err) = (std::io::stdout(), std::io::stderr());
    match output {
        Output::Stdout => out.lock().write_all(&of(&|_| true)),
        Output::Stderr => err.lock().write_all(&of(&|_| true)),
        Output::Both => {
            out.lock().write_all(&of(&|number| number % 2 == 0))?;
            err.lock().write_all(&of(&|number| number % 2 == 1))
        }
    }
}
