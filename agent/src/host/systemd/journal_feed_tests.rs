//! Journal files as systemd's own writer makes them, read through libsystemd. Where that writer (systemd-journal-remote)
//! is not installed, these tests say so and do nothing.

#![expect(clippy::disallowed_methods, reason = "runs the writer of journal files")]

use super::*;
use std::cell::Cell;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use tempfile::TempDir;

const WRITERS: [&str; 2] = ["/usr/lib/systemd/systemd-journal-remote", "/lib/systemd/systemd-journal-remote"];

/// The boot in which what is written here was written. Not the one that this runs in.
const BOOT: &str = "0123456789abcdef0123456789abcdef";

/// The first entry's time, in seconds since 1970; each next one is a second later.
const FIRST_SECOND: u64 = 1_700_000_000;

/// A folder with journal files.
struct Scratch {
    folder: TempDir,
    writer: PathBuf,
    boot: String,
    second: Cell<u64>,
}

impl Scratch {
    /// `None`, said, where there is no writer.
    fn new() -> Option<Scratch> {
        let writer = WRITERS.iter().map(PathBuf::from).find(|path| path.exists());
        if writer.is_none() {
            println!(
                "SKIPPED: the package systemd-journal-remote, which writes journal files, is not installed"
            );
        }
        let folder = tempfile::tempdir().unwrap();
        Some(Scratch { folder, writer: writer?, boot: BOOT.to_owned(), second: Cell::new(0) })
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(format!("{file}.journal"))
    }

    /// Appends entries, each of them fields.
    fn write(&self, file: &str, entries: &[&[(&str, &str)]]) {
        let mut writer = Command::new(&self.writer);
        writer.arg("--output").arg(self.path(file)).arg("-").stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = writer.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        for fields in entries {
            let second = self.second.get();
            self.second.set(second + 1);
            let realtime = (FIRST_SECOND + second) * 1_000_000;
            writeln!(input, "__REALTIME_TIMESTAMP={realtime}").unwrap();
            writeln!(input, "__MONOTONIC_TIMESTAMP={}", (second + 1) * 1_000_000).unwrap();
            writeln!(input, "_BOOT_ID={}", self.boot).unwrap();
            for (name, value) in *fields {
                // The form for values with line breaks in them.
                input.write_all(format!("{name}\n").as_bytes()).unwrap();
                input.write_all(&(value.len() as u64).to_le_bytes()).unwrap();
                input.write_all(format!("{value}\n").as_bytes()).unwrap();
            }
            writeln!(input).unwrap();
        }
        drop(input);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Appends these messages of one unit.
    fn say(&self, file: &str, unit: &str, messages: &[&str]) {
        let fields: Vec<_> =
            messages.iter().map(|text| [("_SYSTEMD_UNIT", unit), ("MESSAGE", text)]).collect();
        let fields: Vec<&[(&str, &str)]> = fields.iter().map(|fields| fields.as_slice()).collect();
        self.write(file, &fields);
    }

    fn open(&self, wanted: Wanted, begin: &Begin) -> JournalFeed {
        JournalFeed::open_directory(self.folder.path(), wanted, begin).unwrap()
    }

    fn after(&self, cursor: &str) -> JournalFeed {
        self.open(units(&["a.service"]), &Begin::After(cursor.to_owned()))
    }
}

fn units(names: &[&str]) -> Wanted {
    Wanted { units: Units::These(names.iter().map(|name| (*name).to_owned()).collect()), kernel: false }
}

const ALL: Begin = Begin::Since(0);

fn rest(feed: &mut JournalFeed) -> Vec<Entry> {
    std::iter::from_fn(|| feed.read_next().unwrap()).collect()
}

fn texts(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|entry| String::from_utf8(entry.message.clone()).unwrap()).collect()
}

/// Reads on until something comes: the kernel tells of changes, and that may be of another one first.
fn wait_for_more(feed: &mut JournalFeed) -> Vec<String> {
    for _ in 0..100 {
        let found = texts(&rest(feed));
        if !found.is_empty() {
            return found;
        }
        feed.wait(Duration::from_millis(100)).unwrap();
    }
    panic!("nothing came within ten seconds");
}

