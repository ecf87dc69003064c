//! node-bootstrap is killed at each change that it and its children make, and run again: what is there in the end must
//! be what an undisturbed run leaves, and a disk that is not to be touched must not have been.
//!
//! By default each kind of change is killed at, of those that are made very often (mkfs writes) a sample; with
//! `NODE_CRASH_POINTS=all` every one. `NODE_CRASH_SEED` repeats a sample.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failing test panics with its story")]
#![expect(clippy::disallowed_methods, reason = "reads its settings, says what it has tried")]

#[expect(dead_code, reason = "shared with the suite of faults, which uses more of it")]
mod scene;
#[expect(dead_code, reason = "shared with the other suites, which use more of it")]
mod world;

use harness::tracer::{Call, Decision, Ended, Program, run};
use scene::disk::mkfs;
use scene::{
    Counter, Extent, MIB, Point, Scene, State, Template, WORKERS, filled, sample, side_by_side, smallest,
    turn,
};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use world::is_root;

/// What the disk holds, and what has happened before the run that is killed.
struct Case {
    name: &'static str,
    filesystem: &'static str,
    /// One for each worker: two file systems of one UUID cannot be mounted at a time.
    templates: Vec<Template>,
    /// A whole run, after which everything outside has a new version.
    is_update: bool,
    /// Not one byte of the disk may change.
    is_foreign: bool,
}

/// How a case ends when nobody disturbs it.
struct Reference {
    points: Vec<Point>,
    state: State,
    code: Option<i32>,
}

impl Case {
    fn new(name: &'static str, filesystem: &'static str, template: impl Fn() -> Template) -> Case {
        let templates = (0..WORKERS).map(|_| template()).collect();
        Case { name, filesystem, templates, is_update: false, is_foreign: false }
    }

    fn scene(&self, worker: usize) -> Scene {
        let mut scene = Scene::new(self.filesystem, self.templates[worker].disk());
        if self.is_update {
            let first = scene.undisturbed();
            assert_eq!(first.code, Some(0), "{}", first.story());
            scene.update(self.filesystem);
        }
        scene
    }

    /// Two runs, because the second one finds done what the first one did, as the one after a kill does.
    fn reference(&self) -> Reference {
        let scene = self.scene(0);
        let (mut counter, mut points) = (Counter::default(), Vec::new());
        let first = scene.run(&mut |call| {
            points.extend(counter.point(call));
            Decision::GoOn
        });
        let second = scene.undisturbed();
        let wanted = if self.is_foreign { Some(1) } else { Some(0) };
        assert_eq!((first.code, second.code), (wanted, wanted), "{}\n{}", first.story(), second.story());
        let state = State::of(&scene);
        let mounted = state.get("handoff volume mounted");
        assert_eq!(mounted, Some(if self.is_foreign { "false" } else { "true" }), "{}", second.story());
        if !self.is_foreign {
            assert!(state.get("/run/agent-read").is_some(), "{}", second.story());
        }
        Reference { points, state, code: second.code }
    }

    /// Kills one run at a point, and the next one, too, if `again` says at which change; then looks what a run that
    /// nobody disturbs makes of it. `Ok(false)` when the run never came to that point.
    fn kill_at(&self, reference: &Reference, plan: &Kill, worker: usize) -> Result<bool, String> {
        let scene = self.scene(worker);
        let before = scene.disk.sum();
        let killed = kill_at(&scene, &plan.point, plan.only_main);
        let mut story = format!("--- killed\n{}", killed.story());
        let reached = killed.code.is_none();
        if plan.reboots {
            scene.reboot();
        }
        if let Some(change) = plan.again {
            let second = scene.run(&mut |call| match call.number == change {
                true => Decision::KillAll,
                false => Decision::GoOn,
            });
            story.push_str(&format!("\n--- killed again\n{}", second.story()));
        }
        let last = scene.undisturbed();
        story.push_str(&format!("\n--- undisturbed\n{}", last.story()));
        let mut wrong = reference.state.differences(&State::of(&scene));
        if self.name == "half-made" {
            // It may go on with the UUID that was chosen first.
            wrong.retain(|difference| !difference.starts_with("disk uuid"));
        }
        if killed.late || last.late {
            wrong.push("a run hung".to_owned());
        }
        if last.code != reference.code {
            wrong.push(format!("exit code {:?} instead of {:?}", last.code, reference.code));
        }
        if self.is_foreign && scene.disk.sum() != before {
            wrong.push("the disk was written to".to_owned());
        }
        if wrong.is_empty() {
            return Ok(reached);
        }
        Err(format!(
            "{} on {}, killed at {plan}:\n  {}\n{story}",
            self.name,
            self.filesystem,
            wrong.join("\n  ")
        ))
    }
}

