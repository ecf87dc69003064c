//! The service throttles, fails, refuses, or does not answer.

use super::service::Reply;
use super::*;
use crate::logs::DRAIN_LIMIT;
use crate::logs::backoff::LONGEST;
use crate::logs::batch::PUT_LOG_EVENTS;
use crate::logs::sink::{Answer, PutError};

fn retry(reason: &str) -> Reply {
    Reply::Fail(PutError::Retry { reason: reason.to_owned() })
}

/// A stage on which the service `api` runs and has written `lines` lines.
fn stage_with(lines: usize) -> Stage {
    let stage = Stage::new();
    stage.engine.write(API, numbered(0, lines));
    stage.show(&[(API, running())]);
    stage
}

#[tokio::test(start_paused = true)]
async fn lines_are_delivered_in_order_within_seconds_and_counted() {
    let stage = stage_with(100);
    let begin = Instant::now();
    stage.until_delivered(API).await;
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    assert_eq!(stage.service.messages(STREAM), stage.engine.written(API));
    stage.engine.write(API, numbered(100, 1));
    stage.until_delivered(API).await;
    let logs = stage.board.status().logs;
    let bytes: usize = stage.engine.written(API).iter().map(String::len).sum();
    assert_eq!((logs.events_shipped, logs.events_dropped, logs.bytes_shipped), (101, 0, bytes as u64));
    assert_eq!(logs.oldest_unshipped_seconds, 0);
    assert_eq!(stage.problems(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn lines_wait_for_each_other_so_that_a_slow_writer_makes_few_calls() {
    let stage = stage_with(1);
    for number in 1..100 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        stage.engine.write(API, numbered(number, 1));
    }
    stage.until_delivered(API).await;
    let calls = stage.service.calls().len();
    assert!((2..=3).contains(&calls), "{calls} calls for ten seconds of lines");
}

#[tokio::test(start_paused = true)]
async fn throttling_is_answered_with_growing_waits_and_costs_no_line() {
    let stage = stage_with(100);
    stage.service.next((0..6).map(|_| retry("ThrottlingException: Rate exceeded")));
    stage.until_delivered(API).await;
    assert_eq!(stage.service.messages(STREAM), stage.engine.written(API));
    let calls = stage.service.calls();
    let waits: Vec<_> = calls.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert!(waits[5] > waits[0] * 8 && waits[0] >= Duration::from_millis(500), "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn an_hour_of_errors_is_a_problem_that_ends_with_it_and_loses_nothing() {
    let stage = stage_with(50);
    stage.service.otherwise(retry("ServiceUnavailableException"));
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(stage.problems(), [""; 0], "half a minute is no problem yet");
    for number in 50..120 {
        tokio::time::sleep(Duration::from_secs(51)).await;
        stage.engine.write(API, numbered(number, 1));
    }
    let status = stage.board.status();
    assert_eq!(stage.problems(), ["logs_unreachable"]);
    assert_eq!(
        status.problems[0].message,
        "log lines cannot be delivered to log group /aws/ec2/api: ServiceUnavailableException"
    );
    assert!(status.problems[0].since < BEGIN + SignedDuration::from_secs(10), "{:?}", status.problems);
    assert!((3500..3700).contains(&status.logs.oldest_unshipped_seconds), "{:?}", status.logs);
    assert!(status.logs.backlog_bytes > 0 && status.logs.events_shipped == 0, "{:?}", status.logs);
    let calls = stage.service.calls();
    assert!(calls.len() < 140, "{} calls in an hour", calls.len());
    let longest = calls.windows(2).map(|pair| pair[1].0 - pair[0].0).max().unwrap();
    assert!(longest <= LONGEST + Duration::from_secs(1), "{longest:?}");
    stage.service.otherwise(Reply::Accept);
    stage.until_delivered(API).await;
    assert_eq!(stage.service.messages(STREAM), stage.engine.written(API));
    stage.until("the problem is over", |stage| stage.problems().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn denied_access_is_a_problem_at_once_and_ends_when_it_is_allowed() {
    let stage = stage_with(5);
    stage.service.otherwise(Reply::Fail(PutError::Denied { reason: "AccessDeniedException".to_owned() }));
    stage.until("the problem", |stage| !stage.problems().is_empty()).await;
    let problem = stage.board.status().problems[0].clone();
    assert_eq!(problem.code, "logs_denied");
    assert_eq!(problem.message, "not allowed to write to log group /aws/ec2/api: AccessDeniedException");
    assert!(problem.hint.unwrap().contains("logs:CreateLogStream"));
    stage.service.otherwise(Reply::Accept);
    stage.until_delivered(API).await;
    stage.until("the problem is over", |stage| stage.problems().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn rejected_events_are_counted_and_never_sent_again() {
    let stage = stage_with(100);
    stage.service.next([Reply::Reject(Answer { expired: 3, too_old: 2, too_new: 10 })]);
    stage.until("an answer", |stage| stage.board.status().logs.events_shipped > 0).await;
    stage.engine.write(API, numbered(100, 5));
    stage.until("the rest", |stage| stage.board.status().logs.events_shipped == 90).await;
    assert_eq!(stage.board.status().logs.events_dropped, 15);
    let written = stage.engine.written(API);
    assert_eq!(stage.service.messages(STREAM), [&written[5..90], &written[100..]].concat());
}

#[tokio::test(start_paused = true)]
async fn one_bad_event_is_found_by_halves_dropped_and_counted() {
    let stage = stage_with(1000);
    stage.service.otherwise(Reply::RefuseText("617 "));
    stage.until("all but one", |stage| stage.board.status().logs.events_shipped == 999).await;
    assert_eq!(stage.board.status().logs.events_dropped, 1);
    assert_eq!(stage.service.refused().len(), 1);
    let mut expected = stage.engine.written(API);
    expected.remove(617);
    assert_eq!(stage.service.messages(STREAM), expected, "the others are all there and in order");
    let calls = stage.service.calls().len();
    assert!(calls <= 22, "{calls} calls to find one of a thousand");
}

#[tokio::test(start_paused = true)]
async fn while_the_service_hangs_reading_stops_and_the_engine_keeps_the_lines() {
    let stage = stage_with(100_000);
    stage.service.otherwise(Reply::Hang);
    tokio::time::sleep(Duration::from_secs(600)).await;
    let given = stage.engine.given(API);
    assert!(given <= PUT_LOG_EVENTS.events + 1, "{given} lines in memory");
    let backlog = stage.board.status().logs.backlog_bytes;
    assert!(0 < backlog && backlog <= 2 * PUT_LOG_EVENTS.bytes as u64, "{backlog} bytes in memory");
}

#[tokio::test(start_paused = true)]
async fn a_stop_delivers_what_was_read_and_a_start_repeats_nothing() {
    let state = tempfile::tempdir().unwrap();
    let (engine, service) = (ScriptedEngine::default(), ScriptedService::default());
    for life in 0..5 {
        let stage = Stage::resume(engine.clone(), service.clone(), state.path());
        stage.show(&[(API, running())]);
        engine.write(API, numbered(life * 10, 10));
        stage.until("the lines were read", |stage| stage.board.status().logs.backlog_bytes > 0).await;
        let begin = Instant::now();
        stage.stop().await;
        assert!(begin.elapsed() < Duration::from_secs(2), "it did not wait for the batch to age");
        assert_eq!(service.messages(STREAM), engine.written(API));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_the_service_hangs_ends_in_time_and_the_next_start_delivers() {
    let state = tempfile::tempdir().unwrap();
    let stage = Stage::resume(ScriptedEngine::default(), ScriptedService::default(), state.path());
    stage.engine.write(API, numbered(0, 10));
    stage.show(&[(API, running())]);
    stage.service.otherwise(Reply::Hang);
    tokio::time::sleep(Duration::from_secs(30)).await;
    let begin = Instant::now();
    let (engine, service, _) = stage.stop().await;
    assert!(begin.elapsed() <= DRAIN_LIMIT + Duration::from_secs(1), "{:?}", begin.elapsed());
    service.otherwise(Reply::Accept);
    let stage = Stage::resume(engine, service, state.path());
    stage.show(&[(API, running())]);
    stage.until_delivered(API).await;
    assert_eq!(stage.service.messages(STREAM), stage.engine.written(API));
}
