//! What facts mean: one table for each area, and that every finding can be used.

use super::*;
use crate::examined::*;
use crate::finding::{Area, Finding, Verdict};
use jiff::{SignedDuration, Timestamp};
use node::config::Draft;
use node::config::settings::{Protocol, Settings};
use node::identity::Facts as Identity;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

fn now() -> Timestamp {
    "2026-11-30T03:00:00Z".parse().unwrap()
}

fn settings(text: &str) -> Settings {
    let source = node::config::Source { name: "node.toml".to_owned(), text: text.to_owned() };
    let identity = Identity {
        instance_id: "i-0123456789abcdef0".to_owned(),
        instance_type: "t3.small".to_owned(),
        region: "eu-north-1".to_owned(),
        availability_zone: "eu-north-1a".to_owned(),
        account: "123456789012".to_owned(),
        image_id: "ami-1".to_owned(),
        tags: BTreeMap::new(),
    };
    Draft::parse(vec![source]).unwrap().settings(&identity).unwrap()
}

/// Verdict and check of each finding; fails for one that a person could not use.
fn verdicts(findings: &[Finding]) -> Vec<(Verdict, &str)> {
    assert!(!findings.is_empty(), "an area that says nothing");
    for finding in findings {
        assert!(!finding.message.is_empty() && !finding.message.contains('\n'), "{finding:?}");
        let needs_remedy = matches!(finding.verdict, Verdict::Warn | Verdict::Fail);
        assert_eq!(finding.remedy.is_some(), needs_remedy, "{finding:?}");
        assert!(finding.remedy.as_ref().is_none_or(|remedy| remedy.len() > 10), "{finding:?}");
    }
    findings.iter().map(|finding| (finding.verdict, finding.check.as_str())).collect()
}

#[test]
fn a_configuration_is_as_good_as_its_first_mistake() {
    let path = Path::new("/etc/node-agent/node.toml");
    let good = settings("[services.api]\nimage = \"app:1\"\n");
    assert_eq!(verdicts(&configuration(path, &Ok(()), Some(&good))), [(Verdict::Pass, "node.toml")]);
    assert_eq!(verdicts(&configuration(path, &Ok(()), None)), [(Verdict::Pass, "node.toml")]);
    let source = node::config::Source { name: "node.toml".to_owned(), text: "[x]\n[y]\n".to_owned() };
    let wrong = Draft::parse(vec![source]).unwrap().check().map_err(Into::into);
    let findings = configuration(path, &wrong, None);
    assert_eq!(verdicts(&findings), [(Verdict::Fail, "node.toml")]);
    assert!(
        findings[0].message.contains("node.toml:1:2") && findings[0].message.ends_with("and 1 mistake more"),
        "{findings:?}"
    );
    let missing = node::config::LoadError::Read {
        path: path.display().to_string(),
        source: std::io::Error::from(std::io::ErrorKind::NotFound),
    };
    assert_eq!(verdicts(&configuration(path, &Err(missing), None)), [(Verdict::Fail, "node.toml")]);
}

fn well_metadata() -> Metadata {
    Metadata {
        answer: Ok(Duration::from_millis(2)),
        version_1: Some(false),
        hop_limit: Some(1),
        role: Ok(("node".to_owned(), Some(now() + SignedDuration::from_hours(3)))),
        needed_by: Vec::new(),
        elsewhere: None,
    }
}

#[test]
fn the_hop_limit_is_held_against_who_needs_the_service() {
    for (limit, needed, expected) in [
        (Some(1), false, Verdict::Pass),
        (Some(1), true, Verdict::Fail),
        (Some(2), true, Verdict::Pass),
        (Some(2), false, Verdict::Warn),
        (Some(64), false, Verdict::Skip),
        (None, true, Verdict::Skip),
    ] {
        let needed_by = if needed { vec!["api".to_owned()] } else { Vec::new() };
        let facts = Metadata { hop_limit: limit, needed_by, ..well_metadata() };
        let findings = metadata(&facts, now());
        let hops = verdicts(&findings).into_iter().find(|(_, check)| *check == "hop limit").unwrap().0;
        assert_eq!(hops, expected, "{limit:?} {needed}");
    }
}

#[test]
fn a_service_that_does_not_answer_version_1_and_a_role_that_ended_are_told() {
    let silent = Metadata { answer: Err(Unknown::because("no answer")), ..well_metadata() };
    assert_eq!(verdicts(&metadata(&silent, now())), [(Verdict::Fail, "metadata service")]);
    let facts = Metadata {
        version_1: Some(true),
        role: Ok(("node".to_owned(), Some(now() - SignedDuration::from_secs(1)))),
        answer: Ok(Duration::from_secs(1)),
        ..well_metadata()
    };
    let expected = [
        (Verdict::Warn, "metadata service"),
        (Verdict::Warn, "version 2 only"),
        (Verdict::Pass, "hop limit"),
        (Verdict::Fail, "role"),
    ];
    assert_eq!(verdicts(&metadata(&facts, now())), expected);
}

