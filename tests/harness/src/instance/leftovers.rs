//! What a run that was killed left behind: found by the process id in its name, and removed piece by piece.

use super::{dismantle, run_on_host};
use nix::sys::signal::{SigSet, Signal};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// As a shell reports an interrupted program: 128 and SIGINT.
const INTERRUPTED: i32 = 130;

/// Removes everything under `runs` that belongs to a process of which `gone` is true: machine, mounts, namespace,
/// control groups, loop devices, files.
pub fn sweep(runs: &Path, gone: impl Fn(u32) -> bool) {
    for entry in fs::read_dir(runs).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(owner) = name.split('-').nth(1).and_then(|pid| pid.parse().ok()) else { continue };
        if !gone(owner) {
            continue;
        }
        if entry.path().is_dir() {
            stop_machine(&name);
            let _ = run_on_host("ip", &["netns", "delete", &name], None);
            dismantle(&entry.path(), &name);
        } else {
            detach(&entry.path());
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Removes what this process has under `runs` when it is asked to end, and ends it. To be called before any other thread
/// is started, so that none of them takes the signal.
#[expect(clippy::print_stderr, reason = "taking down takes a moment, and a person waits for it")]
pub fn sweep_on_signal(runs: PathBuf) {
    let mut signals = SigSet::empty();
    signals.extend([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    if signals.thread_block().is_err() {
        return;
    }
    std::thread::spawn(move || {
        if signals.wait().is_ok() {
            eprintln!("\ntaking it down");
            sweep(&runs, |owner| owner == std::process::id());
            std::process::exit(INTERRUPTED);
        }
    });
}

/// Whether no process has this id.
#[must_use]
pub fn is_gone(pid: u32) -> bool {
    !Path::new("/proc").join(pid.to_string()).exists()
}

fn stop_machine(name: &str) {
    let wanted = format!("--machine={name}");
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if !line.split(|byte| *byte == 0).any(|argument| argument == wanted.as_bytes()) {
            continue;
        }
        let pid = nix::unistd::Pid::from_raw(pid);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        let ended = || if is_gone(pid.as_raw().cast_unsigned()) { Ok(()) } else { Err("it runs".to_owned()) };
        let _ = crate::wait::wait_for("systemd-nspawn to end", super::STOP_DEADLINE, ended);
    }
}

fn detach(file: &Path) {
    let output = Command::new("losetup")
        .args(["--list", "--noheadings", "--output", "NAME", "--associated"])
        .arg(file)
        .output();
    let names = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    for name in names.split_whitespace() {
        let _ = run_on_host("losetup", &["--detach", name], None);
    }
}
