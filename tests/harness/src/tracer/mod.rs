//! Runs a whole program with all its threads and children and stops it at every system call that changes something
//! outside of it, so that a test can kill it there, let the call fail, or change the world under it.
//!
//! ptrace(2) with a seccomp filter that traces the calls of a table only: the rest runs at full speed. In: a
//! [`Program`] and a closure that decides at each [`Call`]; out: how it ended. It always holds that a run ends: past
//! its deadline every process of it is killed, and with the tracer's thread they all go. x86-64 only. Not its job:
//! knowing what the calls mean to the program.

mod calls;
mod child;
mod filter;
mod tracee;

pub use calls::Kind;
pub use nix::errno::Errno;

use nix::libc;
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tracee::Entry;

/// As many calls before the end are kept for the story.
const LAST_CALLS: usize = 25;

/// A program that has not run yet.
#[derive(Debug, Clone)]
pub struct Program {
    /// Its full path, as seen in its namespace.
    pub path: PathBuf,
    /// Without the program's own name.
    pub arguments: Vec<String>,
    /// The whole environment.
    pub environment: Vec<(String, String)>,
    /// Its standard input.
    pub input: Vec<u8>,
    /// `/proc/PID/ns/mnt` of the mount namespace that it runs in.
    pub namespace: Option<PathBuf>,
    /// Reads of block devices and looks at names are calls, too.
    pub with_reads: bool,
    /// Programs that are no part of what is tested; what they and their children call is not counted.
    pub ignored: Vec<String>,
    /// Until it has ended with all its children.
    pub deadline: Duration,
}

/// What a thread is about to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Counts the changes from 1; a read or a look has the number of the change before it.
    pub number: usize,
    /// File name of the program that the main one has started and that calls, or of the main one.
    pub program: String,
    /// It is the main program itself.
    pub is_main: bool,
    /// Of the system call.
    pub name: &'static str,
    /// What it does.
    pub kind: Kind,
    /// The path or the file that it is about, as the program sees it.
    pub object: String,
    /// Device number, where a descriptor of a block device is used.
    pub device: Option<u64>,
    /// Third argument: the length of a read or write.
    pub bytes: u64,
    /// Fourth argument: the offset of a `pread` or `pwrite`.
    pub offset: u64,
}

impl std::fmt::Display for Call {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} {} {} {}", self.number, self.program, self.name, self.object)
    }
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is made.
    GoOn,
    /// It is not made: the program and all its children are killed.
    KillAll,
    /// The main program is killed, and its children go on where it lets them; a call of its own is not made.
    KillMain,
    /// It is not made and fails.
    Fail(Errno),
    /// It is not made and gives this back.
    Return(i64),
    /// Its length is at most this.
    Shorten(u64),
}

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// `None` when the main program was killed by a signal.
    pub code: Option<i32>,
    /// What it has printed.
    pub stdout: String,
    /// What it has said.
    pub stderr: String,
    /// How many calls changed something.
    pub changes: usize,
    /// It had not ended by its deadline and was killed.
    pub late: bool,
    last: VecDeque<String>,
}

impl Ended {
    /// For a failing assertion.
    #[must_use]
    pub fn story(&self) -> String {
        let Ended { code, stdout, stderr, changes, late, last } = self;
        let last: Vec<&str> = last.iter().map(String::as_str).collect();
        let late = if *late { ", PAST ITS DEADLINE" } else { "" };
        format!(
            "exit {code:?}, {changes} changes{late}\n--- stdout\n{stdout}\n--- stderr\n{stderr}\n--- last calls\n{}",
            last.join("\n")
        )
    }
}

