//! Where the tasks get the time from: an argument, so that tests bring their own.

use jiff::Timestamp;
use std::sync::Arc;

/// Tells the time of day.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;
