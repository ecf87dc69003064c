//! What the doctor asks of the host: questions that change nothing. Facts only; [`crate::doctor`] judges them.
//!
//! Every question that a device may leave unanswered runs on a thread of its own, with a deadline.

mod hop_limit;
mod kernel_log;
mod listeners;
mod names;
mod space;
mod units;

pub use hop_limit::hop_limit;
pub use kernel_log::disk_errors;
pub use listeners::listeners;
pub use names::endpoint;
pub use space::{file_system, is_mounted, nvme_timeouts};
pub use units::{kernel_clock, units};

use std::time::Duration;

/// For a question to a device. What takes longer hangs.
const DEVICE_DEADLINE: Duration = Duration::from_secs(5);

/// Runs what may block on a thread of its own; an error is why there is no answer. A thread that hangs is left behind.
async fn apart<T: Send + 'static>(question: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    let late = |_| format!("no answer within {} s", DEVICE_DEADLINE.as_secs());
    let answer = tokio::time::timeout(DEVICE_DEADLINE, tokio::task::spawn_blocking(question)).await;
    answer.map_err(late)?.map_err(|error| error.to_string())
}
