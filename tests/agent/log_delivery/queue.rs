//! Where the agent keeps what it remembers there is no room, or no more than it may take; and times that go back.

use crate::Situation;
use crate::scene::{ARRIVAL, Verdict, begin, lasting, until, until_written};
use harness::log_node::{LogNode, Writer};
use harness::requirements::tried;
use harness::wait::wait_for;
use log_endpoint::Fault;
use log_endpoint::numbered::{Times, append_json_file};
use nix::mount::{MsFlags, mount};
use std::io::Write as _;
use std::time::{Duration, Instant};

pub(crate) const SITUATIONS: &[Situation] = &[
    ("disk_full", disk_full),
    ("queue_at_its_bound", queue_at_its_bound),
    ("clock_stepping_back", clock_stepping_back),
];

/// No cursor can be written; what is delivered is delivered. A kill repeats what was delivered since the disk was full.
fn disk_full(node: &mut LogNode) {
    const PACE: u64 = 2_000;
    let lasts = lasting(40, 6);
    let lines = PACE * (lasts.as_secs() + 6);
    std::fs::create_dir_all(node.state()).expect("a folder");
    let (kind, size) = (Some("tmpfs"), Some("size=4m"));
    mount(Some("state"), &node.state(), kind, MsFlags::empty(), size).expect("a small disk");
    begin(node, &Writer::of("api", &format!("numbered={lines}@{PACE}")), "");
    let began = Instant::now();
    let filler = node.state().join("filler");
    let mut file = std::fs::File::create(&filler).expect("a file");
    let full =
        std::iter::repeat_with(|| file.write_all(&[1; 4096])).find_map(Result::err).expect("a full disk");
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    until(began, lasts / 2);
    node.kill_agent();
    node.start_agent(None).expect("the agent starts on a full disk");
    until(began, lasts);
    drop(file);
    std::fs::remove_file(&filler).expect("removed");
    let since = PACE * lasts.as_secs();
    let verdict = Verdict { duplicates: since, ..Verdict::of("disk full", "api") };
    verdict.on(node, 0..lines);
}

/// More is written than the engine keeps and the queue may hold: what had to go is counted, line by line.
fn queue_at_its_bound(node: &mut LogNode) {
    const PACE: u64 = 50_000;
    const LINES: u64 = 8 * PACE;
    let id = begin(node, &Writer::of("api", &format!("numbered={LINES}@{PACE}")), "queue = \"16m\"");
    node.endpoint.begin(Fault::Unavailable, Duration::from_secs(600));
    until_written(&node.log_file(&id).expect("its path"), LINES - 1);
    node.endpoint.begin(Fault::Unavailable, Duration::ZERO);
    let dropped = || node.status()["logs"]["events_dropped"].as_u64().unwrap_or_default();
    let settled = || match (node.seen("api").distinct, dropped()) {
        (arrived, dropped) if arrived + dropped >= LINES => Ok(dropped),
        (arrived, dropped) => Err(format!("{arrived} arrived, {dropped} dropped, of {LINES}")),
    };
    let dropped = wait_for("every line to arrive or to be counted", ARRIVAL, settled)
        .unwrap_or_else(|story| panic!("{story}\n{}", node.agent_log()));
    let seen = node.seen("api");
    let missing: u64 = seen.missing(0..LINES).iter().map(|range| range.end - range.start).sum();
    tried(&format!(
        "queue at its bound: {LINES} lines, {missing} missing, {dropped} counted as dropped, {} twice, {} out of order",
        seen.duplicates,
        seen.out_of_order(1)
    ));
    assert!(dropped > 0, "the queue was never at its bound");
    assert_eq!(missing, dropped, "missing beside counted as dropped");
    assert_eq!((seen.duplicates, seen.out_of_order(1), seen.damaged), (0, 0, 0));
    assert_eq!(node.stop_agent().expect("the agent ends"), Some(0));
}

/// The engine stamps lines with the time of the day, which is set back twice.
fn clock_stepping_back(node: &mut LogNode) {
    const LINES: u64 = 30_000;
    let id = begin(node, &Writer::of("api", "numbered=1"), "");
    node.stop_agent().expect("the agent ends");
    let file = node.log_file(&id).expect("its json-file");
    let step = Duration::from_micros(100);
    for (part, seconds_ago) in (0..).zip([0, 60, 600]) {
        let first = jiff::Timestamp::now() - Duration::from_secs(seconds_ago);
        let (begin, end) = (part * LINES / 3, (part + 1) * LINES / 3);
        append_json_file(&file, begin.max(1)..end, Times { first, step }).expect("a json-file");
    }
    node.start_agent(None).expect("the agent starts");
    let verdict = Verdict { steps_back: 2, ..Verdict::of("clock stepping back", "api") };
    verdict.on(node, 0..LINES);
}
