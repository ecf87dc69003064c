//! `make demo`: one instance, end to end, told as it happens. Leaves nothing behind, also when it is interrupted;
//! `--keep` leaves it running in the background until its process gets a signal.

#![expect(clippy::print_stderr, reason = "a program for people")]
#![expect(clippy::disallowed_methods, reason = "starts itself again for --keep, and ends after a signal")]

use harness::{demo, instance};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

/// The story's own deadlines end it long before.
const STORY_DEADLINE: Duration = Duration::from_secs(1800);

fn runs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/instance/run")
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => tell(None),
        ["--keep"] => keep(),
        ["--stay", file] => tell(Some(Path::new(file))),
        _ => {
            eprintln!("usage: demo [--keep]");
            ExitCode::from(2)
        }
    }
}

fn tell(keep: Option<&Path>) -> ExitCode {
    instance::sweep_on_signal(runs());
    match demo::run(keep) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the demo failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Tells the story in a process of its own that stays, and returns when it is told.
fn keep() -> ExitCode {
    let file = std::env::temp_dir().join(format!("node-agent-demo-{}", std::process::id()));
    let story = std::env::current_exe()
        .and_then(|program| Command::new(program).arg("--stay").arg(&file).stdin(Stdio::null()).spawn());
    let mut story = match story {
        Ok(story) => story,
        Err(error) => {
            eprintln!("cannot start the demo: {error}");
            return ExitCode::FAILURE;
        }
    };
    let told = harness::wait::wait_for("the story to be told", STORY_DEADLINE, || {
        if file.exists() {
            return Ok(true);
        }
        match story.try_wait() {
            Ok(None) => Err("it is being told".to_owned()),
            Ok(Some(_)) | Err(_) => Ok(false),
        }
    });
    let _ = std::fs::remove_file(&file);
    if told.unwrap_or(false) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
