//! How an error becomes the one line that a person reads: what failed, on which thing, why; then a hint.
//!
//! Every error type at a boundary implements [`Hint`]. Messages never repeat their cause: the chain is joined here,
//! where it ends, and nowhere else.

use std::error::Error;

/// What a person can do about an error, if anything.
pub trait Hint: Error {
    /// One sentence in the imperative, without a final newline.
    fn hint(&self) -> Option<String> {
        None
    }
}

/// Joins an error and its causes into one line, `what: why: why`. Line breaks inside messages become spaces.
pub fn one_line(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Some libraries repeat their cause in their own message; saying it twice helps nobody.
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// [`one_line`] followed by the hint in parentheses, as programs print it before they exit.
pub fn with_hint(error: &dyn Hint) -> String {
    let line = one_line(error);
    match error.hint() {
        Some(hint) => format!("{line} (hint: {hint})"),
        None => line,
    }
}
