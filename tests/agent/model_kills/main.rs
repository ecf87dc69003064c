//! The agent and its model server are killed at any moment of a model's life and started again: first pull, update, a
//! version that fails, a way back, a version that goes. What is there in the end is what an undisturbed run leaves, and no
//! byte is fetched that the server had kept.
//!
//! The real programs without an engine; the server's stand-in as a process. By default a share of all moments, chosen by a
//! seed; with `NODE_CRASH_POINTS=all` every one. `NODE_CRASH_SEED` repeats a share.

#![expect(clippy::unwrap_used, reason = "a failed step of a test ends it")]
#![expect(clippy::disallowed_methods, reason = "runs programs, measures them and reads what they leave")]

mod bench;
mod bytes;
mod hangs;
mod kills;
mod proxy;
mod story;
mod writes;

use bench::{Bench, Victim};
use harness::requirements::tried;
use kills::{Kill, Point, Sums};
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use story::{CHAPTERS, Chapter};

/// Most of the time everybody waits for something.
const WORKERS: usize = 8;
/// Kills of a share: at calls, at bytes, at changes of the record.
const SHARE: [usize; 3] = [54, 12, 12];
/// Calls of a share whose deadline is longer are left without an answer so long.
const SHORT_HANG: Duration = Duration::from_secs(33);

/// One test after the other: each has its workers.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_all() -> bool {
    std::env::var("NODE_CRASH_POINTS").is_ok_and(|points| points == "all")
}

/// Numbers that look random and follow from the first one (Vigna's splitmix64).
struct Seed(u64);

impl Seed {
    fn of_this_run() -> Seed {
        let seed = std::env::var("NODE_CRASH_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
        tried(&format!("NODE_CRASH_SEED={seed}"));
        Seed(seed)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound.max(1) as u64).unwrap_or_default()
    }

    /// So many of them, or all.
    fn share<T>(&mut self, mut all: Vec<T>, count: usize) -> Vec<T> {
        while !is_all() && all.len() > count {
            let one = self.below(all.len());
            all.swap_remove(one);
        }
        all
    }
}

/// One kill.
enum Job {
    AtCall(Kill),
    AtBytes(Chapter, Victim, u64),
    AtWrite(Chapter, usize),
    /// In the midst of its notes about a pull.
    AmidNotes(bytes::Broken),
}

impl Job {
    fn go(&self, bench: &mut Bench, sums: &Sums) -> Result<(), String> {
        match self {
            Job::AtCall(kill) => kills::go(bench, kill, sums),
            Job::AtBytes(chapter, victim, stop) => bytes::go(bench, *chapter, *victim, *stop, sums),
            Job::AtWrite(chapter, number) => writes::go(bench, *chapter, *number, sums),
            Job::AmidNotes(broken) => bytes::leaves(bench, *broken, sums),
        }
    }
}

/// Each job on the next bench that is free; what went wrong.
fn side_by_side<J: Send>(
    benches: &mut [Bench],
    jobs: Vec<J>,
    work: impl Fn(&mut Bench, J) -> Result<(), String> + Sync,
) -> Vec<String> {
    let (queue, stories) = (Mutex::new(VecDeque::from(jobs)), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for bench in benches {
            let (queue, stories, work) = (&queue, &stories, &work);
            scope.spawn(move || {
                loop {
                    let Some(job) = queue.lock().unwrap().pop_front() else { return bench.end() };
                    if let Err(story) = work(bench, job) {
                        stories.lock().unwrap().push(story);
                    }
                }
            });
        }
    });
    stories.into_inner().unwrap()
}

fn fail_with(stories: &[String], of: &str) {
    assert!(stories.is_empty(), "{} of {of} went wrong\n{}", stories.len(), stories.join("\n\n"));
}

/// Benches that have been through the story once; the points of its calls.
fn ready(runtime: &tokio::runtime::Runtime) -> (Vec<Bench>, Vec<Point>) {
    let mut benches: Vec<Bench> = (0..WORKERS).map(|_| Bench::new(runtime.handle())).collect();
    let points = Arc::new(Mutex::new(Vec::new()));
    let stories = std::thread::scope(|scope| {
        let told: Vec<_> = benches
            .iter_mut()
            .enumerate()
            .map(|(number, bench)| {
                let points = Arc::clone(&points);
                scope.spawn(move || {
                    story::tell(bench, |bench, chapter| {
                        if number == 0 {
                            bench.proxy.watch(kills::recorder(chapter, &points));
                        }
                    })
                })
            })
            .collect();
        told.into_iter().filter_map(|told| told.join().unwrap().err()).collect::<Vec<_>>()
    });
    fail_with(&stories, "the undisturbed stories");
    let points = points.lock().unwrap().clone();
    (benches, points)
}

