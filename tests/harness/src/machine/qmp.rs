//! QEMU's control socket: one command, one answer.
//!
//! In: a command of the QEMU Machine Protocol ("QEMU QMP Reference Manual"). Out: what it returned. Events that come
//! between are of no interest here. Every answer has a deadline.

use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// QEMU answers from its main loop, which a busy host may keep waiting.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// An open control socket.
pub(super) struct Qmp {
    stream: BufReader<UnixStream>,
}

impl Qmp {
    /// Connects, and leaves the mode in which only capabilities are spoken of.
    pub(super) fn connect(socket: &Path) -> io::Result<Qmp> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(ANSWER_DEADLINE))?;
        let mut qmp = Qmp { stream: BufReader::new(stream) };
        let greeting = qmp.read()?;
        if greeting.get("QMP").is_none() {
            return Err(io::Error::other(format!("{} does not speak QMP: {greeting}", socket.display())));
        }
        qmp.execute("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Runs one command.
    pub(super) fn execute(&mut self, command: &str, arguments: &Value) -> io::Result<Value> {
        let line = json!({"execute": command, "arguments": arguments});
        self.stream.get_mut().write_all(format!("{line}\n").as_bytes())?;
        loop {
            let answer = self.read()?;
            if let Some(value) = answer.get("return") {
                return Ok(value.clone());
            }
            if let Some(error) = answer.get("error") {
                return Err(io::Error::other(format!("QEMU refused {line}: {error}")));
            }
        }
    }

    fn read(&mut self) -> io::Result<Value> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "QEMU closed its control socket"));
        }
        serde_json::from_str(&line).map_err(io::Error::other)
    }
}