fn endpoint_that(ahead: Option<i64>) -> Endpoint {
    Endpoint {
        service: "logs".to_owned(),
        host: "logs.eu-north-1.amazonaws.com".to_owned(),
        addresses: Ok(2),
        connected: Some(Ok(Duration::from_millis(3))),
        ahead: ahead.map(SignedDuration::from_secs),
    }
}

#[test]
fn a_clock_is_judged_by_what_aws_takes() {
    let kept = Some(KernelClock { synchronised: true, maximum_error: Duration::from_millis(12) });
    for (ahead, expected) in [
        (Some(0), Verdict::Pass),
        (Some(-19), Verdict::Pass),
        (Some(20), Verdict::Warn),
        (Some(-299), Verdict::Warn),
        (Some(300), Verdict::Fail),
        (None, Verdict::Skip),
    ] {
        let findings = clock(&[endpoint_that(None), endpoint_that(ahead)], kept);
        assert_eq!(
            verdicts(&findings),
            [(expected, "clock"), (Verdict::Pass, "synchronisation")],
            "{ahead:?}"
        );
    }
    let behind = clock(&[endpoint_that(Some(31))], None);
    assert_eq!(behind[0].message, "31 s behind logs.eu-north-1.amazonaws.com");
    let alone = KernelClock { synchronised: false, maximum_error: Duration::ZERO };
    assert_eq!(verdicts(&clock(&[], Some(alone)))[1].0, Verdict::Warn);
}

#[test]
fn what_was_tried_at_aws_is_told_as_it_went() {
    let attempt = |check: &str, outcome| Attempt { check: check.to_owned(), outcome };
    let endpoints = [
        endpoint_that(None),
        Endpoint { addresses: Err("no such name".to_owned()), ..endpoint_that(None) },
        Endpoint { connected: Some(Err("refused".to_owned())), ..endpoint_that(None) },
    ];
    let attempts = [
        attempt("image of api", Outcome::Allowed("found".to_owned())),
        attempt("ship logs", Outcome::Amiss(Unknown::because("no group yet"))),
        attempt("secret app", Outcome::Refused(Unknown::because("denied"))),
        attempt("x", Outcome::NotTried("why".to_owned())),
    ];
    let expected = [
        (Verdict::Pass, "reach logs"),
        (Verdict::Fail, "reach logs"),
        (Verdict::Fail, "reach logs"),
        (Verdict::Pass, "image of api"),
        (Verdict::Warn, "ship logs"),
        (Verdict::Fail, "secret app"),
        (Verdict::Skip, "x"),
    ];
    assert_eq!(verdicts(&aws(&endpoints, &attempts)), expected);
    assert_eq!(verdicts(&aws(&[], &[])), [(Verdict::Skip, "permissions")]);
}

fn well_engine() -> EngineFacts {
    EngineFacts {
        version: "20.10.24+dfsg1".to_owned(),
        storage_driver: "overlay2".to_owned(),
        cgroup_driver: "systemd".to_owned(),
        cgroup_version: "2".to_owned(),
        log_driver: "json-file".to_owned(),
        runtimes: vec!["runc".to_owned()],
        live_restore: true,
        ..EngineFacts::default()
    }
}

#[test]
fn an_engine_is_held_against_what_is_asked_of_it() {
    let plain = settings("[services.api]\nimage = \"app:1\"\n");
    let gpus = settings("[services.llm]\nimage = \"app:1\"\ngpus = \"all\"\n[logs]\ngroup = \"/g\"\n");
    let found = |facts: EngineFacts, wanted: &Settings| {
        let findings = engine(&Ok(facts), Some(wanted));
        verdicts(&findings)
            .into_iter()
            .filter(|(verdict, _)| *verdict > Verdict::Skip)
            .map(|(v, c)| (v, c.to_owned()))
            .collect::<Vec<_>>()
    };
    assert_eq!(found(well_engine(), &plain), []);
    let old =
        EngineFacts { version: "19.03.1".to_owned(), storage_driver: "vfs".to_owned(), ..well_engine() };
    assert_eq!(
        found(old, &plain),
        [(Verdict::Warn, "engine".to_owned()), (Verdict::Warn, "storage driver".to_owned())]
    );
    assert_eq!(found(well_engine(), &gpus), [(Verdict::Fail, "GPUs".to_owned())]);
    let nvidia = || vec!["nvidia".to_owned(), "runc".to_owned()];
    let reload = EngineFacts { runtimes: nvidia(), log_driver: "journald".to_owned(), ..well_engine() };
    assert_eq!(
        found(reload, &gpus),
        [(Verdict::Warn, "GPUs".to_owned()), (Verdict::Warn, "log driver".to_owned())]
    );
    let right = EngineFacts { runtimes: nvidia(), cgroup_driver: "cgroupfs".to_owned(), ..well_engine() };
    assert_eq!(found(right, &gpus), []);
    let away = Err(Unknown::because("the Docker engine at /var/run/docker.sock does not answer"));
    assert_eq!(verdicts(&engine(&away, Some(&plain))), [(Verdict::Fail, "engine")]);
    let forbidden = Err(Unknown::because("…: Permission denied (os error 13)"));
    assert_eq!(verdicts(&engine(&forbidden, Some(&plain))), [(Verdict::Skip, "engine")]);
}

