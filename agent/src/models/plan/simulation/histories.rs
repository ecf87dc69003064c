//! Random histories by seed: whatever happened, the models converge, nothing that is needed is lost, and every model that
//! is not where it should be has a reason.

use super::agent::{Node, size_of};
use super::{MODELS, VERSIONS, World, digest, full};
use crate::command::ModelWish;
use crate::models::record::{Asked, wish};
use crate::status::ModelState;
use harness::requirements::tried;
use node::config::settings::Reclaim;

const CASES: u64 = 20_000;
const THREADS: u64 = 2;
const EVENTS: u64 = 30;

/// A small generator (`xorshift64*`): the same seed is the same history.
struct Chance(u64);

impl Chance {
    fn new(seed: u64) -> Chance {
        Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit
    }

    fn index(&mut self, limit: usize) -> usize {
        usize::try_from(self.below(limit as u64)).unwrap()
    }

    fn name(&mut self) -> &'static str {
        MODELS[self.index(MODELS.len())]
    }
}

fn happen(node: &mut Node, chance: &mut Chance) {
    match chance.below(40) {
        0..=7 => {
            node.pass(None);
        }
        8 => {
            let after = chance.index(6);
            node.pass(Some(after));
        }
        9..=14 => node.step_ends(false),
        15 => node.step_ends(true),
        16..=20 => node.pull_goes_on(chance.below(300)),
        21 => node.pull_fails("model_pull_stalled"),
        22 | 23 => {
            let (name, version) = (chance.name(), chance.index(VERSIONS));
            node.tell(format_args!("{name} names version {version}"));
            node.world.tags.insert(full(name), digest(name, version));
        }
        24 => node.world.registry_up = chance.below(2) == 0,
        25 => {
            node.tell(format_args!("the server is restarted"));
            node.pull_fails("model_server_broken_answer");
            node.step_ends(true);
            node.world.restart();
        }
        26 => {
            node.tell(format_args!("the server ends"));
            node.world.running = false;
            node.world.loaded.clear();
        }
        27 => {
            node.tell(format_args!("the agent is killed"));
            // What the server was asked goes on or not.
            if chance.below(2) == 0 {
                node.step_ends(false);
            }
            node.memory = super::agent::Memory::default();
        }
        28 | 29 => node.advance(i64::try_from(chance.below(7000)).unwrap()),
        30 => node.world.room = 150 + chance.below(900),
        31 => node.world.memory = 100 + chance.below(900),
        32 => {
            let name = chance.name();
            let version = (chance.below(3) == 0).then(|| digest(name, chance.index(VERSIONS)));
            node.tell(format_args!("node.toml pins {name} to {version:?}"));
            node.settings.pull.get_mut(name).unwrap().digest = version;
        }
        33 => node.world.corrupts_next = true,
        34 => {
            node.world.loaded.pop();
        }
        35 => node.settings.reclaim = [Reclaim::Ours, Reclaim::All, Reclaim::Never][chance.index(3)],
        36 => node.advance(i64::try_from(chance.below(1_000_000)).unwrap()),
        _ => ask(node, chance),
    }
}

fn ask(node: &mut Node, chance: &mut Chance) {
    let name = chance.name();
    let digest = (chance.below(2) == 0).then(|| digest(name, chance.index(VERSIONS)));
    let asked = match chance.below(6) {
        0 => ModelWish::Rollback,
        1 => ModelWish::Pin { digest },
        2 => ModelWish::Unpin,
        3 => ModelWish::Update { retry: true },
        _ => ModelWish::Update { retry: false },
    };
    let observed = node.observed();
    let model = node.settings.pull[name].clone();
    let moment = Asked { model: &model, observed: &observed, now: node.world.now };
    let answer = wish(&mut node.durable, &moment, &asked);
    node.tell(format_args!("a person asks {asked:?} of {name}: {answer:?}"));
}

