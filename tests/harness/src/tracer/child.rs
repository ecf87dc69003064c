//! Starts the program that is traced: a fork by hand, because the filter has to be in place between fork and exec, and
//! only after the tracer has attached. In: a [`Program`]; out: the process, stopped by nothing, traced by this thread.
//!
//! Between fork and exec only calls are made that are allowed there: everything that needs memory is made before.

use super::{Program, filter};
use nix::libc;
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork, pipe};
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

/// A started program and what it prints.
pub(super) struct Started {
    pub(super) id: Pid,
    pub(super) stdout: File,
    pub(super) stderr: File,
}

/// Everything that the child needs, made before the fork.
struct Prepared {
    arguments: Vec<CString>,
    environment: Vec<CString>,
    namespace: Option<File>,
    filter: Vec<libc::sock_filter>,
    standard: [RawFd; 3],
    go: OwnedFd,
}

/// Starts it. From here on this thread is its tracer.
pub(super) fn start(program: &Program) -> io::Result<Started> {
    let mut stdin = tempfile::tempfile()?;
    stdin.write_all(&program.input)?;
    stdin.rewind()?;
    let (stdout, stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
    let text = |text: &OsStr| CString::new(text.as_bytes()).map_err(io::Error::other);
    let arguments = std::iter::once(program.path.as_os_str())
        .chain(program.arguments.iter().map(|argument| OsStr::new(argument.as_str())));
    let pair = |(name, value): &(String, String)| text(OsStr::new(&format!("{name}={value}")));
    let (go, gate) = pipe()?;
    let prepared = Prepared {
        arguments: arguments.map(text).collect::<io::Result<_>>()?,
        environment: program.environment.iter().map(pair).collect::<io::Result<_>>()?,
        namespace: program.namespace.as_ref().map(File::open).transpose()?,
        filter: filter::instructions(program.with_reads),
        standard: [stdin.as_raw_fd(), stdout.as_raw_fd(), stderr.as_raw_fd()],
        go,
    };
    // SAFETY: the child makes only calls that are allowed after a fork in a process with several threads, see `turn_into`.
    match unsafe { fork() }? {
        ForkResult::Child => {
            drop(gate);
            turn_into(&prepared)
        }
        ForkResult::Parent { child } => {
            let options = ptrace::Options::PTRACE_O_TRACESECCOMP
                | ptrace::Options::PTRACE_O_TRACEFORK
                | ptrace::Options::PTRACE_O_TRACEVFORK
                | ptrace::Options::PTRACE_O_TRACECLONE
                | ptrace::Options::PTRACE_O_TRACEEXEC
                | ptrace::Options::PTRACE_O_EXITKILL;
            if let Err(errno) = ptrace::seize(child, options) {
                let _ = kill(child, Signal::SIGKILL);
                let _ = waitpid(child, None);
                return Err(errno.into());
            }
            File::from(gate).write_all(b"g")?;
            Ok(Started { id: child, stdout, stderr })
        }
    }
}

/// In the child: waits for the tracer, then becomes the program. Ends with 127 when that cannot be.
fn turn_into(prepared: &Prepared) -> ! {
    const NOT_STARTED: libc::c_int = 127;
    let pointers = |texts: &[CString], into: &mut [*const libc::c_char; 128]| {
        for (place, text) in into.iter_mut().zip(texts.iter().take(127)) {
            *place = text.as_ptr();
        }
    };
    let (mut arguments, mut environment) = ([std::ptr::null(); 128], [std::ptr::null(); 128]);
    pointers(&prepared.arguments, &mut arguments);
    pointers(&prepared.environment, &mut environment);
    let program = libc::sock_fprog {
        len: u16::try_from(prepared.filter.len()).unwrap_or_default(),
        filter: prepared.filter.as_ptr().cast_mut(),
    };
    let mut byte = 0_u8;
    // SAFETY: plain system calls; every pointer leads to what `prepared` or this frame holds, and the lists end in null.
    unsafe {
        let mut fine = libc::read(prepared.go.as_raw_fd(), (&raw mut byte).cast(), 1) == 1;
        if let Some(namespace) = &prepared.namespace {
            fine &= libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNS) == 0;
        }
        for (number, descriptor) in (0..).zip(prepared.standard) {
            fine &= libc::dup2(descriptor, number) == number;
        }
        // Installed by a privileged process, so that the program's own privileges stay as they are.
        fine &= libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) == 0;
        if fine {
            libc::execve(arguments[0], arguments.as_ptr(), environment.as_ptr());
        }
        libc::_exit(NOT_STARTED)
    }
}
