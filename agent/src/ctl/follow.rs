//! Waiting for the end of a command: looks again and again, and says what it waits for in few lines.
//!
//! In: how to look, what a look means ([`Progress`]), how long. Out: the verdict. An agent that is away for a while (it
//! may be restarted) is waited for. Not its job: what a look means ([`super::wait`]), and writing the verdict.

use super::render::progress;
use super::wait::{Progress, gist};
use crate::control::client::ClientError;
use crate::status::Quarantined;
use std::time::Duration;
use tokio::time::Instant;

/// From one look to the next: an answer costs the agent next to nothing.
const INTERVAL: Duration = Duration::from_millis(200);
/// Between two lines on what takes long: an output that is kept, as that of Systems Manager, is cut at some thousand
/// characters.
const LINES_APART: Duration = Duration::from_secs(10);
/// The same where nothing but numbers has changed.
const NUMBERS_APART: Duration = Duration::from_secs(60);

/// How the waiting ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is done, in words.
    Done(String),
    /// It will not happen.
    Failed {
        /// Why.
        text: String,
        /// The image that failed, if that is why.
        failed: Option<Quarantined>,
    },
    /// Not within the time; what it was waiting for.
    Late(String),
}

/// Waits for `seconds` at most, and gives `say` what is pending at each look.
pub(super) async fn follow<S>(
    mut look: impl AsyncFnMut() -> Result<S, ClientError>,
    mut progress: impl FnMut(&S) -> Progress,
    seconds: u64,
    mut say: impl FnMut(&str, Instant),
) -> Result<Verdict, ClientError> {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        let pending = match look().await {
            Ok(seen) => match progress(&seen) {
                Progress::Done(text) => return Ok(Verdict::Done(text)),
                Progress::Failed { text, failed } => return Ok(Verdict::Failed { text, failed }),
                Progress::Pending(text) => text,
            },
            Err(error) if error.is_unreachable() => node::fault::one_line(&error),
            Err(error) => return Err(error),
        };
        say(&pending, Instant::now());
        if Instant::now() >= deadline {
            return Ok(Verdict::Late(pending));
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// What a person is told while it is waited for.
#[derive(Debug)]
pub(super) struct Teller {
    style: Style,
    said: String,
    said_at: Option<Instant>,
}

/// How it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// A line whenever something else is waited for.
    Lines,
    /// The same, but not in quick succession; from time to time also what has only other numbers.
    FewLines,
    /// One line that changes, so many columns wide.
    InPlace(usize),
}

impl Teller {
    /// One that has said nothing yet.
    pub(super) fn new(style: Style) -> Teller {
        Teller { style, said: String::new(), said_at: None }
    }

    /// Whether what it says replaces what it said before.
    pub(super) fn is_in_place(&self) -> bool {
        matches!(self.style, Style::InPlace(_))
    }

    /// What is to be said at `now`, when this is pending; `None` where it is not worth a line.
    pub(super) fn say(&mut self, pending: &str, now: Instant) -> Option<String> {
        let age = self.said_at.map_or(Duration::MAX, |at| now.duration_since(at));
        let same_story = gist(pending) == gist(&self.said);
        let worth_it = match self.style {
            Style::Lines => !same_story,
            Style::FewLines if same_story => pending != self.said && age >= NUMBERS_APART,
            Style::FewLines => age >= LINES_APART,
            Style::InPlace(_) => pending != self.said,
        };
        if !worth_it {
            return None;
        }
        (self.said, self.said_at) = (pending.to_owned(), Some(now));
        Some(match self.style {
            // A terminal breaks a line that fills it, and then there is no way back to its beginning.
            Style::InPlace(width) => progress::line(pending, width.saturating_sub(1)),
            Style::Lines | Style::FewLines => pending.to_owned(),
        })
    }
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