/// Goes on without trouble until nothing is left to do.
fn settle(node: &mut Node) {
    node.tell(format_args!("quiet"));
    node.world.registry_up = true;
    node.world.corrupts_next = false;
    if !node.knows_files {
        // Where nothing is known of the folder, a pull that finds no room is tried again for ever.
        node.world.room = 5000;
    }
    if !node.world.running {
        node.world.restart();
    }
    let mut idle = 0;
    for _ in 0..600 {
        let before = node.begun;
        let plan = node.pass(None);
        let busy = node.memory.step.is_some() || node.memory.pulling.is_some();
        node.step_ends(false);
        node.pull_goes_on(1000);
        node.advance(1);
        if busy || node.begun != before {
            idle = 0;
            continue;
        }
        idle += 1;
        if idle > 1 {
            // Back-offs end first; the longest interval is that of the registry.
            let wait =
                plan.wake_at.map_or(7200, |at| at.duration_since(node.world.now).as_secs()).clamp(1, 7200);
            node.advance(wait);
        }
        if idle > 8 {
            return;
        }
    }
    panic!("no rest\n{}", node.story());
}

fn check(node: &mut Node) {
    let plan = node.pass(None);
    assert!(plan.pull.is_none() && plan.step.is_none(), "{plan:#?}\n{}", node.story());
    assert!(
        plan.drop_pull.is_none() && plan.drop_step.is_none() && plan.restart_server.is_none(),
        "{}",
        node.story()
    );
    let mut taken = 0;
    for (name, (status, explained)) in MODELS.iter().zip(&plan.models) {
        let story = || format!("{name}: {status:#?}\n{}", node.story());
        let model = &node.settings.pull[*name];
        let record = node.durable.record(&full(name)).cloned().unwrap_or_default();
        let there = node.world.names.get(&full(name)).cloned();
        let pinned = model.digest.clone().or_else(|| record.pin.as_ref().map(|pin| pin.digest.clone()));
        let wanted = pinned.clone().unwrap_or_else(|| node.world.tags[&full(name)].clone());
        let arrived = there.as_ref() == Some(&wanted);
        assert!(
            arrived || !explained.reasons.is_empty(),
            "not what it should be, and nobody knows why\n{}",
            story()
        );
        let barred = there.as_ref().is_some_and(|there| record.barred(there).is_some());
        let nothing_else =
            record.good.as_ref().is_none_or(|good| !node.world.has(good) || record.barred(good).is_some());
        assert!(!barred || nothing_else, "it is what failed\n{}", story());
        let settled = matches!(status.state, ModelState::Loaded | ModelState::Present);
        assert!(settled || status.reason.is_some(), "it failed, and nobody knows why\n{}", story());
        // Names at rest: what is there, and versions that are needed.
        if arrived
            && !barred
            && [0, 1].contains(&super::version_of(&wanted))
            && model.keep_loaded
            && node.world.has(&wanted)
        {
            let size = World::size(&wanted);
            if taken + size <= node.world.memory {
                assert_eq!(status.state, ModelState::Loaded, "it fits and is not in memory\n{}", story());
                assert_eq!(record.good.as_ref(), Some(&wanted), "it works and is not good\n{}", story());
            }
        }
        if let Some(there) = there.filter(|_| model.keep_loaded) {
            let size = World::size(&there);
            taken += if taken + size <= node.world.memory { size } else { 0 };
        }
        if !arrived && pinned.is_none() && record.barred(&wanted).is_none() {
            let full_disk = node.world.free() < size_of(name, 0) + 300;
            assert!(full_disk, "the tag is followed where there is room\n{}", story());
        }
    }
}

fn history(seed: u64, tells: bool) -> Node {
    let mut chance = Chance::new(seed);
    let mut node = Node::new();
    node.tells = tells;
    node.knows_files = chance.below(10) != 0;
    if !node.knows_files {
        node.settings.directory = None;
    }
    node.world.room = if chance.below(2) == 0 { 2000 } else { 300 + chance.below(700) };
    node.world.memory = if chance.below(2) == 0 { 2000 } else { 150 + chance.below(500) };
    for _ in 0..chance.below(EVENTS) {
        happen(&mut node, &mut chance);
    }
    settle(&mut node);
    check(&mut node);
    node
}