fn no_disks() -> Disks {
    let errors = Err("run as root".to_owned());
    Disks { volumes: Vec::new(), file_systems: Vec::new(), errors, nvme_timeouts: BTreeMap::new() }
}

fn space(available_bytes: u64, inodes_free: u64, read_only: bool) -> FileSystem {
    let space = Space { size_bytes: 1000, available_bytes, inodes: 1000, inodes_free, read_only };
    FileSystem { name: "models".to_owned(), mount: "/mnt/models".to_owned(), state: Ok(space) }
}

#[test]
fn file_systems_are_full_by_bytes_or_by_files() {
    for (file_system, expected) in [
        (space(500, 500, false), Verdict::Pass),
        (space(99, 500, false), Verdict::Warn),
        (space(29, 500, false), Verdict::Fail),
        (space(500, 99, false), Verdict::Warn),
        (space(500, 0, false), Verdict::Fail),
        (space(500, 500, true), Verdict::Fail),
        (FileSystem { state: Err("no answer within 5 s".to_owned()), ..space(0, 0, false) }, Verdict::Fail),
    ] {
        let facts = Disks { file_systems: vec![file_system.clone()], errors: Ok(Vec::new()), ..no_disks() };
        let findings = disks(&facts);
        assert_eq!(
            verdicts(&findings),
            [(expected, "room on models"), (Verdict::Pass, "errors of disks")],
            "{file_system:?}"
        );
    }
    // XFS counts files as it needs them, and some file systems not at all.
    let without = FileSystem {
        state: Ok(Space {
            size_bytes: 1000,
            available_bytes: 500,
            inodes: 0,
            inodes_free: 0,
            read_only: false,
        }),
        ..space(0, 0, false)
    };
    assert_eq!(verdicts(&disks(&Disks { file_systems: vec![without], ..no_disks() }))[0].0, Verdict::Pass);
}

#[test]
fn a_volume_that_is_away_disk_errors_and_an_impatient_kernel_are_told() {
    let volume = |optional| VolumeFacts {
        name: "models".to_owned(),
        mount: "/mnt/models".to_owned(),
        optional,
        mounted: false,
        reason: Some("no device has the attach name sdf".to_owned()),
    };
    let facts = Disks {
        volumes: vec![volume(false), volume(true)],
        errors: Ok(vec!["a".to_owned(), "EXT4-fs error (device nvme1n1)".to_owned()]),
        nvme_timeouts: BTreeMap::from([("nvme0n1".to_owned(), 30), ("nvme1n1".to_owned(), 4_294_967)]),
        ..no_disks()
    };
    let findings = disks(&facts);
    let expected = [
        (Verdict::Fail, "volume models"),
        (Verdict::Warn, "volume models"),
        (Verdict::Fail, "errors of disks"),
        (Verdict::Warn, "NVMe time-outs"),
    ];
    assert_eq!(verdicts(&findings), expected);
    assert!(
        findings[2].message.contains("2 lines") && findings[2].message.contains("EXT4-fs error"),
        "{findings:?}"
    );
    assert_eq!(verdicts(&disks(&no_disks())), [(Verdict::Skip, "errors of disks")]);
}

fn ports(listeners: Vec<Listener>, led: &[u16]) -> Network {
    Network { listeners, led: Ok(led.iter().map(|port| (Protocol::Tcp, *port)).collect()) }
}

fn listener(port: u16, of_containers: bool) -> Listener {
    Listener { protocol: Protocol::Tcp, port, process: Some(("nginx".to_owned(), 812)), of_containers }
}

