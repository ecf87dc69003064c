//! `make bench`: what is measured on a disposable instance, beside what a user would pick instead.

#![expect(clippy::print_stderr, reason = "a program for people")]

use harness::bench;
use std::process::ExitCode;

fn main() -> ExitCode {
    match bench::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the measurement failed: {error}");
            ExitCode::FAILURE
        }
    }
}
