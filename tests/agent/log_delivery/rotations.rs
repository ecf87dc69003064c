//! The engine rotates its files at 10 MB and keeps three, and a container writes 50,000 lines a second: what was not read
//! within two seconds is gone.

use crate::Situation;
use crate::scene::{Verdict, begin, lasting};
use harness::log_node::{LogNode, Writer};
use log_endpoint::Fault;

pub(crate) const SITUATIONS: &[Situation] = &[
    ("rotation_under_50000_lines_a_second", rotation_under_50000_lines_a_second),
    ("rotation_while_unavailable", rotation_while_unavailable),
    ("both_outputs", both_outputs),
];

const PACE: u64 = 50_000;

fn rotation_under_50000_lines_a_second(node: &mut LogNode) {
    let lines = PACE * lasting(60, 8).as_secs();
    begin(node, &Writer::of("api", &format!("numbered={lines}@{PACE}")), "");
    Verdict::of("rotation under 50,000 lines a second", "api").on(node, 0..lines);
}

/// Longer than the files last: it has to be kept elsewhere.
fn rotation_while_unavailable(node: &mut LogNode) {
    let outage = lasting(40, 6);
    let lines = PACE * (outage.as_secs() + 2);
    begin(node, &Writer::of("api", &format!("numbered={lines}@{PACE}")), "");
    node.endpoint.begin(Fault::Unavailable, outage);
    Verdict::of("rotation while unavailable", "api").on(node, 0..lines);
    assert!(node.endpoint.hits() > 0, "the fault hit nothing");
}

/// Even numbers on one, odd ones on the other: the engine stamps each for itself, and each keeps its order.
fn both_outputs(node: &mut LogNode) {
    let lines = 20_000;
    let writer =
        Writer { output: "both".to_owned(), ..Writer::of("api", &format!("numbered={lines}@10000")) };
    begin(node, &writer, "");
    // Between the two there is no order to keep.
    let verdict = Verdict { stride: 2, ..Verdict::of("both outputs", "api") };
    verdict.on(node, 0..lines);
}
