//! Our table in a real kernel: in network namespaces of its own, and beside real engines, one with iptables-nft and one
//! with iptables-legacy.
//!
//! Needs root; says so and skips where it is not. `cargo test -p agent --test firewall [PART OF A NAME]`

#![expect(clippy::expect_used, reason = "a failing situation panics with its story")]
#![expect(clippy::print_stdout, reason = "it is its own test harness and reports like the usual one")]

mod containers;
mod engine;
mod kernel;
mod metadata;
mod peers;
mod scene;
mod traffic;

use harness::netns::Network;
use harness::requirements::{is_on_path, is_root, skipped};
use scene::{Flavor, Scene};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::time::Instant;

/// A name and what happens.
pub(crate) type Situation = (&'static str, fn(&mut Scene));

fn main() -> ExitCode {
    let missing = ["nft", "ip", "dockerd"].into_iter().find(|program| !is_on_path(program));
    if !is_root() || missing.is_some() {
        skipped(&format!("firewall: it needs root and nft, ip, dockerd (missing: {missing:?})"));
        return ExitCode::SUCCESS;
    }
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let beside_engines =
        || traffic::SITUATIONS.iter().chain(metadata::SITUATIONS).chain(engine::SITUATIONS).copied();
    let alone = kernel::SITUATIONS.iter().copied();
    let mut counts = (0, 0);
    for (flavor, situations) in [
        (Flavor::NoEngine, alone.collect::<Vec<_>>()),
        (Flavor::Nft, beside_engines().collect()),
        (Flavor::Legacy, beside_engines().collect()),
    ] {
        let chosen: Vec<Situation> =
            situations.into_iter().filter(|(name, _)| format!("{flavor} {name}").contains(&wanted)).collect();
        if let Some(why) = flavor.is_missing() {
            skipped(&format!("firewall beside an engine with {flavor}: {why}"));
            continue;
        }
        let (passed, failed) = run(flavor, chosen);
        counts = (counts.0 + passed, counts.1 + failed);
    }
    let (passed, failed) = counts;
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored\n");
    ExitCode::from(u8::from(failed > 0))
}

/// All situations in one scene, on a thread that is on the instance's side of its network.
fn run(flavor: Flavor, situations: Vec<Situation>) -> (usize, usize) {
    if situations.is_empty() {
        return (0, 0);
    }
    let network = Arc::new(Network::new().expect("two network namespaces"));
    let inside = Arc::clone(&network);
    let work = move || {
        let mut scene = Scene::set(inside, flavor).expect("a scene");
        let passed = situations.iter().filter(|situation| passes(situation, flavor, &mut scene)).count();
        (passed, situations.len() - passed)
    };
    network.instance.enter(work).expect("a thread on the instance's side")
}

fn passes((name, situation): &Situation, flavor: Flavor, scene: &mut Scene) -> bool {
    let began = Instant::now();
    let passed = catch_unwind(AssertUnwindSafe(|| situation(scene))).is_ok();
    let cleared = catch_unwind(AssertUnwindSafe(|| scene.clear())).is_ok();
    let word = if passed && cleared { "ok" } else { "FAILED" };
    println!("test {flavor} {name} ... {word} ({:.1} s)", began.elapsed().as_secs_f32());
    if word != "ok" {
        println!("--- rules at the end\n{}---", scene.ruleset());
    }
    word == "ok"
}
