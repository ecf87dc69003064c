//! Faults of devices and of the kernel at every call that can have them: reads that fail or come back short, devices
//! that vanish or are swapped for others between two calls, writes and mounts that fail. Whatever happens, data that
//! was there stays there, the run ends with a reason and not with a panic, and the next run is as good as new.
//!
//! By default a sample is tried, with `NODE_CRASH_POINTS=all` everything; `NODE_CRASH_SEED` repeats a sample.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failing test panics with its story")]

#[expect(dead_code, reason = "shared with the suite of crash points, which uses more of it")]
mod scene;
#[expect(dead_code, reason = "shared with the other suites, which use more of it")]
mod world;

use harness::tracer::{Call, Decision, Ended, Errno, Kind, run};
use scene::{
    Counter, Disk, Extent, Point, Scene, State, Template, WORKERS, filled, sample, side_by_side, smallest,
    turn,
};
use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;
use world::is_root;

/// Runs bootstrap with every look and read seen, too.
fn watch(scene: &Scene, decide: &mut (dyn FnMut(&Call) -> Decision + Send)) -> Ended {
    let mut program = scene.program();
    program.with_reads = true;
    run(&program, decide).unwrap()
}

/// What must hold of each run, whatever was done to it.
fn expect_an_orderly_end(scene: &Scene, ended: &Ended) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{what}: {}", ended.story()));
    if ended.late {
        return wrong("it hung");
    }
    if !matches!(ended.code, Some(0 | 1)) {
        return wrong("it ended in an odd way");
    }
    if ended.stderr.contains("panicked") || ended.stderr.contains("internal_error") {
        return wrong("it panicked");
    }
    if ended.code == Some(1) && !ended.stderr.lines().any(|line| line.contains("error: ")) {
        return wrong("it failed and did not say why");
    }
    match fs::read(scene.world.seen("/run/node-agent/handoff.json")) {
        Ok(text) if serde_json::from_slice::<serde_json::Value>(&text).is_err() => wrong("half a handoff"),
        _ => Ok(()),
    }
}

/// Whether a call looks at the device, or at what the kernel tells of it.
fn touches(call: &Call, scene: &Scene) -> bool {
    let number = scene.disk.number();
    let (major, minor) = (nix::sys::stat::major(number), nix::sys::stat::minor(number));
    let names = ["/dev/xvdf".to_owned(), format!("/{}", scene.disk.name()), format!("block/{major}:{minor}")];
    call.device == Some(number)
        || names.iter().any(|name| call.object.contains(name.as_str()))
        || (call.program.starts_with("mkfs")
            && call.object.starts_with("/proc/")
            && call.object.contains("/fd/"))
}

/// Data that does not look like a file system at first sight.
fn hidden_data(size: u64, at: u64) -> Template {
    let template = Template::blank(size);
    template.write(at, b"somebody's only copy");
    template
}

/// What can come of a read.
const READS: [(&str, Decision); 4] = [
    ("EIO", Decision::Fail(Errno::EIO)),
    ("nothing", Decision::Return(0)),
    ("half a sector", Decision::Shorten(256)),
    ("half a page", Decision::Shorten(2048)),
];

#[test]
fn a_read_that_fails_or_is_short_never_makes_data_look_blank() {
    if !is_root() {
        return;
    }
    let _turn = turn();
    let mut extent = Extent::of_this_run();
    let size = smallest("xfs");
    let mut tried: BTreeMap<&str, usize> = BTreeMap::new();
    let mut jobs = Vec::new();
    let templates = [
        ("ext4", filled("ext4", size)),
        ("a byte near the end", hidden_data(size, size - 5000)),
        ("a byte near the beginning", hidden_data(size, 700_000)),
        ("nothing", Template::blank(size)),
    ];
    for (what, template) in &templates {
        let scene = Scene::of_volume("xfs", template.disk());
        let mut reads = 0;
        let ended = watch(&scene, &mut |call| {
            reads += usize::from(call.kind == Kind::Read && call.device == Some(scene.disk.number()));
            Decision::GoOn
        });
        assert!(reads > 2, "{what}: {}", ended.story());
        for read in 1..=reads {
            for (how, decision) in READS {
                if extent.all || read <= 6 || extent.seed.below(reads) < 6 {
                    *tried.entry(how).or_default() += 1;
                    jobs.push((*what, template, read, how, decision));
                }
            }
        }
    }
    let failed = side_by_side(jobs, |_, (what, template, at, how, decision)| {
        let scene = Scene::of_volume("xfs", template.disk());
        let (before, mut reads) = (scene.disk.sum(), 0);
        let ended = watch(&scene, &mut |call| {
            let is_read = call.kind == Kind::Read && call.device == Some(scene.disk.number());
            reads += usize::from(is_read);
            if is_read && reads == at { decision } else { Decision::GoOn }
        });
        expect_an_orderly_end(&scene, &ended)?;
        if what != "nothing" && scene.disk.sum() != before {
            return Err(format!("{what} was written to, read {at} gave {how}: {}", ended.story()));
        }
        Ok(())
    });
    harness::requirements::tried(&format!("faults of reads: {tried:?}"));
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    assert!(tried.values().sum::<usize>() >= 60, "{tried:?}");
}

