//! Tracebacks of Python: a machine that is given line after line. Pure.
//!
//! ```text
//! Traceback (most recent call last):              header
//!   File "a.py", line 1, in <module>              frames: deeper than the header
//!     …
//! KeyError: 'a'                                   the exception: the first line that is not
//!                                                 held: it belongs to this only before
//! During handling of the above exception, …       the sentence between two of a chain
//!
//! Traceback (most recent call last):              and so on
//! ```
//!
//! Groups of exceptions (3.11) are drawn with `|` and `+` and end with the first line that is not. Messages of more than
//! one line cannot be told from the lines of the log behind them: they end after the first.

use super::Step;

const HEADER: &[u8] = b"Traceback (most recent call last):";
const GROUP: &[u8] = b"+ Exception Group Traceback (most recent call last):";
const BETWEEN: [&[u8]; 2] = [
    b"During handling of the above exception, another exception occurred:",
    b"The above exception was the direct cause of the following exception:",
];

/// What was seen last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Python {
    /// Nothing that could have more.
    #[default]
    Outside,
    /// A header with so much before it, or a frame below it.
    Frames(usize),
    /// A line of a group.
    Group,
    /// The line with the exception.
    Exception,
    /// An empty line behind that.
    EmptyBehind,
    /// The sentence between two tracebacks, or an empty line behind it.
    Between,
}

impl Python {
    pub(super) fn step(&mut self, line: &[u8]) -> Step {
        let (step, next) = self.after(line);
        *self = next;
        step
    }

    fn after(self, line: &[u8]) -> (Step, Python) {
        let text = line.trim_ascii();
        let is_empty = text.is_empty();
        match self {
            Python::Frames(header) if !is_empty && indentation(line) > header => (Step::Continue, self),
            Python::Frames(_) if !is_empty && header(line).is_none() => (Step::Continue, Python::Exception),
            Python::Group if is_of_a_group(line) && header(line).is_none() => (Step::Continue, self),
            Python::Exception | Python::Group if is_empty => (Step::Hold, Python::EmptyBehind),
            Python::Exception | Python::Group | Python::EmptyBehind if BETWEEN.contains(&text) => {
                (Step::Continue, Python::Between)
            }
            Python::Between if is_empty => (Step::Continue, self),
            Python::Between => match header(line) {
                Some(next) => (Step::Continue, next),
                None => (Step::Alone, Python::Outside),
            },
            _ => match header(line) {
                Some(next) => (Step::Begin, next),
                None => (Step::Alone, Python::Outside),
            },
        }
    }
}

/// What begins with this line, if it is a header. Something of a log may stand before it.
fn header(line: &[u8]) -> Option<Python> {
    let text = line.trim_ascii();
    if text.ends_with(GROUP) {
        return Some(Python::Group);
    }
    text.ends_with(HEADER).then(|| Python::Frames(indentation(line)))
}

fn indentation(line: &[u8]) -> usize {
    line.len() - line.trim_ascii_start().len()
}

/// Drawn below the header of a group. Its inner headers are drawn too, so only one that is not begins another.
fn is_of_a_group(line: &[u8]) -> bool {
    indentation(line) > 0 && matches!(line.trim_ascii_start().first(), Some(b'|' | b'+'))
}
