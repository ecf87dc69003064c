//! A layer on a volume with limits.

use super::ask;
use agent::host::model_files::ModelFolder;
use agent::models::files::ModelFiles;
use harness::bench::prewarm::{Race, Reading, not_in_memory, race};
use harness::requirements::tried;
use harness::slow_disk::{Limit, SlowDisk};
use harness::wait::wait_for;
use std::path::Path;
use std::time::{Duration, Instant};

/// A name and what happens.
type Situation = (&'static str, fn(&SlowDisk));

pub(super) const SITUATIONS: [Situation; 6] = [
    ("as_fast_as_cat_where_bytes_are_limited", bytes_are_limited),
    ("as_fast_as_cat_where_requests_are_limited", requests_are_limited),
    ("the_rate_is_kept_within_a_tenth_over_any_two_seconds", the_rate_is_kept),
    ("what_was_read_is_in_memory_and_the_last_word_says_so", it_is_in_memory),
    ("it_ends_with_its_standard_input", it_ends_with_its_agent),
    ("without_systemd_it_is_read_and_not_kept_and_a_comparison_leaves_memory_as_it_was", nothing_is_kept),
];

const MEBIBYTE: u64 = 1 << 20;
/// The two take turns on a host that others use too.
const NOISE: f64 = 1.03;

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_node-agent"))
}

/// Whether all but little of the layer is in memory; asking brings it there.
fn in_memory(disk: &SlowDisk) -> bool {
    let missing = not_in_memory(disk).expect("it can be read");
    assert!(
        missing < disk.bytes() / 10 || missing > disk.bytes() / 10 * 9,
        "neither all nor nothing: {missing}"
    );
    missing < disk.bytes() / 10
}

fn not_slower(disk: &SlowDisk, limit: Limit) {
    disk.limit(limit).expect("a limit");
    let Race { ours, cat } = race(disk, program()).expect("a race");
    tried(&format!("{limit:?}: {} MiB in {ours:.2?}, by cat in {cat:.2?}", disk.bytes() / MEBIBYTE));
    assert!(ours.as_secs_f64() <= cat.as_secs_f64() * NOISE, "{limit:?}: {ours:?}, by cat {cat:?}");
}

fn bytes_are_limited(disk: &SlowDisk) {
    not_slower(disk, Limit::Bytes(24 * MEBIBYTE));
}

fn requests_are_limited(disk: &SlowDisk) {
    not_slower(disk, Limit::Requests(75));
}

fn the_rate_is_kept(disk: &SlowDisk) {
    const RATE: u64 = 16 * MEBIBYTE;
    const WINDOW: Duration = Duration::from_secs(2);
    disk.limit(Limit::Bytes(200 * MEBIBYTE)).expect("a limit");
    disk.cool().expect("cold");
    let before = disk.read_bytes().expect("counts");
    let mut reading = Reading::start(disk, program(), Some(RATE)).expect("a reader");
    let mut samples: Vec<(Instant, u64)> = Vec::new();
    let ended = wait_for("the end", Duration::from_secs(60), || {
        samples.push((Instant::now(), disk.read_bytes().expect("counts") - before));
        if reading.has_ended().expect("its state") { Ok(()) } else { Err("it reads".to_owned()) }
    });
    ended.expect("it ends");
    let lines = reading.end().expect("its words");
    // Neither the start of the program nor its end belongs to the rate.
    let (some, most) = (MEBIBYTE, disk.bytes() - MEBIBYTE);
    samples.retain(|(_, bytes)| (some..most).contains(bytes));
    let mut ratios = Vec::new();
    for (index, (from, start)) in samples.iter().enumerate() {
        let Some((to, end)) = samples[index..].iter().find(|(at, _)| *at >= *from + WINDOW) else { break };
        ratios.push((end - start) as f64 / (RATE as f64 * (*to - *from).as_secs_f64()));
    }
    let (least, most) =
        ratios.iter().fold((f64::MAX, 0.0_f64), |(a, b), ratio| (a.min(*ratio), b.max(*ratio)));
    tried(&format!("{} windows of 2 s: {least:.3} to {most:.3} of the rate", ratios.len()));
    assert!(ratios.len() > 20, "{samples:?}");
    assert!(least >= 0.9 && most <= 1.1, "{least} to {most}: {samples:?}");
    let words = lines.iter().filter(|line| line.get("progress").is_some()).count();
    let seconds = disk.bytes() / RATE;
    assert!((words as u64) <= 4 * (seconds + 2), "{words} words of progress in {seconds} s");
    let last = lines.last().expect("a last word");
    let speed = last["ended"]["progress"]["mebibytes_per_second"].as_f64().expect("a speed");
    assert!(speed > 20.0, "the volume's speed without the pauses, not the rate: {last}");
}

