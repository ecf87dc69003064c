//! The counters and problems of the shipper, event by event.

use super::*;
use crate::status::Dropped;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn codes(tally: &Tally, second: i64) -> Vec<String> {
    tally.report(at(second)).1.into_iter().map(|problem| problem.code).collect()
}

#[test]
fn a_short_outage_is_no_problem_and_a_long_one_is_until_it_ends() {
    let tally = Tally::new("/aws/ec2/api");
    let error = PutError::Retry { reason: "ThrottlingException: Rate exceeded".to_owned() };
    assert!(tally.undelivered("one", &error, at(100)));
    assert!(!tally.undelivered("one", &error, at(130)));
    assert_eq!(codes(&tally, 159), [""; 0]);
    let (_, problems) = tally.report(at(160));
    assert_eq!(problems[0].code, "logs_unreachable");
    assert_eq!(
        problems[0].message,
        "log lines cannot be delivered to log group /aws/ec2/api: ThrottlingException: Rate exceeded"
    );
    assert_eq!(problems[0].since, at(100));
    assert!(tally.answered("one", 1, 1, Answer::default()));
    assert_eq!(codes(&tally, 200), [""; 0]);
}

#[test]
fn a_denied_call_is_a_problem_at_once_with_the_permissions_to_add() {
    let tally = Tally::new("/aws/ec2/api");
    tally.undelivered("one", &PutError::Denied { reason: "no".to_owned() }, at(100));
    let (_, problems) = tally.report(at(100));
    assert_eq!(problems[0].code, "logs_denied");
    assert!(problems[0].hint.as_ref().unwrap().contains("logs:PutLogEvents"));
}

#[test]
fn what_a_limit_leaves_out_is_counted_and_shown_for_an_hour() {
    let tally = Tally::new("g");
    tally.left_out("one", 3, at(100));
    tally.left_out("one", 4, at(200));
    let (logs, problems) = tally.report(at(300));
    assert_eq!((logs.events_dropped, problems[0].code.as_str()), (7, "logs_left_out"));
    assert_eq!((problems[0].since, &problems[0].message[..1]), (at(100), "7"));
    assert_eq!(codes(&tally, 3_800), [""; 0]);
    tally.left_out("one", 1, at(4_000));
    assert_eq!(tally.report(at(4_000)).1[0].since, at(4_000), "it began anew");
}

#[test]
fn what_was_given_up_is_told_by_reason_and_as_a_sum() {
    let tally = Tally::new("g");
    tally.answered("one", 7, 70, Answer { expired: 1, too_old: 2, too_new: 3 });
    tally.given_up(4);
    tally.refused();
    tally.left_out("one", 5, at(100));
    let logs = tally.report(at(100)).0;
    let reasons =
        Dropped { over_the_queue: 4, over_a_limit: 5, expired: 1, too_old: 2, too_new: 3, refused: 1 };
    assert_eq!((logs.dropped, logs.events_dropped), (reasons, 16));
}

#[test]
fn who_waits_is_told_by_stream_the_longest_first_and_why() {
    let tally = Tally::new("g");
    for (source, age) in [("one", 20), ("two", 5), ("three", 400)] {
        tally.begins(source, &format!("i-1/{source}"));
        tally.waiting(source, Waiting { bytes: 10, earliest_ms: Some((1_000 - age) * 1000) });
    }
    tally.undelivered("one", &PutError::Retry { reason: "no route".to_owned() }, at(1_000));
    let behind = tally.report(at(1_000)).0.behind;
    let told: Vec<_> = behind.iter().map(|it| (it.stream.as_str(), it.error.as_deref())).collect();
    assert_eq!(told, [("i-1/three", None), ("i-1/one", Some("no route"))]);
}

#[test]
fn lines_that_wait_long_while_calls_are_answered_are_a_problem_after_a_minute() {
    let tally = Tally::new("g");
    tally.begins("one", "i-1/api");
    let waiting = || tally.waiting("one", Waiting { bytes: 10, earliest_ms: Some(0) });
    waiting();
    assert_eq!(codes(&tally, 301), [""; 0], "a backlog of an earlier run is caught up");
    assert_eq!(codes(&tally, 361), ["logs_behind"]);
    let error = PutError::Denied { reason: "no".to_owned() };
    tally.undelivered("one", &error, at(400));
    assert_eq!(codes(&tally, 400), ["logs_denied"]);
    tally.answered("one", 1, 1, Answer::default());
    tally.waiting("one", Waiting::default());
    assert_eq!(codes(&tally, 401), [""; 0]);
    waiting();
    assert_eq!(codes(&tally, 402), [""; 0], "it began anew");
}

#[test]
fn backlog_and_its_age_are_over_all_streams_and_end_with_them() {
    let tally = Tally::new("g");
    tally.waiting("one", Waiting { bytes: 10, earliest_ms: Some(7_000) });
    tally.waiting("two", Waiting { bytes: 5, earliest_ms: Some(9_000) });
    let (logs, _) = tally.report(at(10));
    assert_eq!((logs.backlog_bytes, logs.oldest_unshipped_seconds, logs.behind.len()), (15, 3, 0));
    tally.waiting("one", Waiting::default());
    tally.forget("two");
    assert_eq!(tally.report(at(10)).0, Logs { group: Some("g".to_owned()), ..Logs::default() });
}
