//! A container's log in real files: rotated, torn, emptied, removed, read again.

use super::super::{Keep, LogFile};
use super::*;
use crate::logs::body::PUT_LOG_EVENTS;
use crate::logs::sink::Destination;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use tempfile::TempDir;

/// Later than every line.
const NOW_MS: i64 = 1_796_100_000_000;

const SEED: [u8; 32] = *b"the same logs in every test run.";

/// An engine's folder of one container, and a keep.
struct Scene {
    root: TempDir,
}

impl Scene {
    fn new() -> Scene {
        let scene = Scene { root: tempfile::tempdir().unwrap() };
        fs::create_dir_all(scene.container()).unwrap();
        scene
    }

    fn container(&self) -> PathBuf {
        self.root.path().join("docker/containers/c0ffee")
    }

    fn log(&self) -> PathBuf {
        self.container().join("c0ffee-json.log")
    }

    fn append(&self, bytes: &[u8]) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        file.write_all(bytes).unwrap();
    }

    fn line(&self, text: &str) {
        self.append(json_line(text, "stdout", 0).as_bytes());
    }

    /// Three files, as the engine is told to keep.
    fn rotate(&self) {
        let name = |age: u32| PathBuf::from(format!("{}.{age}", self.log().display()));
        let _ = fs::rename(name(1), name(2));
        let _ = fs::rename(self.log(), name(1));
        self.append(b"");
    }

    /// A feed as a new run of the agent makes it.
    fn feed(&self, delivered: Option<Place>) -> FileFeed {
        let keep = Keep::new(&self.root.path().join("state"));
        let log = LogFile { path: self.log(), service: "api".to_owned(), digest: None };
        let mut feed = FileFeed::new(
            keep.begin("c0ffee", &log).unwrap(),
            Format::Json(Parser::default()),
            Assembler::new(1000, None),
            None,
        );
        feed.begin(delivered);
        feed
    }
}

fn json_line(text: &str, stream: &str, millisecond: u32) -> String {
    let log = serde_json::to_string(&format!("{text}\n")).unwrap();
    format!("{{\"log\":{log},\"stream\":\"{stream}\",\"time\":\"2026-11-30T13:13:39.{millisecond:03}Z\"}}\n")
}

fn builder() -> Builder {
    let destination = Destination { group: "g".to_owned(), stream: "s".to_owned() };
    Builder::new(&destination, PUT_LOG_EVENTS)
}

/// Reads what there is, and delivers it.
fn read(feed: &mut FileFeed, close: bool) -> Vec<String> {
    let mut texts = Vec::new();
    loop {
        feed.look().unwrap();
        let mut into = builder();
        let then = if close { Then::Silence } else { Then::More };
        let filled = feed.fill(&mut into, then, NOW_MS).unwrap();
        if let Some(body) = into.finish() {
            let request: serde_json::Value = serde_json::from_slice(&body.json()).unwrap();
            let text = |event: &serde_json::Value| event["message"].as_str().unwrap().to_owned();
            texts.extend(request["logEvents"].as_array().unwrap().iter().map(text));
        }
        feed.delivered(filled.behind);
        if !filled.more {
            return texts;
        }
    }
}

#[test]
fn lines_are_read_once_through_rotation() {
    let scene = Scene::new();
    scene.line("one");
    let mut feed = scene.feed(None);
    assert_eq!(read(&mut feed, false), ["one"]);
    scene.line("two");
    scene.rotate();
    scene.line("three");
    assert_eq!(read(&mut feed, false), ["two", "three"]);
    assert_eq!(read(&mut feed, false), [""; 0]);
    for text in ["four", "five", "six", "seven"] {
        scene.rotate();
        scene.line(text);
        feed.look().unwrap();
    }
    assert_eq!(
        read(&mut feed, false),
        ["four", "five", "six", "seven"],
        "the engine has removed two of the files"
    );
    let kept = fs::read_dir(scene.root.path().join("state/logs/c0ffee")).unwrap().count();
    assert!(kept <= 4, "what was delivered and rotated away is not kept: {kept} files");
}

#[test]
fn a_line_without_its_end_is_left_until_it_is_whole() {
    let scene = Scene::new();
    let line = json_line("whole", "stdout", 0);
    let (first, second) = line.as_bytes().split_at(20);
    scene.append(first);
    let mut feed = scene.feed(None);
    assert_eq!(read(&mut feed, true), [""; 0]);
    scene.append(second);
    assert_eq!(read(&mut feed, true), ["whole"]);
}

#[test]
fn what_a_killed_engine_tore_is_delivered_as_it_is() {
    let scene = Scene::new();
    scene.line("before");
    scene.append(b"{\"log\":\"torn");
    scene.line("next");
    scene.append(b"\0\0\0\n");
    scene.append(b"{\"log\":\"at the end");
    scene.rotate();
    scene.line("after");
    let mut feed = scene.feed(None);
    assert_eq!(read(&mut feed, false), ["before", "torn", "next", "\0\0\0", "at the end", "after"]);
}

#[test]
fn a_log_that_was_emptied_is_read_from_its_new_beginning() {
    let scene = Scene::new();
    scene.line("a long line that is before");
    let mut feed = scene.feed(None);
    assert_eq!(read(&mut feed, false).len(), 1);
    OpenOptions::new().write(true).open(scene.log()).unwrap().set_len(0).unwrap();
    scene.line("new");
    assert_eq!(read(&mut feed, false), ["new"]);
}

