//! The control API: HTTP/1.1 and JSON on `/run/node-agent/agent.sock`.
//!
//! `api` has what goes over the wire, `server` answers from the board, `peer` decides who may change something,
//! `configuration` passes on what is asked of node.toml, `logs` streams a container's output, `models` takes commands for the loop of the models, `client` is the other end for `agentctl`.

pub mod api;
pub mod client;
mod configuration;
pub mod logs;
mod models;
pub mod peer;
pub mod server;
pub mod socket;
