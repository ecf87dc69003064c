//! Models on a node and all that goes wrong on their way: the real `node-agent` and `agentctl`, the stand-in for the model
//! server as a process, and a registry of models; each situation has its own. No container, no systemd, no AWS.
//!
//! What takes a minute, because the agent waits so long for a silent server, runs beside the rest.
//! `cargo test -p agent --test models [PART OF A NAME]`

#![expect(clippy::unwrap_used, reason = "a failing situation panics with its story")]
#![expect(clippy::print_stdout, reason = "it is its own test harness and reports like the usual one")]

mod disk;
mod engine;
mod files;
mod loads;
mod pulls;
mod ready;
mod scene;
mod versions;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use tokio::runtime::Handle;
use tokio::time::Instant;

/// A name and what happens.
pub(crate) type Situation = (&'static str, fn(&Handle));

/// Short situations at the same time: more only take the processors from each other.
const AT_ONCE: usize = 4;

fn main() -> ExitCode {
    if !scene::program().is_file() {
        println!("SKIPPED models: no {}; run make dist", scene::program().display());
        return ExitCode::SUCCESS;
    }
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let of = |all: &[&[Situation]]| -> Vec<Situation> {
        all.concat().into_iter().filter(|(name, _)| name.contains(&wanted)).collect()
    };
    let long = of(&[pulls::LONG, loads::LONG]);
    let short = of(&[
        pulls::SITUATIONS,
        disk::SITUATIONS,
        loads::SITUATIONS,
        versions::SITUATIONS,
        files::SITUATIONS,
        ready::SITUATIONS,
    ]);
    let count = long.len() + short.len();
    println!("running {count} tests");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let failed = run(&long, short.into(), runtime.handle());
    runtime.shutdown_background();
    let word = if failed.is_empty() { "ok" } else { "FAILED" };
    println!("TRIED models: {count} situations");
    println!(
        "\ntest result: {word}. {} passed; {} failed; 0 ignored {}\n",
        count - failed.len(),
        failed.len(),
        failed.join(" ")
    );
    ExitCode::from(u8::from(!failed.is_empty()))
}

/// Returns the names of those that failed.
fn run(long: &[Situation], short: VecDeque<Situation>, runtime: &Handle) -> Vec<&'static str> {
    let (queue, failed) = (Mutex::new(short), Mutex::new(Vec::new()));
    let one = |situation: &Situation| {
        if !passes(situation, runtime) {
            failed.lock().unwrap().push(situation.0);
        }
    };
    std::thread::scope(|scope| {
        let one = &one;
        for situation in long {
            std::thread::Builder::new()
                .name(situation.0.to_owned())
                .spawn_scoped(scope, move || one(situation))
                .unwrap();
        }
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                // The lock is held for the taking only.
                let next = || queue.lock().unwrap().pop_front();
                while let Some(situation) = next() {
                    one(&situation);
                }
            });
        }
    });
    failed.into_inner().unwrap()
}

fn passes((name, situation): &Situation, runtime: &Handle) -> bool {
    let began = Instant::now();
    let passed = catch_unwind(AssertUnwindSafe(|| situation(runtime))).is_ok();
    let word = if passed { "ok" } else { "FAILED" };
    println!("test {name} ... {word} ({:.1} s)", began.elapsed().as_secs_f32());
    passed
}