/// Steps of the history. One that fails is told from its beginning.
fn try_seed(seed: u64) -> u32 {
    match std::panic::catch_unwind(|| history(seed, false).begun) {
        Ok(begun) => begun,
        Err(cause) => {
            eprintln!("seed {seed}, told again:");
            let _ = history(seed, true);
            std::panic::resume_unwind(cause)
        }
    }
}

#[test]
fn any_history_of_models_converges_and_loses_nothing_that_is_needed() {
    let run =
        |thread| (0..CASES / THREADS).map(|case| u64::from(try_seed(case * THREADS + thread))).sum::<u64>();
    let threads: Vec<_> = (0..THREADS).map(|thread| std::thread::spawn(move || run(thread))).collect();
    let mut steps = 0;
    for thread in threads {
        match thread.join() {
            Ok(count) => steps += count,
            Err(failure) => std::panic::resume_unwind(failure),
        }
    }
    tried(&format!(
        "{CASES} random histories of up to {EVENTS} events, seeds 0 to {}, {steps} steps",
        CASES - 1
    ));
}

#[test]
fn a_tag_is_followed_through_good_and_bad_versions_and_what_was_good_before_is_one_step_away() {
    let mut node = Node::new();
    let (name, model) = (MODELS[0], full(MODELS[0]));
    settle(&mut node);
    for (version, expected) in [(1, 1), (2, 1), (0, 0)] {
        node.world.tags.insert(model.clone(), digest(name, version));
        node.advance(7200);
        settle(&mut node);
        assert_eq!(node.world.names[&model], digest(name, expected), "{}", node.story());
    }
    let record = node.durable.record(&model).unwrap().clone();
    assert_eq!(record.good, Some(digest(name, 0)));
    assert_eq!(record.previous, Some(digest(name, 1)));
    assert!(record.barred(&digest(name, 2)).is_some());
    node.world.registry_up = false;
    let observed = node.observed();
    let asked = Asked { model: &node.settings.pull[name], observed: &observed, now: node.world.now };
    wish(&mut node.durable, &asked, &ModelWish::Rollback).unwrap();
    let fetched = node.world.fetched.clone();
    for _ in 0..10 {
        node.pass(None);
        node.step_ends(false);
        node.advance(1);
    }
    assert_eq!(node.world.names[&model], digest(name, 1), "{}", node.story());
    assert_eq!(node.world.fetched, fetched, "a rollback needs no registry");
}

#[test]
fn killed_at_every_boundary_of_a_move_it_ends_the_same() {
    let mut cases = 0;
    for (version, expected) in [(1, 1), (2, 0)] {
        for boundary in 0..40 {
            cases += 1;
            let mut node = Node::new();
            let (name, model) = (MODELS[0], full(MODELS[0]));
            settle(&mut node);
            node.tells = true;
            node.world.tags.insert(model.clone(), digest(name, version));
            node.advance(7200);
            for pass in 0..20 {
                let killed = pass == boundary / 2;
                node.pass(killed.then_some(boundary % 2 * 2));
                if !killed || boundary % 4 < 2 {
                    node.step_ends(false);
                }
                node.pull_goes_on(30);
                node.advance(1);
            }
            settle(&mut node);
            check(&mut node);
            let there = &node.world.names[&model];
            assert_eq!(*there, digest(name, expected), "killed at {boundary}\n{}", node.story());
        }
    }
    tried(&format!("{cases} kills"));
}

#[test]
fn two_models_that_memory_cannot_hold_do_not_push_each_other_out_in_turn() {
    for known in [true, false] {
        let mut node = Node::new();
        node.tells = true;
        node.knows_memory = known;
        node.world.memory = 200;
        for _ in 0..1500 {
            node.pass(None);
            node.step_ends(false);
            node.pull_goes_on(1000);
            node.advance(1);
        }
        assert!(node.loads <= 3, "{} loads\n{}", node.loads, node.story());
        let plan = node.pass(None);
        assert_eq!(plan.models[0].0.state, ModelState::Loaded, "{}", node.story());
        assert_eq!(plan.models[1].0.state, ModelState::Failed, "{}", node.story());
        assert!(
            plan.problems.iter().any(|problem| problem.code == "model_memory_short"),
            "{:#?}",
            plan.problems
        );
    }
}
