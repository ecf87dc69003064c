//! What facts mean: one function for each area, facts -> findings. Pure: the time is an argument.
//!
//! What always holds: each area gives at least one finding; a warning and a failure say what to do; what could not be
//! learned is a skip or a failure in the words of whoever refused, never a pass.

mod agent;
mod aws;
mod configuration;
mod disks;
mod engine;
mod metadata;
mod network;
#[cfg(test)]
mod tests;
mod units;

pub use agent::agent;
pub use aws::{aws, clock};
pub use configuration::{boot, configuration};
pub use disks::disks;
pub use engine::engine;
pub use metadata::metadata;
pub use network::network;
pub use units::units;

/// `3 services`, `1 service`.
fn some(count: usize, singular: &str) -> String {
    if count == 1 { format!("1 {singular}") } else { format!("{count} {singular}s") }
}
