//! The tracer on small programs whose calls are known: where it kills, what goes on, what a failed call looks like.

#![expect(clippy::unwrap_used, reason = "a failing test panics with its story")]

use harness::requirements::{is_root, skipped};
use harness::tracer::{Decision, Ended, Errno, Kind, Program, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A shell that makes two folders by itself, a third one by a child, and a fourth.
const FOUR_FOLDERS: &str = "mkdir one && mkdir two && sh -c 'mkdir three; echo said' && mkdir four";

fn program(folder: &Path, script: &str) -> Program {
    Program {
        path: PathBuf::from("/bin/sh"),
        arguments: vec!["-c".to_owned(), format!("cd {} && {{ {script}; }}", folder.display())],
        environment: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        input: Vec::new(),
        namespace: None,
        with_reads: false,
        ignored: Vec::new(),
        deadline: Duration::from_secs(60),
    }
}

fn may_trace() -> bool {
    if !is_root() {
        skipped("installing a filter without losing privileges needs root");
    }
    is_root()
}

fn decide_at(folder: &Path, wanted: &str, decision: Decision) -> Ended {
    let mut decide =
        |call: &harness::tracer::Call| match call.name.starts_with("mkdir") && call.object == wanted {
            true => decision,
            false => Decision::GoOn,
        };
    run(&program(folder, FOUR_FOLDERS), &mut decide).unwrap()
}

fn made(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn an_undisturbed_run_is_counted_and_its_children_are_named() {
    if !may_trace() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut folders = Vec::new();
    let ended = run(&program(folder.path(), FOUR_FOLDERS), &mut |call| {
        assert_eq!(call.kind, Kind::Change);
        if call.name.starts_with("mkdir") {
            folders.push(format!("{} {}", call.program, call.object));
        }
        Decision::GoOn
    })
    .unwrap();
    assert_eq!(
        (ended.code, ended.stdout.as_str(), ended.late),
        (Some(0), "said\n", false),
        "{}",
        ended.story()
    );
    // The third one is made by what the child has started: it belongs to the child.
    assert_eq!(folders, ["mkdir one", "mkdir two", "sh three", "mkdir four"], "{}", ended.story());
    assert_eq!(made(folder.path()), ["four", "one", "three", "two"]);
    assert!(ended.changes >= 9, "{}", ended.story());
}

#[test]
fn what_is_killed_at_a_call_has_not_made_it() {
    if !may_trace() {
        return;
    }
    for (at, left) in [("one", &[][..]), ("two", &["one"]), ("three", &["one", "two"])] {
        let folder = tempfile::tempdir().unwrap();
        let ended = decide_at(folder.path(), at, Decision::KillAll);
        assert_eq!(ended.code, None, "{}", ended.story());
        assert_eq!(made(folder.path()), left, "killed at {at}: {}", ended.story());
    }
}

#[test]
fn when_only_the_main_program_is_killed_its_child_goes_on() {
    if !may_trace() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let ended = decide_at(folder.path(), "three", Decision::KillMain);
    assert_eq!(ended.code, None, "{}", ended.story());
    assert_eq!(made(folder.path()), ["one", "three", "two"], "{}", ended.story());
}

#[test]
fn a_call_that_is_failed_is_not_made_and_says_why() {
    if !may_trace() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let ended = decide_at(folder.path(), "two", Decision::Fail(Errno::ENOSPC));
    assert!(ended.stderr.contains("No space left on device"), "{}", ended.story());
    assert_eq!(made(folder.path()), ["one"]);
}

#[test]
fn what_hangs_is_ended_with_all_its_children_and_a_story() {
    if !may_trace() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut program = program(folder.path(), "sleep 600 & kill -STOP $!; wait");
    program.deadline = Duration::from_millis(500);
    let ended = run(&program, &mut |_| Decision::GoOn).unwrap();
    assert!(ended.late && ended.code.is_none(), "{}", ended.story());
    assert!(ended.story().contains("PAST ITS DEADLINE") && ended.story().contains("kill"));
}
