//! Golden texts: what an operator sees, character by character.

use super::explain;
use super::status::{Stale, render};
use super::text::Page;
use crate::ctl::absent::Absent;
use crate::status::*;
use jiff::{SignedDuration, Timestamp};
use node::problem::Problem;

pub(super) const PLAIN: Page = Page { width: 80, colour: false };

pub(super) fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

pub(super) fn ago(seconds: i64) -> Timestamp {
    now().checked_sub(SignedDuration::from_secs(seconds)).unwrap()
}

fn service(name: &str) -> Service {
    Service {
        name: name.to_owned(),
        state: ServiceState::Running,
        health: HealthState::Passing,
        image: format!("123456789012.dkr.ecr.eu-north-1.amazonaws.com/{name}:latest"),
        digest: Some(format!("sha256:{}", "0123456789abcdef".repeat(4))),
        container_id: Some("c0ffee".to_owned()),
        since: ago(7500),
        restarts: 0,
        update: UpdateStatus {
            state: UpdateState::Current,
            candidate: None,
            reason: None,
            checked_at: Some(ago(20)),
        },
    }
}

pub(super) fn ready() -> Status {
    Status {
        node: Node {
            name: "algoitny-api".to_owned(),
            instance_id: "i-0123456789abcdef0".to_owned(),
            instance_type: "t3.small".to_owned(),
            region: "eu-north-1".to_owned(),
            availability_zone: "eu-north-1a".to_owned(),
            state: NodeState::Ready,
            since: ago(7500),
            version: "0.1.0".to_owned(),
            boot: "b1946ac9-2492-4d23-a1f9-1c1d3b6f2a10".to_owned(),
        },
        services: vec![service("api"), service("ollama")],
        models: Vec::new(),
        model_server: None,
        volumes: vec![Volume {
            name: "models".to_owned(),
            volume_id: Some("vol-0aaa".to_owned()),
            device: Some("/dev/nvme1n1".to_owned()),
            mount: "/mnt/ollama-models".to_owned(),
            filesystem: Some("xfs".to_owned()),
            size_bytes: Some(107_374_182_400),
            used_bytes: Some(13_207_024_435),
        }],
        logs: Logs {
            group: Some("/aws/ec2/api".to_owned()),
            events_shipped: 12_345,
            bytes_shipped: 1 << 20,
            ..Logs::default()
        },
        secrets: vec![Secret {
            name: "app".to_owned(),
            version_id: Some("0c3a5b1e-7d0f-4a52-9f3e-1d2c3b4a5f60".to_owned()),
            fetched_at: Some(ago(300)),
        }],
        problems: Vec::new(),
    }
}

fn degraded() -> Status {
    let mut status = ready();
    status.node.state = NodeState::Degraded;
    status.node.since = ago(180);
    status.problems = vec![
        Problem {
            code: "secret_missing".to_owned(),
            message:
                "secret db (prod/a-very-long-name-of-a-secret-that-nobody-would-type-twice) does not exist \
                      in eu-north-1"
                    .to_owned(),
            hint: Some("create it, or correct the id in [secrets.db]".to_owned()),
            since: ago(180),
        },
        Problem {
            code: ROLLED_BACK.to_owned(),
            message: "service api was rolled back".to_owned(),
            hint: None,
            since: ago(42),
        },
    ];
    let api = &mut status.services[0];
    api.name = "a-service-with-a-long-name".to_owned();
    api.image = "registry.example.com:5000/team/an-image-with-a-long-name:2026-03-01-release".to_owned();
    api.restarts = 12;
    api.update.state = UpdateState::RolledBack;
    api.update.reason = Some(
        "sha256:ffff failed its health gate: GET /health answered 500 for the third time in a row".to_owned(),
    );
    let ollama = &mut status.services[1];
    (ollama.state, ollama.health) = (ServiceState::Restarting, HealthState::None);
    (ollama.digest, ollama.container_id) = (None, None);
    status.volumes[0].used_bytes = Some(102_374_182_400);
    status.volumes.push(Volume {
        name: "scratch".to_owned(),
        volume_id: None,
        device: None,
        mount: "/mnt/scratch".to_owned(),
        filesystem: None,
        size_bytes: None,
        used_bytes: None,
    });
    status.logs = behind(&status.logs);
    status.secrets.push(Secret { name: "db".to_owned(), version_id: None, fetched_at: None });
    status
}

