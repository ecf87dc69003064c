//! The agent is killed.

use crate::Situation;
use crate::scene::{ARRIVAL, Verdict, begin, lasting, until};
use harness::log_node::{LogNode, Writer};
use log_endpoint::numbered::{Times, append_json_file};
use std::time::{Duration, Instant};

pub(crate) const SITUATIONS: &[Situation] = &[
    ("agent_killed_every_second", agent_killed_every_second),
    ("agent_killed_while_it_catches_up", agent_killed_while_it_catches_up),
    ("agent_stopped_and_started", agent_stopped_and_started),
];

/// A megabyte a second, so that its file is rotated meanwhile.
const PACE: u64 = 5_000;

fn agent_killed_every_second(node: &mut LogNode) {
    let kills = lasting(60, 20).as_secs();
    let lines = PACE * (kills + 2);
    begin(node, &Writer::of("api", &format!("numbered={lines}@{PACE}")), "");
    let began = Instant::now();
    for kill in 1..=kills {
        until(began, Duration::from_secs(kill));
        node.kill_agent();
        node.start_agent(None).expect("the agent starts again");
    }
    Verdict::of("agent killed every second", "api").after_kills(kills).on(node, 0..lines);
}

/// Killed when there is most in flight: whenever so many more lines have arrived.
fn agent_killed_while_it_catches_up(node: &mut LogNode) {
    const LINES: u64 = 400_000;
    const KILLS: u64 = 6;
    let id = begin(node, &Writer::of("api", "numbered=1"), "");
    node.stop_agent().expect("the agent ends");
    let file = node.log_file(&id).expect("its json-file");
    // Behind the time of the first line; a few seconds of the future are none to the service.
    let times = Times { first: jiff::Timestamp::now(), step: Duration::from_micros(20) };
    append_json_file(&file, 1..LINES, times).expect("a json-file");
    for kill in 1..=KILLS {
        node.start_agent(None).expect("the agent starts");
        node.arrived("api", kill * LINES / (KILLS + 1), ARRIVAL).expect("lines");
        node.kill_agent();
    }
    node.start_agent(None).expect("the agent starts");
    Verdict::of("agent killed while it catches up", "api").after_kills(KILLS).on(node, 0..LINES);
}

/// SIGTERM is no kill: nothing comes twice.
fn agent_stopped_and_started(node: &mut LogNode) {
    const STOPS: u64 = 3;
    let lines = PACE * (STOPS + 2);
    begin(node, &Writer::of("api", &format!("numbered={lines}@{PACE}")), "");
    for stop in 1..=STOPS {
        node.arrived("api", stop * PACE, ARRIVAL).expect("lines");
        node.answers().expect("an agent at work");
        assert_eq!(node.stop_agent().expect("the agent ends"), Some(0));
        node.start_agent(None).expect("the agent starts again");
    }
    Verdict::of("agent stopped and started", "api").on(node, 0..lines);
}
