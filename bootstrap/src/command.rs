//! Runs other programs: an argument vector and, where asked for, an input in, captured output out, killed with all its
//! children at its deadline.
//!
//! Programs are looked up in the standard folders, not in `PATH`: user data, units and shells each have another one.
//! No secret is ever an argument, because every local user can read those.

#![expect(clippy::disallowed_methods, reason = "the one place that runs commands")]

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use node::fault::Hint;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::AsyncWriteExt;

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
    Failed { program: String, status: ExitStatus, last_line: String, output: String },
}

impl Hint for CommandError {
    fn hint(&self) -> Option<String> {
        match self {
            CommandError::NotInstalled { package: Some(package), .. } => Some(format!(
                "install the package {package} in the AMI or in user data before node-bootstrap"
            )),
            CommandError::NotInstalled { program, package: None } => {
                Some(format!("install {program} in the AMI or in user data before node-bootstrap"))
            }
            CommandError::Start { program, .. } => Some(format!(
                "see whether `{program} --version` works by hand, then run node-bootstrap again"
            )),
            CommandError::Deadline { .. } => {
                Some("see what it waits for in `dmesg | tail`, then run node-bootstrap again".to_owned())
            }
            CommandError::Failed { program, .. } => Some(format!(
                "see what else it says in `dmesg | tail` and in `man {program}`, then run node-bootstrap again"
            )),
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

    /// The exit code of a command that ran to its end and failed.
    pub(crate) fn exit_code(&self) -> Option<i32> {
        match self {
            CommandError::Failed { status, .. } => status.code(),
            _ => None,
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
    input: Option<&'static str>,
    bound: bool,
}

impl Invocation {
    pub(crate) fn new(program: &str, deadline: Duration) -> Invocation {
        Invocation {
            program: program.to_owned(),
            arguments: Vec::new(),
            deadline,
            package: None,
            input: None,
            bound: false,
        }
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

    /// What it reads from its standard input, which is empty otherwise. A few lines.
    pub(crate) fn input(mut self, input: &'static str) -> Invocation {
        self.input = Some(input);
        self
    }

    /// Killed by the kernel when this program dies, however it dies: for what may be killed at any point, and must not
    /// go on unseen.
    pub(crate) fn bound_to_us(mut self) -> Invocation {
        self.bound = true;
        self
    }

    /// An error if the program is not installed, before anything is changed for its sake.
    pub(crate) fn must_be_installed(&self) -> Result<PathBuf, CommandError> {
        find(&self.program).ok_or_else(|| CommandError::NotInstalled {
            program: self.program.clone(),
            package: self.package,
        })
    }

    /// Runs it; standard output on success (exit code 0).
    pub(crate) async fn run(&self) -> Result<String, CommandError> {
        let path = self.must_be_installed()?;
        tracing::debug!("runs {self}");
        let start_error = |source| CommandError::Start { program: self.program.clone(), source };
        let mut child = self.command(&path).spawn().map_err(start_error)?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        let stdin = child.stdin.take();
        let work = async {
            if let (Some(mut stdin), Some(input)) = (stdin, self.input) {
                // A program that does not read to the end says itself what it thinks of it.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
            child.wait_with_output().await
        };
        match tokio::time::timeout(self.deadline, work).await {
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

    fn command(&self, path: &Path) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(path);
        command
            .args(&self.arguments)
            .env("PATH", FOLDERS.join(":"))
            .env("LC_ALL", "C")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        if self.bound {
            let parent = nix::unistd::getpid();
            // SAFETY: between fork and exec, only two system calls and a comparison; nothing is allocated.
            unsafe { command.pre_exec(move || die_with(parent)) };
        }
        command
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
            status: output.status,
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

/// Asks the kernel to kill this process when the thread that started it ends: the main thread, which runs everything
/// that is asynchronous. A parent that died before the kernel was asked is another one now.
fn die_with(parent: Pid) -> std::io::Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    if nix::unistd::getppid() == parent {
        return Ok(());
    }
    Err(std::io::Error::from_raw_os_error(nix::libc::ESRCH))
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
    async fn a_command_reads_its_input_and_a_failed_one_has_its_exit_code() {
        let cat = Invocation::new("cat", Duration::from_secs(10)).input(", +\n").bound_to_us();
        assert_eq!(cat.run().await.unwrap(), ", +\n");
        let nothing = Invocation::new("cat", Duration::from_secs(10)).run().await;
        assert_eq!(nothing.unwrap(), "");
        let deaf = Invocation::new("sh", Duration::from_secs(10)).arguments(["-c", "exit 4"]).input(", +\n");
        assert_eq!(deaf.run().await.unwrap_err().exit_code(), Some(4));
    }

    #[test]
    fn a_child_whose_parent_is_already_another_does_not_start() {
        let stranger = Pid::from_raw(i32::MAX);
        // In a thread of its own, whose end nobody is bound to.
        let refused = std::thread::spawn(move || die_with(stranger)).join().unwrap();
        assert_eq!(refused.unwrap_err().raw_os_error(), Some(nix::libc::ESRCH));
    }

    #[tokio::test]
    async fn a_missing_program_says_which_package_has_it() {
        let invocation = Invocation::new("mkfs.nothing", Duration::from_secs(1)).brought_by("xfsprogs");
        let error = invocation.run().await.unwrap_err();
        assert_eq!(error.to_string(), "mkfs.nothing is not installed");
        assert!(error.hint().unwrap().contains("xfsprogs"));
    }
}
