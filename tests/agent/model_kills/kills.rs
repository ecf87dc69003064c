//! One of the two programs is killed at one moment of one call, and started again.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use harness::model_registry::{Kept, Served, kept_in};
use harness::processes::Process;
use harness::wait::wait_for;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::bench::{Bench, PATIENCE, Victim};
use crate::proxy::{Side, Verdict, Watch};
use crate::story::Chapter;

/// A moment: the so-many-th call of that name since the chapter began, or line of its answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Point {
    pub(crate) chapter: Chapter,
    pub(crate) call: String,
    pub(crate) side: Side,
    pub(crate) time: usize,
}

/// A kill at a point.
#[derive(Clone, Debug)]
pub(crate) struct Kill {
    pub(crate) point: Point,
    pub(crate) victim: Victim,
    /// The server comes back only after it was missed.
    pub(crate) late: bool,
}

/// Sums over all kills.
#[derive(Default)]
pub(crate) struct Sums {
    pub(crate) kills: AtomicUsize,
    pub(crate) missed: AtomicUsize,
    /// Bytes that registries had sent and that killed servers had not recorded.
    pub(crate) lost: AtomicU64,
    pub(crate) slowest_milliseconds: AtomicU64,
}

impl Sums {
    /// A kill that began then is over.
    pub(crate) fn count(&self, begun: Instant) {
        self.kills.fetch_add(1, Ordering::AcqRel);
        let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.slowest_milliseconds.fetch_max(took, Ordering::AcqRel);
    }
}

/// A watch that writes the points of a chapter down.
pub(crate) fn recorder(chapter: Chapter, points: &Arc<Mutex<Vec<Point>>>) -> Watch {
    let (points, times) = (Arc::clone(points), Mutex::new(BTreeMap::<(Side, String), usize>::new()));
    Arc::new(move |side, call| {
        let mut times = times.lock().unwrap_or_else(PoisonError::into_inner);
        let time = times.entry((side, call.to_owned())).or_default();
        *time += 1;
        let point = Point { chapter, call: call.to_owned(), side, time: *time };
        points.lock().unwrap_or_else(PoisonError::into_inner).push(point);
        Verdict::GoOn
    })
}

/// A watch that kills at a point.
fn killer(point: &Point, process: &Arc<AtomicU32>, struck: &Arc<AtomicBool>) -> Watch {
    let (point, times) = (point.clone(), AtomicUsize::new(0));
    let (process, struck) = (Arc::clone(process), Arc::clone(struck));
    Arc::new(move |side, call| {
        if side != point.side || call != point.call || times.fetch_add(1, Ordering::AcqRel) + 1 != point.time
        {
            return Verdict::GoOn;
        }
        // A call may come before it is known whose it is.
        let known = || Some(process.load(Ordering::Acquire)).filter(|id| *id != 0).ok_or_else(String::new);
        let process = wait_for("the victim to be named", PATIENCE, known).unwrap();
        kill(Pid::from_raw(process.cast_signed()), Signal::SIGKILL).ok();
        until_dead(process);
        struck.store(true, Ordering::Release);
        Verdict::Cut
    })
}

/// It has closed what it had open by then; only its parent can bury it.
fn until_dead(process: u32) {
    let state = || std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let look = || match state() {
        stat if stat.is_empty() || stat.contains(") Z ") => Ok(()),
        stat => Err(stat),
    };
    wait_for("the killed one to die", PATIENCE, look).unwrap();
}

/// Kills at the point and looks what becomes of it. A call that came less often this time, so that the chapter was over
/// before, is met earlier. `Ok` also when it never came.
pub(crate) fn go(bench: &mut Bench, kill: &Kill, sums: &Sums) -> Result<(), String> {
    let mut kill = kill.clone();
    let mut reached = reach(bench, &kill);
    while matches!(reached, Ok(None)) && kill.point.time > 1 {
        kill.point.time /= 2;
        reached = reach(bench, &kill);
    }
    let kill = &kill;
    let went = match reached {
        Ok(Some(since)) => {
            let begun = Instant::now();
            bench.kill_9(kill.victim);
            let before = account(bench, kill, since, sums);
            let gone_on = before.and_then(|before| goes_on(bench, kill.point.chapter, &before));
            sums.count(begun);
            gone_on
        }
        Ok(None) => {
            sums.missed.fetch_add(1, Ordering::AcqRel);
            Ok(())
        }
        Err(why) => Err(why),
    };
    went.map_err(|why| format!("{kill:?}: {why}\n{}", bench.told()))
}

