//! Models read ahead from volumes that are slow, on a real kernel; and in a scope of a real systemd, out of a unit with the
//! limits and the sandbox of the agent's.
//!
//! It is its own test harness, because the process that reads ahead is the program that asks for it: called `warm-up` it is
//! that process, called `ask` it is the agent of one of these tests.
//! Needs root and limits for block devices; says so and skips where they are not.

#![expect(clippy::expect_used, reason = "a failing situation panics with its story")]
#![expect(clippy::print_stdout, reason = "it is its own test harness and reports like the usual one")]
#![expect(clippy::disallowed_methods, reason = "it measures, and tells how long it took")]

mod scope;
mod volume;

use agent::host::model_files::{ARGUMENT, ModelFolder, warm_up};
use agent::models::files::{ModelFiles, Warmed};
use harness::requirements::skipped;
use harness::slow_disk::SlowDisk;
use node::config::settings::Prewarm;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

/// Of the layer that most of them read.
const LAYER: u64 = 96 << 20;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [word] if word == ARGUMENT => return warm_up(),
        ["ask", folder, digest] => {
            println!("{}", scope::as_json(&ask(Path::new(folder), digest)));
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let wanted = arguments.iter().find(|argument| !argument.starts_with('-')).cloned().unwrap_or_default();
    let (passed, failed) = suite(&wanted);
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored\n");
    ExitCode::from(u8::from(failed > 0))
}

/// As the agent does it.
fn ask(folder: &Path, digest: &str) -> Warmed {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let digests = [digest.to_owned()];
    let model_folder = ModelFolder::default();
    let warmed = model_folder.warm(folder, &digests, Prewarm::Unlimited, &|_| {});
    runtime.expect("a runtime").block_on(warmed).expect("read ahead")
}

/// How many passed and failed.
fn suite(wanted: &str) -> (usize, usize) {
    let mut outcomes = Vec::new();
    let volume = volume::SITUATIONS.iter().filter(|(name, _)| name.contains(wanted)).collect::<Vec<_>>();
    match SlowDisk::is_missing() {
        Some(why) => skipped(&format!("prewarm from slow volumes: {why}")),
        None if volume.is_empty() => {}
        // The volume takes its thread into a mount namespace of its own.
        None => outcomes.extend(on_a_thread(|| {
            let disk = SlowDisk::with_layer(LAYER).expect("a volume");
            volume.iter().map(|(name, situation)| passes(name, || situation(&disk))).collect()
        })),
    }
    if scope::NAME.contains(wanted) {
        match scope::is_missing() {
            Some(why) => skipped(&format!("prewarm in a scope of systemd: {why}")),
            None => outcomes.extend(on_a_thread(|| vec![passes(scope::NAME, scope::situation)])),
        }
    }
    let passed = outcomes.iter().filter(|passed| **passed).count();
    (passed, outcomes.len() - passed)
}

fn on_a_thread(work: impl FnOnce() -> Vec<bool> + Send) -> Vec<bool> {
    let named = std::thread::Builder::new().name("prewarm".to_owned());
    let run = std::thread::scope(|scope| named.spawn_scoped(scope, work).expect("a thread").join());
    run.unwrap_or_else(|_| vec![false])
}

fn passes(name: &str, situation: impl FnOnce()) -> bool {
    let began = Instant::now();
    let passed = catch_unwind(AssertUnwindSafe(situation)).is_ok();
    let word = if passed { "ok" } else { "FAILED" };
    println!("test {name} ... {word} ({:.1} s)", began.elapsed().as_secs_f32());
    passed
}
