//! The host as the agent sees it: the container engine, the model server, systemd, files. The only place that starts
//! commands or names the engine's client library.

pub mod configuration_watch;
pub mod disk;
pub mod docker;
pub mod examine;
pub mod firewall;
pub mod log_files;
pub mod measures;
pub mod memory;
pub mod model_files;
pub mod ollama;
pub mod program;
pub mod systemd;