#[test]
fn a_removed_container_is_read_to_its_end_and_then_nothing_is_kept() {
    let scene = Scene::new();
    scene.line("one");
    let mut feed = scene.feed(None);
    feed.look().unwrap();
    scene.line("last");
    fs::remove_dir_all(scene.container()).unwrap();
    let ahead = feed.look().unwrap();
    assert!(ahead.ended && ahead.owed > 0, "{ahead:?}");
    assert_eq!(read(&mut feed, true), ["one", "last"]);
    assert_eq!(feed.look().unwrap(), Ahead { ended: true, ..Ahead::default() });
    feed.finish();
    assert_eq!(fs::read_dir(scene.root.path().join("state/logs")).unwrap().count(), 0);
}

#[test]
fn what_was_not_delivered_is_read_again() {
    let scene = Scene::new();
    scene.line("one");
    let mut feed = scene.feed(None);
    feed.look().unwrap();
    let filled = feed.fill(&mut builder(), Then::More, NOW_MS).unwrap();
    assert!(filled.behind.offset > 0);
    feed.go_back();
    assert_eq!(read(&mut feed, false), ["one"]);
}

#[test]
fn a_message_whose_end_does_not_come_is_read_when_it_is_asked_for() {
    let scene = Scene::new();
    scene.append(b"{\"log\":\"prompt\",\"stream\":\"stdout\",\"time\":\"2026-11-30T13:13:39Z\"}\n");
    let mut feed = scene.feed(None);
    assert_eq!(read(&mut feed, false), [""; 0]);
    let ahead = feed.look().unwrap();
    assert!(ahead.unread == 0 && ahead.owed > 0, "{ahead:?}");
    assert_eq!(read(&mut feed, true), ["prompt"]);
    assert_eq!(feed.look().unwrap().owed, 0);
}

#[test]
fn over_the_bound_exactly_the_events_of_the_oldest_file_are_given_up() {
    let scene = Scene::new();
    let mut feed = scene.feed(None);
    let mut number = 0;
    for _ in 0..5 {
        for _ in 0..10 {
            scene.line(&format!("{number}"));
            number += 1;
        }
        feed.look().unwrap();
        scene.rotate();
    }
    feed.look().unwrap();
    assert!(feed.kept_bytes() > 0);
    let mut given_up = 0;
    while let Some(gone) = feed.give_up_oldest().unwrap() {
        given_up += gone.events;
        feed.look().unwrap();
    }
    assert_eq!(feed.kept_bytes(), 0);
    let rest = read(&mut feed, false);
    let expected: Vec<String> = (given_up..number).map(|number| number.to_string()).collect();
    assert_eq!(rest, expected, "{given_up} were given up");
    assert!(given_up > 0 && given_up % 10 == 0);
}

/// What happens to a log.
#[derive(Debug, Clone)]
enum Step {
    Write(u8, bool),
    Rotate,
    Read,
    /// The agent is killed, and starts again behind what was delivered.
    Kill,
    /// A batch is not taken.
    Fail,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => (1u8..20, any::<bool>()).prop_map(|(lines, stderr)| Step::Write(lines, stderr)),
        1 => Just(Step::Rotate),
        2 => Just(Step::Read),
        1 => Just(Step::Kill),
        1 => Just(Step::Fail),
    ];
    prop::collection::vec(step, 1..40)
}

#[test]
fn whatever_happens_every_line_is_delivered_once_and_in_order() {
    const CASES: u32 = 300;
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &SEED));
    let run = runner.run(&steps(), |steps| {
        let scene = Scene::new();
        let mut feed = scene.feed(None);
        let (mut written, mut delivered) = (Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Write(lines, stderr) => {
                    for _ in 0..lines {
                        let text = format!("line {}", written.len());
                        scene
                            .append(json_line(&text, if stderr { "stderr" } else { "stdout" }, 1).as_bytes());
                        written.push(text);
                    }
                    feed.look().unwrap();
                }
                Step::Rotate => {
                    scene.rotate();
                    feed.look().unwrap();
                }
                Step::Read => delivered.extend(read(&mut feed, false)),
                Step::Kill => feed = scene.feed(Some(feed.delivered)),
                Step::Fail => {
                    feed.look().unwrap();
                    feed.fill(&mut builder(), Then::More, NOW_MS).unwrap();
                    feed.go_back();
                }
            }
        }
        delivered.extend(read(&mut feed, true));
        prop_assert_eq!(delivered, written);
        Ok(())
    });
    println!("TRIED {CASES} histories of a log, seed {:?}", String::from_utf8_lossy(&SEED));
    if let Err(error) = run {
        panic!("{error}");
    }
}

#[tokio::test]
async fn a_log_that_is_read_to_its_end_rings_when_it_goes_on_and_one_that_is_not_does_not_rest() {
    let scene = Scene::new();
    scene.line("one");
    let watch = crate::host::log_files::watch::Watch::new();
    let mut feed = scene.feed(None);
    feed.news = watch.folder(&scene.container());
    let bell = feed.bell().unwrap();
    let rung =
        async || tokio::time::timeout(std::time::Duration::from_secs(10), bell.notified()).await.is_ok();
    assert!(!feed.look().unwrap().rings, "there is something to read");
    read(&mut feed, false);
    for step in ["a line", "a rotation", "an end"] {
        let ahead = feed.look().unwrap();
        assert!(ahead.rings && ahead.owed == 0, "before {step}: {ahead:?}");
        match step {
            "a line" => scene.line("two"),
            "a rotation" => scene.rotate(),
            _ => fs::remove_dir_all(scene.container()).unwrap(),
        }
        assert!(rung().await, "{step}");
        read(&mut feed, false);
    }
    assert!(feed.look().unwrap().ended);
}
