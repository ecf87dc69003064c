//! Successive lines of one source that belong together become one event.
//!
//! In: the lines of one source, with their times, in order. Out: events, each with the time of its first line. What always
//! holds:
//!
//! - the events one after the other, with a line break between two lines, are the lines that came, none left out, none
//!   twice, in their order; an event knows how many lines it is made of, so that a position can move by it;
//! - an event has [`LINES_AT_MOST`] lines and `bytes` at most, unless one line alone is longer; what does not fit goes on
//!   as the next event, by the same rule;
//! - which lines belong together depends on the lines alone, and on [`Joiner::flush`].
//!
//! With `python`, what is no traceback is an event at once. With the other rules the last line waits for the next one,
//! which may belong to it: whoever reads asks [`Joiner::pending`] and calls [`Joiner::flush`] when nothing has come for a
//! moment, and at the end. A source that mixes two writers (standard output and error) needs a joiner for each.
//! Not its job: cutting long lines, or deciding what is shipped.

mod java;
mod python;
#[cfg(test)]
mod tests;

use super::shape::{PatternError, compile};
use node::config::settings::Multiline;
use python::Python;
use regex::bytes::Regex;

/// A traceback of a recursion that went too deep has as many.
pub const LINES_AT_MOST: u32 = 1000;

/// Which lines belong together.
#[derive(Debug, Clone)]
pub enum Rule {
    /// Tracebacks of Python, with those that they follow from, and groups of exceptions.
    Python,
    /// Stack traces of Java: a line and the frames, causes and suppressed exceptions below it.
    Java,
    /// Every event begins with a line in which this is found.
    Start(Regex),
}

impl Rule {
    /// The rule of node.toml. The pattern was tried when it was checked.
    pub fn new(rule: &Multiline) -> Result<Rule, PatternError> {
        match rule {
            Multiline::Python => Ok(Rule::Python),
            Multiline::Java => Ok(Rule::Java),
            Multiline::Start(pattern) => compile("multiline", pattern).map(Rule::Start),
        }
    }
}

/// Lines that belong together.
#[derive(Clone, PartialEq, Eq)]
pub struct Joined {
    /// That of the first line.
    pub timestamp_ms: i64,
    /// The lines, a line break between two of them.
    pub text: Vec<u8>,
    /// How many.
    pub lines: u32,
}

/// What an application wrote is shipped and never printed, so that no trace or failed assertion can show it.
impl std::fmt::Debug for Joined {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Joined({} ms, {} lines, {} bytes)", self.timestamp_ms, self.lines, self.text.len())
    }
}

/// What waits for its next line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// The time of its first line.
    pub timestamp_ms: i64,
    /// How many lines.
    pub lines: u32,
    /// How many bytes.
    pub bytes: usize,
}

/// What a line is to the lines before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The first of an event that may have more.
    Begin,
    /// It belongs to the event before.
    Continue,
    /// It belongs to the event before if the next one does; else it is one of its own.
    Hold,
    /// An event of its own, which has no more.
    Alone,
}

/// Joins the lines of one source.
#[derive(Debug)]
pub struct Joiner {
    rule: Rule,
    python: Python,
    bytes: usize,
    pending: Option<Joined>,
    held: Option<Joined>,
}

impl Joiner {
    /// Events have `bytes` at most.
    pub fn new(rule: Rule, bytes: usize) -> Joiner {
        Joiner { rule, python: Python::default(), bytes, pending: None, held: None }
    }

    /// Takes the next line, without its line break, and puts the events that are complete now behind those in `out`:
    /// three at most.
    pub fn line(&mut self, timestamp_ms: i64, line: &[u8], out: &mut Vec<Joined>) {
        match self.step(line) {
            Step::Continue => {
                if let Some(held) = self.held.take() {
                    self.append(held.timestamp_ms, &held.text, out);
                }
                self.append(timestamp_ms, line, out);
            }
            Step::Hold => self.held = Some(Joined::of(timestamp_ms, line)),
            Step::Begin => {
                self.flush(out);
                self.append(timestamp_ms, line, out);
            }
            Step::Alone => {
                self.flush(out);
                out.push(Joined::of(timestamp_ms, line));
            }
        }
    }

    /// What waits for its next line, if anything does.
    pub fn pending(&self) -> Option<Pending> {
        let first = self.pending.as_ref().or(self.held.as_ref())?;
        let both = || self.pending.iter().chain(&self.held);
        Some(Pending {
            timestamp_ms: first.timestamp_ms,
            lines: both().map(|part| part.lines).sum(),
            bytes: both().map(|part| part.text.len()).sum(),
        })
    }

    /// Waits no longer. Lines that belonged to what is given out become an event of their own, by the same rule.
    pub fn flush(&mut self, out: &mut Vec<Joined>) {
        out.extend(self.pending.take());
        out.extend(self.held.take());
    }

    fn step(&mut self, line: &[u8]) -> Step {
        let continues = match &self.rule {
            Rule::Python => return self.python.step(line),
            Rule::Java => java::continues(line),
            Rule::Start(pattern) => !pattern.is_match(line),
        };
        if continues { Step::Continue } else { Step::Begin }
    }

    fn append(&mut self, timestamp_ms: i64, line: &[u8], out: &mut Vec<Joined>) {
        match &mut self.pending {
            Some(pending) if pending.fits(line, self.bytes) => pending.push(line),
            pending => out.extend(pending.replace(Joined::of(timestamp_ms, line))),
        }
    }
}

impl Joined {
    fn of(timestamp_ms: i64, line: &[u8]) -> Joined {
        Joined { timestamp_ms, text: line.to_vec(), lines: 1 }
    }

    fn fits(&self, line: &[u8], bytes: usize) -> bool {
        self.lines < LINES_AT_MOST && self.text.len().saturating_add(1).saturating_add(line.len()) <= bytes
    }

    fn push(&mut self, line: &[u8]) {
        self.text.push(b'\n');
        self.text.extend_from_slice(line);
        self.lines += 1;
    }
}
