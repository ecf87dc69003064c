//! Models of the node: the loop wait -> observe -> plan -> apply -> publish, for the model server as `reconcile` is for
//! containers.
//!
//! ```text
//! settings, containers on the board -> server, registry, files -> observed --+
//! models.json ------------------------------------------------> record ------+-> plan (pure) -> work -> server, files
//!                                                                            +-> board, models.lock
//! ```
//!
//! The truth is with the server and on its volume: digests of `/api/tags`, names of kept versions, files. A version that
//! is kept has a name of its own, made of its digest ([`plan::kept_name`]), so that no step can take it for another.
//! Not its job: the container of the server, which is a service like any other.

pub mod files;
pub mod manifest;
pub mod observed;
pub mod plan;
pub mod record;
pub mod registry;
pub mod server;
