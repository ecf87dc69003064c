//! Runs other programs: an argument vector in, captured output out, killed with all its children at its deadline.
//!
//! Programs are looked up in the standard folders, not in `PATH`: user data, units and shells each have another one.
//! No secret is ever an argument, because every local user can read those.

#![expect(clippy::disallowed_methods, reason = "the one place that runs commands")]

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use node::fault::Hint;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// Where programs are looked for, in this order.
const FOLDERS: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Why a command did not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error("{program} is not installed")]
    NotInstalled { program: String, package: Option<&'static str> },
    #[error("cannot start {program}")]
    Start {
        program: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{program} was stopped after {} s without having finished", .deadline.as_secs())]
    Deadline { program: String, deadline: Duration },
    #[error("{program} ended with {status}: {last_line}")]
    Failed { program: String, status: String, last_line: String, output: String },
}

impl Hint for CommandError {
    fn hint(&self) -> Option<String> {
        match self {
            CommandError::NotInstalled { package: Some(package), .. } => Some(format!(
                "install the package {package} in the AMI or in user data before node-bootstrap"
            )),
            _ => None,
        }
    }
}

impl CommandError {
    /// Everything that a failed command printed; empty for other errors.
    pub(crate) fn output(&self) -> &str {
        match self {
            CommandError::Failed { output, .. } => output,
            _ => "",
        }
    }
}

/// A command that has not run yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invocation {
    program: String,
    arguments: Vec<String>,
    deadline: Duration,
    package: Option<&'static str>,
}

impl Invocation {
    pub(crate) fn new(program: &str, deadline: Duration) -> Invocation {
        Invocation { program: program.to_owned(), arguments: Vec::new(), deadline, package: None }
    }

    pub(crate) fn arguments(mut self, arguments: impl IntoIterator<Item = impl Into<String>>) -> Invocation {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// The package that brings the program, for the hint.
    pub(crate) fn brought_by(mut self, package: &'static str) -> Invocation {
        self.package = Some(package);
        self
    }

    /// Runs it; standard output on success (exit code 0).
    pub(crate) async fn run(&self) -> Result<String, CommandError> {
        let path = find(&self.program).ok_or_else(|| CommandError::NotInstalled {
            program: self.program.clone(),
            package: self.package,
        })?;
        tracing::debug!("runs {self}");
        let start_error = |source| CommandError::Start { program: self.program.clone(), source };
        let child = tokio::process::Command::new(path)
            .args(&self.arguments)
            .env("PATH", FOLDERS.join(":"))
            .env("LC_ALL", "C")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(start_error)?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        match tokio::time::timeout(self.deadline, child.wait_with_output()).await {
            Ok(output) => self.judge(&output.map_err(start_error)?),
            Err(_) => {
                // The child itself is killed by being dropped; what it started is killed here.
                if let Some(group) = group {
                    let _ = killpg(group, Signal::SIGKILL);
                }
                Err(CommandError::Deadline { program: self.program.clone(), deadline: self.deadline })
            }
        }
    }

    fn judge(&self, output: &std::process::Output) -> Result<String, CommandError> {
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(stdout);
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        let last =
            |text: &str| text.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned);
        Err(CommandError::Failed {
            program: self.program.clone(),
            status: output.status.to_string(),
            last_line: last(&stderr)
                .or_else(|| last(&stdout))
                .unwrap_or_else(|| "it printed nothing".to_owned()),
            output: format!("{stdout}{stderr}"),
        })
    }
}

impl std::fmt::Display for Invocation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.program)?;
        self.arguments.iter().try_for_each(|argument| write!(formatter, " {argument}"))
    }
}

/// The full path of a program, if it is installed.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    FOLDERS.iter().map(|folder| Path::new(folder).join(program)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failed_command_names_its_program_its_exit_and_its_last_line() {
        let invocation = Invocation::new("sh", Duration::from_secs(10))
            .arguments(["-c", "echo first >&2; echo 'no space left' >&2; exit 3"]);
        let error = invocation.run().await.unwrap_err();
        assert_eq!(error.to_string(), "sh ended with exit status: 3: no space left");
    }

    #[tokio::test]
    async fn a_command_past_its_deadline_is_killed_with_its_children() {
        let invocation =
            Invocation::new("sh", Duration::from_millis(200)).arguments(["-c", "sleep 600 & wait"]);
        let error = invocation.run().await.unwrap_err();
        assert!(matches!(error, CommandError::Deadline { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_missing_program_says_which_package_has_it() {
        let invocation = Invocation::new("mkfs.nothing", Duration::from_secs(1)).brought_by("xfsprogs");
        let error = invocation.run().await.unwrap_err();
        assert_eq!(error.to_string(), "mkfs.nothing is not installed");
        assert!(error.hint().unwrap().contains("xfsprogs"));
    }
}
