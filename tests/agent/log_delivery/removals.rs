//! The container goes right after its last line, and its file with it.

use crate::Situation;
use crate::scene::{ARRIVAL, Verdict, begin, until_written, written};
use harness::log_node::{LogNode, Writer};
use harness::wait::wait_for;
use log_endpoint::Fault;
use std::fs::File;
use std::time::Duration;

pub(crate) const SITUATIONS: &[Situation] = &[
    ("container_removed_by_hand", container_removed_by_hand),
    ("container_removed_by_hand_while_unavailable", container_removed_by_hand_while_unavailable),
    ("service_removed_while_the_agent_was_away", service_removed_while_the_agent_was_away),
    ("service_removed_while_unavailable", service_removed_while_unavailable),
    ("service_restarted_and_stopped", service_restarted_and_stopped),
    ("container_ended_and_the_agent_stopped", container_ended_and_the_agent_stopped),
];

/// Five megabytes as fast as the engine takes them: less than it rotates at.
const LINES: u64 = 20_000;

/// Starts a writer, and returns when its last line is in the engine's file, opened.
fn written_at_once(node: &mut LogNode) -> (String, File) {
    let writer = Writer { counts_lives: true, ..Writer::of("api", &format!("numbered={LINES}")) };
    node.configure(std::slice::from_ref(&writer), "").expect("node.toml is written");
    node.start_agent(None).expect("the agent starts");
    let id = node.running("api").expect("the writer runs");
    let path = node.log_file(&id).expect("its path");
    let file = File::open(&path).expect("its json-file");
    until_written(&path, LINES - 1);
    (id, file)
}

fn gone(node: &LogNode, id: &str) {
    let look = || match node.engine.docker(&["inspect", id], b"") {
        Ok(_) => Err("it is there".to_owned()),
        Err(_) => Ok(()),
    };
    wait_for("the container to be removed", ARRIVAL, look)
        .unwrap_or_else(|story| panic!("{story}\n{}", node.agent_log()));
}

fn container_removed_by_hand(node: &mut LogNode) {
    let (id, _) = written_at_once(node);
    node.engine.docker(&["rm", "--force", &id], b"").expect("removed");
    // The service is wanted: the next one goes on where this one ended.
    Verdict::of("container removed by hand", "api").on(node, 0..2 * LINES);
}

fn container_removed_by_hand_while_unavailable(node: &mut LogNode) {
    node.endpoint.begin(Fault::Unavailable, Duration::from_secs(600));
    let (id, _) = written_at_once(node);
    node.engine.docker(&["rm", "--force", &id], b"").expect("removed");
    let hit = || if node.endpoint.hits() > 0 { Ok(()) } else { Err("no call".to_owned()) };
    wait_for("the fault to hit", ARRIVAL, hit).expect("an agent that tries");
    node.endpoint.begin(Fault::Unavailable, Duration::ZERO);
    Verdict::of("container removed by hand while unavailable", "api").on(node, 0..2 * LINES);
}

/// What it wrote since is read before it is removed.
fn service_removed_while_the_agent_was_away(node: &mut LogNode) {
    let id = begin(node, &Writer::of("api", &format!("numbered={LINES}@4000")), "");
    node.kill_agent();
    let path = node.log_file(&id).expect("its path");
    until_written(&path, LINES - 1);
    node.configure(&[], "").expect("node.toml is written");
    node.start_agent(None).expect("the agent starts");
    gone(node, &id);
    Verdict::of("service removed while the agent was away", "api").after_kills(1).on(node, 0..LINES);
}

/// The same when nothing can be delivered: it has to be kept elsewhere, also over a kill.
fn service_removed_while_unavailable(node: &mut LogNode) {
    let id = begin(node, &Writer::of("api", &format!("numbered={LINES}@8000")), "");
    node.kill_agent();
    until_written(&node.log_file(&id).expect("its path"), LINES - 1);
    node.endpoint.begin(Fault::Unavailable, Duration::from_secs(600));
    node.configure(&[], "").expect("node.toml is written");
    node.start_agent(None).expect("the agent starts");
    gone(node, &id);
    node.kill_agent();
    node.endpoint.begin(Fault::Unavailable, Duration::ZERO);
    node.start_agent(None).expect("the agent starts");
    Verdict::of("service removed while unavailable", "api").after_kills(2).on(node, 0..LINES);
}

fn service_restarted_and_stopped(node: &mut LogNode) {
    let (id, first) = written_at_once(node);
    node.agentctl(&["restart", "api"]).expect("restarted");
    let lives = || {
        let again = node.running("api").map_err(|error| error.to_string())?;
        let file = node.log_file(&again).map_err(|error| error.to_string())?;
        let file = File::open(file).map_err(|error| error.to_string())?;
        let last = 2 * LINES - 1;
        if written(&file).contains(&last) { Ok(file) } else { Err(format!("{last} is not written")) }
    };
    let second = wait_for("the second life's lines", ARRIVAL, lives).expect("a second life");
    node.agentctl(&["stop", "api"]).expect("stopped");
    let all = written(&first).into_iter().chain(written(&second)).collect();
    assert!(!id.is_empty());
    Verdict::of("service restarted and stopped", "api").on_all(node, &all);
}

/// SIGTERM right after the last line of a container that ends by itself: what is there is shipped.
fn container_ended_and_the_agent_stopped(node: &mut LogNode) {
    let writer = Writer { counts_lives: true, ..Writer::of("api", &format!("numbered={LINES},exit")) };
    node.configure(std::slice::from_ref(&writer), "").expect("node.toml is written");
    node.start_agent(None).expect("the agent starts");
    let id = node.running("api").expect("the writer runs");
    let path = node.log_file(&id).expect("its path");
    until_written(&path, LINES - 1);
    assert_eq!(node.stop_agent().expect("the agent ends"), Some(0));
    assert_eq!(node.seen("api").missing(0..LINES), [], "shipped when it was told to stop");
    Verdict::of("container ended and the agent stopped", "api").on(node, 0..LINES);
}
