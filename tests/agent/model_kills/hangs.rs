//! A server that takes a call and never answers it, one kind of call after the other.

use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use harness::wait::wait_for;

use crate::bench::{Bench, PATIENCE, WATCHDOG};
use crate::proxy::{Side, Verdict, Watch};
use crate::story::Chapter;

/// How long an agent may take to answer for itself.
const AT_ONCE: Duration = Duration::from_secs(1);
/// A call may seem to be given up so much too soon: it is measured from when it has come to the proxy.
const EARLY: Duration = Duration::from_secs(3);
/// And so much too late: the end of a wait has to be seen, on a busy machine.
const LATE: Duration = Duration::from_secs(15);

/// A call, the chapter in which it is made, and the seconds after which it has to be given up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hang {
    pub(crate) call: &'static str,
    pub(crate) chapter: Chapter,
    pub(crate) deadline_seconds: u64,
}

const fn hang(call: &'static str, chapter: Chapter, deadline_seconds: u64) -> Hang {
    Hang { call, chapter, deadline_seconds }
}

/// Every call of the story. Those of a load and of a prompt are node.toml's.
pub(crate) const HANGS: [Hang; 10] = [
    hang("POST /api/pull", Chapter::First, 120),
    hang("DELETE /api/delete", Chapter::Onward, 60),
    hang("POST /api/copy", Chapter::Update, 30),
    hang("POST /api/generate (unload)", Chapter::Update, 30),
    hang("POST /api/generate (load)", Chapter::First, 20),
    hang("POST /api/generate (prompt)", Chapter::First, 10),
    hang("POST /api/show", Chapter::First, 5),
    hang("GET /api/version", Chapter::First, 5),
    hang("GET /api/tags", Chapter::First, 5),
    hang("GET /api/ps", Chapter::First, 5),
];

/// What was measured.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    /// Longest time between two signs of life.
    pub(crate) silence: Duration,
    /// Longest and middle `agentctl status`.
    pub(crate) status: (Duration, Duration),
    /// After which the call was given up; absent where that was not waited for.
    pub(crate) borne: Option<Duration>,
}

impl std::fmt::Display for Measured {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Measured { silence, status: (longest, middle), borne } = self;
        let borne =
            borne.map_or("not waited for".to_owned(), |borne| format!("{:.1} s", borne.as_secs_f64()));
        write!(
            out,
            "given up after: {borne}; signs of life at most {:.1} s apart; `agentctl status` took {} ms, at most {} ms",
            silence.as_secs_f64(),
            middle.as_millis(),
            longest.as_millis()
        )
    }
}

/// Leaves every call of that kind without an answer, until it is given up, and then answers again. One whose deadline is
/// beyond `at_most` is left for as long as that, and not waited for.
pub(crate) fn go(bench: &mut Bench, hang: Hang, at_most: Duration) -> Result<Measured, String> {
    let notify = bench.tree().with_extension("notify");
    std::fs::remove_file(&notify).ok();
    let life = UnixDatagram::bind(&notify).unwrap();
    life.set_read_timeout(Some(PATIENCE)).unwrap();
    bench.notify = Some(notify);
    let went = at(bench, hang, at_most, &life);
    went.map_err(|why| format!("{hang:?}: {why}\n{}", bench.told()))
}

fn at(bench: &mut Bench, hang: Hang, at_most: Duration, life: &UnixDatagram) -> Result<Measured, String> {
    let came = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&came);
    let watch: Watch = Arc::new(move |side, call| {
        if side != Side::Before || call != hang.call {
            return Verdict::GoOn;
        }
        told.store(true, Ordering::Release);
        Verdict::Hang
    });
    hang.chapter.open(bench);
    if hang.chapter == Chapter::First {
        bench.proxy.watch(Arc::clone(&watch));
    }
    bench.start_agent();
    hang.chapter.until_open(bench)?;
    if hang.chapter != Chapter::First {
        hang.chapter.set(bench);
        bench.proxy.watch(watch);
    }
    hang.chapter.begin(bench);
    let look = || if came.load(Ordering::Acquire) { Ok(()) } else { Err("it did not come".to_owned()) };
    wait_for(hang.call, PATIENCE, look).map_err(|error| error.to_string())?;
    let measured = measure(bench, hang, at_most, life)?;
    // It answers again.
    bench.proxy.watch(crate::proxy::nobody());
    hang.chapter.until_over(bench)?;
    Ok(measured)
}

fn measure(bench: &Bench, hang: Hang, at_most: Duration, life: &UnixDatagram) -> Result<Measured, String> {
    let deadline = Duration::from_secs(hang.deadline_seconds);
    let is_waited_for = deadline <= at_most;
    let held = if is_waited_for { deadline + LATE } else { at_most };
    let (begun, mut took) = (Instant::now(), Vec::new());
    let over = AtomicBool::new(false);
    let silence = std::thread::scope(|scope| {
        let silence = scope.spawn(|| longest_silence(life, &over));
        while bench.proxy.borne().is_empty() && begun.elapsed() < held {
            let asked = Instant::now();
            let answer = bench.agentctl(&["status", "--json"]);
            took.push(asked.elapsed());
            if answer.stdout.is_empty() {
                took.push(PATIENCE);
            }
            let pause = asked + Duration::from_millis(400);
            wait_for("the next look", PATIENCE, || {
                if Instant::now() >= pause { Ok(()) } else { Err(String::new()) }
            })
            .ok();
        }
        over.store(true, Ordering::Release);
        silence.join().unwrap()
    });
    took.sort_unstable();
    let middle = took.get(took.len() / 2).copied().unwrap_or(PATIENCE);
    let status = (took.last().copied().unwrap_or(PATIENCE), middle);
    let borne = bench.proxy.borne().first().copied();
    let measured = Measured { silence, status, borne };
    if silence >= WATCHDOG {
        return Err(format!("systemd would have ended it: {measured}"));
    }
    // One answer may have waited for a processor.
    if middle >= AT_ONCE {
        return Err(format!("it does not answer at once: {measured}"));
    }
    let kept = borne.is_some_and(|borne| borne <= deadline + LATE && borne + EARLY >= deadline);
    if is_waited_for && !kept {
        return Err(format!("{} s are its deadline: {measured}", hang.deadline_seconds));
    }
    Ok(measured)
}

/// Between two signs of life.
fn longest_silence(life: &UnixDatagram, over: &AtomicBool) -> Duration {
    let (mut last, mut longest, mut message) = (Instant::now(), Duration::ZERO, [0; 4096]);
    // What came before is not of this time.
    life.set_nonblocking(true).unwrap();
    while life.recv(&mut message).is_ok() {}
    life.set_nonblocking(false).unwrap();
    while !over.load(Ordering::Acquire) {
        let Ok(length) = life.recv(&mut message) else { return PATIENCE };
        if message[..length].starts_with(b"WATCHDOG=1") {
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
    }
    longest
}
