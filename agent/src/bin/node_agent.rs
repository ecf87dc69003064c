//! `node-agent`: arguments -> configuration -> [`agent::run`] -> exit code.

use agent::arguments::Arguments;
use agent::ctl::{config::lines, output};
use agent::doctor;
use agent::host::model_files;
use agent::host::systemd::journal;
use agent::run::{Fatal, Start, run};
use agent::start::read_configuration;
use clap::Parser;
use node::config::{Draft, LoadError};
use node::environment::Environment;
use node::exit;
use node::fault::{one_line, with_hint};
use node::paths::Paths;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Two threads: one that waits for AWS and Docker, one that answers meanwhile.
const WORKERS: usize = 2;
/// File writes, name look-ups, and a disk that hangs. The default, 512, is more than the unit's TasksMax.
const BLOCKING_THREADS: usize = 16;

/// One for each worker.
const HEAPS: i32 = 2;

fn main() -> ExitCode {
    // Not in the usage: the agent calls itself, see there.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == model_files::ARGUMENT) {
        return model_files::warm_up();
    }
    if std::env::args_os().nth(1).is_some_and(|argument| argument == doctor::ARGUMENT) {
        return doctor::program(std::env::args_os().skip(2));
    }
    let arguments = Arguments::parse();
    let environment = Environment::of_this_process();
    journal::start("node-agent", environment.get("RUST_LOG"));
    let paths = Paths::under(&arguments.root);
    let draft = match configuration(&paths, &arguments) {
        Ok(draft) => draft,
        Err(code) => return ExitCode::from(code),
    };
    node::cloud::install_crypto_provider();
    share_memory_between_threads();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build();
    let outcome = runtime.and_then(|runtime| {
        let (named, reread) = (arguments.config, Arc::default());
        let start = Start { paths, named, draft, environment, reread };
        let outcome = runtime.block_on(until_signal(start));
        // A device that hangs holds its thread; it must not hold the end of the program.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            output::note(&format!("node-agent cannot start: {}", one_line(&error)));
            ExitCode::from(exit::FAILED)
        }
    }
}

/// glibc gives nearly every thread a heap of its own, and each keeps what its busiest moment took. Ours take turns.
fn share_memory_between_threads() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it sets a number of the allocator, before there is a second thread.
    unsafe {
        nix::libc::mallopt(nix::libc::M_ARENA_MAX, HEAPS);
    }
}

fn configuration(paths: &Paths, arguments: &Arguments) -> Result<Draft, u8> {
    let draft = read_configuration(paths, arguments.config.as_deref());
    let error = match draft.and_then(|draft| Ok(draft.check().map(|()| draft)?)) {
        Ok(draft) => return Ok(draft),
        Err(error) => error,
    };
    match &error {
        LoadError::Invalid(mistakes) => output::note(&lines(mistakes)),
        LoadError::Read { .. } => output::note(&with_hint(&error)),
    }
    Err(match error {
        // Restarting does not bring a file that nobody has written; a disk may come back.
        LoadError::Read { source, .. } if source.kind() != io::ErrorKind::NotFound => exit::FAILED,
        _ => exit::INVALID_CONFIGURATION,
    })
}

/// Runs until SIGTERM or SIGINT. SIGHUP has the configuration read again.
async fn until_signal(start: Start) -> io::Result<u8> {
    let (mut hang_up, reread) = (signal(SignalKind::hangup())?, Arc::clone(&start.reread));
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let shutdown = CancellationToken::new();
    let told = shutdown.clone();
    tokio::spawn(async move {
        loop {
            // All only tell that a signal came; nothing is lost with those that are dropped.
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hang_up.recv() => reread.notify_one(),
            }
        }
        told.cancel();
    });
    let Err(fatal) = run(start, shutdown).await else { return Ok(exit::DONE) };
    match &fatal {
        Fatal::Invalid(mistakes) => output::note(&lines(mistakes)),
        _ => tracing::error!("{}", with_hint(&fatal)),
    }
    Ok(fatal.exit_code())
}
