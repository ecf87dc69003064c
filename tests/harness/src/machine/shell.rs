//! Commands inside the machine, by way of its second serial port: works without network, udev or a login.
//!
//! In: a script for bash. Out: its exit code and outputs. The other end is `answer-commands.sh`, in the disk image.

use crate::instance::Answer;
use crate::wait::{TimedOut, wait_for};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What a command may take inside; a machine without acceleration is a tenth as fast.
const COMMAND_SECONDS: u64 = 90;
/// The command's own time, and its way through a serial port.
const ANSWER_DEADLINE: Duration = Duration::from_secs(COMMAND_SECONDS + 30);

/// The host's end of the serial port.
pub(super) struct Shell {
    stream: UnixStream,
    /// Whole lines since the machine was started.
    heard: Arc<Mutex<Vec<u8>>>,
    asked: u32,
}

impl Shell {
    pub(super) fn connect(socket: &Path) -> io::Result<Shell> {
        let stream = UnixStream::connect(socket)?;
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (mut source, sink) = (stream.try_clone()?, Arc::clone(&heard));
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(length @ 1..) = source.read(&mut chunk) {
                sink.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&chunk[..length]);
            }
        });
        Ok(Shell { stream, heard, asked: 0 })
    }

    /// Waits until a boot other than `before` answers, and returns its boot id. `ended` tells when none will come.
    pub(super) fn wait_for_boot(
        &self,
        before: Option<&str>,
        deadline: Duration,
        mut ended: impl FnMut() -> Option<String>,
    ) -> Result<Result<String, String>, TimedOut> {
        wait_for("a shell inside the machine", deadline, || {
            let ids = self.lines_after("READY ");
            match ids.last() {
                Some(id) if before != Some(id.trim()) => Ok(Ok(id.trim().to_owned())),
                _ => ended().map(Err).ok_or_else(|| format!("{} boots that answered", ids.len())),
            }
        })
    }

    /// Runs a script; it is killed, with its group, when it takes too long.
    pub(super) fn run(&mut self, script: &str) -> Result<Answer, String> {
        self.asked += 1;
        let line = format!("{} {COMMAND_SECONDS} {}\n", self.asked, STANDARD.encode(script));
        self.stream.write_all(line.as_bytes()).map_err(|error| format!("`{script}`: {error}"))?;
        let wanted = format!("ANSWER {} ", self.asked);
        let answer = wait_for(&format!("`{script}` inside the machine"), ANSWER_DEADLINE, || {
            self.lines_after(&wanted).pop().ok_or_else(|| "no answer".to_owned())
        });
        let answer = answer.map_err(|late| late.to_string())?;
        parse(script, &answer).ok_or_else(|| format!("`{script}`: cannot read the answer {answer}"))
    }

    /// The rests of the whole lines that begin so.
    fn lines_after(&self, beginning: &str) -> Vec<String> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&heard);
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().filter_map(|line| Some(line.trim().strip_prefix(beginning)?.to_owned())).collect()
    }
}

/// `CODE .STDOUT .STDERR`
fn parse(script: &str, answer: &str) -> Option<Answer> {
    let mut parts = answer.split(' ');
    let code: i32 = parts.next()?.parse().ok()?;
    let mut output = || {
        let bytes = STANDARD.decode(parts.next()?.strip_prefix('.')?).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    Some(Answer {
        command: script.to_owned(),
        // As wait(2) packs an exit code.
        status: ExitStatus::from_raw(code << 8),
        stdout: output()?,
        stderr: output()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_tells_code_and_both_outputs() {
        let answer = parse("false", "1 .b3V0Cg== .").unwrap();
        assert_eq!((answer.code(), answer.stdout.as_str(), answer.stderr.as_str()), (1, "out\n", ""));
        for broken in ["", "x . .", "0 .", "0 . ZQ==", "0 .? ."] {
            assert!(parse("true", broken).is_none(), "{broken}");
        }
    }
}
