//! Runs a program of the host that is only asked something: a deadline, no input, an environment of our own, and no more
//! of its answer than was asked for.
//!
//! Not its job: what the answer means.

#![expect(clippy::disallowed_methods, reason = "one of the host modules, which may run commands")]

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::Command;

/// Not the caller's: a unit and a shell have different ones.
pub const FOLDERS: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Of what a program says on its standard error, in bytes.
const LONGEST_COMPLAINT: u64 = 4096;

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// It exited with 0.
    pub success: bool,
    /// `exit status: 4`
    pub status: String,
    /// The first bytes of its standard output, at most so many as were asked for.
    pub output: Vec<u8>,
    /// There was more.
    pub cut: bool,
    /// The beginning of its standard error.
    pub complaint: String,
}

impl Ended {
    /// Its output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }

    /// Output of one that exited with 0, else its own words.
    pub fn answer(self) -> Result<String, String> {
        let complaint = self.complaint.split_whitespace().collect::<Vec<_>>().join(" ");
        match (self.success, complaint.is_empty()) {
            (true, _) => Ok(self.text()),
            (false, true) => Err(self.status),
            (false, false) => Err(format!("{}: {complaint}", self.status)),
        }
    }
}

/// Names of our own programs, and of what they are called for.
pub const OWN: Own = Own { agent: "node-agent", doctor: "doctor" };

/// See [`OWN`].
#[derive(Debug)]
pub struct Own {
    /// The daemon's program.
    pub agent: &'static str,
    /// Its argument that has it look at the node instead.
    pub doctor: &'static str,
}

/// Where a program of ours is: beside this one, as every release has it, else wherever it is found.
pub fn own(name: &str) -> PathBuf {
    let beside = std::env::current_exe().ok().map(|this| this.with_file_name(name));
    beside.filter(|path| path.exists()).unwrap_or_else(|| PathBuf::from(name))
}

/// Runs a program of ours with the environment that we have, and gives `tell` each line that it writes as it comes. An
/// error is why it did not end well, in words.
pub async fn lines(
    program: &Path,
    arguments: &[OsString],
    deadline: Duration,
    mut tell: impl FnMut(&str),
) -> Result<(), String> {
    let shown = program.display();
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| format!("`{shown}` cannot be run: {error}"))?;
    let (output, complaint) = (child.stdout.take(), child.stderr.take());
    let told = async {
        let mut lines = BufReader::new(output.ok_or_else(|| io::Error::other("no output"))?).lines();
        while let Some(line) = lines.next_line().await? {
            tell(&line);
        }
        Ok(())
    };
    let whole = async {
        let ((), (complaint, _)) = tokio::try_join!(told, beginning(complaint, LONGEST_COMPLAINT))?;
        Ok::<_, io::Error>((child.wait().await?, complaint))
    };
    let late = |_| format!("`{shown}` did not end within {} s", deadline.as_secs());
    let (status, complaint) = tokio::time::timeout(deadline, whole)
        .await
        .map_err(late)?
        .map_err(|error| format!("`{shown}` cannot be read: {error}"))?;
    if status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&complaint).split_whitespace().collect::<Vec<_>>().join(" ");
    Err(format!("`{shown}` ended with {status}: {words}"))
}

/// Runs `program` and waits for its end. An error is why there is no answer, in words that begin with the program.
pub async fn ask<S: AsRef<OsStr>>(
    program: &str,
    arguments: &[S],
    deadline: Duration,
    longest: u64,
) -> Result<Ended, String> {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("PATH", FOLDERS).env("LC_ALL", "C");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let late = |_| format!("`{program}` did not end within {} s", deadline.as_secs());
    let ended = tokio::time::timeout(deadline, to_its_end(command, longest)).await.map_err(late)?;
    ended.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => format!("the program `{program}` is not installed"),
        _ => format!("`{program}` cannot be run: {error}"),
    })
}

async fn to_its_end(mut command: Command, longest: u64) -> io::Result<Ended> {
    let mut child = command.spawn()?;
    let (output, complaint) = (child.stdout.take(), child.stderr.take());
    let ((output, cut), (complaint, _)) =
        tokio::try_join!(beginning(output, longest), beginning(complaint, LONGEST_COMPLAINT))?;
    if cut {
        // It may write for ever; what was asked for is there.
        child.start_kill()?;
    }
    let status = child.wait().await?;
    Ok(Ended {
        success: status.success() || cut,
        status: status.to_string(),
        output,
        cut,
        complaint: String::from_utf8_lossy(&complaint).into_owned(),
    })
}

async fn beginning(pipe: Option<impl AsyncRead + Unpin>, longest: u64) -> io::Result<(Vec<u8>, bool)> {
    let mut bytes = Vec::new();
    let Some(pipe) = pipe else { return Ok((bytes, false)) };
    pipe.take(longest.saturating_add(1)).read_to_end(&mut bytes).await?;
    let kept = usize::try_from(longest).unwrap_or(usize::MAX);
    let cut = bytes.len() > kept;
    bytes.truncate(kept);
    Ok((bytes, cut))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn a_program_is_asked_and_its_answer_is_bounded() {
        let ended = ask("sh", &["-c", "echo out; echo why >&2; exit 4"], SOON, 100).await.unwrap();
        assert_eq!((ended.text().as_str(), ended.cut, ended.success), ("out\n", false, false));
        assert_eq!(ended.answer().unwrap_err(), "exit status: 4: why");
        let endless = ask("sh", &["-c", "yes"], SOON, 10).await.unwrap();
        assert_eq!((endless.output.len(), endless.cut, endless.success), (10, true, true));
    }

    #[tokio::test]
    async fn what_is_not_there_or_does_not_end_is_said_in_words() {
        let none: &[&str] = &[];
        assert_eq!(
            ask("no-such-program", none, SOON, 1).await.unwrap_err(),
            "the program `no-such-program` is not installed"
        );
        let late = ask("sleep", &["60"], Duration::from_millis(50), 1).await.unwrap_err();
        assert_eq!(late, "`sleep` did not end within 0 s");
    }
}