/// Runs the program; `decide` is asked at each call and may change the world meanwhile.
pub fn run(program: &Program, decide: &mut (dyn FnMut(&Call) -> Decision + Send)) -> io::Result<Ended> {
    // A thread of its own: a tracer waits for its own children only, and may have no others.
    std::thread::scope(|scope| {
        let traced = scope.spawn(|| Trace::start(program)?.follow(decide));
        traced.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A thread of the program, or of a child.
#[derive(Debug, Clone, Default)]
struct Thread {
    process: i32,
    /// The program that the main one has started; `None` for the main one.
    program: Option<String>,
    /// What it is about to execute.
    executes: String,
}

struct Trace<'program> {
    program: &'program Program,
    main: Pid,
    name: String,
    stdout: File,
    stderr: File,
    ignored: Vec<(u64, u64)>,
    threads: BTreeMap<i32, Thread>,
    /// Stopped before their parent has said whose they are.
    early: BTreeSet<i32>,
    /// Kept stopped until the main program is dead.
    held: Vec<Pid>,
    /// All living processes, for the one who watches the deadline.
    living: Arc<Mutex<BTreeSet<i32>>>,
    killing: bool,
    changes: usize,
    last: VecDeque<String>,
    code: Option<i32>,
}

impl<'program> Trace<'program> {
    fn start(program: &'program Program) -> io::Result<Trace<'program>> {
        let started = child::start(program)?;
        let file = |file: &File| file.metadata().map(|metadata| (metadata.dev(), metadata.ino()));
        let ignored = vec![file(&started.stdout)?, file(&started.stderr)?];
        let main = started.id;
        let thread = Thread { process: main.as_raw(), ..Thread::default() };
        let name = program.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Trace {
            program,
            main,
            name,
            stdout: started.stdout,
            stderr: started.stderr,
            ignored,
            threads: BTreeMap::from([(main.as_raw(), thread)]),
            early: BTreeSet::new(),
            held: Vec::new(),
            living: Arc::new(Mutex::new(BTreeSet::from([main.as_raw()]))),
            killing: false,
            changes: 0,
            last: VecDeque::new(),
            code: None,
        })
    }

    /// Until the last process has ended.
    fn follow(mut self, decide: &mut (dyn FnMut(&Call) -> Decision + Send)) -> io::Result<Ended> {
        let (living, deadline) = (Arc::clone(&self.living), self.program.deadline);
        let (ended, has_ended) = channel::<()>();
        let watch = std::thread::spawn(move || {
            let late = has_ended.recv_timeout(deadline) == Err(RecvTimeoutError::Timeout);
            while late && has_ended.recv_timeout(Duration::from_millis(100)) == Err(RecvTimeoutError::Timeout)
            {
                kill_each(&living);
            }
            late
        });
        // Only what this thread has started or traces: other tests wait for their own children.
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        let followed = loop {
            match waitpid(None::<Pid>, Some(flags)) {
                Ok(status) => self.step(status, decide),
                Err(Errno::EINTR) => {}
                Err(Errno::ECHILD) => break Ok(()),
                Err(errno) => break Err(errno),
            }
        };
        drop(ended);
        let late = watch.join().unwrap_or(true);
        followed?;
        let (stdout, stderr) = (text(&mut self.stdout)?, text(&mut self.stderr)?);
        Ok(Ended { code: self.code, stdout, stderr, changes: self.changes, late, last: self.last })
    }

    fn step(&mut self, status: WaitStatus, decide: &mut (dyn FnMut(&Call) -> Decision + Send)) {
        match status {
            WaitStatus::Exited(id, code) => self.has_ended(id, Some(code)),
            WaitStatus::Signaled(id, ..) => self.has_ended(id, None),
            WaitStatus::PtraceEvent(id, signal, event) => match event {
                libc::PTRACE_EVENT_SECCOMP => self.stopped_at_call(id, decide),
                libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE => {
                    self.has_a_child(id);
                    resume(id, None);
                }
                libc::PTRACE_EVENT_EXEC => {
                    self.executes(id);
                    resume(id, None);
                }
                libc::PTRACE_EVENT_STOP if signal == Signal::SIGTRAP => self.begins(id),
                // A group stop: it stays stopped until SIGCONT.
                libc::PTRACE_EVENT_STOP => listen(id),
                _ => resume(id, None),
            },
            WaitStatus::Stopped(id, signal) => resume(id, Some(signal)),
            _ => {}
        }
    }

    fn has_ended(&mut self, id: Pid, code: Option<i32>) {
        self.threads.remove(&id.as_raw());
        self.early.remove(&id.as_raw());
        self.lock_living().remove(&id.as_raw());
        if id == self.main {
            self.code = code;
            self.held.drain(..).for_each(|held| resume(held, None));
            // Its last children, if it died before it could say that they are its.
            std::mem::take(&mut self.early).into_iter().for_each(|early| self.adopt(early));
        }
    }

    fn adopt(&mut self, id: i32) {
        self.threads.insert(id, Thread { process: id, ..Thread::default() });
        resume(Pid::from_raw(id), None);
    }

    fn lock_living(&self) -> std::sync::MutexGuard<'_, BTreeSet<i32>> {
        self.living.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A fork, vfork or clone: the child is of the same program until it executes another one.
    fn has_a_child(&mut self, parent: Pid) {
        let Some(child) = ptrace::getevent(parent).ok().and_then(|id| i32::try_from(id).ok()) else { return };
        let program = self.threads.get(&parent.as_raw()).and_then(|thread| thread.program.clone());
        let process = process_of(child).unwrap_or(child);
        self.threads.insert(child, Thread { process, program, ..Thread::default() });
        self.lock_living().insert(process);
        if self.killing {
            kill_each(&self.living);
        }
        if self.early.remove(&child) {
            resume(Pid::from_raw(child), None);
        }
    }

    /// The first stop of a new thread may come before its parent's.
    fn begins(&mut self, id: Pid) {
        if self.threads.contains_key(&id.as_raw()) {
            return resume(id, None);
        }
        self.lock_living().insert(process_of(id.as_raw()).unwrap_or(id.as_raw()));
        if self.killing {
            kill_each(&self.living);
        }
        if self.killing || !self.threads.contains_key(&self.main.as_raw()) {
            self.adopt(id.as_raw());
        } else {
            self.early.insert(id.as_raw());
        }
    }

    fn executes(&mut self, id: Pid) {
        // It may have been another thread, whose number is gone now.
        let former = ptrace::getevent(id).ok().and_then(|id| i32::try_from(id).ok()).unwrap_or(id.as_raw());
        let Some(mut thread) = self.threads.remove(&former) else { return };
        let name = thread.executes.rsplit('/').next().unwrap_or_default().to_owned();
        thread.executes.clear();
        thread.process = id.as_raw();
        if id != self.main && thread.program.is_none() {
            thread.program = Some(name);
        }
        self.threads.insert(id.as_raw(), thread);
    }

    fn stopped_at_call(&mut self, id: Pid, decide: &mut (dyn FnMut(&Call) -> Decision + Send)) {
        let Some(entry) = Entry::of(id) else { return resume(id, None) };
        let Some(mut call) = self.call(id, &entry) else { return resume(id, None) };
        call.number = self.changes;
        if self.last.len() == LAST_CALLS {
            self.last.pop_front();
        }
        self.last.push_back(call.to_string());
        let decision = decide(&call);
        match decision {
            Decision::KillAll => {
                self.killing = true;
                kill_each(&self.living);
            }
            Decision::KillMain => {
                let _ = kill(self.main, Signal::SIGKILL);
                if !call.is_main {
                    self.held.push(id);
                    return;
                }
            }
            _ => entry.bend(decision),
        }
        resume(id, None);
    }

    /// The call, if it counts.
    fn call(&mut self, id: Pid, entry: &Entry) -> Option<Call> {
        let thread = self.threads.get_mut(&id.as_raw())?;
        let program = thread.program.as_ref().unwrap_or(&self.name).clone();
        let is_main = thread.process == self.main.as_raw();
        if self.program.ignored.contains(&program) {
            return None;
        }
        let mut call = entry.call(&self.ignored)?;
        if call.name.starts_with("execve") {
            thread.executes.clone_from(&call.object);
        }
        if call.kind == Kind::Look && !self.program.with_reads {
            return None;
        }
        self.changes += usize::from(call.kind == Kind::Change);
        (call.program, call.is_main) = (program, is_main);
        Some(call)
    }
}

/// The process that a thread belongs to.
fn process_of(thread: i32) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Tgid:"))?.trim().parse().ok()
}

fn kill_each(living: &Mutex<BTreeSet<i32>>) {
    for process in living.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        let _ = kill(Pid::from_raw(*process), Signal::SIGKILL);
    }
}

/// One that was killed while it was stopped is not there to go on, and that is fine.
fn resume(id: Pid, signal: Option<Signal>) {
    let _ = ptrace::cont(id, signal);
}

fn listen(id: Pid) {
    // SAFETY: no pointer is passed.
    unsafe {
        libc::ptrace(libc::PTRACE_LISTEN, id.as_raw(), 0, 0);
    }
}

fn text(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
