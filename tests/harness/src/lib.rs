//! What the suites and the demo drive whole programs with.

pub mod instance;
