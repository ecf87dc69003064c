//! No request fails: new connections from another network at 1,000 each second, and clients that keep theirs beside them,
//! while a service is updated, taken back from a bad image, its agent killed in the middle of the switch, its engine
//! restarted, and its strategy changed.
//!
//! `TRAFFIC_RATE` asks for another rate. A host that cannot carry the rate without any update is asked for less, which the
//! summary says: what is shown here is that updates fail nothing, not how fast this host is.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]
#![expect(clippy::disallowed_methods, reason = "the rate can be set from outside")]

mod scene;

use harness::instance::INSTANCE_ADDRESS;
use harness::load::{ALL_PORTS, Load, Plan, Report};
use harness::requirements::tried;
use harness::wait::wait_for;
use scene::steps::Steps;
use scene::web::{BLUE_GREEN, RECREATE, Web};
use scene::{PATIENCE, Scene, pass};
use std::path::Path;
use std::time::Duration;

/// New connections each second.
const RATE: u32 = 1000;
const KEEP_ALIVE: usize = 4;
const UPDATES: usize = 10;
/// At the usual rate each comes again after eight seconds.
const FEW_PORTS: u16 = 8000;
const UPDATES_OF_FEW: usize = 8;
/// A host that is this slow without any update cannot carry the rate.
const SLOW: Duration = Duration::from_millis(900);
/// Load before and after what is tested.
const MARGIN: Duration = Duration::from_secs(2);
const LIMIT: Duration = Duration::from_secs(600);
const GOOD: &[&str] = &["current"];
const BAD: &[&str] = &["rolled_back", "quarantined"];

fn load_of(per_second: u32, ports: u16) -> Load {
    let address = format!("{INSTANCE_ADDRESS}:80").parse().unwrap();
    Load::start(Plan { address, per_second, ports, keep_alive: KEEP_ALIVE, limit: LIMIT }).unwrap()
}

fn load() -> Load {
    load_from(ALL_PORTS)
}

/// A load at the highest rate that this host carries while nothing is done.
fn load_from(ports: u16) -> Load {
    let mut rate = std::env::var("TRAFFIC_RATE").ok().and_then(|rate| rate.parse().ok()).unwrap_or(RATE);
    loop {
        let load = load_of(rate, ports);
        pass(MARGIN);
        let report = load.so_far();
        let carries = report.failures() == 0 && report.new_connections.slowest < SLOW && report.not_sent == 0;
        if carries || rate <= 50 {
            return load;
        }
        drop(load.finish());
        rate /= 2;
    }
}

/// Ends the load and says what became of it.
fn end(load: Load, what: &str) -> Report {
    pass(MARGIN);
    let report = load.finish();
    let (new, kept) = (&report.new_connections, &report.kept_connections);
    tried(&format!(
        "{what}: {} new connections at {:.0}/s, {} failed, slowest {} ms; {} requests on kept ones, {} failed, {} cut",
        new.sent,
        report.per_second(),
        new.failures(),
        new.slowest.as_millis(),
        kept.sent,
        kept.failures(),
        report.cut.len(),
    ));
    report
}

#[track_caller]
fn none_failed(scene: &Scene, report: &Report, versions: &[&str]) {
    assert_eq!(report.failures(), 0, "{report}\n{}", scene.story());
    assert_eq!(report.not_sent, 0, "{report}");
    for version in versions {
        assert!(report.new_connections.versions.contains_key(*version), "{version} was not met: {report}");
    }
    // Each kept connection is cut by a container that goes at most once.
    let goings = versions.len().saturating_sub(1) * KEEP_ALIVE;
    assert!(report.cut.len() <= goings, "{goings} at most: {report}");
}

fn blue_green() -> Web<'static> {
    Web { update: BLUE_GREEN, ..Web::default() }
}

fn serving() -> Option<Scene> {
    let scene = Scene::serving_by(BLUE_GREEN)?;
    scene.settled(&scene.only().digest.unwrap(), GOOD);
    Some(scene)
}

#[test]
fn ten_updates_fail_no_request() {
    let Some(scene) = serving() else { return };
    updates_fail_no_request(&scene, load(), UPDATES);
}

#[test]
fn updates_fail_no_request_of_a_client_whose_ports_come_again_after_seconds() {
    let Some(scene) = serving() else { return };
    updates_fail_no_request(&scene, load_from(FEW_PORTS), UPDATES_OF_FEW);
}

fn updates_fail_no_request(scene: &Scene, load: Load, count: usize) {
    let versions: Vec<String> = (0..count).map(|number| format!("update-{number}")).collect();
    for version in &versions {
        let digest = scene.push(version, "healthy");
        scene.settled(&digest, GOOD);
    }
    let report = end(load, &format!("{count} updates"));
    let met: Vec<&str> = std::iter::once("one").chain(versions.iter().map(String::as_str)).collect();
    none_failed(scene, &report, &met);
}

#[test]
fn a_bad_image_that_is_taken_back_fails_no_request() {
    let Some(scene) = serving() else { return };
    let old = scene.only();
    let load = load();
    for (version, mode) in [("ends", "exit"), ("sick", "unhealthy")] {
        let digest = scene.push(version, mode);
        let barred = wait_for("the bad image to be barred", PATIENCE, || {
            let quarantined = scene.quarantined();
            let found = quarantined.iter().any(|(barred, _)| *barred == digest);
            if found { Ok(()) } else { Err(scene.story()) }
        });
        barred.unwrap();
        scene.settled(old.digest.as_deref().unwrap(), BAD);
        scene.never_again(&digest);
    }
    let report = end(load, "two bad images");
    none_failed(&scene, &report, &["one"]);
    assert_eq!(scene.only().id, old.id, "the old one was never touched");
    assert_eq!(report.new_connections.versions.len(), 1, "nobody met a bad one: {report}");
    assert_eq!(
        (report.connects, report.cut.len()),
        (KEEP_ALIVE as u64, 0),
        "no kept connection ended: {report}"
    );
}

