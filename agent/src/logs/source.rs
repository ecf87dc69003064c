//! The seam to whatever holds the lines of containers: files on this host, and where these cannot be read the engine.
//! `host/log_files` is the real one.

use super::feed::Feed;
use crate::engine::EngineError;
use crate::status::Budget;
use bytes::Bytes;
use futures_util::Stream;
use jiff::Timestamp;
use node::config::settings::StreamName;
use node::fault::Hint;
use std::collections::BTreeSet;
use std::future::{Future, ready};

/// One whole line.
#[derive(Clone, PartialEq, Eq)]
pub struct SourceLine {
    /// When the engine received it.
    pub timestamp: Timestamp,
    /// Without its line break.
    pub message: Bytes,
}

/// What an application wrote is shipped and never printed, so that no trace or failed assertion can show it.
impl std::fmt::Debug for SourceLine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "SourceLine({}, {} bytes)", self.timestamp, self.message.len())
    }
}

/// Why there are no more lines for now.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The engine does not know the container: it was removed. A time-out is never this.
    #[error("container {container_id} was removed")]
    Gone {
        /// Its id.
        container_id: String,
    },
    /// Anything else; worth another try.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl Hint for SourceError {
    fn hint(&self) -> Option<String> {
        match self {
            SourceError::Gone { .. } => None,
            SourceError::Engine(error) => error.hint(),
        }
    }
}

/// A log that nobody reads yet, and that no container on the board is known by.
pub struct Left {
    /// Its key among all sources: the id of a container, which may be gone, or one that is none.
    pub source: String,
    /// `{service}` in the name of its stream.
    pub name: String,
    /// In place of the name that streams have otherwise.
    pub stream: Option<StreamName>,
    /// It ends with its container.
    pub of_container: bool,
    /// What there is of it.
    pub feed: Box<dyn Feed>,
}

/// Holds the lines of containers.
pub trait LogSource: Send + Sync + 'static {
    /// The log of a container, where it lies on this host. `None`: it does not, or cannot be read; [`LogSource::follow`]
    /// gives it all the same.
    fn open(
        &self,
        container_id: &str,
    ) -> impl Future<Output = Result<Option<Box<dyn Feed>>, SourceError>> + Send {
        let _ = container_id;
        ready(Ok(None))
    }

    /// Logs on this host whose keys are not in `known`: of an earlier run, of a container that was removed before anybody
    /// read it, files of the node, its journal.
    fn left(&self, known: BTreeSet<String>) -> impl Future<Output = Vec<Left>> + Send {
        drop(known);
        ready(Vec::new())
    }

    /// What is used up of the budgets of the day.
    fn budgets(&self, now: Timestamp) -> Vec<Budget> {
        let _ = now;
        Vec::new()
    }

    /// The lines of a container from its first one that is not older than `since` (all of them without it), in the
    /// order of its log; then, while it runs, each new line. Lines older than `since` may be among them.
    ///
    /// The stream ends when the container has ended and all its lines were given, and may end at other times too; it
    /// ends after the first error. It reads no further ahead than a bounded buffer while nobody polls it.
    fn follow(
        &self,
        container_id: &str,
        since: Option<Timestamp>,
    ) -> impl Stream<Item = Result<SourceLine, SourceError>> + Send;
}
