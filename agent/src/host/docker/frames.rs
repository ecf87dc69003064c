//! From the frames of the engine's logs API to whole lines. Pure.
//!
//! A frame is one message of the engine: `2026-11-20T19:22:15.968938146Z text`, with a line break where the line ends.
//! Lines over 16 KiB come in several frames that carry the same time, the line break at the end of the last one; the
//! `local` driver leaves that last break out. What an application wrote without a line break before it ended has none
//! either, and the next frame another time. So: frames of one stream and time without a break between them are one
//! line. Seen with engine 20.10, json-file and local.

use crate::logs::source::SourceLine;
use bollard::container::LogOutput;
use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use std::collections::VecDeque;

/// A line without end is given out in pieces of this size, so that memory is bounded.
const LONGEST_LINE_BYTES: usize = 1 << 20;

/// Stream number with which the engine begins a message of its own, which the library does not know.
const ENGINE_ERROR: u8 = 3;
/// Bytes of the header before such a message.
const HEADER_BYTES: usize = 8;

/// A frame that is no line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NotALine {
    /// The engine says that it could not go on.
    Engine(String),
    /// No time in front. Its text is an application's and is not repeated.
    NoTimestamp,
}

/// Puts lines together.
#[derive(Debug, Default)]
pub(super) struct Joiner {
    output: Option<SourcePart>,
    error: Option<SourcePart>,
    ready: VecDeque<SourceLine>,
}

#[derive(Debug)]
struct SourcePart {
    timestamp: Timestamp,
    text: BytesMut,
}

impl Joiner {
    /// Takes the next frame.
    pub(super) fn frame(&mut self, frame: LogOutput) -> Result<(), NotALine> {
        let terminal = matches!(frame, LogOutput::Console { .. });
        let part = match frame {
            LogOutput::StdErr { .. } => &mut self.error,
            _ => &mut self.output,
        };
        let frame = frame.into_bytes();
        if terminal && frame.first() == Some(&ENGINE_ERROR) {
            let words = frame.get(HEADER_BYTES..).unwrap_or_default();
            return Err(NotALine::Engine(String::from_utf8_lossy(words).trim().to_owned()));
        }
        let (timestamp, text) = stamped(&frame).ok_or(NotALine::NoTimestamp)?;
        if part.as_ref().is_some_and(|part| part.timestamp != timestamp) {
            self.ready.extend(part.take().map(SourcePart::line));
        }
        match text.strip_suffix(b"\n") {
            // The usual case: nothing is copied.
            Some(whole) if part.is_none() => {
                let whole = if terminal { whole.strip_suffix(b"\r").unwrap_or(whole) } else { whole };
                self.ready.push_back(SourceLine { timestamp, message: frame.slice_ref(whole) });
            }
            Some(last) => {
                self.ready.extend(joined(part, timestamp, last));
                self.ready.extend(part.take().map(SourcePart::line));
            }
            None => self.ready.extend(joined(part, timestamp, text)),
        }
        Ok(())
    }

    /// The log ends here: what is unfinished is a line.
    pub(super) fn end(&mut self) {
        let rest = [self.output.take(), self.error.take()];
        self.ready.extend(rest.into_iter().flatten().map(SourcePart::line));
    }

    /// The next whole line.
    pub(super) fn line(&mut self) -> Option<SourceLine> {
        self.ready.pop_front()
    }
}

impl SourcePart {
    fn line(self) -> SourceLine {
        SourceLine { timestamp: self.timestamp, message: self.text.freeze() }
    }
}

/// Appends `text`; when that makes a line of [`LONGEST_LINE_BYTES`], gives out what is there of it, up to the last
/// whole character.
fn joined(part: &mut Option<SourcePart>, timestamp: Timestamp, text: &[u8]) -> Option<SourceLine> {
    let part = part.get_or_insert_with(|| SourcePart { timestamp, text: BytesMut::new() });
    part.text.extend_from_slice(text);
    if part.text.len() < LONGEST_LINE_BYTES {
        return None;
    }
    let whole = part.text.len() - incomplete_tail(&part.text);
    Some(SourceLine { timestamp, message: part.text.split_to(whole).freeze() })
}

/// How many bytes at the end begin a UTF-8 character without finishing it; 0 to 3.
fn incomplete_tail(bytes: &[u8]) -> usize {
    let longest = bytes.len().min(3);
    let unfinished = |length: &usize| {
        let tail = &bytes[bytes.len() - length..];
        let lead = tail.first().copied().unwrap_or_default();
        // Only from its first byte can a character be cut; anything else is invalid wherever it is cut.
        lead >= 0xC0 && std::str::from_utf8(tail).is_err_and(|error| error.error_len().is_none())
    };
    (1..=longest).find(unfinished).unwrap_or(0)
}

fn stamped(frame: &Bytes) -> Option<(Timestamp, &[u8])> {
    let space = frame.iter().position(|byte| *byte == b' ')?;
    let timestamp = std::str::from_utf8(&frame[..space]).ok()?.parse().ok()?;
    Some((timestamp, &frame[space + 1..]))
}

#[cfg(test)]
#[path = "frames_tests.rs"]
mod tests;
