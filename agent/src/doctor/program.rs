//! `node-agent doctor`: arguments -> [`super::examine`] -> one line of JSON for each finding.

use super::{Patient, examine};
use crate::ctl::output;
use crate::host::program::OWN;
use clap::Parser;
use node::environment::Environment;
use node::exit;
use node::paths::Paths;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// How the program is called for this.
pub const ARGUMENT: &str = OWN.doctor;

/// Looks at the node and prints one line of JSON for each finding; `agentctl doctor` shows them to people
#[derive(Debug, Parser)]
#[command(name = "node-agent doctor", version = node::VERSION)]
struct Arguments {
    /// Reads this file instead of /etc/node-agent/node.toml and its drop-ins
    #[arg(long, value_name = "PATH")]
    config: Option<PathBuf>,
    /// Takes every other file from below DIR
    #[arg(long, value_name = "DIR", default_value = "/", hide_default_value = true)]
    root: PathBuf,
}

/// Runs it; `arguments` are those behind [`ARGUMENT`].
pub fn program(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let name = std::iter::once(OsString::from("node-agent doctor"));
    let arguments = Arguments::parse_from(name.chain(arguments));
    node::cloud::install_crypto_provider();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::note(&format!("node-agent doctor cannot start: {error}"));
            return ExitCode::from(exit::FAILED);
        }
    };
    let paths = Paths::under(&arguments.root);
    // What the agent itself is started with, and over it what whoever asks has set.
    let unit = Environment::of_file(&paths.agent_environment()).unwrap_or_default();
    let environment = unit.overlaid(Environment::of_this_process());
    let patient = Patient::new(paths, environment, arguments.config);
    let mut listened_to = true;
    runtime.block_on(examine(&patient, |findings| {
        for finding in findings {
            let line = serde_json::to_string(&finding).unwrap_or_default();
            listened_to &= output::data(format!("{line}\n").as_bytes()).is_ok();
        }
    }));
    // A device that hangs holds its thread; it must not hold the end of the program.
    runtime.shutdown_background();
    ExitCode::from(if listened_to { exit::DONE } else { exit::FAILED })
}
