//! The models' folder, as far as it can be seen: looked at beside the loop, which waits a moment for the answer.
//!
//! What always holds: never two looks at once, for one that hangs in the kernel cannot be ended, only waited for. While
//! it hangs the folder is unknown.

use super::files::{Files, FilesError, ModelFiles};
use node::fault::one_line;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

/// How old what is known may be while a pull runs, and after a look that failed.
const BUSY_AGE: Duration = Duration::from_secs(10);
/// The same while nothing happens. Our own steps have it looked at again at once.
const IDLE_AGE: Duration = Duration::from_secs(60);
/// The same while something in it is broken, or was only being written as it was seen.
const BROKEN_AGE: Duration = Duration::from_secs(5);
/// How long the loop waits for a look.
const PATIENCE: Duration = Duration::from_secs(5);

/// Keeps what was seen.
pub(super) struct Folder<F> {
    files: Arc<F>,
    directory: Option<PathBuf>,
    seen: Option<Files>,
    /// When the look began that brought it.
    seen_at: Instant,
    /// Partials that are broken, and when the look began that saw that first; every one since has.
    broken: BTreeMap<String, Instant>,
    problem: Option<String>,
    looked: Option<Instant>,
    /// At most one look.
    looking: JoinSet<Result<Files, FilesError>>,
    began: Instant,
    /// What is known, or is just being looked at, was overtaken by a change.
    outdated: bool,
}

impl<F: ModelFiles> Folder<F> {
    pub(super) fn new(files: Arc<F>, directory: Option<PathBuf>) -> Folder<F> {
        Folder {
            files,
            directory,
            seen: None,
            seen_at: Instant::now(),
            broken: BTreeMap::new(),
            problem: None,
            looked: None,
            looking: JoinSet::new(),
            began: Instant::now(),
            outdated: false,
        }
    }

    /// What was seen last, and why nothing is known, where it should be.
    pub(super) fn view(&self) -> (Option<Files>, Option<String>) {
        (self.seen.clone(), self.problem.clone())
    }

    /// How long ago the look began that brought what is known.
    pub(super) fn age(&self) -> Duration {
        self.seen_at.elapsed()
    }

    /// Partials that are broken, and for how long they have been seen so.
    pub(super) fn broken(&self) -> impl Iterator<Item = (String, Duration)> {
        self.broken.iter().map(|(digest, since)| (digest.clone(), since.elapsed()))
    }

    /// Something in it changed.
    pub(super) fn forget(&mut self) {
        self.outdated = true;
    }

    /// Looks, where what is known is too old, and waits for the answer for a moment. Cancel safe.
    pub(super) async fn look(&mut self, pulling: bool) {
        let age = match &self.seen {
            Some(files) if files.partials.values().any(|partial| partial.broken) => BROKEN_AGE,
            Some(_) if !pulling => IDLE_AGE,
            _ => BUSY_AGE,
        };
        loop {
            let due = self.outdated || self.looked.is_none_or(|looked| looked.elapsed() >= age);
            if self.looking.is_empty() && (!due || !self.begin()) {
                return;
            }
            let answer = tokio::time::timeout_at(self.began + PATIENCE, self.looking.join_next());
            match answer.await {
                Ok(Some(answer)) => self.take(answer),
                Ok(None) => return,
                Err(_) => {
                    self.seen = None;
                    self.problem = Some(self.silent());
                    return;
                }
            }
        }
    }

    /// Returns when a look that nobody waited for any more has ended. Cancel safe; never returns while none is under way.
    pub(super) async fn changed(&mut self) {
        match self.looking.join_next().await {
            Some(answer) => self.take(answer),
            None => std::future::pending().await,
        }
    }

    fn begin(&mut self) -> bool {
        let Some(directory) = self.directory.clone() else { return false };
        self.outdated = false;
        self.began = Instant::now();
        let files = Arc::clone(&self.files);
        self.looking.spawn(async move { files.look(&directory).await });
        true
    }

    fn take(&mut self, answer: Result<Result<Files, FilesError>, JoinError>) {
        self.looked = Some(Instant::now());
        match answer {
            Ok(Ok(files)) => {
                let is_broken =
                    |digest: &str| files.partials.get(digest).is_some_and(|partial| partial.broken);
                self.broken.retain(|digest, _| is_broken(digest));
                for digest in files.partials.keys().filter(|digest| is_broken(digest)) {
                    self.broken.entry(digest.clone()).or_insert(self.began);
                }
                (self.seen, self.seen_at, self.problem) = (Some(files), self.began, None);
            }
            Ok(Err(error)) => (self.seen, self.problem) = (None, Some(one_line(&error))),
            // A panic ends the process.
            Err(error) => tracing::error!("the look at the models' folder broke off: {error}"),
        }
    }

    fn silent(&self) -> String {
        let directory = self.directory.as_deref().unwrap_or_else(|| std::path::Path::new(""));
        format!("{} could not be read within {} s", directory.display(), PATIENCE.as_secs())
    }
}
