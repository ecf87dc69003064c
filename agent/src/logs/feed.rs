//! The seam to logs that lie on this host: what is read by place, and stays where it is until it was delivered.
//!
//! `host/log_files` is the real one. A feed blocks: the loop calls it on threads for blocking work, one call at a time.

use super::body::Builder;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Notify;

/// A place in a log: so far it is read, or delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// Number of the file, in the order in which the files were written.
    pub file: u64,
    /// Bytes before it in that file.
    pub offset: u64,
}

/// What lies behind a place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ahead {
    /// Bytes that were not read yet.
    pub unread: u64,
    /// Bytes that were not delivered yet.
    pub owed: u64,
    /// Of these, bytes that are on the disk only because we keep them.
    pub kept: u64,
    /// The source is gone: nothing will be added.
    pub ended: bool,
    /// When there is something to say about what was left out, should nothing come until then: milliseconds since 1970.
    pub says_at_ms: Option<i64>,
    /// The bell rings when any of this changes: nobody needs to look before, but for what no bell tells (a file system of
    /// another machine).
    pub rings: bool,
}

/// What comes behind everything that there is to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// More: a message whose end has not come waits for it.
    More,
    /// Nothing for now: such a message is taken as it is.
    Silence,
    /// Nothing, as far as anybody knows: what is to be said of what was left out is said.
    Nothing,
}

/// What was put into a builder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filled {
    /// Once all of it is delivered, reading may begin here.
    pub behind: Place,
    /// The builder is full and there is more to read.
    pub more: bool,
    /// Events that a limit of node.toml (`max_rate`, `daily`) has left out.
    pub left_out: u64,
}

/// What will never be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GivenUp {
    /// So many events.
    pub events: u64,
    /// Reading goes on here.
    pub behind: Place,
}

/// Why a log could not be read; worth another try.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {path}")]
pub struct FeedError {
    /// In words.
    pub operation: &'static str,
    /// Of what.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: std::io::Error,
}

impl node::fault::Hint for FeedError {
    fn hint(&self) -> Option<String> {
        let folder = self.path.parent()?.display();
        Some(format!("look at `df -h {folder}` and `ls -l {folder}`"))
    }
}

/// The log of one source.
pub trait Feed: Send + 'static {
    /// Begins behind what an earlier run delivered; without it, at the beginning.
    fn begin(&mut self, delivered: Option<Place>);

    /// Rings when there is something to look at soon, such as a file that was begun. Without it the feed is looked at now
    /// and then.
    fn bell(&self) -> Option<Arc<Notify>> {
        None
    }

    /// What there is; finds files that were begun since the last look.
    ///
    /// # Errors
    /// The files cannot be found or kept.
    fn look(&mut self) -> Result<Ahead, FeedError>;

    /// Reads on, until the builder is full or everything is read, and `then` says what that means. `now_ms` is the time of
    /// day, in milliseconds since 1970.
    ///
    /// # Errors
    /// A file cannot be read. What is in the builder is then to be thrown away, and reading to go back.
    fn fill(&mut self, into: &mut Builder, then: Then, now_ms: i64) -> Result<Filled, FeedError>;

    /// Everything before a place was delivered: nothing of it is needed any more.
    fn delivered(&mut self, upto: Place);

    /// Reading goes back to what was not delivered.
    fn go_back(&mut self);

    /// Gives up what is owed of the oldest file, if only we have that file. Nothing of the feed is under way.
    ///
    /// # Errors
    /// The file cannot be read; nothing was given up.
    fn give_up_oldest(&mut self) -> Result<Option<GivenUp>, FeedError>;

    /// The source is gone, and everything of it was delivered: nothing needs to be kept.
    fn finish(&mut self);
}
