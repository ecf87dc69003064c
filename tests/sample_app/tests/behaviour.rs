//! The application as a container runs it: told by its environment.

#![expect(clippy::unwrap_used, reason = "a failed step of a test ends it")]
#![expect(clippy::disallowed_methods, reason = "these tests run the program")]

use std::process::Command;
use std::time::Duration;

use harness::http::HttpClient;
use harness::processes::Process;
use nix::sys::signal::Signal;

const DEADLINE: Duration = Duration::from_secs(10);

/// Starts it on a free port and returns its base URL once it listens.
fn start(environment: &[(&str, &str)]) -> (Process, String) {
    let mut process = spawn(environment);
    let line = process.wait_for_line("\"listening\"", DEADLINE).unwrap();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    let port = line["address"].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
    (process, format!("http://127.0.0.1:{port}"))
}

fn spawn(environment: &[(&str, &str)]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sample-app"));
    command.env("PORT", "0").envs(environment.iter().copied());
    Process::start("sample-app", command).unwrap()
}

async fn get(url: &str, path: &str) -> harness::http::Answer {
    HttpClient::default().send("GET", &format!("{url}{path}"), &[], String::new()).await.unwrap()
}

#[tokio::test]
async fn a_healthy_one_says_its_version_and_keeps_a_secret() {
    let (process, url) = start(&[("VERSION", "2.1"), ("TOKEN", "marked-value")]);
    assert_eq!(get(&url, "/").await.json()["version"], "2.1");
    assert_eq!(get(&url, "/health").await.status, 200);
    let told = get(&url, "/env-sha?TOKEN").await.json();
    assert_eq!(told["sha256"], "cbd1de3d8cfda3a9711605c226d6ee243c1ea30d2419fd70f4126302536271de");
    assert_eq!(get(&url, "/secret-sha?../../etc/passwd").await.status, 404);
    assert!(!process.output().contains("marked-value"), "{}", process.output());
    assert!(process.output().contains("\"path\":\"/health\""), "{}", process.output());
}

#[tokio::test]
async fn health_turns_as_told() {
    let (_process, url) = start(&[("MODE", "unhealthy")]);
    assert_eq!(get(&url, "/health").await.status, 503);
    get(&url, "/recover").await;
    assert_eq!(get(&url, "/health").await.status, 200);
    get(&url, "/fail").await;
    assert_eq!(get(&url, "/health").await.status, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_request_is_answered_after_sigterm() {
    let (mut process, url) = start(&[]);
    let slow = tokio::spawn(async move { get(&url, "/slow?1").await.status });
    process.wait_for_line("\"slow\"", DEADLINE).unwrap();
    process.signal(Signal::SIGTERM).unwrap();
    assert_eq!(slow.await.unwrap(), 200);
    assert_eq!(process.wait_for_exit(DEADLINE).unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_crash_ends_with_one() {
    let (mut process, url) = start(&[]);
    HttpClient::default().send("GET", &format!("{url}/crash"), &[], String::new()).await.unwrap_err();
    assert_eq!(process.wait_for_exit(DEADLINE).unwrap().code(), Some(1));
    assert_eq!(spawn(&[("MODE", "exit")]).wait_for_exit(DEADLINE).unwrap().code(), Some(1));
    assert_eq!(spawn(&[("MODE", "crash-after=0.1")]).wait_for_exit(DEADLINE).unwrap().code(), Some(1));
}

#[tokio::test]
async fn one_that_ignores_sigterm_goes_on() {
    let (mut process, url) = start(&[("MODE", "ignore-term")]);
    process.signal(Signal::SIGTERM).unwrap();
    process.wait_for_line("\"sigterm\"", DEADLINE).unwrap();
    assert_eq!(get(&url, "/health").await.status, 200);
}

#[tokio::test]
async fn health_is_asked_where_it_is_told_and_the_neighbour_by_its_url() {
    let (_neighbour, neighbour) = start(&[]);
    let (_process, url) = start(&[("HEALTH_PATH", "/api/health/"), ("NEIGHBOUR", &neighbour)]);
    assert_eq!(get(&url, "/api/health/").await.status, 200);
    assert_eq!(get(&url, "/health").await.status, 404);
    assert_eq!(get(&url, "/reach?NEIGHBOUR").await.json()["status"], "HTTP/1.1 200 OK");
    assert_eq!(get(&url, "/reach?NOBODY").await.status, 502);
}

#[test]
fn a_worker_finishes_its_task_after_sigterm_and_begins_no_other() {
    let mut process = spawn(&[("MODE", "worker=1")]);
    process.wait_for_line("\"begun\"", DEADLINE).unwrap();
    process.signal(Signal::SIGTERM).unwrap();
    assert_eq!(process.wait_for_exit(DEADLINE).unwrap().code(), Some(0));
    let output = process.output();
    let events: Vec<&str> = ["begun", "sigterm", "done", "stop"].to_vec();
    let places: Vec<_> = events.iter().map(|event| output.find(&format!("\"{event}\""))).collect();
    assert!(places.is_sorted() && places.iter().all(Option::is_some), "{output}");
    assert_eq!(output.matches("\"begun\"").count(), 1, "{output}");
}
