//! What an operator can ask of the reconcile loop. The control API sends, the loop answers.
//!
//! The answer says whether the loop took the command, not that the work is done: that is read from the status.

use tokio::sync::oneshot;

/// Where the loop's answer goes; dropped when the loop ends.
pub type Reply = oneshot::Sender<Result<String, Refused>>;

/// One command.
#[derive(Debug)]
pub enum Command {
    /// Stop the service's container and start it again.
    Restart {
        /// `[services.NAME]`
        service: String,
        /// Gets one line that says what will happen.
        reply: Reply,
    },
    /// Ask the registry now and take what is new.
    Update {
        /// `[services.NAME]`; every service where absent.
        service: Option<String>,
        /// Gets one line that says what will happen.
        reply: Reply,
    },
}

/// Why the loop does not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// Stable, `snake_case`.
    pub code: &'static str,
    /// One line.
    pub message: String,
    /// What to do instead.
    pub hint: Option<String>,
}
