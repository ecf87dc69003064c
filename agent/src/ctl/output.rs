//! Data to standard output, everything else to standard error. Neither panics when the reader is gone.

use super::render::text::{Page, shortened, wrap};
use std::io::{self, IsTerminal, Write};

/// Columns where there is no terminal to ask.
const WIDTH: usize = 80;
/// Below this, lines break in the middle of names.
const NARROWEST: usize = 60;
/// Above this, the eye loses the line.
const WIDEST: usize = 160;

/// Writes data. An error means that nobody reads on; the caller should stop.
pub fn data(content: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(content)?;
    stdout.flush()
}

/// Writes a sentence as data: one line for programs, and for a terminal lines that fit it.
pub fn sentence(text: &str) -> io::Result<()> {
    let text = if is_terminal() { fitted(text, page().width) } else { format!("{text}\n") };
    data(text.as_bytes())
}

/// The same for a person.
pub fn noted_sentence(text: &str) {
    match terminal_of_notes() {
        Some(width) => note(&fitted(text, width.clamp(NARROWEST, WIDEST))),
        None => note(text),
    }
}

fn fitted(text: &str, width: usize) -> String {
    wrap(&shortened(text), 0, width)
}

/// Writes lines for a person.
pub fn note(text: &str) {
    // There is nowhere left to say that this failed.
    let _ = writeln!(io::stderr().lock(), "{}", text.trim_end_matches('\n'));
}

/// Puts `text` in the place of the line that a person sees now, without ending it. Only where there is a
/// [`terminal_of_notes`].
pub fn in_place(text: &str) {
    // There is nowhere left to say that this failed.
    let _ = write!(io::stderr().lock(), "\r\x1b[K{text}");
}

/// The columns of the terminal that notes go to; absent where they go elsewhere.
pub fn terminal_of_notes() -> Option<usize> {
    if !io::stderr().is_terminal() {
        return None;
    }
    let size = terminal_size::terminal_size_of(io::stderr());
    Some(size.map_or(WIDTH, |(width, _)| usize::from(width.0)))
}

/// The page that notes have, as [`page`] for data.
pub fn page_of_notes() -> Page {
    match terminal_of_notes() {
        Some(width) => Page { width: width.clamp(NARROWEST, WIDEST), colour: true },
        None => Page { width: WIDTH, colour: false },
    }
}

/// Whether standard output is a terminal.
pub fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// The rows of the terminal that standard output is; absent where they are not known.
pub fn rows() -> Option<usize> {
    terminal_size::terminal_size().map(|(_, height)| usize::from(height.0))
}

/// The page that standard output has: colours and its width on a terminal, 80 columns elsewhere.
pub fn page() -> Page {
    if !is_terminal() {
        return Page { width: WIDTH, colour: false };
    }
    let width = terminal_size::terminal_size().map_or(WIDTH, |(width, _)| usize::from(width.0));
    Page { width: width.clamp(NARROWEST, WIDEST), colour: true }
}
