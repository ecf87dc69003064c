//! The clock, as an argument: only the loops read it, and tests wind it.

use jiff::Timestamp;
use std::sync::Arc;

/// Tells the time; clones tell the same.
#[derive(Clone)]
pub struct Clock {
    read: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

impl Clock {
    /// The system's wall clock.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock for the loops")]
    pub fn system() -> Clock {
        Clock::from_reading(Timestamp::now)
    }

    /// A clock that is read by calling `read`.
    pub fn from_reading(read: impl Fn() -> Timestamp + Send + Sync + 'static) -> Clock {
        Clock { read: Arc::new(read) }
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        (self.read)()
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Clock")
    }
}
