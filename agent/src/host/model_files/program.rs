//! The process that reads ahead: the agent's own program, called `node-agent warm-up` by the agent and by nobody else.
//!
//! In: a request on standard input. Out: progress on standard output, and the outcome as its last line.
//! What always holds: it ends when its standard input is closed, so with the agent, and when nobody reads its output; it
//! writes nothing to any disk, and is among the first to go when memory runs out.

use super::layers::{Wanted, warm};
use super::wire::{Line, Request};
use std::fs::OpenOptions;
use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// As the agent calls its own program.
pub const ARGUMENT: &str = "warm-up";

/// All of it.
pub fn warm_up() -> ExitCode {
    let mut text = String::new();
    if io::stdin().lock().read_line(&mut text).is_err() {
        return ExitCode::FAILURE;
    }
    let Ok(request) = serde_json::from_str::<Request>(&text) else { return ExitCode::FAILURE };
    be_expendable();
    let stop = Arc::new(AtomicBool::new(false));
    stop_with_standard_input(&stop);
    say(&Line::Started, &stop);
    let wanted = Wanted {
        directory: &request.directory,
        digests: &request.digests,
        rate: request.bytes_per_second,
        must_go: None,
    };
    let outcome = warm(&wanted, &stop, &|progress| say(&Line::Progress(progress), &stop));
    say(&Line::last(outcome), &stop);
    ExitCode::from(u8::from(stop.load(Ordering::Relaxed)))
}

fn stop_with_standard_input(stop: &Arc<AtomicBool>) {
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        stop.store(true, Ordering::Relaxed);
    });
}

fn say(line: &Line, stop: &AtomicBool) {
    let Ok(mut text) = serde_json::to_vec(line) else { return };
    text.push(b'\n');
    let mut output = io::stdout().lock();
    if output.write_all(&text).and_then(|()| output.flush()).is_err() {
        stop.store(true, Ordering::Relaxed);
    }
}

/// The agent's unit is among the last to go, and its children with it if nothing is done (proc(5), oom_score_adj).
fn be_expendable() {
    let score = OpenOptions::new().write(true).open("/proc/self/oom_score_adj");
    // Where it is not allowed the reading is as good; it only reads into memory that is free.
    let _ = score.and_then(|mut score| score.write_all(b"500"));
}
