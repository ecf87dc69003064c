//! Stack traces of Java and its relatives: what `Throwable.printStackTrace` and the common loggers write below the line
//! with the exception. Pure.
//!
//! The line with the exception is known by what follows it, not by its words: it may be a whole line of a log, and
//! exceptions may be called anything. A line of a log *before* the one with the exception stays an event of its own;
//! whoever wants it with the trace knows what lines of the log begin with, and writes `{ start = … }`.

/// Whether a line belongs to the one before it.
pub(super) fn continues(line: &[u8]) -> bool {
    let text = line.trim_ascii_start();
    let is_indented = text.len() < line.len();
    if text.starts_with(b"Caused by: ") || text.starts_with(b"Suppressed: ") {
        return true;
    }
    is_indented && (text.starts_with(b"at ") || is_left_out(text) || is_of_a_dump(text))
}

/// `... 12 more`, `... 3 common frames omitted`, `[CIRCULAR REFERENCE: …]`
fn is_left_out(text: &[u8]) -> bool {
    let number = text.strip_prefix(b"... ").is_some_and(|rest| rest.first().is_some_and(u8::is_ascii_digit));
    number || text.starts_with(b"[CIRCULAR REFERENCE")
}

/// Below a frame of a dump of threads: `- locked <0x…>`, `- waiting on <0x…>`.
fn is_of_a_dump(text: &[u8]) -> bool {
    text.starts_with(b"- locked ") || text.starts_with(b"- waiting ") || text.starts_with(b"- parking ")
}