#[test]
fn entries_of_units_of_systemd_about_them_and_of_the_kernel_about_memory() {
    let Some(scratch) = Scratch::new() else { return };
    let killed = "Out of memory: Killed process 17 (python3) total-vm:1kB";
    scratch.write(
        "x",
        &[
            &[("_SYSTEMD_UNIT", "a.service"), ("MESSAGE", "one\nof two lines")],
            &[("_SYSTEMD_UNIT", "b.service"), ("MESSAGE", "another unit")],
            &[
                ("_SYSTEMD_UNIT", "init.scope"),
                ("_PID", "1"),
                ("UNIT", "a.service"),
                ("MESSAGE", "Started a"),
            ],
            &[("_SYSTEMD_UNIT", "b.service"), ("_PID", "7"), ("UNIT", "a.service"), ("MESSAGE", "a claim")],
            &[("_TRANSPORT", "kernel"), ("MESSAGE", "eth0: link up")],
            &[("_TRANSPORT", "kernel"), ("MESSAGE", killed)],
            &[("_SYSTEMD_UNIT", "b.service"), ("MESSAGE", killed)],
            &[("_TRANSPORT", "audit"), ("MESSAGE", "of no unit")],
            &[("_SYSTEMD_UNIT", "a.service"), ("CONTAINER_ID", "0a1b"), ("MESSAGE", "")],
        ],
    );
    let found = rest(&mut scratch.open(Wanted { kernel: true, ..units(&["a.service"]) }, &ALL));
    assert_eq!(texts(&found), ["one\nof two lines", "Started a", killed, ""]);
    let a = || Origin::Unit("a.service".to_owned());
    let origins: Vec<_> = found.iter().map(|entry| entry.origin.clone()).collect();
    assert_eq!(origins, [a(), a(), Origin::Kernel, a()]);
    let millisecond = i64::try_from(FIRST_SECOND).unwrap() * 1000;
    assert_eq!((found[0].timestamp_ms, found[3].timestamp_ms), (millisecond, millisecond + 8000));
    assert_eq!((found[0].container.as_deref(), found[3].container.as_deref()), (None, Some("0a1b")));
    let mut none_of_the_kernel = scratch.open(units(&["a.service"]), &ALL);
    assert_eq!(rest(&mut none_of_the_kernel).len(), 3);
    let mut kernel_alone = scratch.open(Wanted { kernel: true, ..units(&[]) }, &ALL);
    assert_eq!(texts(&rest(&mut kernel_alone)), [killed]);
    let all = Wanted { units: Units::All, kernel: false };
    let all = texts(&rest(&mut scratch.open(all, &ALL)));
    assert_eq!(all, ["one\nof two lines", "another unit", "Started a", "a claim", killed, ""]);
    assert!(rest(&mut scratch.open(units(&[]), &ALL)).is_empty(), "nothing is wanted");
    assert_eq!(rest(&mut scratch.open(units(&["a.service"]), &Begin::Since(millisecond + 1))).len(), 2);
}

#[test]
fn reading_goes_on_behind_every_cursor() {
    let Some(scratch) = Scratch::new() else { return };
    let words: Vec<String> = (0..20).map(|number| format!("line {number}")).collect();
    for (index, pair) in words.chunks(2).enumerate() {
        // Two files whose entries are one after the other by turns, as with the journals of system and users.
        let pair: Vec<&str> = pair.iter().map(String::as_str).collect();
        scratch.say(if index % 2 == 0 { "x" } else { "y" }, "a.service", &pair);
        scratch.say("x", "b.service", &["between"]);
    }
    let entries = rest(&mut scratch.open(units(&["a.service"]), &ALL));
    assert_eq!(texts(&entries), words);
    for (index, entry) in entries.iter().enumerate() {
        let mut feed = scratch.after(&entry.cursor);
        assert_eq!(feed.began(), Began::AsAsked);
        assert_eq!(texts(&rest(&mut feed)), words[index + 1..]);
    }
    // A cursor of a unit that is not asked for any more is there all the same.
    for (index, entry) in rest(&mut scratch.open(units(&["b.service"]), &ALL)).iter().enumerate() {
        let mut feed = scratch.after(&entry.cursor);
        assert_eq!(feed.began(), Began::AsAsked);
        assert_eq!(texts(&rest(&mut feed)), words[(index + 1) * 2..]);
    }
}

#[test]
fn what_is_written_while_it_is_read_comes_also_in_a_new_file_and_after_one_was_deleted() {
    let Some(scratch) = Scratch::new() else { return };
    let mut feed = scratch.open(units(&["a.service"]), &ALL);
    assert_eq!(feed.read_next().unwrap(), None, "an empty folder");
    feed.wait(Duration::ZERO).unwrap();
    scratch.say("x", "a.service", &["one"]);
    assert_eq!(wait_for_more(&mut feed), ["one"]);
    scratch.say("x", "a.service", &["two"]);
    assert_eq!(wait_for_more(&mut feed), ["two"]);
    std::fs::rename(scratch.path("x"), scratch.path("x@1")).unwrap();
    scratch.say("x", "a.service", &["three"]);
    assert_eq!(wait_for_more(&mut feed), ["three"], "rotated");
    std::fs::remove_file(scratch.path("x@1")).unwrap();
    scratch.say("x", "a.service", &["four"]);
    assert_eq!(wait_for_more(&mut feed), ["four"], "vacuumed");
    let begin = std::time::Instant::now();
    while feed.wait(Duration::from_millis(1)).unwrap() {}
    assert!(begin.elapsed() < Duration::from_secs(10), "it waits no longer than it is told");
}

