//! `make bench`: what is measured on a disposable instance, beside what a user would pick instead.

#![expect(clippy::print_stderr, reason = "a program for people")]

use harness::{bench, instance};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    instance::sweep_on_signal(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/instance/run"));
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let measured = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => bench::run(),
        ["boots"] => bench::run_boots(),
        ["status"] => bench::run_status(),
        ["idle"] => bench::run_idle(),
        ["crashes"] => bench::run_crashes(),
        ["hundred"] => bench::run_hundred(),
        ["prewarm"] => bench::run_prewarm(),
        ["logs"] => bench::run_logs(),
        _ => {
            eprintln!("usage: bench [boots|status|idle|crashes|hundred|prewarm|logs]");
            return ExitCode::from(2);
        }
    };
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the measurement failed: {error}");
            ExitCode::FAILURE
        }
    }
}
