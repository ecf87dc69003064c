//! How much is tried, and the trying of it side by side. In: jobs; out: the stories of those that went wrong.

#![expect(clippy::disallowed_methods, reason = "reads the settings of a run and says its seed")]

use super::Seed;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Each has a world and a disk of its own; more would be no faster on two processors.
pub(crate) const WORKERS: usize = 2;

/// How much is tried.
pub(crate) struct Extent {
    /// Everything, and not a sample.
    pub(crate) all: bool,
    pub(crate) seed: Seed,
}

impl Extent {
    /// By the environment; says the seed.
    pub(crate) fn of_this_run() -> Extent {
        let seed = std::env::var("NODE_CRASH_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
        harness::requirements::tried(&format!("NODE_CRASH_SEED={seed}"));
        Extent {
            all: std::env::var("NODE_CRASH_POINTS").is_ok_and(|points| points == "all"),
            seed: Seed(seed),
        }
    }
}

/// One test after the other: each has its workers.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does the jobs side by side; the stories of those that went wrong. `work` is told which worker it is.
pub(crate) fn side_by_side<Job: Send>(
    jobs: Vec<Job>,
    work: impl Fn(usize, Job) -> Result<(), String> + Sync,
) -> Vec<String> {
    let (queue, stories) = (Mutex::new(VecDeque::from(jobs)), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (queue, stories, work) = (&queue, &stories, &work);
            scope.spawn(move || {
                loop {
                    let Some(job) = queue.lock().unwrap().pop_front() else { return };
                    if let Err(story) = work(worker, job) {
                        stories.lock().unwrap().push(story);
                    }
                }
            });
        }
    });
    stories.into_inner().unwrap()
}
