//! A layer on a volume with limits.

use super::ask;
use agent::host::model_files::ModelFolder;
use agent::models::files::ModelFiles;
use harness::bench::prewarm::{NOISE, Race, Reading, not_in_memory};
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
    ("the_rate_is_never_exceeded_by_a_tenth_over_two_seconds_and_kept_over_all_of_it", the_rate_is_kept),
    ("what_was_read_is_in_memory_and_the_last_word_says_so", it_is_in_memory),
    ("it_ends_with_its_standard_input", it_ends_with_its_agent),
    ("without_systemd_it_is_read_and_not_kept_and_a_comparison_leaves_memory_as_it_was", nothing_is_kept),
];

const MEBIBYTE: u64 = 1 << 20;
/// Rounds of a race: after the first number it is over once reading ahead was as fast, at the latest after the second. At a
/// limit on bytes the two are near, and others use this host.
const ROUNDS: (usize, usize) = (3, 7);
/// Runs until one keeps the rate: a stall of the host makes one slower, and what piles up in it comes at once.
const RUNS: usize = 3;

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
    let mut race = Race::default();
    let is_as_fast = |race: &Race| race.fastest().0 <= race.fastest().1 * NOISE;
    while race.rounds() < ROUNDS.0 || (race.rounds() < ROUNDS.1 && !is_as_fast(&race)) {
        race.round(disk, program()).expect("a round");
    }
    let ((ours, cat), mebibytes) = (race.fastest(), disk.bytes() / MEBIBYTE);
    tried(&format!(
        "{limit:?}: {mebibytes} MiB in {ours:.0} ms, by cat in {cat:.0} ms, the fastest of {}",
        race.rounds()
    ));
    assert!(is_as_fast(&race), "{limit:?}: {race:?}");
}

fn bytes_are_limited(disk: &SlowDisk) {
    not_slower(disk, Limit::Bytes(24 * MEBIBYTE));
}

fn requests_are_limited(disk: &SlowDisk) {
    not_slower(disk, Limit::Requests(75));
}

/// A look at the counter of the device: between these two moments it said so many bytes.
#[derive(Debug, Clone, Copy)]
struct Look {
    from: Instant,
    to: Instant,
    bytes: u64,
}

fn the_rate_is_kept(disk: &SlowDisk) {
    const RATE: u64 = 16 * MEBIBYTE;
    disk.limit(Limit::Bytes(200 * MEBIBYTE)).expect("a limit");
    let mut seen = Vec::new();
    while seen.len() < RUNS && !seen.iter().any(Kept::is_kept) {
        let (looks, lines) = watched(disk, RATE);
        let kept = Kept::of(&looks, RATE);
        tried(&kept.words());
        // Where others take the processor for long there are fewer.
        assert!(kept.windows > 10, "{looks:?}");
        seen.push(kept);
        let words = lines.iter().filter(|line| line.get("progress").is_some()).count();
        let seconds =
            looks.last().zip(looks.first()).map_or(0, |(last, first)| (last.to - first.from).as_secs());
        assert!((words as u64) <= 4 * (seconds + 2), "{words} words of progress in {seconds} s");
        let last = lines.last().expect("a last word");
        let speed = last["ended"]["progress"]["mebibytes_per_second"].as_f64().expect("a speed");
        assert!(speed > 20.0, "the volume's speed without the pauses, not the rate: {last}");
    }
    let words: Vec<String> = seen.iter().map(Kept::words).collect();
    assert!(seen.iter().any(Kept::is_kept), "{words:?}");
}

/// One reading at that rate: the looks at the device from its first mebibyte to its last one, and its words.
fn watched(disk: &SlowDisk, rate: u64) -> (Vec<Look>, Vec<serde_json::Value>) {
    disk.cool().expect("cold");
    let before = disk.read_bytes().expect("counts");
    let mut reading = Reading::start(disk, program(), Some(rate)).expect("a reader");
    let mut looks: Vec<Look> = Vec::new();
    let ended = wait_for("the end", Duration::from_secs(60), || {
        let from = Instant::now();
        let bytes = disk.read_bytes().expect("counts") - before;
        looks.push(Look { from, to: Instant::now(), bytes });
        if reading.has_ended().expect("its state") { Ok(()) } else { Err("it reads".to_owned()) }
    });
    ended.expect("it ends");
    // Neither the start of the program nor its end belongs to the rate.
    let (some, most) = (MEBIBYTE, disk.bytes() - MEBIBYTE);
    looks.retain(|look| (some..most).contains(&look.bytes));
    (looks, reading.end().expect("its words"))
}

/// What a reading made of its rate.
struct Kept {
    windows: usize,
    /// Of the rate, in the window of two seconds that had most.
    most: f64,
    /// Of the rate, from the first look to the last one.
    whole: f64,
}

impl Kept {
    fn of(looks: &[Look], rate: u64) -> Kept {
        const WINDOW: Duration = Duration::from_secs(2);
        let ratio = |bytes: u64, took: Duration| bytes as f64 / (rate as f64 * took.as_secs_f64());
        let mut ratios = Vec::new();
        for (index, start) in looks.iter().enumerate() {
            let Some(end) = looks[index..].iter().find(|look| look.from >= start.to + WINDOW) else { break };
            // The longest time in which these bytes can have come: a look may have waited for a processor.
            ratios.push(ratio(end.bytes - start.bytes, end.to - start.from));
        }
        let (first, last) = (looks[0], looks[looks.len() - 1]);
        Kept {
            windows: ratios.len(),
            most: ratios.into_iter().fold(0.0, f64::max),
            // And here the shortest.
            whole: ratio(last.bytes - first.bytes, last.from - first.to),
        }
    }

    fn is_kept(&self) -> bool {
        self.most <= 1.1 && self.whole >= 0.9
    }

    fn words(&self) -> String {
        let Kept { windows, most, whole } = self;
        format!("{windows} windows of 2 s: at most {most:.3} of the rate; {whole:.3} of it over the whole")
    }
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
