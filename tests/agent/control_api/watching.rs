//! `agentctl status --watch`, and the stream that it is made from.

use super::*;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin};
use std::sync::mpsc as channel;

const PATIENCE: Duration = Duration::from_secs(30);

/// A program whose output is read as it comes.
struct Running {
    child: Child,
    output: channel::Receiver<Vec<u8>>,
    seen: String,
}

impl Running {
    fn start(mut command: std::process::Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).stdin(Stdio::piped()).spawn().unwrap();
        let (sender, output) = channel::channel();
        let mut reader = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            while let Ok(piece) = reader.fill_buf().map(<[u8]>::to_vec) {
                reader.consume(piece.len());
                if piece.is_empty() || sender.send(piece).is_err() {
                    return;
                }
            }
        });
        Running { child, output, seen: String::new() }
    }

    /// Waits until what has come since the last call fits.
    fn until(&mut self, story: &str, fits: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        while !fits(&self.seen) {
            match self.output.recv_timeout(PATIENCE.saturating_sub(begun.elapsed())) {
                Ok(piece) => self.seen.push_str(&String::from_utf8_lossy(&piece)),
                Err(error) => panic!("{story}: {error} after {:?}: {:?}", begun.elapsed(), self.seen),
            }
        }
        std::mem::take(&mut self.seen)
    }

    fn input(&mut self) -> &mut ChildStdin {
        self.child.stdin.as_mut().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn watch(bench: &Bench, arguments: &[&str]) -> std::process::Command {
    let mut command = std::process::Command::new(AGENTCTL);
    command.arg("--root").arg(bench.root.path()).args(["status", "--watch"]).args(arguments);
    command
}

/// The same behind a terminal of its own; what is written to it is typed.
fn watch_on_a_terminal(bench: &Bench) -> std::process::Command {
    let line = format!("exec {AGENTCTL} --root {} status --watch", bench.root.path().display());
    let mut command = std::process::Command::new("script");
    command.args(["-qefc", &line, "/dev/null"]).env("TERM", "xterm");
    command
}

fn with_problem(bench: &Bench, code: &str) {
    let problem = Problem { code: code.to_owned(), message: "m".to_owned(), hint: None, since: now() };
    bench.board.publish_problems(Owner::Logs, vec![problem], now());
}

#[test]
fn a_change_is_a_line_at_once_and_no_change_is_none() {
    let bench = Bench::new();
    bench.publish(vec![service("api")]);
    let mut watching = Running::start(watch(&bench, &["--json"]));
    let first = watching.until("the status", |seen| seen.ends_with('\n'));
    let value: serde_json::Value = serde_json::from_str(&first).unwrap();
    assert_eq!(value["node"]["state"], "ready", "{first}");
    let mut took = Vec::new();
    for number in 0..10 {
        let begun = Instant::now();
        let code = format!("p{number}");
        with_problem(&bench, &code);
        let line = watching.until(&code, |seen| seen.ends_with('\n'));
        took.push(begun.elapsed());
        assert_eq!(line.lines().count(), 1, "one change is one line: {line}");
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["problems"][0]["code"], code.as_str(), "{line}");
    }
    took.sort();
    println!("from a change to its line: median {:?}, slowest {:?}", took[5], took[9]);
    // 200 ms after the line before, on a machine that does other things, too.
    assert!(took[5] < Duration::from_secs(1), "{took:?}");
}

#[test]
fn while_the_agent_is_away_its_last_status_is_stale_and_then_it_is_there_again() {
    let mut bench = Bench::new();
    bench.publish(vec![service("api")]);
    let last = serde_json::to_vec(&bench.board.status()).unwrap();
    node::files::replace(&bench.paths().last_status(), &last, 0o644).unwrap();
    let mut watching = Running::start(watch(&bench, &["--json"]));
    watching.until("the status", |seen| seen.ends_with('\n'));
    bench.shutdown.cancel();
    watching.until("stale", |seen| seen.contains("\"stale\":{"));
    let path = bench.paths().control_socket();
    let begun = Instant::now();
    let listener = loop {
        match bench.runtime.block_on(async { Listener::bind(&path) }) {
            Ok(listener) => break listener,
            Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
        }
    };
    bench.shutdown = CancellationToken::new();
    with_problem(&bench, "back_again");
    let control = bench.control();
    bench.runtime.spawn(listener.serve(control, bench.shutdown.clone()));
    let seen = watching.until("fresh", |seen| seen.contains("back_again") && seen.ends_with('\n'));
    let fresh = seen.lines().last().unwrap();
    assert!(!fresh.contains("\"stale\""), "{fresh}");
}

