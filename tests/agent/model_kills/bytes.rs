//! One of the two programs is killed when so many bytes of the weights have come, to the byte: the registry sends no more.

use std::time::Instant;

use harness::model_registry::{RegistryFault, Trouble, kept_in};
use harness::wait::wait_for;

use crate::bench::{Bench, PART, PATIENCE, Victim, WEIGHTS};
use crate::kills::{Kill, Point, Sums, account, bytes, goes_on};
use crate::proxy::Side;
use crate::story::Chapter;

/// Nothing, one byte, parts of a part, whole parts, all but one byte.
pub(crate) const STOPS: [u64; 9] = [
    0,
    1,
    WEIGHTS / 10,
    WEIGHTS / 4,
    2 * PART,
    WEIGHTS / 2 + 7,
    WEIGHTS / 4 * 3 - 1,
    WEIGHTS / 100 * 99,
    WEIGHTS - 1,
];

/// Kills with so many bytes there, and looks what becomes of it.
pub(crate) fn go(
    bench: &mut Bench,
    chapter: Chapter,
    victim: Victim,
    stop: u64,
    sums: &Sums,
) -> Result<(), String> {
    let went = at(bench, chapter, victim, stop, sums);
    went.map_err(|why| format!("{chapter:?}, {victim:?} killed at {stop} B: {why}\n{}", bench.told()))
}

fn at(bench: &mut Bench, chapter: Chapter, victim: Victim, stop: u64, sums: &Sums) -> Result<(), String> {
    chapter.open(bench);
    let since = bench.registry.served().len();
    let weights = chapter.weights(bench).unwrap_or_default();
    if chapter == Chapter::First {
        stall(bench, &weights, stop);
    }
    bench.start_agent();
    chapter.until_open(bench)?;
    if chapter != Chapter::First {
        chapter.set(bench);
        stall(bench, &weights, stop);
    }
    chapter.begin(bench);
    until_stalled(bench, &weights, stop, since)?;
    let begun = Instant::now();
    bench.kill_9(victim);
    let point = Point { chapter, call: "POST /api/pull".to_owned(), side: Side::Line, time: 0 };
    // Every other one is missed before it comes back.
    let kill = Kill { point, victim, late: stop % 2 == 1 };
    bench.registry.clear_faults();
    let before = account(bench, &kill, since, sums)?;
    let (kept, recorded) = (bytes(&before.kept, &weights), stop / PART * PART);
    // A server that is told that its client is gone writes down all that has come; one that is killed cannot.
    let wanted = if victim == Victim::Agent { stop } else { recorded };
    if kept != wanted {
        return Err(format!("{kept} B are kept and not {wanted}"));
    }
    goes_on(bench, chapter, &before)?;
    let served = bench.registry.served();
    let asked = served[before.requests..].iter().filter(|it| it.ranged && it.path.ends_with(&weights));
    let asked: u64 = asked.map(|it| it.asked.end - it.asked.start).sum();
    if asked != WEIGHTS - kept {
        return Err(format!("{asked} B were asked for and not {}", WEIGHTS - kept));
    }
    sums.count(begun);
    Ok(())
}

/// What a server leaves that dies while it writes about its parts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Broken {
    /// It was taking them away, from the first on.
    FirstIsGone,
    /// It had just opened one to write it.
    OneIsEmpty,
}

pub(crate) const BROKEN: [Broken; 2] = [Broken::FirstIsGone, Broken::OneIsEmpty];

/// The server dies in mid-pull and leaves that; it has to come to the version all the same.
pub(crate) fn leaves(bench: &mut Bench, broken: Broken, sums: &Sums) -> Result<(), String> {
    let begun = Instant::now();
    let chapter = Chapter::First;
    let weights = chapter.weights(bench).unwrap_or_default();
    chapter.open(bench);
    let since = bench.registry.served().len();
    stall(bench, &weights, 2 * PART);
    bench.start_agent();
    let went = until_stalled(bench, &weights, 2 * PART, since).and_then(|()| {
        bench.kill_9(Victim::Server);
        bench.registry.clear_faults();
        let part = |number: u32| {
            let name = format!("{}-partial-{number}", weights.replacen(':', "-", 1));
            bench.models().join("blobs").join(name)
        };
        match broken {
            Broken::FirstIsGone => std::fs::remove_file(part(0)).unwrap(),
            Broken::OneIsEmpty => std::fs::write(part(1), "").unwrap(),
        }
        bench.start_server();
        chapter.until_over(bench)
    });
    sums.count(begun);
    went.map_err(|why| format!("{broken:?}: {why}\n{}", bench.told()))
}

/// So many bytes of the weights come and no more: whole parts, a piece of one, and nothing of the others.
fn stall(bench: &Bench, weights: &str, stop: u64) {
    let rule = |after: u64, times: Option<u32>| {
        let fault = RegistryFault { path: weights.to_owned(), trouble: Trouble::Stall(after), times };
        bench.registry.fault(fault);
    };
    // The first request asks for the length alone.
    rule(u64::MAX, Some(u32::try_from(stop / PART + 1).unwrap()));
    rule(stop % PART, Some(1));
    rule(0, None);
}

fn until_stalled(bench: &Bench, weights: &str, stop: u64, since: usize) -> Result<(), String> {
    let look = || {
        let served = bench.registry.served();
        let parts =
            served[since..].iter().filter(|it| it.ranged && it.path.ends_with(weights)).count() as u64;
        let (told, kept) = (bench.proxy.completed(), bytes(&kept_in(&bench.models()), weights));
        if told == stop && kept == stop / PART * PART && parts == WEIGHTS / PART {
            return Ok(());
        }
        Err(format!("{parts} parts asked for, {told} B told of, {kept} B kept"))
    };
    wait_for("the pull to stand still", PATIENCE, look).map_err(|error| error.to_string())
}
