//! Questions about the configuration, and the wish to have it read again: the control API asks, the agent's outermost loop
//! answers. It is the only one who knows which instance this is and what is in force.
//!
//! An answer to [`Request::Reload`] comes when the files were read and checked, before what changed is applied: whether
//! that works is read from the status, as after any other command.

use crate::change::Change;
use jiff::Timestamp;
use node::config::{LoadError, Mistake, Mistakes, Source};
use node::fault::{Hint, one_line};
use node::problem::Problem;
use tokio::sync::oneshot;

/// The files are wrong; what ran before runs on.
pub const INVALID: &str = "configuration_invalid";
/// The files cannot be read; what ran before runs on.
pub const UNREADABLE: &str = "configuration_unreadable";
/// They are right as far as one can see, and the instance does not say what they depend on.
pub const UNDECIDED: &str = "configuration_undecided";

/// One question.
#[derive(Debug)]
pub enum Request {
    /// Read the files and apply them.
    Reload {
        /// Gets what will change.
        reply: oneshot::Sender<Result<Taken, Refusal>>,
    },
    /// What would change.
    Compare {
        /// In the place of the files of the node.
        sources: Option<Vec<Source>>,
        /// Gets it.
        reply: oneshot::Sender<Result<Change, Refusal>>,
    },
    /// What is in force, typed out.
    Show {
        /// Gets TOML.
        reply: oneshot::Sender<Result<String, Refusal>>,
    },
}

/// The files were taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    /// One line: what will happen.
    pub message: String,
}

/// Why a configuration is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Stable, `snake_case`.
    pub code: &'static str,
    /// One line.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// All of them, where there are any.
    pub mistakes: Vec<Mistake>,
}

impl Hint for Refusal {
    fn hint(&self) -> Option<String> {
        self.hint.clone()
    }
}

impl Refusal {
    /// A refusal without mistakes that have a place.
    pub fn new(code: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into(), hint: Some(hint.into()), mistakes: Vec::new() }
    }

    /// The same as a problem of the node.
    pub fn problem(&self, since: Timestamp) -> Problem {
        let message = format!("{}; what was in force before stays so", self.message);
        Problem { code: self.code.to_owned(), message, hint: self.hint.clone(), since }
    }

    /// One line for each mistake, or for the one reason that is none.
    pub fn lines(&self) -> Vec<String> {
        match self.mistakes.as_slice() {
            [] => vec![self.message.clone()],
            mistakes => mistakes.iter().map(Mistake::to_string).collect(),
        }
    }
}

impl From<Mistakes> for Refusal {
    fn from(mistakes: Mistakes) -> Refusal {
        let message = match mistakes.0.as_slice() {
            [] => mistakes.to_string(),
            [first, others @ ..] => {
                let more =
                    if others.is_empty() { String::new() } else { format!(" (and {} more)", others.len()) };
                let unhinted = Mistake { hint: None, ..first.clone() };
                format!("{unhinted}{more}")
            }
        };
        Refusal { code: INVALID, message, hint: mistakes.hint(), mistakes: mistakes.0 }
    }
}

impl From<LoadError> for Refusal {
    fn from(error: LoadError) -> Refusal {
        match error {
            LoadError::Invalid(mistakes) => mistakes.into(),
            LoadError::Read { .. } => {
                let hint = error.hint();
                Refusal { code: UNREADABLE, message: one_line(&error), hint, mistakes: Vec::new() }
            }
        }
    }
}