#[test]
fn a_port_that_another_program_has_is_named_with_it() {
    let wanted = settings(
        "[services.api]\nimage = \"app:1\"\nports = [\"80:8000\"]\nhealth = { http = \"/health\" }\n",
    );
    let taken = network(&ports(vec![listener(80, false)], &[80]), Some(&wanted));
    assert_eq!(verdicts(&taken), [(Verdict::Fail, "port 80 of api"), (Verdict::Pass, "nftables")]);
    assert_eq!(taken[0].message, "nginx (process 812) listens on it");
    let ours = network(&ports(vec![listener(80, true), listener(81, false)], &[]), Some(&wanted));
    assert_eq!(verdicts(&ours), [(Verdict::Pass, "ports"), (Verdict::Warn, "nftables")]);
    let blind = Network { led: Err(Unknown::because("Operation not permitted")), ..ports(Vec::new(), &[]) };
    assert_eq!(verdicts(&network(&blind, Some(&wanted)))[1].0, Verdict::Skip);
    let without = Network {
        led: Err(Unknown::because("the program `nft` is not installed")),
        ..ports(Vec::new(), &[])
    };
    assert_eq!(verdicts(&network(&without, Some(&wanted)))[1].0, Verdict::Fail);
    assert_eq!(verdicts(&network(&blind, None)), [(Verdict::Skip, "ports")]);
}

#[test]
fn units_are_told_by_how_they_are() {
    let unit = |name: &str, active: &str| Unit {
        name: name.to_owned(),
        load: "loaded".to_owned(),
        active: active.to_owned(),
        result: "success".to_owned(),
        enabled: "enabled".to_owned(),
        ..Unit::default()
    };
    let of = |unit: Unit| units(&Ok(vec![unit]))[0].verdict;
    assert_eq!(of(unit("node-agent.service", "active")), Verdict::Pass);
    assert_eq!(of(unit("node-bootstrap.service", "inactive")), Verdict::Pass);
    assert_eq!(of(unit("node-agent.service", "inactive")), Verdict::Fail);
    assert_eq!(of(unit("node-agent.service", "activating")), Verdict::Warn);
    assert_eq!(of(unit("docker.service", "failed")), Verdict::Fail);
    assert_eq!(of(Unit { restarts: 6, ..unit("node-agent.service", "active") }), Verdict::Warn);
    assert_eq!(
        of(Unit { load: "not-found".to_owned(), ..unit("docker.service", "inactive") }),
        Verdict::Fail
    );
    assert_eq!(of(Unit { load: "masked".to_owned(), ..unit("docker.service", "inactive") }), Verdict::Fail);
    let unread = units(&Ok(vec![Unit { needs_reload: true, ..unit("node-agent.service", "active") }]));
    assert_eq!(verdicts(&unread), [(Verdict::Pass, "node-agent.service"), (Verdict::Warn, "units on disk")]);
    assert_eq!(verdicts(&units(&Err(Unknown::because("no systemd")))), [(Verdict::Skip, "units")]);
}

#[test]
fn an_agent_is_asked_when_it_last_saw_each_registry() {
    let status = |checked: Option<i64>, state: &str| {
        let text = serde_json::json!({
            "node": {"name": "n", "instance_id": "i-1", "instance_type": "", "region": "", "availability_zone": "",
                "state": state, "since": now(), "version": "0.1.0", "boot": ""},
            "services": [{"name": "api", "state": "running", "health": "passing", "image": "app:1", "digest": null,
                "container_id": null, "since": now(), "restarts": 0,
                "update": {"state": "current", "candidate": null, "reason": null,
                    "checked_at": checked.map(|ago| now() - SignedDuration::from_secs(ago))}}],
            "models": [], "volumes": [], "secrets": [], "problems": [],
            "logs": {"events_shipped": 0, "events_dropped": 0, "bytes_shipped": 0, "backlog_bytes": 0,
                "oldest_unshipped_seconds": 0},
        });
        AgentFacts {
            status: Ok(serde_json::from_value(text).unwrap()),
            polled: BTreeMap::from([("api".to_owned(), Duration::from_secs(60))]),
        }
    };
    for (checked, state, expected) in [
        (Some(30), "ready", [Verdict::Pass, Verdict::Pass]),
        (Some(601), "ready", [Verdict::Pass, Verdict::Warn]),
        (None, "starting", [Verdict::Warn, Verdict::Warn]),
        (Some(-5), "degraded", [Verdict::Fail, Verdict::Pass]),
    ] {
        let findings = agent(&status(checked, state), now());
        let found: Vec<Verdict> = verdicts(&findings).into_iter().map(|(verdict, _)| verdict).collect();
        assert_eq!(found, expected, "{checked:?} {state}");
    }
    let gone =
        AgentFacts { status: Err(Unknown::because("cannot reach node-agent")), polled: BTreeMap::new() };
    assert_eq!(verdicts(&agent(&gone, now())), [(Verdict::Fail, "agent")]);
}

#[test]
fn counts_read_as_words() {
    assert_eq!((some(1, "line"), some(0, "line")), ("1 line".to_owned(), "0 lines".to_owned()));
    assert_eq!(Area::ALL.len(), 10);
}
