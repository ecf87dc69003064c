//! The service, or the way to it, fails for a while.

use crate::Situation;
use crate::scene::{ARRIVAL, BATCH, Verdict, begin, lasting, until};
use harness::log_node::{GROUP, LogNode, Writer};
use harness::wait::wait_for;
use log_endpoint::Fault;
use std::time::{Duration, Instant};

pub(crate) const SITUATIONS: &[Situation] = &[
    ("unavailable", |node| outage(node, "503", Fault::Unavailable)),
    ("throttled", |node| outage(node, "throttling", Fault::Throttled)),
    ("resets", |node| outage(node, "connection resets", Fault::Reset)),
    ("stalls", |node| outage(node, "stalls", Fault::Stall)),
    ("expired_credentials", |node| outage(node, "expired credentials", Fault::Expired)),
    ("answers_lost", answers_lost),
    ("group_deleted", group_deleted),
];

const PACE: u64 = 2_000;

/// What fails was not taken, so nothing comes twice; but for a call that was given up, of which nobody knows.
fn outage(node: &mut LogNode, name: &str, fault: Fault) {
    let lasts = lasting(40, 8);
    let lines = PACE * (lasts.as_secs() + 4);
    begin(node, &Writer::of("api", &format!("numbered={lines}@{PACE}")), "");
    node.endpoint.begin(fault, lasts);
    until(Instant::now(), lasts);
    let hits = node.endpoint.hits();
    assert!(hits > 0, "{name} hit nothing");
    let given_up = if fault == Fault::Stall { hits } else { 0 };
    let verdict = Verdict { duplicates: given_up * BATCH, ..Verdict::of(name, "api") };
    verdict.on(node, 0..lines);
}

/// What was taken and not answered is sent again: one batch for each answer that was lost.
fn answers_lost(node: &mut LogNode) {
    let lasts = lasting(40, 5);
    let lines = PACE * (lasts.as_secs() + 4);
    begin(node, &Writer::of("api", &format!("numbered={lines}@{PACE}")), "");
    node.endpoint.begin(Fault::AnswerLost, lasts);
    until(Instant::now(), lasts);
    let hits = node.endpoint.hits();
    assert!(hits > 0, "no answer was lost");
    let verdict = Verdict { duplicates: hits * BATCH, ..Verdict::of("answers lost", "api") };
    verdict.on(node, 0..lines);
}

fn group_deleted(node: &mut LogNode) {
    let lines = PACE * 6;
    begin(node, &Writer::of("api", &format!("numbered={lines}@{PACE}")), "");
    let began = Instant::now();
    for second in [1, 3] {
        until(began, Duration::from_secs(second));
        let delete =
            || if node.endpoint.delete_group(GROUP) { Ok(()) } else { Err("there is none".to_owned()) };
        wait_for("the group to be there", ARRIVAL, delete).expect("a group that is made again");
    }
    Verdict::of("group deleted", "api").on(node, 0..lines);
    assert!(node.endpoint.operations()["CreateLogGroup"] >= 3, "{:?}", node.endpoint.operations());
}
