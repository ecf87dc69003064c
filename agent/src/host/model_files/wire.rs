//! What the agent and the process that reads ahead for it tell each other: JSON, one line each. Both are one program, of
//! one version.

use crate::models::files::{FilesError, WarmProgress, Warmed};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::PathBuf;

/// First line to the process. What follows is nothing: it reads until its standard input is closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Request {
    /// The models' folder.
    pub(super) directory: PathBuf,
    /// Layers, in this order.
    pub(super) digests: Vec<String>,
    /// Bytes per second, at most.
    pub(super) bytes_per_second: Option<u64>,
}

/// Lines from the process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    /// First: it runs and has read the request.
    Started,
    /// So far.
    Progress(WarmProgress),
    /// Last.
    Ended {
        /// What was read.
        progress: WarmProgress,
        /// Why it is not in memory.
        not_kept: Option<String>,
    },
    /// Last.
    Failed {
        /// On which path.
        path: String,
        /// Why.
        message: String,
        /// The kernel's number for it.
        errno: Option<i32>,
    },
}

impl Line {
    /// The last line.
    pub(super) fn last(outcome: Result<Warmed, FilesError>) -> Line {
        match outcome {
            Ok(warmed) => Line::Ended { progress: warmed.progress, not_kept: warmed.kept.err() },
            Err(FilesError { path, source, .. }) => {
                Line::Failed { path, message: source.to_string(), errno: source.raw_os_error() }
            }
        }
    }

    /// What the last line says, `None` for another one.
    pub(super) fn outcome(self) -> Option<Result<Warmed, FilesError>> {
        match self {
            Line::Started | Line::Progress(_) => None,
            Line::Ended { progress, not_kept } => {
                Some(Ok(Warmed { progress, kept: not_kept.map_or(Ok(()), Err) }))
            }
            Line::Failed { path, message, errno } => {
                let source = errno.map_or_else(|| io::Error::other(message), io::Error::from_raw_os_error);
                Some(Err(FilesError { operation: "read", path, source }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_comes_through_as_it_was() {
        let progress =
            WarmProgress { read_bytes: 3, total_bytes: 4, mebibytes_per_second: 1.5, from_device_bytes: 2 };
        for kept in [Ok(()), Err("memory is short".to_owned())] {
            let warmed = Warmed { progress, kept };
            let text = serde_json::to_string(&Line::last(Ok(warmed.clone()))).unwrap();
            let read: Line = serde_json::from_str(&text).unwrap();
            assert_eq!(read.outcome().unwrap().unwrap(), warmed, "{text}");
        }
        for source in [io::Error::from_raw_os_error(5), io::Error::other("it became shorter")] {
            let words = source.to_string();
            let error = FilesError { operation: "read", path: "/m/blobs/sha256-0".to_owned(), source };
            let text = serde_json::to_string(&Line::last(Err(error))).unwrap();
            let read: Line = serde_json::from_str(&text).unwrap();
            let error = read.outcome().unwrap().unwrap_err();
            assert_eq!((error.path.as_str(), error.source.to_string()), ("/m/blobs/sha256-0", words));
        }
        assert!(Line::Started.outcome().is_none() && Line::Progress(progress).outcome().is_none());
    }
}
