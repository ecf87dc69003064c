//! A terminal on which one text takes the place of the last, without flicker and without remains of it.
//!
//! In: whole texts. Out: what makes a terminal show the newest and nothing else. Invariant: when it is dropped, the
//! cursor is there again below the text, and long lines break again. Not its job: what the text says.

use super::output;
use std::io;

/// Cursor to the top left.
const HOME: &str = "\x1b[H";
/// What stands on the rest of the line goes.
const CLEAR_LINE: &str = "\x1b[K";
/// What stands on all lines below goes too.
const CLEAR_BELOW: &str = "\x1b[J";
/// No cursor that jumps about, and a line that is too long ends at the edge: broken, it would take the place of the next.
const TAKE: &str = "\x1b[?25l\x1b[?7l";
/// Both as they were.
const GIVE_BACK: &str = "\x1b[?7h\x1b[?25h\n";

/// The terminal behind standard output, while it is ours.
#[derive(Debug)]
pub(super) struct Screen;

impl Screen {
    /// Takes it.
    pub(super) fn take() -> io::Result<Screen> {
        let screen = Screen;
        output::data(format!("{HOME}{CLEAR_BELOW}{TAKE}").as_bytes())?;
        Ok(screen)
    }

    /// Shows `text` instead of what is shown; what does not fit is counted on the last row.
    pub(super) fn show(&self, text: &str) -> io::Result<()> {
        output::data(frame(text, output::rows()).as_bytes())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone has no cursor to give back.
        let _ = output::data(GIVE_BACK.as_bytes());
    }
}

fn frame(text: &str, rows: Option<usize>) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let fits = rows.map_or(lines.len(), |rows| rows.max(2));
    let (shown, left) = match lines.len() > fits {
        true => (&lines[..fits - 1], lines.len() - (fits - 1)),
        false => (&lines[..], 0),
    };
    let mut shown: Vec<String> = shown.iter().map(|line| format!("{CLEAR_LINE}{line}")).collect();
    if left > 0 {
        shown.push(format!("{CLEAR_LINE}... {left} more lines"));
    }
    // No end of line after the last row: it would push the first one out.
    let end = match rows.is_some_and(|rows| shown.len() >= rows) {
        true => "",
        false if shown.is_empty() => CLEAR_BELOW,
        false => "\r\n\x1b[J",
    };
    format!("{HOME}{}{end}", shown.join("\r\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As much of a terminal as [`frame`] asks for; lines that are too long are cut.
    struct Terminal {
        rows: Vec<Vec<char>>,
        width: usize,
        at: (usize, usize),
    }

    impl Terminal {
        fn new(rows: usize, width: usize) -> Terminal {
            Terminal { rows: vec![vec!['#'; width]; rows], width, at: (0, 0) }
        }

        fn write(&mut self, text: &str) {
            let mut rest = text;
            while let Some(next) = rest.chars().next() {
                if let Some(after) = rest.strip_prefix("\x1b[H") {
                    (self.at, rest) = ((0, 0), after);
                } else if let Some(after) = rest.strip_prefix("\x1b[K") {
                    self.clear_line();
                    rest = after;
                } else if let Some(after) = rest.strip_prefix("\x1b[J") {
                    self.clear_line();
                    self.rows[self.at.0 + 1..].iter_mut().for_each(|row| row.fill(' '));
                    rest = after;
                } else {
                    self.put(next);
                    rest = &rest[next.len_utf8()..];
                }
            }
        }

        fn clear_line(&mut self) {
            let (row, column) = self.at;
            self.rows[row][column..].fill(' ');
        }

        fn put(&mut self, character: char) {
            match character {
                '\r' => self.at.1 = 0,
                '\n' => {
                    assert!(self.at.0 + 1 < self.rows.len(), "the first row was pushed out");
                    self.at.0 += 1;
                }
                other => {
                    assert_ne!(other, '\x1b', "a control that this terminal does not know");
                    let column = self.at.1.min(self.width - 1);
                    self.rows[self.at.0][column] = other;
                    self.at.1 = (self.at.1 + 1).min(self.width - 1);
                }
            }
        }

        fn shows(&self) -> Vec<String> {
            self.rows.iter().map(|row| row.iter().collect::<String>().trim_end().to_owned()).collect()
        }
    }

    fn after(texts: &[&str]) -> Vec<String> {
        let mut terminal = Terminal::new(4, 16);
        texts.iter().for_each(|text| terminal.write(&frame(text, Some(4))));
        terminal.shows()
    }

    #[test]
    fn of_a_longer_text_before_nothing_remains() {
        assert_eq!(after(&["long one\nlong two\nthree\n", "a\n\nb\n"]), ["a", "", "b", ""]);
        assert_eq!(after(&["long one\nlong two\nthree\nfour\n", "a\n"]), ["a", "", "", ""]);
        assert_eq!(after(&["long one\n", ""]), ["", "", "", ""]);
    }

    #[test]
    fn a_text_that_fills_the_screen_or_more_leaves_its_first_row_in_place() {
        assert_eq!(after(&["1\n2\n3\n4\n"]), ["1", "2", "3", "4"]);
        assert_eq!(after(&["1\n2\n3\n4\n5\n6\n"]), ["1", "2", "3", "... 3 more lines"]);
    }

    #[test]
    fn a_line_wider_than_the_screen_takes_no_more_than_its_row() {
        let shown = after(&["0123456789abcdefghij\nb\n"]);
        assert_eq!((shown[1].as_str(), shown[2].as_str()), ("b", ""));
        assert!(shown[0].starts_with("0123456789abcde"), "{shown:?}");
    }

    #[test]
    fn where_the_rows_are_not_known_all_is_written() {
        assert_eq!(frame("a\nb\n", None), "\x1b[H\x1b[Ka\r\n\x1b[Kb\r\n\x1b[J");
    }
}
