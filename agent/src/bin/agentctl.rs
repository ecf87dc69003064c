//! `agentctl`: see [`agent::ctl`].

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(agent::ctl::run(std::env::args_os()))
}
