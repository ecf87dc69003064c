//! Lines of the engine's log driver `json-file`, as they lie on the disk.
//!
//! In: one line without its line break, such as `{"log":"text\n","stream":"stdout","time":"2026-01-01T00:00:00.5Z"}`, with
//! or without `attrs` in the middle. Out: an [`Entry`] that borrows from it. What always holds: nothing is copied; a line
//! that is not of this shape is no entry, and the caller decides what becomes of it.
//! Source: moby, `daemon/logger/jsonfilelog/jsonlog`: keys in this order, times in UTC by RFC 3339 with up to nine digits
//! of fraction; a message of over 16 KiB is several lines, of which only the last ends with a line break.

use super::escape::{self, Measured};
use jiff::Timestamp;

/// What the application wrote in one piece of at most 16 KiB.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Entry<'line> {
    /// When the engine received it.
    pub timestamp_ms: i64,
    /// It was written to standard error, not to standard output.
    pub stderr: bool,
    /// The inside of the JSON string, without the line break at its end.
    pub inside: &'line [u8],
    /// Bytes of the decoded text.
    pub decoded: usize,
    /// [`Entry::inside`] may be copied into another document as it is.
    pub valid: bool,
    /// It ended with a line break: the message ends here.
    pub ends: bool,
}

/// What an application wrote is shipped and never printed, so that no trace or failed assertion can show it.
impl std::fmt::Debug for Entry<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Entry({} ms, {} bytes, ends: {})", self.timestamp_ms, self.decoded, self.ends)
    }
}

const BEGIN: &[u8] = br#"{"log":""#;
const OUT: &[u8] = br#","stream":"stdout""#;
const ERR: &[u8] = br#","stream":"stderr""#;
const TIME: &[u8] = br#","time":""#;
/// `2026-01-01T00:00:00`
const TO_SECOND: usize = 19;

/// Reads lines. It remembers the second that it read last, which neighbouring lines mostly share.
#[derive(Debug, Default)]
pub struct Parser {
    second: [u8; TO_SECOND],
    second_ms: i64,
}

impl Parser {
    /// One line; `None` when it is not of this shape.
    pub fn line<'line>(&mut self, line: &'line [u8]) -> Option<Entry<'line>> {
        let rest = line.strip_prefix(BEGIN)?;
        let Measured { raw, decoded, valid } = escape::measure(rest)?;
        let (inside, rest) = (&rest[..raw], &rest[raw + 1..]);
        let (stderr, rest) = match rest.strip_prefix(OUT) {
            Some(rest) => (false, rest),
            None => (true, rest.strip_prefix(ERR)?),
        };
        let rest = rest.strip_suffix(b"\"}")?;
        let opening = rest.iter().rposition(|byte| *byte == b'"')?;
        if !rest[..=opening].ends_with(TIME) {
            return None;
        }
        let timestamp_ms = self.time(&rest[opening + 1..])?;
        let (inside, ends) = without_line_break(inside);
        let decoded = decoded - usize::from(ends);
        Some(Entry { timestamp_ms, stderr, inside, decoded, valid, ends })
    }

    /// Milliseconds since 1970.
    fn time(&mut self, text: &[u8]) -> Option<i64> {
        let (second, fraction) = text.split_at_checked(TO_SECOND)?;
        let Some(millisecond) = fraction.strip_suffix(b"Z").and_then(milliseconds) else {
            // Another offset than UTC: not the engine's own, and still a time.
            let time: Timestamp = std::str::from_utf8(text).ok()?.parse().ok()?;
            return Some(time.as_millisecond());
        };
        if second != self.second {
            let whole = std::str::from_utf8(second).ok()?;
            let time: Timestamp = format!("{whole}Z").parse().ok()?;
            self.second_ms = time.as_millisecond();
            self.second.copy_from_slice(second);
        }
        Some(self.second_ms + millisecond)
    }
}

/// Of a fraction such as `.123456789`, or of none.
fn milliseconds(fraction: &[u8]) -> Option<i64> {
    if fraction.is_empty() {
        return Some(0);
    }
    let digits = fraction.strip_prefix(b".")?;
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |at: usize| digits.get(at).map_or(0, |digit| i64::from(digit - b'0'));
    Some(digit(0) * 100 + digit(1) * 10 + digit(2))
}

/// Whether the text ends with a line break, and the text without it. A backslash that is itself escaped begins no escape.
fn without_line_break(inside: &[u8]) -> (&[u8], bool) {
    let Some(before) = inside.strip_suffix(b"n") else { return (inside, false) };
    let backslashes = before.iter().rev().take_while(|byte| **byte == b'\\').count();
    if backslashes % 2 == 1 { (&before[..before.len() - 1], true) } else { (inside, false) }
}

/// Where in a line that is no entry another one begins: an engine that was killed while it wrote leaves the beginning of
/// a line, and the next engine appends to it.
pub fn second_beginning(line: &[u8]) -> Option<usize> {
    let found = line.windows(BEGIN.len()).skip(1).position(|window| window == BEGIN)?;
    Some(found + 1)
}

/// What is left of the message in a line that was torn: the text behind its beginning, else the line itself.
pub fn torn_text(line: &[u8]) -> String {
    match line.strip_prefix(BEGIN) {
        Some(inside) => escape::decode(inside),
        None => String::from_utf8_lossy(line).into_owned(),
    }
}

#[cfg(test)]
#[path = "json_file_tests.rs"]
mod tests;