#[test]
fn a_cursor_that_was_vacuumed_is_said_and_what_is_left_behind_it_is_given() {
    let Some(scratch) = Scratch::new() else { return };
    scratch.say("before", "a.service", &["before"]);
    scratch.say("gone", "a.service", &["cursor", "lost"]);
    scratch.say("left", "b.service", &["of another unit"]);
    scratch.say("left", "a.service", &["left", "last"]);
    let entries = rest(&mut scratch.open(units(&["a.service"]), &ALL));
    std::fs::remove_file(scratch.path("gone")).unwrap();
    let mut feed = scratch.after(&entries[1].cursor);
    assert_eq!(feed.began(), Began::BehindAGap);
    assert_eq!(texts(&rest(&mut feed)), ["left", "last"]);
}

#[test]
fn a_cursor_behind_everything_gives_again_what_only_the_clock_says_was_delivered() {
    let Some(mut scratch) = Scratch::new() else { return };
    scratch.say("left", "a.service", &["left"]);
    scratch.say("gone", "a.service", &["gone"]);
    let other_boot = rest(&mut scratch.open(units(&["a.service"]), &ALL)).pop().unwrap().cursor;
    std::fs::remove_file(scratch.path("gone")).unwrap();
    let mut feed = scratch.after(&other_boot);
    assert_eq!((feed.began(), texts(&rest(&mut feed))), (Began::Again, vec!["left".to_owned()]));
    // The same in the boot that this runs in: what is there is older for certain.
    scratch.boot = Id128::from_boot().unwrap().to_string();
    scratch.say("this", "a.service", &["this"]);
    scratch.say("gone", "a.service", &["gone"]);
    let this_boot = rest(&mut scratch.open(units(&["a.service"]), &ALL)).pop().unwrap().cursor;
    std::fs::remove_file(scratch.path("gone")).unwrap();
    let mut feed = scratch.after(&this_boot);
    assert_eq!((feed.began(), rest(&mut feed)), (Began::BehindAGap, Vec::new()));
    feed.wait(Duration::ZERO).unwrap();
    scratch.say("this", "a.service", &["new"]);
    assert_eq!(wait_for_more(&mut feed), ["new"]);
    // The clock was set back between two boots: this one is behind the other, whatever the times say.
    let mut feed = scratch.after(&other_boot.replace(";t=6", ";t=7"));
    assert_eq!((feed.began(), texts(&rest(&mut feed)).join(" ")), (Began::Again, "left this new".to_owned()));
}

#[test]
fn a_cursor_before_an_empty_journal_waits_for_what_comes() {
    let Some(mut scratch) = Scratch::new() else { return };
    scratch.boot = Id128::from_boot().unwrap().to_string();
    scratch.say("x", "a.service", &["one"]);
    let cursor = rest(&mut scratch.open(units(&["a.service"]), &ALL)).pop().unwrap().cursor;
    std::fs::remove_file(scratch.path("x")).unwrap();
    let mut feed = scratch.after(&cursor);
    assert_eq!((feed.began(), feed.read_next().unwrap()), (Began::BehindAGap, None));
    feed.wait(Duration::ZERO).unwrap();
    scratch.say("x", "a.service", &["two"]);
    assert_eq!(wait_for_more(&mut feed), ["two"]);
}

#[test]
fn what_is_no_cursor_gives_everything_again_and_says_so() {
    let Some(scratch) = Scratch::new() else { return };
    scratch.say("x", "a.service", &["one"]);
    scratch.say("x", "b.service", &["two"]);
    for cursor in ["", "garbage", "s=1;i=x", "\0"] {
        let mut feed = scratch.after(cursor);
        assert_eq!(
            (feed.began(), texts(&rest(&mut feed))),
            (Began::Again, vec!["one".to_owned()]),
            "{cursor:?}"
        );
    }
}

#[test]
fn a_large_message_is_whole_and_a_huge_one_is_cut_and_says_so() {
    let Some(scratch) = Scratch::new() else { return };
    let (large, huge) = ("x".repeat(1 << 20), "y".repeat(MESSAGE_BYTES + 9));
    scratch.say("x", "a.service", &[&large, &huge]);
    let found = rest(&mut scratch.open(units(&["a.service"]), &ALL));
    let sizes: Vec<_> = found.iter().map(|entry| (entry.message.len(), entry.is_cut)).collect();
    assert_eq!(sizes, [(1 << 20, false), (MESSAGE_BYTES, true)]);
    assert_eq!(format!("{:?}", found[0]), "Entry(1700000000000 ms, Unit(\"a.service\"), 1048576 bytes)");
}

#[test]
fn a_folder_that_is_not_there_is_named_as_what_could_not_be_opened() {
    let path = Path::new("/nonexistent/journal");
    let error = JournalFeed::open_directory(path, units(&["a.service"]), &ALL).err().unwrap();
    assert_eq!(error.to_string(), "cannot open the journal");
}
