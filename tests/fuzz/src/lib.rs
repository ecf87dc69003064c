//! What is fuzzed: functions of bytes that panic when a promise is broken.

pub mod control_targets;
pub mod log_targets;
pub mod model_targets;
pub mod targets;
