//! The agent is killed at any point and started again.

use super::*;
use crate::logs::batch::PUT_LOG_EVENTS;
use crate::logs::cases::check;
use proptest::prelude::*;

/// One life of the agent: what is written at its begin, and after how many milliseconds it is killed.
#[derive(Debug, Clone)]
struct Life {
    lines: usize,
    killed_after_ms: u64,
    latency_ms: u64,
}

fn life() -> impl Strategy<Value = Life> {
    let lines = prop_oneof![0usize..50, 9_900usize..30_000];
    (lines, 0u64..6_000, 1u64..3_000).prop_map(|(lines, killed_after_ms, latency_ms)| Life {
        lines,
        killed_after_ms,
        latency_ms,
    })
}

/// Runs one life in a runtime of its own. Dropping the runtime drops every task where it stands, as a kill does; a
/// write of the cursors that has begun ends before the next life begins.
fn live<T>(story: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.unwrap().block_on(story)
}

async fn be_killed(engine: ScriptedEngine, service: ScriptedService, state: &Path, life: &Life) {
    service.latency(Duration::from_millis(life.latency_ms));
    let stage = Stage::resume(engine, service, state);
    stage.show(&[(API, running())]);
    tokio::time::sleep(Duration::from_millis(life.killed_after_ms)).await;
}

/// How many of `messages`, in which number `n` is the n-th line, were repetitions, life by life; `ends` says how many
/// there were at the end of each but the last.
fn repeated(messages: &[String], ends: &[usize]) -> Result<Vec<usize>, TestCaseError> {
    let mut next = 0;
    let mut repetitions = vec![0; ends.len() + 1];
    for (at, message) in messages.iter().enumerate() {
        let number: usize = message.split(' ').next().unwrap().parse().unwrap();
        prop_assert!(number <= next, "line {next} is missing before line {number}");
        if number == next {
            next += 1;
        } else {
            repetitions[ends.iter().filter(|end| **end <= at).count()] += 1;
        }
    }
    Ok(repetitions)
}

#[test]
fn kills_at_any_point_lose_nothing_keep_the_order_and_repeat_one_batch_at_most() {
    let lives = prop::collection::vec(life(), 1..5);
    let worst = std::sync::atomic::AtomicUsize::new(0);
    check("kills", 60, lives, |lives| {
        let state = tempfile::tempdir().unwrap();
        let (engine, service) = (ScriptedEngine::default(), ScriptedService::default());
        let mut written = 0;
        let mut ends = Vec::new();
        for life in &lives {
            engine.write(API, numbered(written, life.lines));
            written += life.lines;
            live(be_killed(engine.clone(), service.clone(), state.path(), life));
            ends.push(service.messages(STREAM).len());
        }
        engine.write(API, numbered(written, 1));
        live(async {
            let stage = Stage::resume(engine.clone(), service.clone(), state.path());
            stage.show(&[(API, running())]);
            let last = engine.written(API).pop();
            stage.until("the last line", |stage| stage.service.last(STREAM) == last).await;
        });
        let messages = service.messages(STREAM);
        let repetitions = repeated(&messages, &ends)?;
        prop_assert_eq!(repetitions[0], 0, "before any kill");
        let most = repetitions.iter().copied().max().unwrap_or(0);
        prop_assert!(most <= PUT_LOG_EVENTS.events, "{repetitions:?} in {lives:?}");
        worst.fetch_max(most, std::sync::atomic::Ordering::Relaxed);
        let mut distinct = messages;
        distinct.sort_unstable();
        distinct.dedup();
        prop_assert_eq!(distinct.len(), written + 1);
        Ok(())
    });
    println!("most lines repeated by one kill: {}", worst.into_inner());
}
