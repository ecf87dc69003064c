//! `kill -9` of the agent at every kind of moment, of a container, and a restarted engine: the next start finishes the
//! job, what ran runs on wherever nothing had to stop it, nothing is left over, foreign containers are not touched,
//! and a digest that failed its gate never runs again.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]
#![expect(clippy::print_stdout, reason = "a suite prints what it measured")]
#![expect(clippy::disallowed_methods, reason = "looks at the host")]

mod scene;

use harness::local_cloud::{Fault, FaultKind};
use harness::stage::{REGISTRY, REPOSITORY};
use harness::wait::wait_for;
use scene::engine::Container;
use scene::foreign::Foreign;
use scene::{PATIENCE, Scene, catch, pass};
use std::time::Duration;

const GOOD: &[&str] = &["current"];
const BAD: &[&str] = &["rolled_back", "quarantined"];
/// A state that lasts milliseconds is missed now and then.
const ATTEMPTS: u32 = 5;
/// Twice what the agent asks the registry in.
const TWO_QUESTIONS: Duration = Duration::from_millis(2500);

/// What the engine and the disk say at a moment of an update.
#[derive(Debug)]
struct Seen {
    old: Option<Container>,
    new: Option<Container>,
    pulled: bool,
    quarantined: bool,
}

impl Seen {
    fn old_runs(&self) -> bool {
        self.old.as_ref().is_some_and(Container::running)
    }

    fn new_is(&self, state: &str) -> bool {
        self.new.as_ref().is_some_and(|new| new.state == state)
    }
}

fn look(scene: &Scene, old: &str, new: &str) -> Option<Seen> {
    let all = scene.engine().containers()?;
    let of = |digest: &str| all.iter().find(|container| container.digest.as_deref() == Some(digest)).cloned();
    let (old, found) = (of(old), of(new));
    let pulled = found.is_some() || scene.engine().has_image(&format!("{REGISTRY}/{REPOSITORY}@{new}"));
    let quarantined = scene.quarantined().iter().any(|(digest, _)| digest == new);
    Some(Seen { old, new: found, pulled, quarantined })
}

/// A moment at which the agent is killed.
struct Moment {
    name: &'static str,
    is: fn(&Seen) -> bool,
    old_runs_on: bool,
}

const OF_AN_UPDATE: [Moment; 4] = [
    Moment { name: "pulled, not created", is: |seen| seen.pulled && seen.new.is_none(), old_runs_on: true },
    Moment {
        name: "created, the old one runs",
        is: |seen| seen.new_is("created") && seen.old_runs(),
        old_runs_on: true,
    },
    Moment {
        name: "the old one stopped, the new one not started",
        is: |seen| seen.new_is("created") && !seen.old_runs(),
        old_runs_on: false,
    },
    Moment {
        name: "the new one runs before its gate",
        is: |seen| seen.new_is("running") && seen.old.is_some(),
        old_runs_on: false,
    },
];

const OF_A_WAY_BACK: [Moment; 4] = [
    Moment {
        name: "the bad one runs before its gate says no",
        is: |seen| seen.new_is("running") && !seen.quarantined,
        old_runs_on: false,
    },
    Moment {
        name: "quarantined, the bad one runs",
        is: |seen| seen.quarantined && seen.new_is("running"),
        old_runs_on: false,
    },
    Moment {
        name: "quarantined, the bad one stopped, the old one not started",
        is: |seen| seen.quarantined && !seen.new_is("running") && !seen.old_runs(),
        old_runs_on: false,
    },
    Moment {
        name: "the old one runs again, the bad one is left over",
        is: |seen| seen.quarantined && seen.old_runs() && seen.new.is_some(),
        old_runs_on: true,
    },
];

/// Kills the agent at `moment` of the update from what runs to `version`; whether the moment was met.
fn strike(scene: &Scene, moment: &Moment, version: &str, mode: &str) -> bool {
    let old = scene.only();
    let new = scene.push(version, mode);
    let before = scene.agent_pid();
    let look = || look(scene, old.digest.as_deref().unwrap(), &new);
    let met = catch(Duration::from_secs(15), || look().filter(moment.is));
    let Some(met) = met else {
        assert_ended(scene, &old, &new, mode);
        return false;
    };
    scene.kill_agent();
    let after = look().unwrap();
    // What the engine was told before the kill it still does: the moment counts only when it held.
    let held = (moment.is)(&after);
    println!("{}: {} after the kill", moment.name, if held { "held" } else { "was over" });
    if held && moment.old_runs_on {
        assert!(after.old_runs(), "the old one had not to be stopped: {met:#?} {after:#?}");
    }
    scene.agent_answers(before);
    assert_ended(scene, &old, &new, mode);
    held
}

