//! `agentctl`: arguments -> a question to the agent -> text.
//!
//! It holds nothing that costs time at start: no AWS, no engine, one thread. `status` must answer within 20 ms.

#![expect(clippy::disallowed_methods, reason = "an outer module: ages are shown against the present")]

pub mod absent;
pub mod arguments;
pub mod config;
pub mod output;
pub mod render;
pub mod wait;

mod bundle;
mod command;
mod doctor;
mod follow;
mod logs;
mod models;
mod screen;
mod show;
mod watch;

use crate::control::api;
use crate::control::client::{Client, ClientError};
use arguments::{Arguments, ConfigVerb, Verb};
use clap::Parser;
use jiff::Timestamp;
use node::exit;
use node::fault::with_hint;
use node::paths::Paths;
use std::ffi::OsString;
use std::io;

/// Why a command ended without an exit code of its own.
#[derive(Debug, thiserror::Error)]
pub enum Ending {
    /// The agent did not answer, or said no.
    #[error(transparent)]
    Agent(#[from] ClientError),
    /// Nobody reads what is written, as after `| head`.
    #[error("cannot write to standard output")]
    Output(#[from] io::Error),
}

/// What the verbs share.
struct Session {
    client: Client,
    paths: Paths,
}

/// Runs `agentctl` with `arguments`, the program's name first; returns its exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are printed by the same way as mistakes.
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(exit::USAGE);
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::note(&format!("cannot start: {error}"));
            return exit::FAILED;
        }
    };
    match runtime.block_on(dispatch(arguments)) {
        Ok(code) => code,
        Err(Ending::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => exit::DONE,
        Err(Ending::Output(error)) => {
            output::note(&format!("cannot write to standard output: {error}"));
            exit::FAILED
        }
        Err(Ending::Agent(error)) => {
            output::noted_sentence(&with_hint(&error));
            if error.is_unreachable() { exit::UNREACHABLE } else { exit::FAILED }
        }
    }
}

async fn dispatch(arguments: Arguments) -> Result<u8, Ending> {
    let paths = Paths::under(&arguments.root);
    let session = Session { client: Client::new(paths.control_socket()), paths };
    match arguments.verb {
        Verb::Status { json, watch: false } => show::status(&session, json).await,
        Verb::Status { json, watch: true } => watch::watch(&session, json).await,
        Verb::Explain { name, json } => show::explain(&session, name.as_deref(), json).await,
        Verb::Logs { service, tail, failed: true, .. } => logs::of_failed(&session, &service, tail).await,
        Verb::Logs { service, follow, tail, since, .. } => {
            let since = since.map(|since| since.moment(now()));
            logs::logs(&session, &service, &api::logs(&service, tail, since, follow)).await
        }
        Verb::Update { service: Some(service), to: Some(to), retry, wait } => {
            command::target(&session, &service, &api::target(&service, &to, retry), wait).await
        }
        Verb::Update { service, retry, wait, .. } => {
            command::update(&session, service.as_deref(), retry, wait).await
        }
        Verb::Rollback { service, to, wait } => {
            command::target(&session, &service, &api::rollback(&service, to.as_deref()), wait).await
        }
        Verb::Hold { service } => command::plain(&session, &service, "hold").await,
        Verb::Release { service } => command::plain(&session, &service, "release").await,
        Verb::Restart { service, wait } => command::restart(&session, &service, wait).await,
        Verb::Stop { service, wait } => command::stop(&session, &service, wait).await,
        Verb::Start { service, wait } => command::start(&session, &service, wait).await,
        Verb::Models { json, verb: None } => models::show(&session, json).await,
        Verb::Models { verb: Some(verb), .. } => models::command(&session, verb).await,
        Verb::Doctor { json, verbose } => doctor::doctor(&session, json, verbose).await,
        Verb::Bundle { output } => bundle::bundle(&session, output).await,
        Verb::Completions { shell } => show::completions(shell),
        Verb::Config { verb } => config(&session, verb).await,
    }
}

async fn config(session: &Session, verb: ConfigVerb) -> Result<u8, Ending> {
    match verb {
        ConfigVerb::Check { path, json } => config::check(path.as_deref(), json, &session.paths),
        ConfigVerb::Show { json } => config::show(session, json).await,
        ConfigVerb::Diff { path, json } => config::diff(session, path.as_deref(), json).await,
        ConfigVerb::Reload => config::have_reloaded(session).await,
        ConfigVerb::Schema => config::schema(),
    }
}

fn now() -> Timestamp {
    Timestamp::now()
}
