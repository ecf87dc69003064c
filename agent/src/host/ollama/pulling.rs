//! What the lines of a pull say: how far it is, how long it may be silent now, whether it is done. Pure.
//!
//! Source: ollama `server/routes.go` (PullHandler, streamResponse), `server/images.go` (PullModel),
//! `server/download.go`. The answer is a 200 and then a line of JSON per step: `pulling manifest`; for each layer, again
//! and again (every 60 ms, whether bytes come or not), `pulling …` with `digest`, `total` and, unless it is 0,
//! `completed`; `verifying sha256 digest` for all layers at once; `writing manifest`; `success`. A failure is a line with
//! `error`, at any place.

use super::lines::{LONGEST_LINE_BYTES, Lines};
use super::refusal::{self, Failure};
use crate::models::server::PullProgress;
use serde::Deserialize;
use std::collections::HashMap;
use std::time::Duration;

/// A model of many small tensors has some thousands. Without a limit a broken server fills the memory of the agent.
const LAYERS_AT_MOST: usize = 100_000;

/// How long a pull may go without anything new.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Until the first layer is named: the server looks through its manifests, finds the registry by name, may ask for a
    /// token, and fetches the manifest.
    pub(super) manifest: Duration,
    /// While layers come. The server gives a part that brings nothing up after 30 s and asks for it again; when that does
    /// not help within as long again, neither will waiting.
    pub(super) layers: Duration,
    /// After the last layer, the server reads all that it fetched and compares it with the digests, without a word.
    pub(super) rest: Duration,
    /// A disk that verifies slower is broken: models of hundreds of gigabytes may take longer than [`Patience::rest`].
    pub(super) slowest_bytes_per_second: u64,
    /// For the end of the stream after `success`: nothing is waited for any more.
    pub(super) end: Duration,
}

/// For a server as it is.
pub(super) const PATIENCE: Patience = Patience {
    manifest: Duration::from_secs(120),
    layers: Duration::from_secs(60),
    rest: Duration::from_secs(15 * 60),
    slowest_bytes_per_second: 32 << 20,
    end: Duration::from_secs(5),
};

/// What its lines said.
#[derive(Debug, Default)]
struct Pulling {
    layers: HashMap<String, PullProgress>,
    progress: PullProgress,
    stage: Stage,
    /// The last line without a layer.
    said: String,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
    #[default]
    Manifest,
    Layers,
    Rest,
    Success,
}

/// One line. What is missing in old servers, or in lines of another kind, is `None`.
#[derive(Deserialize)]
struct Line {
    error: Option<serde_json::Value>,
    status: Option<String>,
    digest: Option<String>,
    total: Option<i64>,
    completed: Option<i64>,
}

impl Pulling {
    /// Takes the next line; gives whether it says anything new: a byte, a layer, a step. A line that repeats the last one
    /// is no sign of life.
    ///
    /// # Errors
    /// The line says that the pull failed, or makes no sense.
    fn note(&mut self, line: &[u8]) -> Result<bool, Failure> {
        let line: Line = serde_json::from_slice(line).map_err(|error| {
            let why = refusal::shown(&error.to_string());
            Failure::Broken(format!("a line of its answer cannot be read: {why}"))
        })?;
        if let Some(error) = line.error {
            return Err(Failure::Refused(refusal::meaning(None, &refusal::words(&error))));
        }
        let status = line.status.unwrap_or_default();
        match line.digest.filter(|digest| !digest.is_empty()) {
            Some(digest) => self.layer(digest, line.total, line.completed),
            None => Ok(self.step(status)),
        }
    }

