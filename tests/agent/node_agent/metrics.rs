//! The agent asked for its metrics, as Prometheus does.

use super::{Agent, PATIENCE, Tree, VALID};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn tree(port: u16) -> Tree {
    let tree = Tree::new(&format!("{VALID}\n[metrics]\nlisten = \"127.0.0.1:{port}\"\n"));
    tree.hand_over(|_| {});
    tree
}

/// The whole answer; empty while nobody answers.
fn scrape(port: u16) -> String {
    let mut answer = String::new();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    if let Ok(mut stream) = TcpStream::connect_timeout(&address, PATIENCE) {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // One that is just being closed is asked again.
        let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let _ = stream.read_to_string(&mut answer);
    }
    answer
}

/// Scrapes until `wanted` is a line of the answer.
fn until_shown(port: u16, wanted: &str, agent: &Agent) -> String {
    let begun = Instant::now();
    loop {
        let answer = scrape(port);
        if answer.lines().any(|line| line == wanted) {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "no {wanted}\n{answer}\n{}", agent.log());
    }
}

fn value(answer: &str, series: &str) -> Option<f64> {
    answer.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

#[test]
fn a_node_is_measured_whatever_else_does_not_work() {
    let port = free_port();
    let tree = tree(port);
    let mut agent = tree.start();
    let first = until_shown(port, "node_agent_problems{code=\"docker_unresponsive\"} 1", &agent);
    assert!(first.starts_with("HTTP/1.1 200 OK\r\n"), "{first}");
    assert!(first.contains("content-type: text/plain; version=0.0.4"), "{first}");
    assert!(
        first.contains(&format!("node_agent_build_info{{version=\"{}\"}} 1\n", node::VERSION)),
        "{first}"
    );
    assert!(first.contains("instance_id=\"i-0123456789abcdef0\""), "{first}");
    assert_eq!(value(&first, "node_agent_node_state{state=\"degraded\"}"), Some(1.0), "{first}");
    let memory = value(&first, "node_agent_memory_total_bytes");
    assert!(memory.is_some_and(|bytes| bytes > 64e6), "{first}");
    assert!(value(&first, "node_agent_filesystem_size_bytes{volume=\"/\",mount=\"/\"}").is_some(), "{first}");
    let resident = value(&first, "node_agent_process_resident_memory_bytes").unwrap();
    assert!((1e6..192e6).contains(&resident), "{resident}");
    println!(
        "{} bytes, {} series",
        first.len(),
        first.lines().filter(|line| line.starts_with("node_agent_")).count()
    );

    // Work that the agent did is counted, once the second is over in which nothing is measured anew.
    let idle = "node_agent_cpu_seconds_total{mode=\"user\"}";
    let before = value(&first, idle).unwrap();
    let begun = Instant::now();
    while value(&scrape(port), idle).is_none_or(|after| after <= before) {
        assert!(begun.elapsed() < PATIENCE, "the processors did nothing\n{}", agent.log());
    }
    assert_eq!(agent.terminate().0, Some(0), "{}", agent.log());
    assert_eq!(scrape(port), "", "nobody listens any more");
}

#[test]
fn a_port_that_another_program_has_is_a_problem_and_no_more() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let tree = tree(other.local_addr().unwrap().port());
    let mut agent = tree.start();
    tree.until_notified("READY=1", &agent);
    let problem = tree.until_problem("metrics_listen", &agent);
    assert!(problem["message"].as_str().unwrap().contains("127.0.0.1:"), "{problem:#}");
    assert!(problem["hint"].as_str().unwrap().contains("ss -ltnp"), "{problem:#}");
    assert!(agent.child.try_wait().unwrap().is_none(), "{}", agent.log());
    assert_eq!(agent.terminate().0, Some(0), "{}", agent.log());
}

#[test]
fn without_the_section_nobody_listens() {
    let tree = Tree::new(VALID);
    tree.hand_over(|_| {});
    let agent = tree.start();
    tree.until_notified("READY=1", &agent);
    tree.until_problem("docker_unresponsive", &agent);
    let pid = agent.child.id();
    // Sockets of the agent among those of its network that listen.
    let listening = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap();
    let inodes = listening.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        (fields[3] == "0A").then(|| fields[9].to_owned())
    });
    let inodes: Vec<String> = inodes.collect();
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let own: Vec<String> = open
        .filter_map(|entry| Some(std::fs::read_link(entry.path()).ok()?.to_str()?.to_owned()))
        .filter(|link| inodes.iter().any(|inode| *link == format!("socket:[{inode}]")))
        .collect();
    assert_eq!(own, [""; 0], "{listening}");
}
