//! The command line of `node-bootstrap`. clap answers wrong usage itself, with exit code 2.

use clap::{Args, Parser, Subcommand};

/// Prepares an EC2 instance: volumes, secrets, Docker, the agent. Every step is idempotent.
#[derive(Debug, Parser)]
#[command(name = "node-bootstrap", version = node::VERSION)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Do what is missing, start the agent and wait until it is ready
    Run {
        /// Which configuration.
        #[command(flatten)]
        configuration: Configuration,
        /// End with 0 where there is no configuration yet: user data may bring one later. For the unit
        #[arg(long)]
        if_configured: bool,
    },
    /// Print what `run` would do, and why, without changing anything
    Plan {
        /// Which configuration.
        #[command(flatten)]
        configuration: Configuration,
        /// Print the plan as JSON
        #[arg(long)]
        json: bool,
    },
}

/// Which configuration.
#[derive(Debug, Args)]
pub struct Configuration {
    /// The node.toml to check and install, `-` for standard input; without it user data's, else the installed one
    #[arg(long, value_name = "PATH|-")]
    pub config: Option<String>,
}
