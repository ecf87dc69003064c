//! The agent's side of Docker against a real engine and a real registry, situation by situation.
//!
//! One engine serves all of them, in a network namespace that ends with this process. Needs root; says so and skips
//! where it is not. `cargo test -p agent --test docker_engine [PART OF A NAME]`

#![expect(clippy::expect_used, reason = "a failing situation panics with its story")]
#![expect(clippy::print_stdout, reason = "it is its own test harness and reports like the usual one")]

mod bench;
mod broken;
mod containers;
mod gates;
mod images;
mod looks;
mod measures;
mod stops;
mod wire;

use bench::Bench;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use tokio::runtime::Runtime;
use tokio::time::Instant;

/// A name and what happens.
pub(crate) type Situation = (&'static str, fn(&mut Bench, &Runtime));

fn main() -> ExitCode {
    if !nix::unistd::Uid::effective().is_root() {
        println!("SKIPPED docker_engine: it starts a Docker engine, which needs root");
        return ExitCode::SUCCESS;
    }
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let situations = images::SITUATIONS.iter().chain(containers::SITUATIONS).chain(gates::SITUATIONS);
    let situations = situations
        .chain(looks::SITUATIONS)
        .chain(measures::SITUATIONS)
        .chain(stops::SITUATIONS)
        .chain(broken::SITUATIONS)
        .filter(|(name, _)| name.contains(&wanted));
    let situations: Vec<&Situation> = situations.collect();
    println!("running {} tests", situations.len());
    harness::instance::enter_own_network().expect("a network namespace");
    // One thread: others would have to enter the namespace too.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut bench = Bench::start().expect("an engine and a registry");
    let failed = situations.iter().filter(|situation| !passes(situation, &mut bench, &runtime)).count();
    if failed > 0 {
        let _ = writeln!(std::io::stderr(), "--- log of the engine\n{}---", bench.daemon.log());
    }
    drop(bench);
    let (passed, word) = (situations.len() - failed, if failed == 0 { "ok" } else { "FAILED" });
    println!("\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored\n");
    ExitCode::from(u8::from(failed > 0))
}

fn passes((name, situation): &Situation, bench: &mut Bench, runtime: &Runtime) -> bool {
    let began = Instant::now();
    let passed = catch_unwind(AssertUnwindSafe(|| situation(bench, runtime))).is_ok();
    // What one situation left must not become part of the next one's story.
    let cleared = bench.clear();
    let word = if passed && cleared.is_ok() { "ok" } else { "FAILED" };
    println!("test {name} ... {word} ({:.1} s)", began.elapsed().as_secs_f32());
    if let Err(error) = &cleared {
        println!("the engine could not be cleared: {error}");
    }
    word == "ok"
}
