//! What was found wrong, while it is being collected: positions are byte ranges of a source, nothing stops at the
//! first mistake. [`Findings::mistakes`] turns them into lines and columns, in the order in which a person reads.

use super::{Mistake, Mistakes, Source};

/// A range of bytes in one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    /// Index into the sources of the draft.
    pub(super) source: usize,
    /// First byte.
    pub(super) start: usize,
    /// One past the last byte.
    pub(super) end: usize,
}

/// Why one value is refused, before it is known where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    message: String,
    hint: Option<String>,
    /// Something that is needed was not found. Cannot be trusted when a part of the text could not be read.
    absence: bool,
}

impl Wrong {
    pub(super) fn new(message: impl Into<String>) -> Wrong {
        Wrong { message: message.into(), hint: None, absence: false }
    }

    /// Something that is needed is not there.
    pub(super) fn absent(message: impl Into<String>) -> Wrong {
        Wrong { absence: true, ..Wrong::new(message) }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Wrong {
        Wrong { hint: Some(hint.into()), ..self }
    }

    pub(super) fn hint_if_any(self, hint: Option<String>) -> Wrong {
        Wrong { hint: hint.or(self.hint), ..self }
    }

    /// Message and hint, where there is no place in a file to point at.
    pub(super) fn into_words(self) -> (String, Option<String>) {
        (self.message, self.hint)
    }

    /// The same with `what` in front of the message.
    pub(super) fn about(self, what: &str) -> Wrong {
        Wrong { message: format!("{what}: {}", self.message), ..self }
    }
}

/// All that was found wrong so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    list: Vec<(Span, Wrong)>,
    syntax: Vec<(Span, Wrong)>,
    incomplete: bool,
    /// Where keys may stand in another table than the one they were meant for.
    distrusted: Vec<Span>,
}

impl Findings {
    pub(super) fn add(&mut self, at: Span, wrong: Wrong) {
        self.list.push((at, wrong));
    }

    /// Keeps the value, or notes why there is none.
    pub(super) fn take<T>(&mut self, at: Span, result: Result<T, Wrong>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.add(at, wrong);
                None
            }
        }
    }

    /// Notes a part of the text that could not be read. From then on what seems to be missing may be written there.
    pub(super) fn add_syntax(&mut self, at: Span, wrong: Wrong) {
        self.syntax.push((at, wrong));
        self.incomplete = true;
    }

    /// Nothing but the syntax is judged in this part of a text.
    pub(super) fn distrust(&mut self, part: Span) {
        self.distrusted.push(part);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty() && self.syntax.is_empty()
    }

    fn is_reliable(&self, at: Span, wrong: &Wrong) -> bool {
        let inside = |part: &Span| part.source == at.source && (part.start..part.end).contains(&at.start);
        let may_be_unread = self.incomplete && wrong.absence;
        !may_be_unread && !self.distrusted.iter().any(inside)
    }

    /// The mistakes in the order of sources, lines and columns.
    pub(super) fn mistakes(&self, sources: &[Source]) -> Mistakes {
        let reliable = self.list.iter().filter(|(at, wrong)| self.is_reliable(*at, wrong));
        let mut list: Vec<_> = reliable.chain(&self.syntax).cloned().collect();
        list.sort_by(|(left, left_wrong), (right, right_wrong)| {
            (left.source, left.start, &left_wrong.message).cmp(&(
                right.source,
                right.start,
                &right_wrong.message,
            ))
        });
        list.dedup_by(|(left, left_wrong), (right, right_wrong)| {
            (left.source, left.start) == (right.source, right.start)
                && left_wrong.message == right_wrong.message
        });
        Mistakes(list.into_iter().map(|(at, wrong)| mistake(sources, at, wrong)).collect())
    }
}

fn mistake(sources: &[Source], at: Span, wrong: Wrong) -> Mistake {
    let (name, text) =
        sources.get(at.source).map_or(("", ""), |source| (source.name.as_str(), source.text.as_str()));
    let (line, column) = position(text, at.start);
    Mistake { file: name.to_owned(), line, column, message: wrong.message, hint: wrong.hint }
}

/// Line and column, both from 1, the column in characters.
pub(super) fn position(text: &str, offset: usize) -> (usize, usize) {
    let boundary = (0..=offset.min(text.len())).rev().find(|&index| text.is_char_boundary(index));
    let before = &text[..boundary.unwrap_or(0)];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// The one of `known` that `written` probably means.
pub(super) fn closest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Below this, suggestions look random; found by trying common slips.
    const ALIKE: f64 = 0.65;
    known
        .into_iter()
        .map(|name| (strsim::normalized_damerau_levenshtein(&written.to_lowercase(), name), name))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, name)| name)
}

/// A hint that names the one of `known` that is probably meant.
pub fn did_you_mean<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    closest(written, known).map(|name| format!("did you mean `{name}`?"))
}