/// How a run is killed.
#[derive(Debug, Clone)]
struct Kill {
    point: Point,
    /// What is left of it goes on, as after `kill -9` of the one process.
    only_main: bool,
    /// The next run is that of the next boot.
    reboots: bool,
    /// The next run is killed, too, at this change of it.
    again: Option<usize>,
}

impl std::fmt::Display for Kill {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Kill { point, only_main, reboots, again } = self;
        write!(out, "{point} [only main: {only_main}, reboots: {reboots}, again: {again:?}]")
    }
}

fn kill_at(scene: &Scene, point: &Point, only_main: bool) -> Ended {
    let (mut counter, mut killed) = (Counter::default(), false);
    scene.run(&mut |call| {
        if killed || counter.point(call).as_ref() != Some(point) {
            return Decision::GoOn;
        }
        killed = true;
        if only_main { Decision::KillMain } else { Decision::KillAll }
    })
}

/// `thoroughly`: this case is the one that has each kind of change killed at.
fn kills(extent: &mut Extent, points: &[Point], thoroughly: bool) -> Vec<Kill> {
    let Extent { all, seed } = extent;
    let mut chosen = if *all { points.to_vec() } else { sample(points, (1, 2), seed) };
    if !*all && !thoroughly {
        // What has nothing to do with the volume is the same in each case.
        let is_the_volumes = |point: &Point| {
            ["mkfs", "grow", "resize", "/mnt", "/dev"].iter().any(|word| point.change.contains(word))
        };
        chosen.retain(|point| is_the_volumes(point) || seed.below(8) == 0);
    }
    let mut kills = Vec::new();
    for point in chosen {
        let only_main = !point.change.starts_with("node-bootstrap") && seed.below(4) == 0;
        let again = (seed.below(6) == 0).then(|| 1 + seed.below(points.len()));
        kills.push(Kill { point, only_main, reboots: seed.below(2) == 0, again });
    }
    kills
}

/// Goes through all kills of the cases, and fails with every story.
fn go_through(cases: &[Case], thorough: &[&str], least: usize) {
    let _turn = turn();
    let mut extent = Extent::of_this_run();
    let begun = Instant::now();
    let references: Vec<Reference> = cases.iter().map(Case::reference).collect();
    let mut jobs = Vec::new();
    for (case, reference) in cases.iter().zip(&references) {
        let kills = kills(&mut extent, &reference.points, thorough.contains(&case.filesystem));
        let all = reference.points.len();
        harness::requirements::tried(&format!(
            "{} on {}: {all} points, {} tried",
            case.name,
            case.filesystem,
            kills.len()
        ));
        jobs.extend(kills.into_iter().map(|kill| (case, reference, kill)));
    }
    let tried = jobs.len();
    let missed = Mutex::new(Vec::new());
    let stories = side_by_side(jobs, |worker, (case, reference, kill)| {
        if !case.kill_at(reference, &kill, worker)? {
            missed.lock().unwrap().push(format!("{} {kill}", case.name));
        }
        Ok(())
    });
    let missed = missed.into_inner().unwrap();
    harness::requirements::tried(&format!(
        "{tried} kills in {:.0} s; {} never came to their point",
        begun.elapsed().as_secs_f64(),
        missed.len()
    ));
    assert!(
        stories.is_empty(),
        "{} of {tried} kills left a wrong state\n{}",
        stories.len(),
        stories.join("\n\n")
    );
    assert!(missed.len() * 20 <= tried, "too many points were never reached: {missed:#?}");
    assert!(tried >= least, "{tried} kills are fewer than there must be");
}

fn matching(filesystem: &str) -> Template {
    filled(filesystem, smallest(filesystem))
}

#[test]
fn a_blank_volume() {
    if !is_root() {
        return;
    }
    let case = |filesystem| Case::new("blank", filesystem, || Template::blank(smallest(filesystem)));
    go_through(&[case("xfs"), case("ext4")], &["xfs"], 100);
}

#[test]
fn a_volume_with_data() {
    if !is_root() {
        return;
    }
    let case = |filesystem| Case::new("matching", filesystem, || matching(filesystem));
    go_through(&[case("xfs"), case("ext4")], &[], 20);
}

