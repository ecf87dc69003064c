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
    let mut entries: Vec<_> = fs::read_dir(runs).into_iter().flatten().flatten().collect();
    // Machines before the volumes that they have mounted.
    entries.sort_by_key(|entry| !entry.path().is_dir());
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(owner) = name.split('-').nth(1).and_then(|pid| pid.parse().ok()) else { continue };
        if !gone(owner) {
            continue;
        }
        if entry.path().is_dir() {
            stop_machine(&name);
            end_members(&name);
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
            let own = std::process::id();
            sweep(&runs, |owner| owner == own);
            // The registry and what else runs for this process, each in a group of its own.
            for child in children(own.cast_signed()) {
                let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(child), Signal::SIGTERM);
            }
            std::process::exit(INTERRUPTED);
        }
    });
}

/// Whether no process has this id.
#[must_use]
pub fn is_gone(pid: u32) -> bool {
    !Path::new("/proc").join(pid.to_string()).exists()
}

/// A child of this very process stays a zombie for as long as nobody waits for it.
fn has_ended(pid: i32) -> bool {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.contains(") Z "),
        Err(_) => true,
    }
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
        let ended = || if has_ended(pid.as_raw()) { Ok(()) } else { Err("it runs".to_owned()) };
        let _ = crate::wait::wait_for("systemd-nspawn to end", super::STOP_DEADLINE, ended);
    }
}

/// Ends every process of the instance `name`: its process 1 outlives a systemd-nspawn that is killed, and with it
/// everything inside.
pub(super) fn end_members(name: &str) {
    let _ = crate::wait::wait_for("the instance's processes to end", super::STOP_DEADLINE, || {
        let members = members(name);
        for pid in &members {
            let pid = nix::unistd::Pid::from_raw(*pid);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
        if members.is_empty() { Ok(()) } else { Err(format!("{members:?} run")) }
    });
}

/// Processes whose root is the instance's. Those of containers go with its process 1; a zombie has no root any more.
fn members(name: &str) -> Vec<i32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = processes.filter_map(|entry| entry.file_name().to_string_lossy().parse::<i32>().ok());
    let inside = |pid: &i32| {
        let hostname = fs::read_to_string(format!("/proc/{pid}/root/etc/hostname")).unwrap_or_default();
        hostname.trim() == name
    };
    processes.filter(inside).collect()
}

/// The children of all threads of a process.
fn children(pid: i32) -> Vec<i32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.map(|thread| fs::read_to_string(thread.path().join("children")).unwrap_or_default());
    lists.flat_map(|list| list.split_whitespace().flat_map(str::parse).collect::<Vec<i32>>()).collect()
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
