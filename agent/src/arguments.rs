//! The command line of `node-agent`. clap answers wrong usage itself, with exit code 2.

use clap::Parser;
use std::path::PathBuf;

/// Keeps the services of node.toml running on this instance, updates them and ships their logs.
#[derive(Debug, Parser)]
#[command(name = "node-agent", version = node::VERSION)]
pub struct Arguments {
    /// Reads this file instead of /etc/node-agent/node.toml and its drop-ins
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// Takes every other file from below DIR
    #[arg(long, value_name = "DIR", default_value = "/", hide_default_value = true)]
    pub root: PathBuf,
}
