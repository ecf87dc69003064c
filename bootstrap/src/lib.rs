//! `node-bootstrap`: from user data to a running node-agent.
//!
//! Every step observes, plans (pure, with reasons) and applies, and is idempotent; [`cli::Command::Plan`] stops before
//! the last part. Data flows `user_data` or node.toml -> `configuration` -> `metadata` -> settings -> [`volumes`],
//! `secrets`, `docker`, `agent` side by side -> `units` -> `handoff` -> start of the agent -> report.
//!
//! Not its job: anything after the agent is ready; that is `agent`.

mod agent;
mod chain;
pub mod cli;
mod clock;
mod command;
mod configuration;
mod docker;
mod group;
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
mod user_data;
pub mod volumes;

use clock::Clock;
use configuration::Unusable;
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
    let (task, given, log) = match arguments.command {
        cli::Command::Run { configuration, if_configured } => {
            (Task::Run { if_configured }, configuration.config, Log::everywhere(filter))
        }
        cli::Command::Plan { configuration, json } => {
            (Task::Plan { json }, configuration.config, Log::to_stderr(filter))
        }
    };
    let imds = imds::Client::new(&environment);
    let context = Arc::new(Context { paths: Paths::default(), environment, clock, log, imds });
    let code = runtime.block_on(carry_out(&context, &task, given.as_deref()));
    // A read of a device that never answers must not keep the program.
    runtime.shutdown_timeout(Duration::ZERO);
    code
}

/// What to do with a configuration.
#[derive(Debug)]
enum Task {
    Run { if_configured: bool },
    Plan { json: bool },
}

async fn carry_out(context: &Arc<Context>, task: &Task, given: Option<&str>) -> u8 {
    let paths = &context.paths;
    let patience = match task {
        Task::Run { .. } => metadata::patience(paths),
        Task::Plan { .. } => imds::Patience::BRIEF,
    };
    let configuration = match given {
        Some(name) => configuration::given(paths, name),
        None => configuration::found(paths, configuration::ask(&context.imds.with_patience(patience)).await),
    };
    match (configuration, task) {
        (Ok(configuration), Task::Plan { json }) => preview::run(context, configuration, *json).await,
        (Ok(configuration), Task::Run { .. }) => run::run(context, configuration).await,
        (Err(Unusable::Absent(fault)), Task::Run { if_configured: true }) => {
            let line = format!("{}; there is nothing to do until one is given", fault.message);
            context.log.plain(Level::INFO, &[line]);
            exit::DONE
        }
        (Err(unusable), _) => refuse(&context.log, &unusable),
    }
}

/// Every mistake on its own line; nothing has been changed.
fn refuse(log: &Log, unusable: &Unusable) -> u8 {
    let (lines, code) = match unusable {
        Unusable::Load(LoadError::Invalid(mistakes)) => {
            (mistakes.lines().collect(), exit::INVALID_CONFIGURATION)
        }
        Unusable::Load(error) => (vec![node::fault::with_hint(error)], exit::FAILED),
        Unusable::Refused(refused) => (refused.lines.clone(), exit::INVALID_CONFIGURATION),
        Unusable::Absent(fault) => (vec![fault.line()], exit::INVALID_CONFIGURATION),
        Unusable::Unknown(fault) => {
            let missing = "there is no configuration: none is installed, and user data is not known";
            (vec![format!("{missing}: {}", fault.line())], exit::FAILED)
        }
    };
    log.plain(Level::ERROR, &lines);
    code
}