/// Logs that wait, and of which some were given up.
fn behind(logs: &Logs) -> Logs {
    Logs {
        events_dropped: 3,
        dropped: Dropped { over_the_queue: 2, too_old: 1, ..Dropped::default() },
        backlog_bytes: 2_621_440,
        oldest_unshipped_seconds: 61,
        behind: vec![Behind {
            stream: "i-0123456789abcdef0/api".to_owned(),
            backlog_bytes: 2_097_152,
            oldest_unshipped_seconds: 61,
            error: Some("ThrottlingException: Rate exceeded".to_owned()),
        }],
        budgets: vec![Budget {
            service: "api".to_owned(),
            daily_bytes: 5 << 30,
            used_bytes: 5 << 30,
            events_left_out: 1_204,
        }],
        ..logs.clone()
    }
}

fn explanations() -> Vec<Explanation> {
    vec![Explanation {
        service: "api".to_owned(),
        gate: "GET /api/health/ on port 8000 every 10 s, 3 failures in a row".to_owned(),
        reasons: vec![
            Reason { text: "runs what its reference names".to_owned(), until: None },
            Reason {
                text: "waits before the next try".to_owned(),
                until: Some(now().checked_add(SignedDuration::from_secs(125)).unwrap()),
            },
        ],
        quarantined: vec![Quarantined {
            digest: format!("sha256:{}", "f".repeat(64)),
            at: ago(3600),
            cause: "GET /api/health/ answered 500".to_owned(),
            last_log_lines: vec![
                "\x1b[31mTraceback (most recent call last):\x1b[0m".to_owned(),
                "  ImproperlyConfigured: \x07SECRET_KEY".to_owned(),
            ],
        }],
        ..Explanation::default()
    }]
}

/// A service that persons and updates have left their traces on.
fn with_history() -> Explanation {
    let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
    let update = |(digit, from): (&str, Option<&str>), began, state| PastUpdate {
        digest: digest(digit),
        from: from.map(digest),
        began: ago(began),
        ended: (state != PastUpdateState::UnderWay).then(|| ago(began - 75)),
        state,
        cause: None,
    };
    let mut failed = update(("c", Some("b")), 7200, PastUpdateState::Failed);
    failed.cause = Some("its health check fails: GET /api/health/ answered 500".to_owned());
    Explanation {
        good: Some(digest("b")),
        previous: Some(digest("a")),
        target: Some(Target { digest: digest("a"), named: "2026-02-14".to_owned(), at: ago(1800) }),
        held_since: Some(ago(600)),
        stopped_since: Some(ago(42)),
        updates: vec![
            update(("a", None), 90_000, PastUpdateState::Passed),
            update(("b", Some("a")), 86_000, PastUpdateState::Passed),
            update(("b", Some("b")), 10_000, PastUpdateState::Overtaken),
            failed,
            update(("a", Some("b")), 1800, PastUpdateState::UnderWay),
        ],
        quarantined: Vec::new(),
        ..explanations().remove(0)
    }
}

pub(super) fn assert_golden(name: &str, text: &str, expected: &str) {
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{name}: wider than 80 columns: {line}");
    }
    assert_eq!(text, expected, "{name} differs; it is now:\n{text}");
}

#[test]
fn a_ready_node_fits_a_screen() {
    assert_golden("ready", &render(&ready(), None, now(), PLAIN), include_str!("golden/ready.txt"));
}

#[test]
fn a_degraded_node_shows_what_is_wrong_first_and_still_fits() {
    assert_golden("degraded", &render(&degraded(), None, now(), PLAIN), include_str!("golden/degraded.txt"));
}