/// What happens to the device while bootstrap looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    NodeRemoved,
    Detached,
    Emptied,
    NodeLeadsToData,
    DeviceLeadsToData,
}

const CHANGES: [Change; 5] = [
    Change::NodeRemoved,
    Change::Detached,
    Change::Emptied,
    Change::NodeLeadsToData,
    Change::DeviceLeadsToData,
];

/// Whether it could be done: a device that is in use keeps leading to its image.
fn carry_out(change: Change, scene: &Scene, data: &Disk) -> bool {
    match change {
        Change::NodeRemoved => return fs::remove_file(scene.world.seen("/dev/xvdf")).is_ok(),
        Change::Detached => scene.disk.detach(),
        Change::Emptied => scene.disk.empty(),
        Change::NodeLeadsToData => data.attach(&scene.world, "xvdf"),
        Change::DeviceLeadsToData => return scene.disk.swap(data),
    }
    true
}

/// Each time that bootstrap and its mkfs touch a blank device, until mkfs writes.
fn touches_until_mkfs_writes(filesystem: &str, template: &Template) -> Vec<Point> {
    let scene = Scene::of_volume(filesystem, template.disk());
    let (mut counter, mut points, mut written) = (Counter::default(), Vec::new(), false);
    let ended = watch(&scene, &mut |call| {
        written |= call.program.starts_with("mkfs") && call.name.starts_with("pwrite");
        if !written && touches(call, &scene) {
            points.push(counter.count(call));
        }
        Decision::GoOn
    });
    assert!(written && ended.code == Some(0), "{}", ended.story());
    points
}

#[test]
fn a_device_that_vanishes_or_is_swapped_between_two_looks_costs_nobody_data() {
    if !is_root() {
        return;
    }
    let _turn = turn();
    let mut extent = Extent::of_this_run();
    let mut jobs = Vec::new();
    for (filesystem, other) in [("xfs", "ext4"), ("ext4", "xfs")] {
        // Of one size, which would give a swap away.
        let blank = Template::blank(smallest("xfs"));
        let touched = touches_until_mkfs_writes(filesystem, &blank);
        for change in CHANGES {
            let points =
                if extent.all { touched.clone() } else { sample(&touched, (1, 0), &mut extent.seed) };
            // Until mkfs is started the same is done for either file system.
            let seed = &mut extent.seed;
            let is_tried = |_: &Point| extent.all || filesystem == "xfs" || seed.below(3) == 0;
            let points: Vec<Point> = points.into_iter().filter(is_tried).collect();
            eprintln!("{filesystem}: {change:?} at {} of {} touches", points.len(), touched.len());
            jobs.extend(points.into_iter().map(|point| (filesystem, other, point, change)));
        }
    }
    let blank = Template::blank(smallest("xfs"));
    let data: Vec<[Template; 2]> =
        (0..WORKERS).map(|_| ["xfs", "ext4"].map(|kind| filled(kind, smallest("xfs")))).collect();
    let tried = Mutex::new(BTreeMap::<Change, usize>::new());
    let all = jobs.len();
    let failed = side_by_side(jobs, |worker, (filesystem, other, at, change)| {
        let scene = Scene::of_volume(filesystem, blank.disk());
        let data = data[worker][usize::from(other == "ext4")].disk();
        let (before, mut counter) = (data.sum(), Counter::default());
        let ended = watch(&scene, &mut |call| {
            let is_here = touches(call, &scene) && counter.count(call) == at;
            if is_here && carry_out(change, &scene, &data) {
                *tried.lock().unwrap().entry(change).or_default() += 1;
            }
            Decision::GoOn
        });
        expect_an_orderly_end(&scene, &ended).map_err(|story| format!("{change:?} at {at}: {story}"))?;
        if data.sum() != before {
            return Err(format!("{change:?} at {at}: the data was written to: {}", ended.story()));
        }
        Ok(())
    });
    let tried = tried.into_inner().unwrap();
    harness::requirements::tried(&format!(
        "changes of the device under bootstrap, of {all} planned: {tried:?}"
    ));
    assert!(failed.is_empty(), "{} of {all}:\n{}", failed.len(), failed.join("\n\n"));
    // A device that bootstrap has open cannot be swapped; all else can be done nearly everywhere.
    assert!(tried.len() == CHANGES.len() && tried.values().sum::<usize>() * 2 >= all, "{tried:?}");
}

