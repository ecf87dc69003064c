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
        model_server: None,
        volumes: Vec::new(),
        logs: Logs::default(),
        secrets: Vec::new(),
        problems: Vec::new(),
    }
}

fn explanation() -> Explanation {
    Explanation { service: "api".to_owned(), good: Some("sha256:new".to_owned()), ..Explanation::default() }
}

fn look(service: Service) -> Seen {
    Seen { status: status(service), explanations: vec![explanation()] }
}

fn quarantined(digest: &str, second: i64) -> Quarantined {
    Quarantined {
        digest: digest.to_owned(),
        at: at(second),
        cause: "it exited with code 3".to_owned(),
        last_log_lines: vec!["KeyError".to_owned()],
    }
}

fn kind(progress: &Progress) -> &'static str {
    match progress {
        Progress::Pending(_) => "pending",
        Progress::Done(_) => "done",
        Progress::Failed { .. } => "failed",
    }
}

#[test]
fn an_update_is_done_when_the_registry_was_asked_since_and_the_service_runs_what_it_named() {
    type Change = fn(&mut Service);
    let cases: [(&str, Change, &str); 14] = [
        ("asked since, current, running", |_| {}, "done"),
        (
            "the registry's answer is older than the question",
            |s| s.update.checked_at = Some(at(-1)),
            "pending",
        ),
        ("the registry never answered", |s| s.update.checked_at = None, "pending"),
        (
            "pinned, never asked",
            |s| (s.image, s.update.checked_at) = ("r/api@sha256:new".to_owned(), None),
            "done",
        ),
        (
            "pinned, and still on what a person had asked for",
            |s| (s.image, s.update.checked_at) = ("r/api@sha256:pin".to_owned(), None),
            "pending",
        ),
        ("taking it", |s| s.update.state = UpdateState::Updating, "pending"),
        ("seen, not taken", |s| s.update.state = UpdateState::Available, "pending"),
        ("current, still starting", |s| s.state = ServiceState::Starting, "pending"),
        ("current, failed", |s| s.state = ServiceState::Failed, "failed"),
        ("rolled back", |s| s.update.state = UpdateState::RolledBack, "failed"),
        ("known to be bad", |s| s.update.state = UpdateState::Quarantined, "failed"),
        ("held", |s| s.update.state = UpdateState::Held, "failed"),
        ("stopped, and current", |s| s.state = ServiceState::Stopped, "done"),
        (
            "stopped, and not current",
            |s| (s.state, s.update.state) = (ServiceState::Stopped, UpdateState::Available),
            "failed",
        ),
    ];
    for (story, change, expected) in cases {
        let mut service = service();
        change(&mut service);
        let progress = update(&look(service), "api", at(0), false);
        assert_eq!(kind(&progress), expected, "{story}: {progress:?}");
    }
}

#[test]
fn a_rolled_back_update_says_why() {
    let mut service = service();
    service.update.state = UpdateState::RolledBack;
    service.update.reason = Some("GET /health answered 500".to_owned());
    let progress = update(&look(service), "api", at(0), false);
    assert_eq!(progress, Progress::failed("api was rolled back: GET /health answered 500".to_owned()));
}

#[test]
fn a_retry_is_not_failed_by_what_had_failed_before() {
    for state in [UpdateState::RolledBack, UpdateState::Quarantined] {
        let mut service = service();
        service.update.state = state;
        let mut seen = look(service);
        for (story, entries, expected) in [
            ("lifted, and not shown yet", vec![quarantined("sha256:bad", -5)], "pending"),
            ("nothing is barred", vec![], "pending"),
            ("failed again", vec![quarantined("sha256:other", -5), quarantined("sha256:bad", 5)], "failed"),
        ] {
            seen.explanations[0].quarantined = entries;
            let progress = update(&seen, "api", at(0), true);
            assert_eq!(kind(&progress), expected, "{story}: {progress:?}");
        }
    }
}

