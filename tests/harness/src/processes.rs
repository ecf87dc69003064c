//! Child processes of a test: started with their output captured, stopped by
//! their own process group when dropped, their output printed when the test
//! fails.
//!
//! What always holds: only the group that was started here is signalled, and
//! nothing is left running after the value is gone.

use std::io::Read;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal, killpg};
use nix::unistd::Pid;

use crate::wait::{TimedOut, wait_for};

/// How long a process may take to end by itself after SIGTERM.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// A port of this host for a program that is started later, again and again perhaps: below those that the kernel gives away
/// by itself, so that nobody takes it in between.
///
/// # Panics
/// When a thousand of them are taken.
#[must_use]
pub fn free_port() -> u16 {
    const FIRST: u32 = 20_000;
    const PROCESSES: u32 = 200;
    const OF_A_PROCESS: u32 = 50;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let own = FIRST + std::process::id() % PROCESSES * OF_A_PROCESS;
    let ports = std::iter::repeat_with(|| own + NEXT.fetch_add(1, Ordering::Relaxed));
    let ports = ports.take(1000).filter_map(|port| u16::try_from(port).ok());
    let mut free = ports.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.next().unwrap_or_else(|| panic!("no port from {own} on is free"))
}

/// Lets the program have every signal: one that this thread blocks would be blocked in it too, and it could not be asked
/// to end.
pub fn hear_signals(command: &mut Command) {
    // SAFETY: between fork and exec nothing is done but one system call, which may be made there.
    unsafe { command.pre_exec(|| Ok(SigSet::empty().thread_set_mask()?)) };
}

/// A running child with its output.
pub struct Process {
    name: String,
    child: Child,
    output: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts `command` in a process group of its own. Its standard input is
    /// empty; both outputs are kept in the order they arrive.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(name: &str, mut command: Command) -> std::io::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        hear_signals(&mut command);
        let mut child = command.spawn()?;
        let output = Arc::new(Mutex::new(Vec::new()));
        let stdout = child.stdout.take().map(|pipe| keep(pipe, &output));
        let stderr = child.stderr.take().map(|pipe| keep(pipe, &output));
        let readers = stdout.into_iter().chain(stderr).collect();
        Ok(Self { name: name.to_owned(), child, output, readers })
    }

    /// The process id, which is also the id of its group.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything written so far to both outputs, invalid UTF-8 replaced.
    #[must_use]
    pub fn output(&self) -> String {
        let output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&output).into_owned()
    }

    /// Both outputs are at their end: nobody has them open for writing, and all of it was read.
    fn is_read(&self) -> bool {
        self.readers.iter().all(JoinHandle::is_finished)
    }

    /// Waits until a whole line containing `part` has been written, and returns
    /// that line. Fails at once when the process ends without it
    /// and has left nobody behind who could write it.
    ///
    /// # Errors
    /// [`TimedOut`] with the output so far.
    pub fn wait_for_line(&mut self, part: &str, deadline: Duration) -> Result<String, TimedOut> {
        let what = format!("{} to write a line with {part:?}", self.name);
        wait_for(&what, deadline, || {
            // Its end is seen before its last words are read.
            let ended = self.child.try_wait().ok().flatten().filter(|_| self.is_read());
            let output = self.output();
            let whole = output.rfind('\n').map_or("", |end| &output[..end]);
            match (whole.lines().find(|line| line.contains(part)), ended) {
                (Some(line), _) => Ok(Ok(line.to_owned())),
                (None, Some(status)) => Ok(Err(format!("it ended ({status}) having written:\n{output}"))),
                (None, None) => Err(format!("this output:\n{output}")),
            }
        })?
        .or_else(|story| wait_for(&what, Duration::ZERO, || Err(story.clone())))
    }

    /// Waits until the process ends by itself.
    ///
    /// # Errors
    /// [`TimedOut`] when it still runs at the deadline.
    pub fn wait_for_exit(&mut self, deadline: Duration) -> Result<ExitStatus, TimedOut> {
        let what = format!("{} to end", self.name);
        wait_for(&what, deadline, || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err("it is running".to_owned()),
            Err(error) => Err(error.to_string()),
        })
    }

    /// Sends a signal to the process alone, not to its group.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> nix::Result<()> {
        nix::sys::signal::kill(Pid::from_raw(self.id().cast_signed()), signal)
    }

    /// Asks the process to end, and ends it after a deadline.
    pub fn stop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) && self.signal(Signal::SIGTERM).is_ok() {
            self.wait_for_exit(STOP_DEADLINE).ok();
        }
        self.end_group();
    }

    /// What the process left behind in its group ends too.
    fn end_group(&mut self) {
        killpg(Pid::from_raw(self.id().cast_signed()), Signal::SIGKILL).ok();
        self.child.wait().ok();
    }
}

impl Drop for Process {
    #[expect(clippy::print_stderr, reason = "the test harness shows the output of a failed test only")]
    fn drop(&mut self) {
        self.end_group();
        if std::thread::panicking() {
            eprintln!("--- output of {} ---\n{}", self.name, self.output());
        }
    }
}

fn keep(mut pipe: impl Read + Send + 'static, output: &Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    let output = Arc::clone(output);
    std::thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(length @ 1..) = pipe.read(&mut chunk) {
            output.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&chunk[..length]);
        }
    })
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "these tests run commands")]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::start("a script", command).unwrap()
    }

    #[test]
    fn the_line_that_is_waited_for_is_returned() {
        let mut process = shell("echo one; echo two >&2; sleep 60");
        assert_eq!(process.wait_for_line("tw", Duration::from_secs(10)).unwrap(), "two");
    }

    #[test]
    fn a_process_that_ends_early_fails_the_wait_with_its_output() {
        let mut process = shell("echo no luck; exit 3");
        let story = process.wait_for_line("ready", Duration::from_secs(10)).unwrap_err().to_string();
        assert!(story.contains("exit status: 3") && story.contains("no luck"), "{story}");
    }

    #[test]
    fn grandchildren_end_with_the_value() {
        let mut process = shell("sleep 600 & echo child $!; wait");
        let line = process.wait_for_line("child", Duration::from_secs(10)).unwrap();
        let grandchild: i32 = line.trim_start_matches("child ").parse().unwrap();
        drop(process);
        // A killed grandchild may stay a zombie until its new parent reaps it.
        wait_for("the grandchild to end", Duration::from_secs(10), || {
            match std::fs::read_to_string(format!("/proc/{grandchild}/stat")) {
                Err(_) => Ok(()),
                Ok(stat) if stat.contains(") Z ") => Ok(()),
                Ok(stat) => Err(stat),
            }
        })
        .unwrap();
    }
}