#[test]
fn a_volume_with_data_that_was_enlarged() {
    if !is_root() {
        return;
    }
    let size = |filesystem| smallest(filesystem) + 512 * MIB;
    let case =
        |filesystem| Case::new("enlarged", filesystem, || matching(filesystem).enlarged(size(filesystem)));
    go_through(&[case("xfs"), case("ext4")], &[], 20);
}

#[test]
fn a_volume_with_the_data_of_someone_else_stays_as_it_is() {
    if !is_root() {
        return;
    }
    let case =
        |filesystem, other| Case { is_foreign: true, ..Case::new("foreign", filesystem, || matching(other)) };
    go_through(&[case("xfs", "ext4"), case("ext4", "xfs")], &[], 20);
}

fn is_write_of_mkfs(call: &Call) -> bool {
    call.program.starts_with("mkfs") && ["pwrite64", "write"].contains(&call.name)
}

/// What a run leaves whose mkfs was killed half-way.
fn half_made(filesystem: &str) -> Template {
    let blank = Template::blank(smallest(filesystem));
    let mut writes = 0;
    let counted = Scene::new(filesystem, blank.disk()).run(&mut |call| {
        writes += usize::from(is_write_of_mkfs(call));
        Decision::GoOn
    });
    assert_eq!(counted.code, Some(0), "{}", counted.story());
    let (scene, mut at) = (Scene::new(filesystem, blank.disk()), 0);
    let killed = scene.run(&mut |call| {
        at += usize::from(is_write_of_mkfs(call));
        if at * 2 >= writes { Decision::KillAll } else { Decision::GoOn }
    });
    assert_eq!(killed.code, None, "{}", killed.story());
    Template::of(&scene.disk)
}

#[test]
fn a_volume_that_a_killed_mkfs_of_ours_has_left() {
    if !is_root() {
        return;
    }
    let case = |filesystem| Case::new("half-made", filesystem, || half_made(filesystem));
    go_through(&[case("xfs"), case("ext4")], &[], 30);
}

/// mkfs by hand, without our mark, killed at the `at`th of its writes; how many it has made.
fn half_made_by_hand(filesystem: &str, at: usize) -> (Template, usize) {
    let template = Template::blank(smallest(filesystem));
    let (tool, arguments) = mkfs(filesystem);
    let image = template.image().display().to_string();
    let program = Program {
        path: PathBuf::from(format!("/usr/sbin/{tool}")),
        arguments: arguments.iter().map(|argument| (*argument).to_owned()).chain([image]).collect(),
        environment: Vec::new(),
        input: Vec::new(),
        namespace: None,
        with_reads: false,
        ignored: Vec::new(),
        deadline: Duration::from_secs(60),
    };
    let mut writes = 0;
    let ended = run(&program, &mut |call| {
        writes += usize::from(is_write_of_mkfs(call));
        if writes == at { Decision::KillAll } else { Decision::GoOn }
    });
    let ended = ended.unwrap();
    assert!(ended.code == if writes == at { None } else { Some(0) }, "{}", ended.story());
    (template, writes)
}

#[test]
fn a_volume_that_a_killed_mkfs_of_someone_else_has_left_stays_as_it_is() {
    if !is_root() {
        return;
    }
    let _turn = turn();
    let mut refused = 0;
    for filesystem in ["xfs", "ext4"] {
        let (_, writes) = half_made_by_hand(filesystem, usize::MAX);
        for eighth in 1..=8 {
            let at = (writes * eighth / 8).max(2);
            let (template, _) = half_made_by_hand(filesystem, at);
            let scene = Scene::new(filesystem, template.disk());
            let before = scene.disk.sum();
            let ended = scene.undisturbed();
            let what = format!("{filesystem}, killed at write {at} of {writes}: {}", ended.story());
            assert_eq!(ended.code, Some(1), "{what}");
            assert!(ended.stderr.contains("only a blank device is ever formatted"), "{what}");
            assert!(scene.disk.sum() == before, "the disk was written to: {what}");
            refused += 1;
        }
    }
    harness::requirements::tried(&format!("{refused} half-made file systems were refused"));
}

#[test]
fn everything_has_a_new_version_while_the_agent_runs() {
    if !is_root() {
        return;
    }
    let case = |filesystem| Case {
        is_update: true,
        ..Case::new("update", filesystem, || Template::blank(smallest(filesystem)))
    };
    go_through(&[case("ext4")], &["ext4"], 50);
}