/// `agentctl update api --to sha256:new`, taken at 0.
fn wish() -> Wish {
    Wish { service: "api".to_owned(), digest: "sha256:new".to_owned(), at: at(0), seen: false }
}

fn in_force(second: i64) -> Option<Target> {
    let (digest, named) = ("sha256:new".to_owned(), "v2".to_owned());
    Some(Target { digest, named, at: at(second) })
}

/// The wish is in force, and the old image runs and passes.
fn before_the_switch() -> Seen {
    let mut seen = look(Service { digest: Some("sha256:old".to_owned()), ..service() });
    let explanation = &mut seen.explanations[0];
    (explanation.good, explanation.target) = (Some("sha256:old".to_owned()), in_force(0));
    seen
}

#[test]
fn a_wish_is_done_when_exactly_that_digest_runs_passes_and_is_the_good_one() {
    type Change = fn(&mut Service, &mut Explanation);
    fn arrived(service: &mut Service, explanation: &mut Explanation) {
        service.digest = Some("sha256:new".to_owned());
        explanation.good = Some("sha256:new".to_owned());
    }
    let cases: [(&str, Change, &str); 13] = [
        ("the old one runs", |_, _| {}, "pending"),
        ("pulling", |s, _| s.state = ServiceState::Pulling, "pending"),
        ("the new one runs, its gate is open", |s, _| s.digest = Some("sha256:new".to_owned()), "pending"),
        ("it runs and passed its gate", arrived, "done"),
        (
            "it was good, and fails now",
            |s, e| {
                arrived(s, e);
                (s.state, s.health) = (ServiceState::Unhealthy, HealthState::Failing);
            },
            "pending",
        ),
        (
            "it was good, and the engine is silent",
            |s, e| {
                arrived(s, e);
                s.health = HealthState::Unknown;
            },
            "pending",
        ),
        ("another one runs that was good", |_, e| e.good = Some("sha256:new".to_owned()), "pending"),
        ("it failed", |_, e| e.quarantined = vec![quarantined("sha256:new", 5)], "failed"),
        (
            "it had failed before this wish",
            |_, e| e.quarantined = vec![quarantined("sha256:new", -5)],
            "pending",
        ),
        ("another one failed", |_, e| e.quarantined = vec![quarantined("sha256:x", 5)], "pending"),
        ("stopped", |_, e| e.stopped_since = Some(at(-9)), "failed"),
        ("held since", |_, e| e.held_since = Some(at(3)), "failed"),
        (
            "held since, when it was there",
            |s, e| {
                arrived(s, e);
                e.held_since = Some(at(3));
            },
            "done",
        ),
    ];
    for (story, change, expected) in cases {
        let mut seen = before_the_switch();
        change(&mut seen.status.services[0], &mut seen.explanations[0]);
        let progress = wish().progress(&seen);
        assert_eq!(kind(&progress), expected, "{story}: {progress:?}");
    }
}

#[test]
fn a_wish_that_failed_says_why_and_what_runs_instead() {
    let mut seen = before_the_switch();
    let entry = quarantined("sha256:new", 5);
    seen.explanations[0].quarantined = vec![quarantined("sha256:x", 9), entry.clone()];
    let text = "api was not updated to sha256:new: it exited with code 3; it runs sha256:old".to_owned();
    assert_eq!(wish().progress(&seen), Progress::Failed { text, failed: Some(entry) });
}

#[test]
fn a_wish_is_overtaken_by_a_later_one_and_not_by_an_earlier_one() {
    let mut wish = wish();
    let mut seen = before_the_switch();
    let mut shows = |wish: &mut Wish, target: Option<Target>| {
        seen.explanations[0].target = target;
        wish.progress(&seen)
    };
    assert_eq!(kind(&shows(&mut wish, None)), "pending", "not shown yet");
    assert_eq!(kind(&shows(&mut wish, in_force(-60))), "pending", "the one before");
    assert!(!wish.seen);
    let mut other = wish.clone();
    assert_eq!(kind(&shows(&mut other, in_force(1))), "failed", "overtaken before it was shown");
    assert_eq!(kind(&shows(&mut wish, in_force(0))), "pending");
    assert!(wish.seen);
    let ended = "api was not updated to sha256:new: it follows node.toml again".to_owned();
    assert_eq!(shows(&mut wish, None), Progress::failed(ended));
    let later = format!("api was not updated to sha256:new: v2 was asked for at {}", moment(at(1)));
    assert_eq!(shows(&mut wish, in_force(1)), Progress::failed(later));
}

