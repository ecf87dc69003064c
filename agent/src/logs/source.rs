//! The seam to whatever holds the lines of containers: files on this host, and where these cannot be read the engine.
//! `host/log_files` is the real one.

use super::feed::Feed;
use crate::engine::EngineError;
use bytes::Bytes;
use futures_util::Stream;
use jiff::Timestamp;
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

/// A log of an earlier run that was not delivered to its end when the agent ended.
pub struct Left {
    /// Its container, which may be gone.
    pub container_id: String,
    /// Whose it was.
    pub service: String,
    /// What is left of it.
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

    /// Logs that are kept on this host and are not of a container in `known`: of an earlier run, or of a container that was
    /// removed before anybody read it.
    fn left(&self, known: BTreeSet<String>) -> impl Future<Output = Vec<Left>> + Send {
        drop(known);
        ready(Vec::new())
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
