//! The agent is killed before a change that it makes to its record of models, one system call after the other.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use harness::tracer::{Call, Decision, Program, run};
use harness::wait::wait_for;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::bench::{AGENT, Bench, PATIENCE};
use crate::kills::{Before, Sums, goes_on, recorded};
use crate::story::Chapter;

/// The traced agent is slower than one that is not, and must end.
const DEADLINE: Duration = Duration::from_secs(120);

/// The changes of a chapter, in order, where nobody is killed.
pub(crate) fn record(bench: &mut Bench, chapter: Chapter) -> Result<Vec<String>, String> {
    let (changes, _) = traced(bench, chapter, usize::MAX)?;
    Ok(changes)
}

/// Kills before the change of that number, from 1, and looks what becomes of it. Where there are fewer this time, it strikes
/// before an earlier one.
pub(crate) fn go(bench: &mut Bench, chapter: Chapter, number: usize, sums: &Sums) -> Result<(), String> {
    let begun = Instant::now();
    let ended = traced(bench, chapter, number);
    if matches!(ended, Ok((_, false))) && number > 1 {
        return go(bench, chapter, number / 2, sums);
    }
    let went = ended.and_then(|(_, struck)| {
        if !struck {
            sums.missed.fetch_add(1, Ordering::AcqRel);
            return Ok(());
        }
        bench.until_pulls_have_ended()?;
        let kept = recorded(bench);
        let before = Before { kept, requests: bench.registry.served().len() };
        bench.start_agent();
        goes_on(bench, chapter, &before)?;
        sums.count(begun);
        Ok(())
    });
    went.map_err(|why| {
        format!("{chapter:?}, killed before change {number} of the record: {why}\n{}", bench.told())
    })
}

/// Runs the agent until the change of that number, or the end of the chapter. The changes, and whether it was killed.
fn traced(bench: &mut Bench, chapter: Chapter, number: usize) -> Result<(Vec<String>, bool), String> {
    chapter.open(bench);
    let program = Program {
        path: PathBuf::from(AGENT),
        arguments: vec!["--root".to_owned(), bench.tree().display().to_string()],
        environment: bench.environment(),
        input: Vec::new(),
        namespace: None,
        with_reads: false,
        ignored: Vec::new(),
        deadline: DEADLINE,
    };
    let (counts, struck) = (AtomicBool::new(chapter == Chapter::First), Arc::new(AtomicBool::new(false)));
    let changes = Mutex::new(Vec::new());
    let mut decide = |call: &Call| {
        if !counts.load(Ordering::Acquire)
            || !call.object.contains("/models.json") && !call.object.contains(".models.")
        {
            return Decision::GoOn;
        }
        let mut changes = changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.push(format!("{} {}", call.name, call.object));
        if changes.len() == number {
            struck.store(true, Ordering::Release);
            return Decision::KillAll;
        }
        Decision::GoOn
    };
    let came = std::thread::scope(|scope| {
        let running = scope.spawn(|| run(&program, &mut decide));
        let opened = chapter.until_open(bench);
        chapter.set(bench);
        counts.store(true, Ordering::Release);
        chapter.begin(bench);
        let look = || match struck.load(Ordering::Acquire) || chapter.is_over(bench) {
            true => Ok(()),
            false => Err("neither".to_owned()),
        };
        let waited = wait_for("the kill, or the end", PATIENCE, look).map_err(|error| error.to_string());
        end(&bench.tree().display().to_string());
        let ended = running.join().unwrap().map_err(|error| error.to_string());
        let story = |why: String, ended: &str| format!("{why}\n{ended}");
        let ended = ended.map(|ended| ended.story())?;
        opened.and(waited).map_err(|why| story(why, &ended))
    });
    came?;
    let changes = changes.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok((changes, struck.load(Ordering::Acquire)))
}

/// Ends the agent of that tree, which is the tracer's child and not ours.
fn end(tree: &str) {
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(process) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let mut arguments = command.split(|byte| *byte == 0);
        let (program, root) = (arguments.next(), arguments.nth(1));
        if program.is_some_and(|program| program.ends_with(b"node-agent")) && root == Some(tree.as_bytes()) {
            kill(Pid::from_raw(process), Signal::SIGKILL).ok();
        }
    }
}