#[test]
fn a_write_or_mount_that_fails_is_a_problem_and_the_next_run_repairs() {
    if !is_root() {
        return;
    }
    let _turn = turn();
    let mut extent = Extent::of_this_run();
    let mut jobs = Vec::new();
    let blanks = ["xfs", "ext4"].map(|filesystem| (filesystem, Template::blank(smallest(filesystem))));
    let mut references = Vec::new();
    for (filesystem, blank) in &blanks {
        let scene = Scene::new(filesystem, blank.disk());
        let (mut counter, mut points) = (Counter::default(), Vec::new());
        let first = scene.run(&mut |call| {
            points.extend(counter.point(call));
            Decision::GoOn
        });
        assert_eq!(first.code, Some(0), "{}", first.story());
        references.push(State::of(&scene));
        let chosen = if extent.all { points } else { sample(&points, (1, 0), &mut extent.seed) };
        for point in chosen {
            // The same files are written for either.
            let is_known = *filesystem == "ext4" && point.change.starts_with("node-bootstrap");
            let is_start =
                point.change.starts_with("node-bootstrap execve") && point.change.contains("debug");
            if is_start || (is_known && !extent.all) {
                continue;
            }
            let both = [("ENOSPC", Errno::ENOSPC), ("EIO", Errno::EIO)];
            let only = extent.seed.below(2);
            let errors = both.into_iter().enumerate().filter(|(at, _)| extent.all || *at == only);
            jobs.extend(errors.map(|(_, error)| (references.len() - 1, point.clone(), error)));
        }
    }
    let tried = Mutex::new(BTreeMap::<&str, usize>::new());
    let all = jobs.len();
    let failed = side_by_side(jobs, |_, (which, point, (name, errno))| {
        let (filesystem, blank) = &blanks[which];
        let scene = Scene::new(filesystem, blank.disk());
        let mut counter = Counter::default();
        let ended = scene.run(&mut |call| {
            if counter.point(call).as_ref() != Some(&point) {
                return Decision::GoOn;
            }
            *tried.lock().unwrap().entry(name).or_default() += 1;
            Decision::Fail(errno)
        });
        let what = format!("{name} at {point} on {filesystem}");
        expect_an_orderly_end(&scene, &ended).map_err(|story| format!("{what}: {story}"))?;
        let again = scene.undisturbed();
        let wrong = references[which].differences(&State::of(&scene));
        if again.code != Some(0) || !wrong.is_empty() {
            let wrong = wrong.join("\n  ");
            return Err(format!("{what}:\n  {wrong}\n{}\n--- again\n{}", ended.story(), again.story()));
        }
        Ok(())
    });
    let tried = tried.into_inner().unwrap();
    harness::requirements::tried(&format!("calls that were failed, of {all} planned: {tried:?}"));
    assert!(failed.is_empty(), "{} of {all}:\n{}", failed.len(), failed.join("\n\n"));
    assert!(tried.values().sum::<usize>() >= 80, "{tried:?}");
}