/// The changes of the record in each chapter.
fn changes(benches: &mut [Bench]) -> Vec<(Chapter, usize)> {
    let changes = Mutex::new(Vec::new());
    let stories = side_by_side(benches, CHAPTERS.to_vec(), |bench, chapter| {
        let found = writes::record(bench, chapter)?;
        changes.lock().unwrap().extend((1..=found.len()).map(|number| (chapter, number)));
        Ok(())
    });
    fail_with(&stories, "the traced chapters");
    let mut changes = changes.into_inner().unwrap();
    changes.sort_unstable();
    changes
}

fn jobs(seed: &mut Seed, points: &[Point], changes: Vec<(Chapter, usize)>) -> Vec<Job> {
    let victims = [Victim::Agent, Victim::Server];
    let both = |point: &Point| victims.map(|victim| (point.clone(), victim));
    let at_calls: Vec<(Point, Victim)> = points.iter().flat_map(both).collect();
    let pulls = [Chapter::First, Chapter::Update];
    let at_bytes = pulls.into_iter().flat_map(|chapter| victims.map(|victim| (chapter, victim)));
    let at_bytes = at_bytes.flat_map(|(chapter, victim)| bytes::STOPS.map(|stop| (chapter, victim, stop)));
    let at_bytes: Vec<_> = at_bytes.collect();
    tried(&format!(
        "{} points of calls, {} kills at them; {} at bytes; {} at changes of the record",
        points.len(),
        at_calls.len(),
        at_bytes.len(),
        changes.len()
    ));
    let [calls, bytes, writes] = SHARE;
    // These take longest.
    let mut jobs: Vec<Job> = bytes::BROKEN.map(Job::AmidNotes).into();
    for (number, (point, victim)) in seed.share(at_calls, calls).into_iter().enumerate() {
        jobs.push(Job::AtCall(Kill { point, victim, late: number % 2 == 1 }));
    }
    let at_bytes = seed.share(at_bytes, bytes).into_iter();
    jobs.extend(at_bytes.map(|(chapter, victim, stop)| Job::AtBytes(chapter, victim, stop)));
    let changes = seed.share(changes, writes).into_iter();
    jobs.extend(changes.map(|(chapter, number)| Job::AtWrite(chapter, number)));
    jobs
}

#[test]
fn whoever_is_killed_at_any_point_all_ends_as_if_nobody_was() {
    let _turn = turn();
    if bench::stand_in().is_none() {
        return;
    }
    let (begun, mut seed) = (Instant::now(), Seed::of_this_run());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (mut benches, points) = ready(&runtime);
    let changes = changes(&mut benches);
    let jobs = jobs(&mut seed, &points, changes);
    let (count, sums) = (jobs.len(), Sums::default());
    let stories = side_by_side(&mut benches, jobs, |bench, job| job.go(bench, &sums));
    let (kills, missed) = (sums.kills.load(Ordering::Acquire), sums.missed.load(Ordering::Acquire));
    tried(&format!(
        "{kills} kills of {count} in {:.0} s, {missed} never came to their point; the slowest was over after {:.1} s; \
         killed servers lost {} KiB that they had not recorded, and nothing else was fetched twice",
        begun.elapsed().as_secs_f64(),
        sums.slowest_milliseconds.load(Ordering::Acquire) as f64 / 1000.0,
        sums.lost.load(Ordering::Acquire) >> 10,
    ));
    fail_with(&stories, &format!("{count} kills"));
    assert!(missed * 20 <= count, "too many points were never reached: {missed} of {count}");
}

#[test]
fn a_server_that_never_answers_stops_neither_the_heartbeat_nor_the_answers_to_a_person() {
    let _turn = turn();
    if bench::stand_in().is_none() {
        return;
    }
    let begun = Instant::now();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (mut benches, _) = ready(&runtime);
    let at_most = if is_all() { Duration::MAX } else { SHORT_HANG };
    let measured = Mutex::new(Vec::new());
    let stories = side_by_side(&mut benches, hangs::HANGS.to_vec(), |bench, hang| {
        let found = hangs::go(bench, hang, at_most)?;
        measured.lock().unwrap().push((hang.call, found));
        Ok(())
    });
    for (call, found) in measured.into_inner().unwrap() {
        tried(&format!("{call}: {found}"));
    }
    tried(&format!("{} kinds of calls in {:.0} s", hangs::HANGS.len(), begun.elapsed().as_secs_f64()));
    fail_with(&stories, "the kinds of calls");
}
