//! The engine is killed, and comes back. What counts is what it had put into its file: lines that were still on their way
//! from the container to the engine are lost by the engine, not by us.

use crate::Situation;
use crate::scene::{ARRIVAL, Verdict, begin, restart_engine, until, written};
use harness::log_node::{LogNode, Writer};
use harness::wait::wait_for;
use std::fs::File;
use std::time::{Duration, Instant};

pub(crate) const SITUATIONS: &[Situation] = &[("engine_killed_and_restarted", engine_killed_and_restarted)];

fn engine_killed_and_restarted(node: &mut LogNode) {
    const LINES_OF_A_LIFE: u64 = 200_000;
    const PACE: u64 = 4_000;
    const KILLS: u64 = 2;
    let mode = format!("numbered={LINES_OF_A_LIFE}@{PACE}");
    let writer = Writer { counts_lives: true, ..Writer::of("api", &mode) };
    let mut id = begin(node, &writer, "");
    let mut files = Vec::new();
    for life in 0..KILLS {
        let began = Instant::now();
        files.push(File::open(node.log_file(&id).expect("its path")).expect("its json-file"));
        node.arrived("api", 1 + life * PACE, ARRIVAL).expect("lines of this life");
        until(began, Duration::from_secs(2));
        node.engine.kill().expect("the engine is killed");
        until(Instant::now(), Duration::from_secs(1));
        restart_engine(node);
        id = node.running("api").expect("the writer runs again");
    }
    files.push(File::open(node.log_file(&id).expect("its path")).expect("its json-file"));
    let before: u64 = files.iter().map(|file| written(file).len() as u64).max().unwrap_or_default();
    let first_of_now = KILLS * LINES_OF_A_LIFE;
    let goes_on = || match node.seen("api").has(first_of_now) {
        true => Ok(()),
        false => Err(format!("{} of at least {before}", node.seen("api").distinct)),
    };
    wait_for("lines of the last life", ARRIVAL, goes_on).expect("it goes on");
    node.engine.docker(&["kill", &id], b"").expect("the writer ends");
    let all = files.iter().flat_map(written).collect();
    let verdict = Verdict { torn: KILLS, ..Verdict::of("engine killed and restarted", "api") };
    verdict.on_all(node, &all);
}
