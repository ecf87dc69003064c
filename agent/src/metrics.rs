//! Metrics: measured in one place, shown in two.
//!
//! ```text
//! board, Source (kernel, file systems, EBS) -> Collector -> Collection -> families -> exposition -> GET /metrics
//!                                                                      -> embedded -> Lines -> CloudWatch, with the logs
//! ```
//!
//! In: the board, and what [`Source`] reads of the host. Out: text for Prometheus on a port, and lines for CloudWatch on a
//! channel. What always holds: nothing is measured unless somebody asks, and then at most once a second; a device that
//! hangs costs its own numbers and no others; whoever asks slowly, half or too much hurts nobody but himself; a port that
//! is taken is a problem and never the end of the agent. Not its job: delivering the lines, which is the log shipper's.

pub mod collection;
pub mod collector;
pub mod control_groups;
pub mod ebs;
pub mod embedded;
pub mod exposition;
pub mod families;
pub mod proc;
pub mod server;

use crate::clock::Clock;
use crate::observed::Container;
use crate::status::Volume;
use collection::{Collection, EbsVolume, FileSystem, Kernel};
use collector::Collector;
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{self, Sender};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// Reads the host. Each call blocks; only [`Source::kernel`] touches no device.
pub trait Source: Send + Sync + 'static {
    /// What the kernel knows, and what those of `containers` use that run.
    fn kernel(&self, containers: &[Container]) -> Kernel;

    /// The root, what the engine stores on, and those of `volumes` that are mounted; no file system twice.
    fn file_systems(&self, volumes: &[Volume]) -> Vec<FileSystem>;

    /// What attached volumes of EBS say.
    fn ebs(&self) -> Vec<EbsVolume>;
}

/// One event for CloudWatch Logs, of which it makes metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The time of the event.
    pub at: Timestamp,
    /// JSON on one line, `_aws` in it. It belongs into the stream `{instance_id}/metrics`.
    pub json: String,
}

/// The lines, in the order of their times.
pub type Lines = mpsc::Receiver<Line>;

/// Lines that wait to be taken: ten rounds of a node with fifty services and as many volumes. With more, the newest are
/// dropped and counted.
const LINES_WAITING: usize = 1024;

/// A channel for lines.
pub fn channel() -> (Sender<Line>, Lines) {
    mpsc::channel(LINES_WAITING)
}

/// What the lines are made with.
pub struct Embedded {
    /// Where the numbers come from.
    pub collector: Arc<Collector>,
    /// From one round to the next.
    pub every: Duration,
    /// Of CloudWatch.
    pub namespace: String,
    /// Where lines go.
    pub lines: Sender<Line>,
    /// The time of day.
    pub clock: Clock,
}

/// Makes lines, a round at once and then one every [`Embedded::every`], until `shutdown`.
pub async fn embed(embedded: Embedded, shutdown: CancellationToken) {
    let mut ticks = tokio::time::interval(embedded.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut previous: Option<Arc<Collection>> = None;
    loop {
        // Cancelling a round loses that round.
        let round = async {
            ticks.tick().await;
            embedded.collector.collect().await
        };
        let Some(collection) = shutdown.run_until_cancelled(round).await else { return };
        let at = (embedded.clock)();
        for json in embedded::lines(&embedded.namespace, &collection, previous.as_deref(), at) {
            match embedded.lines.try_send(Line { at, json }) {
                Ok(()) => {}
                Err(TrySendError::Full(_) | TrySendError::Closed(_)) => embedded.collector.line_was_dropped(),
            }
        }
        previous = Some(collection);
    }
}

#[cfg(test)]
#[path = "metrics/operators_tests.rs"]
mod operators_tests;
#[cfg(test)]
mod samples;
#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
