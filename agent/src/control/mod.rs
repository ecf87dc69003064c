//! The control API: HTTP/1.1 and JSON on `/run/node-agent/agent.sock`.
//!
//! `api` has what goes over the wire, `server` answers from the board, `peer` decides who may change something,
//! `logs` streams a container's output, `models` takes commands for the loop of the models, `client` is the other end for `agentctl`.

pub mod api;
pub mod client;
pub mod logs;
mod models;
pub mod peer;
mod places;
pub mod server;
pub mod socket;