#[test]
fn a_stop_ends_with_the_state_and_a_start_with_a_pass() {
    type Change = fn(&mut Service, &mut Explanation);
    let cases: [(&str, Change, &str, &str); 6] = [
        ("runs", |_, _| {}, "pending", "done"),
        ("asked to stop", |_, e| e.stopped_since = Some(at(0)), "pending", "pending"),
        (
            "stopped",
            |s, _| (s.state, s.health) = (ServiceState::Stopped, HealthState::None),
            "done",
            "pending",
        ),
        (
            "starts",
            |s, _| (s.state, s.health) = (ServiceState::Starting, HealthState::Unknown),
            "pending",
            "pending",
        ),
        ("failed long ago", |s, _| s.state = ServiceState::Failed, "pending", "pending"),
        ("failed since", |s, _| (s.state, s.since) = (ServiceState::Failed, at(1)), "pending", "failed"),
    ];
    for (story, change, stopping, starting) in cases {
        let mut seen = look(service());
        change(&mut seen.status.services[0], &mut seen.explanations[0]);
        assert_eq!(kind(&stop(&seen, "api")), stopping, "{story}");
        assert_eq!(kind(&start(&seen, "api", at(0))), starting, "{story}");
    }
}

#[test]
fn a_pull_that_goes_on_is_the_same_story() {
    assert_eq!(gist("pulling sha256:ab: 1.5 MB of 80.2 MB"), gist("pulling sha256:ab: 80.1 MB of 80.2 MB"));
    assert_ne!(gist("api is pulling it"), gist("api does not run it yet"));
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
    let mut empty = look(service());
    empty.status.services.clear();
    assert_eq!(kind(&update(&empty, "api", at(0), false)), "pending");
    assert_eq!(kind(&restart(&empty.status, &service(), at(0))), "pending");
    assert_eq!(kind(&stop(&empty, "api")), "pending");
    assert_eq!(kind(&start(&empty, "api", at(0))), "pending");
    let mut wish = wish();
    wish.seen = true;
    assert_eq!(kind(&wish.progress(&empty)), "pending");
}

#[test]
fn several_are_done_when_all_are_and_failed_when_one_is() {
    let (done, pending) = (Progress::Done("a".to_owned()), Progress::Pending("b".to_owned()));
    let failed = Progress::failed("c".to_owned());
    assert_eq!(together(vec![done.clone(), done.clone()]), Progress::Done("a\na".to_owned()));
    assert_eq!(together(vec![done.clone(), pending.clone()]), pending);
    assert_eq!(together(vec![done, pending, failed.clone()]), failed);
}

#[test]
fn who_asks_for_all_does_not_mean_what_is_held_or_stopped() {
    let held = |service: &mut Service| service.update.state = UpdateState::Held;
    let stopped = |service: &mut Service| service.state = ServiceState::Stopped;
    let mut seen = look(service());
    seen.status.services.push(Service { name: "web".to_owned(), ..service() });
    let done = |names: &str| Progress::Done(names.to_owned());
    assert_eq!(update_all(&seen, at(0)), done("api is current (sha256:new)\nweb is current (sha256:new)"));
    held(&mut seen.status.services[0]);
    assert_eq!(update_all(&seen, at(0)), done("web is current (sha256:new)"));
    stopped(&mut seen.status.services[1]);
    assert_eq!(update_all(&seen, at(0)), done("every service is held or stopped on purpose"));
    seen.status.services.clear();
    assert_eq!(kind(&update_all(&seen, at(0))), "pending");
}
