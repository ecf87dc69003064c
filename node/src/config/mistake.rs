//! How mistakes reach a person: one line each, and on demand the line of the file with a mark below it.

use crate::fault::Hint;
use std::fmt::{self, Display, Formatter};

/// One mistake in node.toml.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct Mistake {
    /// [`super::Source::name`]
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong, on which key, why.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

/// `FILE:LINE:COLUMN: MESSAGE (hint: HINT)`, on one line whatever the values in it are.
impl Display for Mistake {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}:{}: {}", self.file, self.line, self.column, on_one_line(&self.message))?;
        match &self.hint {
            Some(hint) => write!(formatter, " (hint: {})", on_one_line(hint)),
            None => Ok(()),
        }
    }
}

impl Mistake {
    /// The line of `text` that it is in, with its number, and a caret below the column.
    pub fn excerpt(&self, text: &str) -> String {
        self.excerpt_within(text, usize::MAX)
    }

    /// The same in `width` columns: of a line that is longer, the part around the column.
    pub fn excerpt_within(&self, text: &str, width: usize) -> String {
        let line: Vec<char> =
            text.lines().nth(self.line.saturating_sub(1)).unwrap_or_default().chars().collect();
        let number = self.line.to_string();
        let room = width.saturating_sub(number.len() + " | ".len()).max(NARROWEST_EXCERPT);
        let column = self.column.saturating_sub(1);
        let part = part_around(&line, column.min(line.len()), room);
        // Tabs stay tabs, so that the caret stands below its character at any width of a tab.
        let before = part.shown.iter().take(part.column);
        let indent: String = before.map(|c| if *c == '\t' { '\t' } else { ' ' }).collect();
        let gutter = " ".repeat(number.len());
        let shown: String = part.shown.iter().collect();
        format!("{number} | {}\n{gutter} | {indent}^", on_one_line(&shown))
    }
}

/// With less of a line nobody finds the place in the file.
const NARROWEST_EXCERPT: usize = 20;
/// In the place of what is left out of a line.
const LEFT_OUT: char = '…';

/// A part of a line.
struct Part {
    shown: Vec<char>,
    /// Where the column of interest is in it.
    column: usize,
}

/// At most `room` characters of `line` with the one at `column` among them: two thirds of the room lie before it, for
/// what is wrong is told better by what leads to it.
fn part_around(line: &[char], column: usize, room: usize) -> Part {
    if line.len() <= room {
        return Part { shown: line.to_vec(), column };
    }
    let begin = column.saturating_sub(room * 2 / 3).min(line.len() - room);
    let mut shown = line[begin..begin + room].to_vec();
    if begin > 0 {
        shown[0] = LEFT_OUT;
    }
    if begin + room < line.len() {
        shown[room - 1] = LEFT_OUT;
    }
    Part { shown, column: column - begin }
}

/// Control characters other than tabs would let a value forge a line of its own or steer the terminal.
fn on_one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { ' ' } else { c }).collect()
}

/// All mistakes of a configuration, in the order of the files and lines. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", count(.0.len()))]
pub struct Mistakes(pub Vec<Mistake>);

fn count(mistakes: usize) -> String {
    match mistakes {
        1 => "1 mistake in the configuration".to_owned(),
        more => format!("{more} mistakes in the configuration"),
    }
}

impl Mistakes {
    /// One line for each mistake.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(Mistake::to_string)
    }
}

impl Hint for Mistakes {
    fn hint(&self) -> Option<String> {
        Some("run `agentctl config check` to see each of them with its line".to_owned())
    }
}

/// Why no configuration could be had.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file could not be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It was read and is wrong.
    #[error(transparent)]
    Invalid(#[from] Mistakes),
}

impl Hint for LoadError {
    fn hint(&self) -> Option<String> {
        match self {
            LoadError::Read { source, .. } => match source.kind() {
                std::io::ErrorKind::NotFound => Some("write it, or name another file".to_owned()),
                std::io::ErrorKind::InvalidData => Some("save it as UTF-8".to_owned()),
                std::io::ErrorKind::PermissionDenied => Some("run as root".to_owned()),
                _ => Some("look for errors of the disk in `dmesg | tail`".to_owned()),
            },
            LoadError::Invalid(mistakes) => mistakes.hint(),
        }
    }
}