/// The version that passed its gate last, as it is on disk.
fn good_in(root: &Path) -> Option<String> {
    scene::record_in(root)["good"]["digest"].as_str().map(str::to_owned)
}

#[test]
fn an_agent_that_is_killed_in_the_middle_of_the_switch_fails_no_request() {
    let Some(mut scene) = Scene::set() else { return };
    scene.push("one", "healthy");
    let node_toml = blue_green().node_toml(&scene.stage);
    let steps = Steps::boot(&mut scene, &node_toml);
    scene.serves("one");
    scene.settled(&scene.only().digest.unwrap(), GOOD);
    let load = load();
    for moment in ["before-rules", "after-rules"] {
        let (root, pid) = (scene.stage.instance().root(), scene.agent_pid());
        let before = good_in(&root);
        // The new version is noted as the good one; what comes now makes the port lead there.
        steps.watch(move |step| step.name == moment && good_in(&root) != before);
        let digest = scene.push(moment, "healthy");
        scene.settled(&digest, GOOD);
        scene.agent_answers(pid);
        let seen = steps.end();
        assert!(seen.struck.is_some(), "never killed {moment}: {seen:#?}");
        scene.settled(&digest, GOOD);
        scene.rules_are_of_what_runs(true);
    }
    let report = end(load, "killed before and after the rules were replaced");
    none_failed(&scene, &report, &["one", "before-rules", "after-rules"]);
}

#[test]
fn an_engine_that_is_restarted_and_leaves_its_containers_alone_fails_no_request() {
    let Some(mut scene) = Scene::set() else { return };
    scene.stage.description().live_restore = true;
    scene.push("one", "healthy");
    let node_toml = blue_green().node_toml(&scene.stage);
    scene.boot(&node_toml);
    scene.serves("one");
    scene.settled(&scene.only().digest.unwrap(), GOOD);
    let (old, started) = (scene.only(), scene.engine().started_at(&scene.only().id));
    let load = load();
    scene.stage.instance().run(["systemctl", "restart", "docker"]).expect_success();
    scene.settled(old.digest.as_deref().unwrap(), GOOD);
    assert_eq!((scene.only().id, scene.engine().started_at(&old.id)), (old.id, started), "it runs on");
    // And the next update is none the worse for it.
    let digest = scene.push("two", "healthy");
    scene.settled(&digest, GOOD);
    let report = end(load, "docker restarted under live-restore, then an update");
    none_failed(&scene, &report, &["one", "two"]);
}

#[test]
fn the_first_change_from_recreate_to_blue_green_fails_no_request() {
    let Some(scene) = Scene::serving_by(RECREATE) else { return };
    scene.settled(&scene.only().digest.unwrap(), GOOD);
    let old = scene.only();
    let load = load();
    let answer = scene.stage.bootstrap("run", &blue_green().node_toml(&scene.stage));
    assert_eq!(answer.code(), 0, "{answer}");
    let replaced = wait_for("the container to be replaced", PATIENCE, || {
        let now = scene.only_or_none().ok_or_else(|| scene.story())?;
        if now.id == old.id { Err("it is the old one".to_owned()) } else { Ok(()) }
    });
    replaced.unwrap();
    scene.settled(old.digest.as_deref().unwrap(), GOOD);
    scene.rules_are_of_what_runs(true);
    let digest = scene.push("two", "healthy");
    scene.settled(&digest, GOOD);
    let report = end(load, "from recreate to blue-green, then an update");
    none_failed(&scene, &report, &["one", "two"]);
}

#[test]
fn rules_that_somebody_flushes_are_back_at_once() {
    let Some(scene) = serving() else { return };
    let load = load();
    let flushed = load.elapsed();
    scene.stage.instance().run(["/usr/sbin/nft", "flush", "ruleset"]).expect_success();
    let done = load.elapsed();
    scene.rules_are_of_what_runs(true);
    let back = load.elapsed();
    let report = end(load, "all rules flushed");
    let failures = || report.new_connections.failures.iter().chain(&report.kept_connections.failures);
    let last = failures().map(|failure| failure.at).max().unwrap_or(flushed);
    tried(&format!(
        "rules flushed: {} requests failed, the last {} ms after the flush began (it took {} ms); seen back after {} ms",
        report.failures(),
        last.saturating_sub(flushed).as_millis(),
        (done - flushed).as_millis(),
        (back - flushed).as_millis(),
    ));
    assert!(failures().all(|failure| failure.at >= flushed && failure.at <= back), "{report}");

    // The engine does not mend its own rules, and starts nothing without them: no image is to blame for that.
    let digest = scene.push("two", "healthy");
    let told = scene.stage.wait_for_status("the engine's loss to be told", PATIENCE, |status| {
        let problems = status["problems"].as_array().cloned().unwrap_or_default();
        problems.iter().any(|problem| problem["code"] == "engine_rules_missing")
    });
    told.unwrap_or_else(|error| panic!("{error}\n{}", scene.story()));
    assert_eq!(scene.quarantined(), []);
    scene.serves("one");
    scene.stage.instance().run(["systemctl", "restart", "docker"]).expect_success();
    scene.settled(&digest, GOOD);
    scene.serves("two");
}
