//! Formats of single values: text -> value, or why not. Each is a function of the text alone.

pub(super) mod access;
pub(super) mod device;
pub(super) mod image;
pub(super) mod log;
pub(super) mod model;
pub(super) mod name;
pub(super) mod path;
pub(super) mod pattern;
pub(super) mod port;
pub(super) mod quantity;
pub(super) mod server;
pub(super) mod window;