/// The update went to its end, or back, and nothing is left of it.
#[track_caller]
fn assert_ended(scene: &Scene, old: &Container, new: &str, mode: &str) {
    if mode == "healthy" {
        scene.settled(new, GOOD);
        scene.only();
        return;
    }
    scene.settled(old.digest.as_deref().unwrap(), BAD);
    assert_eq!(scene.only().id, old.id, "the old container itself comes back");
    scene.never_again(new);
}

fn strike_until_met(scene: &Scene, moment: &Moment, label: &str, mode: &str) {
    let met = (0..ATTEMPTS).any(|attempt| strike(scene, moment, &format!("{label}-{attempt}"), mode));
    assert!(met, "{}: not met in {ATTEMPTS} updates", moment.name);
}

#[test]
fn killed_while_it_pulls_the_next_agent_pulls_and_what_runs_runs_on() {
    let Some(mut scene) = Scene::set() else { return };
    let slow =
        || Fault::on("registry", FaultKind::Delay { milliseconds: 3000 }).operation("GetBlob").times(4);
    let first = scene.push("one", "healthy");
    scene.stage.cloud.fault(slow());
    let node_toml = scene::node_toml(&scene.stage, "", "");
    scene.boot(&node_toml);
    let asked = |scene: &Scene| scene.stage.cloud.requests("registry", "GetBlob");
    let pulls = |scene: &Scene, from: u64| {
        wait_for("a pull to be under way", PATIENCE, || {
            let now = asked(scene);
            if now > from { Ok(()) } else { Err(format!("{now} requests for blobs")) }
        })
        .unwrap();
    };
    pulls(&scene, 0);
    let pid = scene.agent_pid();
    scene.kill_agent();
    scene.agent_answers(pid);
    scene.settled(&first, GOOD);
    scene.serves("one");
    let foreign = Foreign::plant(&scene);
    let old = scene.only();
    let started_at = scene.engine().started_at(&old.id);

    scene.stage.cloud.clear_faults();
    scene.stage.cloud.fault(slow());
    let from = asked(&scene);
    let second = scene.push("two", "healthy");
    pulls(&scene, from);
    let pid = scene.agent_pid();
    scene.kill_agent();
    assert_eq!(scene.only(), old);
    scene.serves("one");
    scene.agent_answers(pid);
    assert_eq!(scene.engine().started_at(&old.id), started_at, "adopting it is not restarting it");
    scene.settled(&second, GOOD);
    scene.serves("two");
    foreign.untouched(&scene);
}

#[test]
fn killed_when_nothing_is_to_do_nothing_is_done() {
    let Some(scene) = Scene::serving() else { return };
    scene.settled(&scene.only().digest.unwrap(), GOOD);
    let (old, foreign) = (scene.only(), Foreign::plant(&scene));
    let started_at = scene.engine().started_at(&old.id);
    for _ in 0..3 {
        let pid = scene.agent_pid();
        scene.kill_agent();
        scene.serves("one");
        scene.agent_answers(pid);
        scene.settled(old.digest.as_deref().unwrap(), GOOD);
        assert_eq!(scene.only(), old);
        assert_eq!(scene.engine().started_at(&old.id), started_at);
    }
    let instance = scene.stage.instance();
    instance.run(["systemctl", "stop", "node-agent"]).expect_success();
    scene.serves("one");
    assert_eq!(scene.engine().started_at(&old.id), started_at, "the agent's end is not the service's");
    instance.run(["systemctl", "start", "node-agent"]).expect_success();
    scene.settled(old.digest.as_deref().unwrap(), GOOD);
    assert_eq!(scene.only(), old);
    assert_eq!(scene.engine().started_at(&old.id), started_at);
    foreign.untouched(&scene);
}

