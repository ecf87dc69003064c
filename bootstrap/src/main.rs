//! `node-bootstrap`: from user data to a running node-agent. See the library for the steps.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = bootstrap::cli::Arguments::parse();
    let environment = node::environment::Environment::of_this_process();
    ExitCode::from(bootstrap::main(arguments, environment))
}
