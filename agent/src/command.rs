//! What an operator can ask of the reconcile loop. The control API sends, the loop answers.
//!
//! The answer says whether the loop took the command, not that the work is done: that is read from the status. What has
//! to outlast the agent is on disk before the answer.

use jiff::Timestamp;
use std::time::Duration;
use tokio::sync::oneshot;

/// For the registry to say what a reference names, before a command that needs it is refused.
pub const LOOKUP_DEADLINE: Duration = Duration::from_secs(30);

/// Where the loop's answer goes; dropped when the loop ends.
pub type Reply = oneshot::Sender<Result<Taken, Refused>>;

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
    /// Ask the registry now and take what is new. For one service it also ends what a person asked for before.
    Update {
        /// `[services.NAME]`; every service where absent.
        service: Option<String>,
        /// Gets one line that says what will happen.
        reply: Reply,
    },
    /// Remember what a person wants of one service.
    Wish {
        /// `[services.NAME]`
        service: String,
        /// What.
        wish: Wish,
        /// Gets one line that says what will happen.
        reply: Reply,
    },
}

/// What a person wants of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// To run that image, whatever node.toml names.
    Target {
        /// A tag, a digest or a whole reference of the same repository.
        to: String,
        /// Also if it failed before.
        retry: bool,
    },
    /// To run what node.toml names, also if it failed before.
    Retry,
    /// To run an image that it ran before.
    Rollback {
        /// A digest, or the beginning of one that is in the history; the previous good version where absent.
        to: Option<String>,
    },
    /// To take no other image.
    Hold,
    /// To take other images again.
    Release,
    /// To stop, and to stay so.
    Stop,
    /// To run again.
    Start,
}

/// A command for the loop of the models.
#[derive(Debug)]
pub struct ModelCommand {
    /// As in node.toml, or as the server lists it; every model where absent.
    pub model: Option<String>,
    /// What.
    pub wish: ModelWish,
    /// Gets one line that says what will happen.
    pub reply: Reply,
}

/// What a person wants of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelWish {
    /// What is missing is tried again now, whatever the back-off says.
    Pull,
    /// The registry is asked now, and what is new is taken; ends what a person asked for before. With `retry` also a
    /// version that failed before.
    Update {
        /// See above.
        retry: bool,
    },
    /// The previous good version comes back, and stays.
    Rollback,
    /// That version stays, or the one that is there now.
    Pin {
        /// `sha256:…`, or the beginning of one that is known.
        digest: Option<String>,
    },
    /// The tag of node.toml is followed again.
    Unpin,
}

/// A command was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// One line: what will happen.
    pub message: String,
    /// What the service is to run from now on, where the command says so.
    pub target: Option<Goal>,
}

/// What a service is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goal {
    /// `sha256:…`
    pub digest: String,
    /// When it became so; tells this wish from any other.
    pub at: Timestamp,
}

impl From<String> for Taken {
    fn from(message: String) -> Taken {
        Taken { message, target: None }
    }
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

impl node::fault::Hint for Refused {
    fn hint(&self) -> Option<String> {
        self.hint.clone()
    }
}

impl Refused {
    /// A refusal with a hint.
    pub fn new(code: &'static str, message: String, hint: impl Into<String>) -> Refused {
        Refused { code, message, hint: Some(hint.into()) }
    }
}
