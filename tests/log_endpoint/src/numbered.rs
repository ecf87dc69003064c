//! Numbered lines: what the sample application writes in its mode `numbered`, what they look like in Docker's json-file, and
//! how they are found again.
//!
//! `line.rs` is the application's own.

#[path = "../../sample_app/src/line.rs"]
mod line;

use jiff::Timestamp;
use line::{DIGITS, LINE_BYTES, MARK};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// Exactly the line of that number.
    Whole(u64),
    /// That line with something around it, as shippers do that send a record and not a line.
    Wrapped(u64),
    /// It begins as a numbered line and is another.
    Damaged,
    /// No numbered line.
    Other,
}

/// How far into a wrapped message the line may begin.
const WRAPPING: usize = 64;

/// Looks at a message.
#[must_use]
pub fn recognise(message: &[u8]) -> Line {
    let begin = &message[..message.len().min(WRAPPING)];
    let Some(at) = memchr::memchr(MARK, begin) else { return Line::Other };
    let Some(number) = number_at(&message[at + 1..]) else {
        return if at == 0 { Line::Damaged } else { Line::Other };
    };
    if at > 0 {
        return Line::Wrapped(number);
    }
    let mut expected = [0; LINE_BYTES];
    line::write(number, &mut expected);
    match message.strip_prefix(&expected) {
        Some([]) => Line::Whole(number),
        // Docker's own end of the line, which its logs API and its json-file have inside.
        Some(b"\n") => Line::Wrapped(number),
        _ => Line::Damaged,
    }
}

fn number_at(text: &[u8]) -> Option<u64> {
    let digits = text.get(..DIGITS)?;
    let all = digits.iter().all(u8::is_ascii_digit) && text.get(DIGITS) == Some(&b' ');
    all.then(|| digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

/// The text of line `number`, without its end.
#[must_use]
pub fn line_text(number: u64) -> String {
    let mut bytes = [0; LINE_BYTES];
    line::write(number, &mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// When lines were written.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Of the first.
    pub first: Timestamp,
    /// From one to the next.
    pub step: Duration,
}

/// Appends lines to a json-file as dockerd writes them, to the end of what is there; returns the bytes.
///
/// # Errors
/// The file cannot be written.
pub fn append_json_file(path: &Path, numbers: Range<u64>, times: Times) -> io::Result<u64> {
    let file = File::options().create(true).append(true).open(path)?;
    let mut out = io::BufWriter::with_capacity(1 << 20, file);
    let (mut clock, mut bytes) = (Clock::at(times.first), 0);
    let mut text = Vec::with_capacity(2 * LINE_BYTES);
    for number in numbers {
        text.clear();
        json_line(number, &clock.stamp(), &mut text);
        out.write_all(&text)?;
        bytes += text.len() as u64;
        clock.pass(times.step);
    }
    out.flush()?;
    Ok(bytes)
}

fn json_line(number: u64, stamp: &str, text: &mut Vec<u8>) {
    json_message(number, text);
    text.extend_from_slice(b"\"stream\":\"stdout\",\"time\":\"");
    text.extend_from_slice(stamp.as_bytes());
    text.extend_from_slice(b"\"}\n");
}

/// The first member, which is all of the line.
fn json_message(number: u64, text: &mut Vec<u8>) {
    let mut plain = [0; LINE_BYTES];
    line::write(number, &mut plain);
    text.extend_from_slice(b"{\"log\":\"");
    for byte in plain {
        escape(byte, text);
    }
    text.extend_from_slice(b"\\n\",");
}

/// As daemon/logger/jsonfilelog/jsonlog does.
fn escape(byte: u8, text: &mut Vec<u8>) {
    match byte {
        b'"' | b'\\' => text.extend_from_slice(&[b'\\', byte]),
        b'\n' => text.extend_from_slice(b"\\n"),
        b'\r' => text.extend_from_slice(b"\\r"),
        0..0x20 | b'<' | b'>' | b'&' => text.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        _ => text.push(byte),
    }
}

/// The date and the second are written once a second only.
struct Clock {
    second: String,
    now: Timestamp,
    nanosecond: u32,
}

impl Clock {
    fn at(now: Timestamp) -> Clock {
        let whole = now.to_string();
        let second = whole.split(['.', 'Z']).next().unwrap_or_default().to_owned();
        Clock { second, now, nanosecond: now.subsec_nanosecond().unsigned_abs() }
    }

    /// RFC 3339 without trailing zeros, as Go writes it.
    fn stamp(&self) -> String {
        if self.nanosecond == 0 {
            return format!("{}Z", self.second);
        }
        let fraction = format!("{:09}", self.nanosecond);
        format!("{}.{}Z", self.second, fraction.trim_end_matches('0'))
    }

    fn pass(&mut self, step: Duration) {
        let whole = u64::from(self.nanosecond) + u64::try_from(step.as_nanos()).unwrap_or_default();
        match u32::try_from(whole).ok().filter(|nanosecond| *nanosecond < 1_000_000_000) {
            Some(nanosecond) => self.nanosecond = nanosecond,
            None => {
                let at = Timestamp::new(self.now.as_second(), 0).unwrap_or_default();
                *self = Clock::at(at + Duration::from_nanos(whole));
            }
        }
    }
}

/// The numbers of the whole lines of a json-file, in its order. An engine that is killed leaves a line that is not.
///
/// # Errors
/// It cannot be read.
pub fn numbers_of_json_file(file: File) -> io::Result<Vec<u64>> {
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let (mut numbers, mut text, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    while reader.read_until(b'\n', &mut text)? > 0 {
        if let Some(number) = text.strip_prefix(b"{\"log\":\"#").and_then(number_at) {
            whole.clear();
            json_message(number, &mut whole);
            numbers.extend((text.starts_with(&whole) && text.ends_with(b"Z\"}\n")).then_some(number));
        }
        text.clear();
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_recognised_and_damage_to_them_too() {
        let whole = line_text(32);
        assert_eq!(recognise(whole.as_bytes()), Line::Whole(32));
        assert_eq!(recognise(format!("{{\"log\":\"{whole}\"}}").as_bytes()), Line::Wrapped(32));
        assert_eq!(recognise(format!("{whole}\n").as_bytes()), Line::Wrapped(32));
        for damaged in [&whole[..199], &whole.replace('o', "0"), "#12", &format!("{whole}{whole}")] {
            assert_eq!(recognise(damaged.as_bytes()), Line::Damaged, "{damaged}");
        }
        for other in ["", "a line", "a # in a line"] {
            assert_eq!(recognise(other.as_bytes()), Line::Other, "{other}");
        }
    }

    #[test]
    fn a_json_file_has_the_lines_as_docker_writes_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let first: Timestamp = "2026-01-01T00:00:00.9995Z".parse().unwrap();
        let times = Times { first, step: Duration::from_micros(250) };
        let bytes = append_json_file(&path, 14..18, times).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.len() as u64, bytes);
        let stamps = ["00.9995Z", "00.99975Z", "01Z", "01.00025Z"];
        for ((line, number), stamp) in text.lines().zip(14..).zip(stamps) {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(value["log"], format!("{}\n", line_text(number)));
            assert_eq!(value["time"], format!("2026-01-01T00:00:{stamp}"));
            assert_eq!(line.contains("\\u003ctab\\u003e\\u0009here \\u0026"), number == 16, "{line}");
        }
        assert_eq!(numbers_of_json_file(File::open(&path).unwrap()).unwrap(), [14, 15, 16, 17]);
    }
}