fn it_is_in_memory(disk: &SlowDisk) {
    disk.limit(Limit::Bytes(400 * MEBIBYTE)).expect("a limit");
    // Another program of this host may push some of it out; not time after time.
    let mut seen = Vec::new();
    while seen.len() < 3 && !seen.contains(&0) {
        disk.cool().expect("cold");
        let lines = Reading::start(disk, program(), None).and_then(Reading::end).expect("it reads");
        assert_eq!(lines[0], "started", "{lines:?}");
        let last = &lines[lines.len() - 1]["ended"];
        for field in ["read_bytes", "total_bytes", "from_device_bytes"] {
            assert_eq!(last["progress"][field], disk.bytes(), "{field}: {lines:?}");
        }
        let lines = Reading::start(disk, program(), None).and_then(Reading::end).expect("it reads again");
        let again = &lines[lines.len() - 1]["ended"]["progress"]["from_device_bytes"];
        let missing = not_in_memory(disk).expect("it can be read");
        if last["not_kept"].is_null() && *again == 0 {
            seen.push(missing);
        } else {
            seen.push(disk.bytes());
        }
    }
    assert!(seen.contains(&0), "bytes that were not in memory, try by try: {seen:?}");
}

fn it_ends_with_its_agent(disk: &SlowDisk) {
    disk.limit(Limit::Bytes(4 * MEBIBYTE)).expect("a limit");
    disk.cool().expect("cold");
    let before = disk.read_bytes().expect("counts");
    let mut reading = Reading::start(disk, program(), None).expect("a reader");
    let begun = wait_for("its first bytes", Duration::from_secs(20), || {
        let bytes = disk.read_bytes().expect("counts") - before;
        if bytes > MEBIBYTE { Ok(()) } else { Err(format!("{bytes} bytes")) }
    });
    begun.expect("it reads");
    reading.abandon();
    // What it asked for stays under way for seconds; it does not wait for more than the piece it is at.
    let ended = wait_for("its end", Duration::from_secs(10), || {
        if reading.has_ended().expect("its state") { Ok(()) } else { Err("it goes on".to_owned()) }
    });
    ended.expect("it ends");
    let lines = reading.end().expect("its words");
    assert!(lines.iter().all(|line| line.get("ended").is_none()), "{lines:?}");
}

fn nothing_is_kept(disk: &SlowDisk) {
    disk.limit(Limit::Bytes(400 * MEBIBYTE)).expect("a limit");
    disk.cool().expect("cold");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let folder = ModelFolder::default();
    let (models, digest) = (disk.models(), disk.digest());
    let same = runtime.block_on(folder.verify(&models, digest, disk.bytes())).expect("it compares");
    assert!(same, "the layer is what its name says");
    assert!(!in_memory(disk), "comparing left nothing behind");
    // That question brought it into memory: now it stays there.
    assert!(runtime.block_on(folder.verify(&models, digest, disk.bytes())).expect("it compares"));
    assert!(in_memory(disk), "comparing dropped what was in memory before");
    let other = format!("sha256:{}", digest["sha256:".len()..].replace(['0', '1', '2'], "f"));
    std::fs::hard_link(disk.layer(), models.join("blobs").join(other.replacen(':', "-", 1))).expect("a link");
    for (digest, bytes) in [(digest, disk.bytes() - 1), (other.as_str(), disk.bytes())] {
        let same = runtime.block_on(folder.verify(&models, digest, bytes)).expect("it compares");
        assert!(!same, "{digest} with {bytes} bytes");
    }
    if Path::new("/run/systemd/system").exists() {
        return;
    }
    disk.cool().expect("cold");
    let warmed = ask(&models, digest);
    assert!(warmed.kept.as_ref().is_err_and(|why| why.contains("systemd-run")), "{warmed:?}");
    assert_eq!(warmed.progress.from_device_bytes, disk.bytes(), "{warmed:?}");
    assert!(!in_memory(disk), "{warmed:?}");
}