#[test]
fn on_a_terminal_nothing_remains_ages_go_on_and_ctrl_c_gives_the_cursor_back() {
    if !harness::requirements::is_on_path("script") {
        return harness::requirements::skipped("no program `script` to make a terminal with");
    }
    let bench = Bench::new();
    bench.publish((0..5).map(|number| service(&format!("api-{number}"))).collect());
    let mut watching = Running::start(watch_on_a_terminal(&bench));
    let first = watching.until("the screen", |seen| seen.contains("api-4"));
    assert!(first.contains("\x1b[?25l"), "the cursor is hidden: {first:?}");
    bench.publish(vec![service("api-0")]);
    let frame = watching.until("a shorter screen", |seen| {
        seen.rsplit_once("\x1b[H")
            .is_some_and(|(_, frame)| frame.ends_with("\x1b[J") && !frame.contains("api-4"))
    });
    let frame = frame.rsplit_once("\x1b[H").unwrap().1;
    let lines: Vec<&str> = frame.trim_end_matches("\x1b[J").trim_end_matches("\r\n").split("\r\n").collect();
    assert!(lines.iter().all(|line| line.starts_with("\x1b[K")), "every line is cleared: {lines:?}");
    assert!(lines.len() > 2, "{lines:?}");
    // Nothing changes from here on.
    watching.until("ages", |seen| ["4s", "5s", "6s", "7s"].iter().any(|age| seen.contains(age)));
    watching.input().write_all(b"\x03").unwrap();
    let ended = watching.child.wait().unwrap();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    watching.until("the cursor", |seen| seen.contains("\x1b[?25h") && seen.contains("\x1b[?7h"));
}

#[test]
fn elsewhere_than_on_a_terminal_a_signal_ends_it_as_any_program() {
    use std::os::unix::process::ExitStatusExt;
    let bench = Bench::new();
    bench.publish(vec![service("api")]);
    let mut watching = Running::start(watch(&bench, &[]));
    let text = watching.until("the status", |seen| seen.contains("api"));
    assert!(!text.contains('\x1b'), "no control of a terminal: {text:?}");
    kill(Pid::from_raw(i32::try_from(watching.child.id()).unwrap()), Signal::SIGINT).unwrap();
    assert_eq!(watching.child.wait().unwrap().signal(), Some(2));
}

#[test]
fn when_all_places_for_followers_are_taken_watching_asks_instead() {
    let bench = Bench::new();
    bench.publish(vec![service("api")]);
    let followers: Vec<UnixStream> = std::iter::from_fn(|| bench.follows()).take(100).collect();
    // Sixteen for everybody, and four for root.
    assert_eq!(followers.len(), if is_root() { 20 } else { 16 });
    let (status, body) = bench.ask("GET /v1/status?follow=true");
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("agent_busy"), "{body}");
    let mut watching = Running::start(watch(&bench, &["--json"]));
    watching.until("the status", |seen| seen.ends_with('\n'));
    with_problem(&bench, "asked_for");
    watching.until("the change", |seen| seen.contains("asked_for"));
    drop(followers);
    let begun = Instant::now();
    while bench.follows().is_none() {
        // A place is given back when the next line cannot be written.
        with_problem(&bench, &format!("p{}", begun.elapsed().as_micros()));
        assert!(begun.elapsed() < PATIENCE, "the places were not given back");
    }
}

impl Bench {
    /// A follower, where there is a place.
    fn follows(&self) -> Option<UnixStream> {
        let mut stream = self.connect();
        stream.write_all(b"GET /v1/status?follow=true HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        (&answer == b"HTTP/1.1 200").then_some(stream)
    }
}
