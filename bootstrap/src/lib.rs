//! `node-bootstrap`: from user data to a running node-agent.
//!
//! Every step observes, plans (pure, with reasons) and applies, and is idempotent; [`cli::Command::Plan`] stops before
//! the last part. Data flows node.toml -> `configuration` -> `metadata` -> settings -> [`volumes`], `secrets`,
//! `docker`, `agent` side by side -> `units` -> `handoff` -> start of the agent -> report.
//!
//! Not its job: anything after the agent is ready; that is `agent`.

mod agent;
pub mod cli;
mod clock;
mod command;
mod configuration;
mod docker;
mod handoff;
mod lock;
mod log;
mod metadata;
mod outdated;
mod prepare;
mod preview;
mod record;
mod run;
mod secrets;
mod step;
mod systemd;
mod units;
pub mod volumes;

use clock::Clock;
use configuration::Configuration;
use log::Log;
use node::config::LoadError;
use node::environment::Environment;
use node::paths::Paths;
use node::{exit, imds};
use std::sync::Arc;
use std::time::Duration;
use tracing::Level;

/// What every step is given.
#[derive(Debug)]
struct Context {
    paths: Paths,
    environment: Environment,
    clock: Clock,
    log: Log,
    imds: imds::Client,
}

/// Runs the command; the exit code.
pub fn main(arguments: cli::Arguments, environment: Environment) -> u8 {
    let clock = Clock::start();
    let filter = environment.get("RUST_LOG");
    node::cloud::install_crypto_provider();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            Log::to_stderr(filter).plain(Level::ERROR, &[format!("cannot start: {error}")]);
            return exit::FAILED;
        }
    };
    let (command, log) = match arguments.command {
        cli::Command::Run(configuration) => ((configuration, None), Log::everywhere(filter)),
        cli::Command::Plan { configuration, json } => ((configuration, Some(json)), Log::to_stderr(filter)),
    };
    let (given, plan_as_json) = command;
    let paths = Paths::default();
    let configuration = match configuration::load(&paths, given.config.as_deref()) {
        Ok(configuration) => configuration,
        Err(error) => return refuse(&log, &error),
    };
    let imds = imds::Client::new(&environment);
    let context = Arc::new(Context { paths, environment, clock, log, imds });
    let code = runtime.block_on(carry_out(&context, &configuration, plan_as_json));
    // A read of a device that never answers must not keep the program.
    runtime.shutdown_timeout(Duration::ZERO);
    code
}

async fn carry_out(context: &Arc<Context>, configuration: &Configuration, plan_as_json: Option<bool>) -> u8 {
    match plan_as_json {
        Some(json) => preview::run(context, configuration, json).await,
        None => run::run(context, configuration).await,
    }
}

/// Every mistake on its own line; nothing has been changed.
fn refuse(log: &Log, error: &LoadError) -> u8 {
    match error {
        LoadError::Invalid(mistakes) => {
            log.plain(Level::ERROR, &mistakes.lines().collect::<Vec<_>>());
            exit::INVALID_CONFIGURATION
        }
        LoadError::Read { .. } => {
            log.plain(Level::ERROR, &[node::fault::with_hint(error)]);
            exit::FAILED
        }
    }
}
