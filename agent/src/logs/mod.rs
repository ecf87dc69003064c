//! Logs.
pub mod batch;
#[cfg(test)]
mod cases;
pub mod event;
pub mod position;
