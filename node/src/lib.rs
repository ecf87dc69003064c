//! What both programs know of the node: its configuration, its identity, its secrets, and the document in which
//! bootstrap hands over to the agent.
//!
//! Data flows `node.toml` -> [`config::Draft`] (as typed) -> [`config::Settings`] (validated, for one instance whose
//! [`identity::Facts`] are known). [`imds`] and [`cloud`] are the only modules here that talk to anything.
//!
//! Not its job: deciding what to do on the node. That is `bootstrap` (once per boot) and `agent` (from then on).

pub mod cloud;
pub mod config;
pub mod document;
pub mod environment;
pub mod exit;
pub mod fault;
pub mod files;
pub mod handoff;
pub mod hexadecimal;
pub mod identity;
pub mod imds;
pub mod nvme;
pub mod paths;
pub mod problem;
pub mod secrets;

/// The version of all three programs, as they print and report it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
