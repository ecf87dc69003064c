//! Nothing lost, by count of numbered lines: the agent as a program with a real engine, containers that write lines of
//! which each is known, and an endpoint that counts them, through all that goes wrong on the way.
//!
//! Each situation says how many lines it wrote, how many were lost and how many came twice. `LOG_SUITE_LONG=1` lets what
//! lasts last as long as the bars have it; without, a few seconds. Needs root; says so and skips where it is not.
//! `cargo test -p agent --test log_delivery [PART OF A NAME]`

#![expect(
    clippy::disallowed_methods,
    reason = "it is told by its environment how long to try, and writes files"
)]
#![expect(clippy::expect_used, reason = "a failing situation panics with its story")]
#![expect(clippy::print_stdout, reason = "it is its own test harness and reports like the usual one")]

mod engine;
mod kills;
mod outages;
mod queue;
mod removals;
mod rotations;
mod scene;

use harness::docker_daemon::Setup;
use harness::log_node::LogNode;
use harness::registry::RegistryBackend;
use harness::requirements::{is_on_path, is_root};
use harness::stage::workspace;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// A name and what happens.
pub(crate) type Situation = (&'static str, fn(&mut LogNode));

fn main() -> ExitCode {
    if let Some(why) = missing() {
        println!("SKIPPED log_delivery: {why}");
        return ExitCode::SUCCESS;
    }
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let all = [
        kills::SITUATIONS,
        engine::SITUATIONS,
        removals::SITUATIONS,
        rotations::SITUATIONS,
        outages::SITUATIONS,
        queue::SITUATIONS,
    ];
    let situations: Vec<Situation> =
        all.concat().into_iter().filter(|(name, _)| name.contains(&wanted)).collect();
    println!("running {} tests", situations.len());
    harness::instance::enter_own_network().expect("a network namespace");
    own_mounts().expect("a mount namespace");
    let mut node =
        LogNode::set(&programs(), None, Setup::default()).expect("an engine, a registry, an endpoint");
    let failed: Vec<&str> =
        situations.iter().filter(|situation| !passes(situation, &mut node)).map(|(name, _)| *name).collect();
    drop(node);
    let (passed, word) = (situations.len() - failed.len(), if failed.is_empty() { "ok" } else { "FAILED" });
    println!(
        "\ntest result: {word}. {passed} passed; {} failed; 0 ignored {}\n",
        failed.len(),
        failed.join(" ")
    );
    ExitCode::from(u8::from(!failed.is_empty()))
}

fn missing() -> Option<String> {
    if !is_root() {
        return Some("it starts a Docker engine, which needs root".to_owned());
    }
    if !RegistryBackend::is_installed() || !is_on_path("dockerd") {
        return Some("no docker-registry or no dockerd".to_owned());
    }
    let sample = workspace().join("target/tools/sample-app");
    (!sample.is_file()).then(|| format!("no {}; run make dist", sample.display()))
}

/// What ships, where it was built: a line is written every twenty microseconds here, and the other one is not optimised.
fn programs() -> PathBuf {
    let built = std::env::var_os("NODE_AGENT_DIST").map(PathBuf::from);
    let fresh = || Path::new(env!("CARGO_BIN_EXE_node-agent")).parent().map(Path::to_owned);
    built.or_else(fresh).unwrap_or_default()
}

/// What is mounted by a situation goes with this process.
fn own_mounts() -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount::<str, str, str, str>(None, "/", None, flags, None)
}

fn passes((name, situation): &Situation, node: &mut LogNode) -> bool {
    let began = Instant::now();
    let passed = catch_unwind(AssertUnwindSafe(|| situation(node))).is_ok();
    if !passed {
        let mut out = std::io::stderr();
        let _ =
            writeln!(out, "--- status\n{:#}\n--- log of the agent\n{}---", node.status(), node.agent_log());
    }
    // What one situation left must not become part of the next one's story.
    let cleared = scene::clear(node);
    let word = if passed && cleared.is_ok() { "ok" } else { "FAILED" };
    println!("test {name} ... {word} ({:.1} s)", began.elapsed().as_secs_f32());
    if let Err(error) = &cleared {
        println!("the node could not be cleared: {error}");
    }
    word == "ok"
}
