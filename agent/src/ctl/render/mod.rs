//! What `agentctl` shows, made from what the agent answered. Pure: a value, the time and the page in, text out.

pub mod change;
pub mod config;
pub mod doctor;
pub mod explain;
pub mod mistakes;
pub mod models;
pub mod progress;
pub mod status;
mod table;
pub mod text;

#[cfg(test)]
#[path = "models_tests.rs"]
mod models_tests;
#[cfg(test)]
mod tests;
