//! `make bench`: what is measured on a disposable instance, beside what a user would pick instead.

#![expect(clippy::print_stderr, reason = "a program for people")]

use harness::{bench, instance};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    instance::sweep_on_signal(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/instance/run"));
    match bench::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the measurement failed: {error}");
            ExitCode::FAILURE
        }
    }
}