#[test]
fn killed_between_create_and_start_and_while_it_starts() {
    let Some(scene) = Scene::serving() else { return };
    let digest = scene.only().digest.unwrap();
    scene.settled(&digest, GOOD);
    let foreign = Foreign::plant(&scene);
    for state in ["created", "running"] {
        let met = (0..ATTEMPTS).any(|_| {
            let (old, pid) = (scene.only(), scene.agent_pid());
            scene.stage.instance().run(["docker", "rm", "--force", &old.id]).expect_success();
            let made = catch(PATIENCE, || scene.ours().into_iter().find(|found| found.id != old.id));
            assert!(made.is_some(), "it is made anew\n{}", scene.story());
            let met =
                catch(Duration::from_secs(5), || scene.ours().into_iter().find(|found| found.state == state));
            scene.kill_agent();
            let held = scene.ours().iter().any(|found| found.state == state);
            scene.agent_answers(pid);
            scene.settled(&digest, GOOD);
            scene.serves("one");
            println!("{state}: {}", if held { "held" } else { "was over" });
            met.is_some() && held
        });
        assert!(met, "{state} was not met in {ATTEMPTS} starts");
    }
    foreign.untouched(&scene);
}

#[test]
fn killed_at_the_moments_of_an_update_it_is_finished() {
    let Some(scene) = Scene::serving() else { return };
    let digest = scene.only().digest.unwrap();
    scene.settled(&digest, GOOD);
    let foreign = Foreign::plant(&scene);
    for (number, moment) in OF_AN_UPDATE.iter().enumerate() {
        strike_until_met(&scene, moment, &format!("update-{number}"), "healthy");
    }
    foreign.untouched(&scene);
}

#[test]
fn killed_on_the_way_back_the_old_container_returns_and_the_bad_digest_never_does() {
    let Some(scene) = Scene::serving() else { return };
    let digest = scene.only().digest.unwrap();
    scene.settled(&digest, GOOD);
    let foreign = Foreign::plant(&scene);
    for (number, moment) in OF_A_WAY_BACK.iter().enumerate() {
        strike_until_met(&scene, moment, &format!("back-{number}"), "unhealthy");
    }
    pass(TWO_QUESTIONS);
    for (digest, _) in scene.quarantined() {
        scene.never_again(&digest);
    }
    foreign.untouched(&scene);
}

/// Numerical Recipes' generator: the same moments at every run of the same seed.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