#[test]
fn a_stale_status_says_so_before_anything_else() {
    let stale = Stale {
        written_at: ago(192),
        reason: "cannot reach node-agent at /run/node-agent/agent.sock: Connection refused (os error 111)"
            .to_owned(),
        absent: Absent {
            unit: Some("node-agent.service is failed (exit-code, status 78)".to_owned()),
            journal: vec![
                "/etc/node-agent/node.toml:3:1: unknown key `imge`".to_owned(),
                "    hint: did you mean `image`?\u{1b}[2J".to_owned(),
            ],
        },
    };
    assert_golden("stale", &render(&ready(), Some(&stale), now(), PLAIN), include_str!("golden/stale.txt"));
}

#[test]
fn a_node_of_which_nothing_is_known_yet() {
    let mut status = ready();
    let node = &mut status.node;
    node.state = NodeState::Starting;
    for field in [&mut node.instance_id, &mut node.instance_type, &mut node.availability_zone] {
        field.clear();
    }
    (status.services, status.volumes, status.secrets) = (Vec::new(), Vec::new(), Vec::new());
    assert_golden("unknown", &render(&status, None, now(), PLAIN), include_str!("golden/unknown.txt"));
}

#[test]
fn an_explanation_gives_reasons_times_and_the_last_words_of_what_failed() {
    let text = explain::render(&explanations(), &ready(), now(), PLAIN);
    assert_golden("explain", &text, include_str!("golden/explain.txt"));
}

#[test]
fn an_explanation_gives_the_last_updates_and_what_persons_asked_for() {
    let text = explain::render(&[with_history()], &ready(), now(), PLAIN);
    assert_golden("history", &text, include_str!("golden/history.txt"));
}

#[test]
fn an_explanation_of_an_older_agent_is_read_without_a_history() {
    let older = r#"{"service":"api","gate":"stayed up for 10s","reasons":[],"quarantined":[]}"#;
    let explanation: Explanation = serde_json::from_str(older).unwrap();
    let expected = Explanation {
        service: "api".to_owned(),
        gate: "stayed up for 10s".to_owned(),
        ..Explanation::default()
    };
    assert_eq!(explanation, expected);
}

#[test]
fn held_and_stopped_services_say_how_that_is_taken_back() {
    let mut status = ready();
    let api = &mut status.services[0];
    (api.state, api.health, api.container_id) = (ServiceState::Stopped, HealthState::None, None);
    status.services[1].update.state = UpdateState::Held;
    assert_golden("on_purpose", &render(&status, None, now(), PLAIN), include_str!("golden/on_purpose.txt"));
}

#[test]
fn last_lines_beside_a_verdict_are_few_and_cut() {
    let mut failed = explanations().remove(0).quarantined.remove(0);
    failed.last_log_lines = (0..50).map(|line| format!("{line} \x1b[31m{}", "x".repeat(500))).collect();
    let text = explain::render_last_lines(&failed, PLAIN);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines.len(), lines[0]), (21, "the last lines of ffffffffffff:"));
    assert!(lines[1].starts_with("  | 30 xxx") && lines[20].starts_with("  | 49 xxx"), "{text}");
    assert!(text.len() < 4000, "{}", text.len());
    failed.last_log_lines.clear();
    assert_eq!(explain::render_last_lines(&failed, PLAIN), "ffffffffffff wrote nothing\n");
}

#[test]
fn colours_change_nothing_but_colours() {
    let coloured = render(&degraded(), None, now(), Page { colour: true, ..PLAIN });
    assert!(coloured.contains("\x1b[31mdegraded\x1b[0m"), "{coloured}");
    assert_eq!(
        super::text::clean(&coloured.replace('\n', "§")).replace('§', "\n"),
        render(&degraded(), None, now(), PLAIN)
    );
}

#[test]
fn what_is_a_problem_is_not_said_again_below_its_service() {
    let mut status = degraded();
    let reason = "cannot look up api:latest: there is no image of that tag";
    status.services[0].update.reason = Some(reason.to_owned());
    let problem = Problem { message: format!("service api: {reason}"), ..status.problems[0].clone() };
    status.problems = vec![problem];
    let text = render(&status, None, now(), Page { width: 200, colour: false });
    assert_eq!(text.matches(reason).count(), 1, "{text}");
}
