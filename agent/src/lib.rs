//! The agent: one loop that compares what should run with what runs, and the tasks around it.
//!
//! ```text
//! node.toml + handoff -> desired --+
//! docker, host, imds --> observed -+-> plan (pure) -> apply -> host, cloud
//!                                  +-> status -> control API, metrics, sd_notify, journal
//! ```
//!
//! `desired`, `observed`, `plan`, `status`, `control/api` and `logs/batch` are values and pure functions: no I/O, no
//! clock, no async, no log. The truth is on the host (labels on containers); a killed agent finds everything again.

pub mod apply;
pub mod arguments;
pub mod bell;
pub mod board;
pub mod change;
pub mod clock;
pub mod cloud;
pub mod command;
pub mod control;
pub mod ctl;
pub mod desired;
pub mod doctor;
pub mod engine;
pub mod examined;
pub mod finding;
pub mod firewall;
pub mod health;
pub mod heartbeat;
pub mod history;
pub mod host;
pub mod logs;
pub mod metrics;
pub mod models;
pub mod observed;
pub mod outcome;
pub mod plan;
pub mod publish;
pub mod reconcile;
pub mod registries;
pub mod registry;
pub mod reload;
pub mod rules;
pub mod run;
pub mod secrets;
#[cfg(test)]
mod simulation;
pub mod snapshot;
pub mod start;
pub mod status;
pub mod updates;
pub mod volumes;
