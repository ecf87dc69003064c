//! Reads ahead in a process of its own, in a scope of systemd beside the agent's unit.
//!
//! The kernel counts a page of a file against the group of whoever reads it first. The agent's unit has a limit of some
//! hundred megabytes: a model that is read in there would push itself out again, and slow the agent down meanwhile. A scope
//! in system.slice has no limit, and what was read stays counted against that slice when the scope is gone.
//!
//! In: a request. Out: what the process says. What always holds: the process goes with the future, and with the agent.

#![expect(clippy::disallowed_methods, reason = "one of the host modules, which may run commands")]

use super::wire::{Line, Request};
use super::{STALL, stalled};
use crate::models::files::{FilesError, WarmProgress, Warmed};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// For systemd to make the scope and for the process to say that it runs.
const START: Duration = Duration::from_secs(15);
/// For a process that has said its last word.
const END: Duration = Duration::from_secs(5);
/// Not the caller's: a unit and a shell have different ones.
const FOLDERS: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Of what the process said on its standard error.
const WORDS_AT_MOST: u64 = 4096;

/// A process that has begun.
pub(super) struct Reader {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Reader {
    /// Starts it; why it could not be.
    pub(super) async fn start(request: &Request) -> Result<Reader, String> {
        let mut child = command().spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => "there is no `systemd-run`".to_owned(),
            _ => format!("`systemd-run` cannot be started: {error}"),
        })?;
        match timeout(START, greet(&mut child, request)).await {
            Ok(Ok(lines)) => Ok(Reader { child, lines }),
            Ok(Err(why)) => Err(why),
            Err(_) => Err(format!("`systemd-run` did not start it within {} s", START.as_secs())),
        }
    }

    /// Hears it to its end.
    pub(super) async fn hear(
        mut self,
        directory: &str,
        progress: &(dyn Fn(WarmProgress) + Send + Sync),
    ) -> Result<Warmed, FilesError> {
        loop {
            let line = timeout(STALL, self.lines.next_line()).await.map_err(|_| stalled(directory))?;
            let line = line.ok().flatten().and_then(|text| serde_json::from_str::<Line>(&text).ok());
            match line {
                Some(Line::Progress(far)) => progress(far),
                Some(Line::Started) => {}
                Some(last) => {
                    if let Some(outcome) = last.outcome() {
                        return outcome;
                    }
                }
                None => {
                    let source = std::io::Error::other(last_words(&mut self.child).await);
                    return Err(FilesError {
                        operation: "read ahead in",
                        path: directory.to_owned(),
                        source,
                    });
                }
            }
        }
    }
}

/// By our own descriptor of the program: the file may have been replaced by another version meanwhile.
fn command() -> Command {
    let program = format!("/proc/{}/exe", std::process::id());
    let mut command = Command::new("systemd-run");
    command.args(["--scope", "--quiet", "--collect", "--slice=system.slice"]);
    command.args(["--description=node-agent: reads a model ahead", "--", &program, super::ARGUMENT]);
    command.env_clear().env("PATH", FOLDERS).env("LC_ALL", "C");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

async fn greet(child: &mut Child, request: &Request) -> Result<Lines<BufReader<ChildStdout>>, String> {
    let text = serde_json::to_string(request).map_err(|error| error.to_string())? + "\n";
    let output = child.stdout.take().ok_or("its output cannot be read")?;
    // It stays open as long as the process is wanted. One that has ended says itself why.
    if let Some(input) = &mut child.stdin {
        let _ = input.write_all(text.as_bytes()).await;
    }
    let mut lines = BufReader::new(output).lines();
    let first = lines.next_line().await.ok().flatten();
    match first.and_then(|text| serde_json::from_str::<Line>(&text).ok()) {
        Some(Line::Started) => Ok(lines),
        _ => Err(format!("`systemd-run` did not start it: {}", last_words(child).await)),
    }
}

/// Why it ended, as far as it can be told in one line.
async fn last_words(child: &mut Child) -> String {
    let mut words = Vec::new();
    // Otherwise it would wait for more of the request.
    child.stdin = None;
    if let Some(stderr) = child.stderr.take() {
        let _ = timeout(END, stderr.take(WORDS_AT_MOST).read_to_end(&mut words)).await;
    }
    let words = String::from_utf8_lossy(&words);
    if let Some(line) = words.lines().map(str::trim).find(|line| !line.is_empty()) {
        return line.to_owned();
    }
    let ended = timeout(END, child.wait()).await;
    let status = ended.ok().and_then(Result::ok).as_ref().map(ExitStatus::to_string);
    status.map_or_else(|| "it does not say why".to_owned(), |status| format!("it ended with {status}"))
}
