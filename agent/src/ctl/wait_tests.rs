//! Stories of waiting: one status, what `--wait` makes of it.

use super::*;
use crate::status::{Logs, Node, NodeState, UpdateStatus};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_772_000_000 + second).unwrap()
}

fn service() -> Service {
    Service {
        name: "api".to_owned(),
        state: ServiceState::Running,
        health: HealthState::Passing,
        image: "r/api:latest".to_owned(),
        digest: Some("sha256:new".to_owned()),
        container_id: Some("old".to_owned()),
        since: at(-100),
        restarts: 0,
        update: UpdateStatus {
            state: UpdateState::Current,
            candidate: None,
            reason: None,
            checked_at: Some(at(1)),
        },
    }
}

fn status(service: Service) -> Status {
    Status {
        node: Node {
            name: "n".to_owned(),
            instance_id: String::new(),
            instance_type: String::new(),
            region: String::new(),
            availability_zone: String::new(),
            state: NodeState::Ready,
            since: at(-100),
            version: "0".to_owned(),
            boot: "b".to_owned(),
        },
        services: vec![service],
        models: Vec::new(),
        volumes: Vec::new(),
        logs: Logs::default(),
        secrets: Vec::new(),
        problems: Vec::new(),
    }
}

fn kind(progress: &Progress) -> &'static str {
    match progress {
        Progress::Pending(_) => "pending",
        Progress::Done(_) => "done",
        Progress::Failed(_) => "failed",
    }
}

#[test]
fn an_update_is_done_when_the_registry_was_asked_since_and_the_service_runs_what_it_named() {
    type Change = fn(&mut Service);
    let cases: [(&str, Change, &str); 11] = [
        ("asked since, current, running", |_| {}, "done"),
        (
            "the registry's answer is older than the question",
            |s| s.update.checked_at = Some(at(-1)),
            "pending",
        ),
        ("the registry never answered", |s| s.update.checked_at = None, "pending"),
        (
            "pinned, never asked",
            |s| (s.image, s.update.checked_at) = ("r/api@sha256:a".to_owned(), None),
            "done",
        ),
        ("taking it", |s| s.update.state = UpdateState::Updating, "pending"),
        ("seen, not taken", |s| s.update.state = UpdateState::Available, "pending"),
        ("current, still starting", |s| s.state = ServiceState::Starting, "pending"),
        ("current, failed", |s| s.state = ServiceState::Failed, "failed"),
        ("rolled back", |s| s.update.state = UpdateState::RolledBack, "failed"),
        ("known to be bad", |s| s.update.state = UpdateState::Quarantined, "failed"),
        ("held", |s| s.update.state = UpdateState::Held, "failed"),
    ];
    for (story, change, expected) in cases {
        let mut service = service();
        change(&mut service);
        let progress = update(&status(service), "api", at(0));
        assert_eq!(kind(&progress), expected, "{story}: {progress:?}");
    }
}

#[test]
fn a_rolled_back_update_says_why() {
    let mut service = service();
    service.update.state = UpdateState::RolledBack;
    service.update.reason = Some("GET /health answered 500".to_owned());
    let progress = update(&status(service), "api", at(0));
    assert_eq!(progress, Progress::Failed("api was rolled back: GET /health answered 500".to_owned()));
}

#[test]
fn a_restart_is_done_when_something_changed_and_it_passes_again() {
    type Change = fn(&mut Service);
    let cases: [(&str, Change, &str); 7] = [
        ("nothing happened yet", |_| {}, "pending"),
        ("same container, started again", |s| s.since = at(2), "done"),
        ("another container", |s| s.container_id = Some("new".to_owned()), "done"),
        ("counted, not passing yet", |s| (s.restarts, s.health) = (1, HealthState::Unknown), "pending"),
        ("stopped for it", |s| (s.state, s.since) = (ServiceState::Restarting, at(1)), "pending"),
        ("runs and fails its gate", |s| (s.state, s.since) = (ServiceState::Unhealthy, at(1)), "pending"),
        ("gave up", |s| (s.state, s.since) = (ServiceState::Failed, at(1)), "failed"),
    ];
    for (story, change, expected) in cases {
        let mut after = service();
        change(&mut after);
        let progress = restart(&status(after), &service(), at(0));
        assert_eq!(kind(&progress), expected, "{story}: {progress:?}");
    }
}

#[test]
fn an_agent_that_has_just_started_is_waited_for() {
    let mut empty = status(service());
    empty.services.clear();
    assert_eq!(kind(&update(&empty, "api", at(0))), "pending");
    assert_eq!(kind(&restart(&empty, &service(), at(0))), "pending");
}

#[test]
fn several_are_done_when_all_are_and_failed_when_one_is() {
    let (done, pending) = (Progress::Done("a".to_owned()), Progress::Pending("b".to_owned()));
    let failed = Progress::Failed("c".to_owned());
    assert_eq!(together(vec![done.clone(), done.clone()]), Progress::Done("a\na".to_owned()));
    assert_eq!(together(vec![done.clone(), pending.clone()]), pending);
    assert_eq!(together(vec![done, pending, failed.clone()]), failed);
}
