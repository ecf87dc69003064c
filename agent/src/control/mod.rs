//! The control API: HTTP/1.1 and JSON on `/run/node-agent/agent.sock`.
//!
//! `routes` is the table of all calls, `api` has what goes over the wire, `openapi` describes both. `socket` lets in as
//! many as `places` has room for, `server` answers from the board, `peer` decides who may change something, `follow` streams
//! the status, `logs` a container's output, `models` takes commands for the loop of the models, `configuration` passes on what
//! is asked of node.toml; `client` is the other end, for `agentctl`.

pub mod api;
pub mod client;
mod configuration;
mod follow;
pub mod logs;
mod models;
mod named;
pub mod openapi;
pub mod peer;
mod places;
pub mod routes;
pub mod server;
pub mod socket;