    fn layer(&mut self, digest: String, total: Option<i64>, completed: Option<i64>) -> Result<bool, Failure> {
        let bytes = |number: Option<i64>| number.and_then(|n| u64::try_from(n).ok()).unwrap_or_default();
        let now = PullProgress { completed_bytes: bytes(completed), total_bytes: bytes(total) };
        let before = self.layers.insert(digest, now);
        if self.layers.len() > LAYERS_AT_MOST {
            return Err(Failure::Broken(format!("it names more than {LAYERS_AT_MOST} layers")));
        }
        // The server takes back what it had counted when a part fails: less than before is nothing new, and what comes
        // after it is.
        let moved = before.is_none_or(|before| now.completed_bytes > before.completed_bytes);
        let before = before.unwrap_or_default();
        let sum = |all: u64, before: u64, now: u64| all.saturating_sub(before).saturating_add(now);
        self.progress = PullProgress {
            completed_bytes: sum(self.progress.completed_bytes, before.completed_bytes, now.completed_bytes),
            total_bytes: sum(self.progress.total_bytes, before.total_bytes, now.total_bytes),
        };
        if moved || self.stage != Stage::Rest {
            self.stage = Stage::Layers;
        }
        Ok(moved)
    }

    fn step(&mut self, status: String) -> bool {
        // A line of a kind that is not known yet.
        if status.is_empty() {
            return false;
        }
        // Some servers say `pulling manifest` again before each layer.
        let beginning = status.starts_with("pulling");
        let moved = status != self.said && (!beginning || self.stage == Stage::Manifest);
        match status.as_str() {
            "success" => self.stage = Stage::Success,
            _ if !beginning || self.is_done() => self.stage = Stage::Rest,
            _ => {}
        }
        self.said = status;
        moved
    }

    fn progress(&self) -> PullProgress {
        let PullProgress { completed_bytes, total_bytes } = self.progress;
        PullProgress { completed_bytes, total_bytes: total_bytes.max(completed_bytes) }
    }

    fn is_done(&self) -> bool {
        self.stage == Stage::Success
    }

    fn patience(&self, patience: &Patience) -> Duration {
        match self.stage {
            Stage::Manifest => patience.manifest,
            Stage::Layers => patience.layers,
            Stage::Rest => {
                let seconds = self.progress().total_bytes / patience.slowest_bytes_per_second;
                patience.rest.max(Duration::from_secs(seconds))
            }
            Stage::Success => patience.end,
        }
    }

    /// Where it ended, for a stream that ended without `success`.
    fn last_words(&self) -> &str {
        match self.stage {
            Stage::Manifest if self.said.is_empty() => "before it began",
            Stage::Manifest => "before the manifest was there",
            Stage::Layers => "before all layers were there",
            Stage::Rest | Stage::Success => "after the last layer, without `success`",
        }
    }
}

/// The stream of one pull, in chunks as they come.
#[derive(Debug, Default)]
pub struct Stream {
    lines: Lines,
    pulling: Pulling,
}

impl Stream {
    /// Takes the next chunk; gives whether it says anything new.
    ///
    /// # Errors
    /// A line says that the pull failed, or makes no sense.
    pub fn chunk(&mut self, chunk: &[u8]) -> Result<bool, Failure> {
        self.lines.push(chunk);
        let mut moved = false;
        let too_long =
            |_| Failure::Broken(format!("a line of its answer is longer than {LONGEST_LINE_BYTES} bytes"));
        while let Some(line) = self.lines.next_line().map_err(too_long)? {
            moved |= self.pulling.note(&line)?;
        }
        Ok(moved)
    }

    /// The stream ended.
    ///
    /// # Errors
    /// Its last line is not `success`.
    pub fn end(mut self) -> Result<PullProgress, Failure> {
        if let Some(line) = std::mem::take(&mut self.lines).rest() {
            self.pulling.note(&line)?;
        }
        match self.pulling.is_done() {
            true => Ok(self.progress()),
            false => Err(Failure::Broken(format!("its answer ended {}", self.pulling.last_words()))),
        }
    }

    /// The last line that is whole said that it is done.
    pub fn is_done(&self) -> bool {
        self.pulling.is_done()
    }

    /// How far it is: the sum over all layers that were named.
    pub fn progress(&self) -> PullProgress {
        self.pulling.progress()
    }

    /// How long nothing new may come now.
    pub(super) fn patience(&self, patience: &Patience) -> Duration {
        self.pulling.patience(patience)
    }
}

#[cfg(test)]
#[path = "pulling_tests.rs"]
mod tests;