/// Until the victim is dead. The number of requests that the registry had served before; `None` where the chapter was over
/// without a kill.
fn reach(bench: &mut Bench, kill: &Kill) -> Result<Option<usize>, String> {
    let Kill { point, victim, .. } = kill;
    let (struck, process) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let watch = killer(point, &process, &struck);
    point.chapter.open(bench);
    let opens = point.chapter == Chapter::First;
    if opens {
        bench.proxy.watch(Arc::clone(&watch));
    }
    let since = bench.registry.served().len();
    bench.start_agent();
    let victim = if *victim == Victim::Agent { &bench.agent } else { &bench.server };
    process.store(victim.as_ref().map_or(0, Process::id), Ordering::Release);
    if !opens {
        point.chapter.until_open(bench)?;
        point.chapter.set(bench);
        bench.proxy.watch(watch);
    }
    point.chapter.begin(bench);
    let look = || match struck.load(Ordering::Acquire) || point.chapter.is_over(bench) {
        true => Ok(()),
        false => Err("neither"),
    };
    let waited = wait_for("the kill, or the end", PATIENCE, || look().map_err(str::to_owned));
    waited.map_err(|error| error.to_string())?;
    Ok(struck.load(Ordering::Acquire).then_some(since))
}

/// What was there at the kill.
pub(crate) struct Before {
    pub(crate) kept: Vec<Kept>,
    pub(crate) requests: usize,
}

/// Notes what the server has kept, and starts the killed one again.
pub(crate) fn account(bench: &mut Bench, kill: &Kill, since: usize, sums: &Sums) -> Result<Before, String> {
    if kill.victim == Victim::Agent {
        bench.until_pulls_have_ended()?;
        until_written_down(bench, kill.point.chapter)?;
    }
    let before = Before { kept: recorded(bench), requests: bench.registry.served().len() };
    match kill.victim {
        Victim::Agent => bench.start_agent(),
        Victim::Server => {
            let served = bench.registry.served();
            let ranged = || served[since..].iter().filter(|served| served.ranged);
            let sent: u64 = ranged().map(|served| served.sent).sum();
            let kept: u64 = ranged().map(|served| overlap(&before.kept, served)).sum();
            sums.lost.fetch_add(sent.saturating_sub(kept), Ordering::AcqRel);
            if kill.late {
                until_missed(bench)?;
            }
            bench.start_server();
        }
    }
    Ok(before)
}

/// What the server has recorded as kept. One that dies while it takes the records of a blob away has lost them all: what is
/// left cannot be taken up. It does so with one blob at a time.
pub(crate) fn recorded(bench: &Bench) -> Vec<Kept> {
    let mut kept = kept_in(&bench.models());
    let given_up =
        kept.iter().map(|kept| kept.digest.clone()).find(|digest| is_given_up(bench, digest, &kept));
    kept.retain(|kept| Some(&kept.digest) != given_up.as_ref());
    kept
}

/// All of the blob had come, and its records go from the first on: what is left of them reaches to its end without a gap.
fn is_given_up(bench: &Bench, digest: &str, kept: &[Kept]) -> bool {
    let name = digest.replacen(':', "-", 1);
    let exists = |end: &str| bench.models().join("blobs").join(format!("{name}{end}")).exists();
    let parts = kept.iter().filter(|kept| kept.digest == digest).map(|kept| kept.bytes.clone());
    let mut parts: Vec<_> = parts.collect();
    parts.sort_unstable_by_key(|part| part.start);
    let size = bench.registry.size_of(digest);
    !exists("")
        && !exists("-partial-0")
        && parts.windows(2).all(|two| two[0].end == two[1].start)
        && parts.last().map(|last| last.end) == size
}

/// A server whose client is gone keeps all that it has told of.
fn until_written_down(bench: &Bench, chapter: Chapter) -> Result<(), String> {
    let Some(weights) = chapter.weights(bench) else { return Ok(()) };
    let told = bench.proxy.completed();
    let look = || match bytes(&recorded(bench), &weights) {
        kept if kept >= told => Ok(()),
        kept => Err(format!("of {told} B that it has told of, {kept} are kept")),
    };
    wait_for("the server to write down what came", PATIENCE, look).map_err(|error| error.to_string())
}

fn until_missed(bench: &Bench) -> Result<(), String> {
    let missed = || match bench.proxy.refused() {
        0 | 1 => Err("not yet".to_owned()),
        _ => Ok(()),
    };
    wait_for("the agent to miss its server", PATIENCE, missed).map_err(|error| error.to_string())
}

pub(crate) fn bytes(kept: &[Kept], digest: &str) -> u64 {
    kept.iter().filter(|kept| kept.digest == digest).map(|kept| kept.bytes.end - kept.bytes.start).sum()
}

/// Bytes of what a request asked for that are kept.
fn overlap(kept: &[Kept], served: &Served) -> u64 {
    let of = kept.iter().filter(|kept| served.path.ends_with(&kept.digest));
    let common = of.map(|kept| {
        let (start, end) = (kept.bytes.start.max(served.asked.start), kept.bytes.end.min(served.asked.end));
        end.saturating_sub(start)
    });
    common.sum::<u64>().min(served.sent)
}

/// All that has to be so after the killed one was started again.
pub(crate) fn goes_on(bench: &Bench, chapter: Chapter, before: &Before) -> Result<(), String> {
    chapter.insist(bench)?;
    chapter.until_over(bench)?;
    let mut again = bench.registry.fetched_again(before.requests, &before.kept);
    again.extend(bench.registry.fetched_whole(before.requests));
    if again.is_empty() {
        return Ok(());
    }
    Err(format!("bytes were fetched that were kept: {again:?}; kept: {:?}", before.kept))
}