#[test]
fn killed_at_random_moments_of_updates() {
    let Some(scene) = Scene::serving() else { return };
    let seed = std::env::var("KILLS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20);
    let count = std::env::var("KILLS_COUNT").ok().and_then(|count| count.parse().ok()).unwrap_or(8_u64);
    println!("seed {seed}, {count} updates (KILLS_SEED, KILLS_COUNT)");
    let mut state = seed;
    scene.settled(&scene.only().digest.unwrap(), GOOD);
    let foreign = Foreign::plant(&scene);
    for number in 0..count {
        let old = scene.only();
        let mode = if random(&mut state).is_multiple_of(2) { "healthy" } else { "unhealthy" };
        let new = scene.push(&format!("random-{seed}-{number}"), mode);
        for _ in 0..=random(&mut state) % 2 {
            let (delay, pid) = (random(&mut state) % 4000, scene.agent_pid());
            pass(Duration::from_millis(delay));
            println!("update {number} ({mode}): killed after {delay} ms");
            scene.kill_agent();
            scene.agent_answers(pid);
        }
        assert_ended(&scene, &old, &new, mode);
    }
    for (digest, _) in scene.quarantined() {
        scene.never_again(&digest);
    }
    foreign.untouched(&scene);
}

/// From its last death to its next start, by the engine's own clock.
fn gap(scene: &Scene, id: &str) -> Option<Duration> {
    let events = scene.engine().events();
    let last = |action: &str| {
        let found = events.iter().rev().find(|event| event.action == action && event.container_id == id);
        found.map(|event| event.nanoseconds)
    };
    Some(Duration::from_nanos(last("start")?.checked_sub(last("die")?)?))
}

#[test]
fn a_container_that_crashes_or_is_killed_runs_again_at_once() {
    let Some(scene) = Scene::serving() else { return };
    scene.settled(&scene.only().digest.unwrap(), GOOD);
    let id = scene.only().id;
    let deaths = [("/crash", None), ("docker kill", Some("KILL")), ("/crash again", None)];
    for (how, signal) in deaths {
        let before = scene.engine().started_at(&id);
        match signal {
            // It dies without an answer.
            None => drop(scene.stage.get("/crash")),
            Some(signal) => {
                scene.stage.instance().run(["docker", "kill", "--signal", signal, &id]).expect_success();
            }
        }
        let gap = wait_for("the container to run again", PATIENCE, || {
            let again = scene.engine().started_at(&id) != before && scene.only_or_none().is_some();
            gap(&scene, &id).filter(|_| again).ok_or_else(|| scene.story())
        });
        let gap = gap.unwrap();
        println!("{how}: running again {} ms after its death", gap.as_millis());
        assert!(gap < Duration::from_secs(3), "{how}: {gap:?}");
        scene.serves("one");
        // A steady minute resets the backoff; here each death is to be the first, which a new agent makes it.
        let pid = scene.agent_pid();
        scene.kill_agent();
        scene.agent_answers(pid);
    }
    assert_eq!(scene.only().id, id);
}

#[test]
fn a_restarted_engine_brings_its_services_back() {
    let Some(scene) = Scene::serving() else { return };
    scene.settled(&scene.only().digest.unwrap(), GOOD);
    let foreign = Foreign::plant(&scene);
    let restart = || {
        scene.stage.instance().run(["systemctl", "reset-failed", "docker"]);
        scene.stage.instance().run(["systemctl", "restart", "docker"]).expect_success();
    };
    let old = scene.only();
    let pid = scene.agent_pid();
    restart();
    scene.settled(old.digest.as_deref().unwrap(), GOOD);
    scene.serves("one");
    assert_eq!(scene.only().id, old.id);

    let slow = Fault::on("registry", FaultKind::Delay { milliseconds: 2000 }).operation("GetBlob").times(2);
    scene.stage.cloud.fault(slow);
    let from = scene.stage.cloud.requests("registry", "GetBlob");
    let second = scene.push("two", "healthy");
    let pulling =
        catch(PATIENCE, || (scene.stage.cloud.requests("registry", "GetBlob") > from).then_some(()));
    assert!(pulling.is_some(), "{}", scene.story());
    restart();
    scene.settled(&second, GOOD);
    scene.serves("two");

    for (number, moment) in [&OF_AN_UPDATE[1], &OF_AN_UPDATE[3]].into_iter().enumerate() {
        let (old, new) = (scene.only(), scene.push(&format!("engine-{number}"), "healthy"));
        let met = catch(PATIENCE, || look(&scene, old.digest.as_deref().unwrap(), &new).filter(moment.is));
        println!("engine restarted: {} ({})", moment.name, met.is_some());
        restart();
        scene.settled(&new, GOOD);
        scene.only();
    }
    assert_eq!(scene.agent_pid(), pid, "the agent outlives the engine");
    let all = scene.engine().containers().unwrap();
    assert!(all.iter().any(|container| container.id == foreign.running.0), "{all:#?}");
    assert!(all.iter().any(|container| container.id == foreign.stopped), "{all:#?}");
}

#[test]
fn a_suite_that_panics_leaves_nothing_on_the_host() {
    let Some(scene) = Scene::serving() else { return };
    let id = scene.stage.instance().id().to_owned();
    let volume = scene.stage.volume.device().to_owned();
    let leader = scene.stage.instance().leader();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _scene = scene;
        panic!("on purpose: what follows must clean up");
    }));
    assert!(panicked.is_err());
    assert!(!std::path::Path::new("/run/netns").join(&id).exists(), "its network is left");
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    assert!(!mounts.contains(&id), "mounts are left:\n{mounts}");
    assert!(!std::path::Path::new(&format!("/proc/{leader}")).exists(), "its process 1 is left");
    let name = volume.file_name().unwrap().to_string_lossy().into_owned();
    let backing = std::fs::read_to_string(format!("/sys/block/{name}/loop/backing_file")).unwrap_or_default();
    assert!(!backing.contains(&std::process::id().to_string()), "its volume is left: {backing}");
    let groups = std::process::Command::new("find").args(["/sys/fs/cgroup", "-name", &id]).output().unwrap();
    assert!(groups.stdout.is_empty(), "control groups are left: {}", String::from_utf8_lossy(&groups.stdout));
}
