//! The fuzz targets of the agent without a fuzzer, on any compiler.

#![expect(clippy::expect_used, reason = "a target panics when a promise is broken")]
#![expect(clippy::disallowed_methods, reason = "leaves the seeds for libFuzzer")]

#[expect(unreachable_pub, reason = "the other crate that this is compiled in exports it")]
#[path = "src/control_targets.rs"]
mod control_targets;
#[path = "generator.rs"]
mod generator;
#[expect(unreachable_pub, reason = "the other crate that this is compiled in exports it")]
#[path = "src/log_targets.rs"]
mod log_targets;
#[expect(unreachable_pub, reason = "the other crate that this is compiled in exports it")]
#[path = "src/model_targets.rs"]
mod model_targets;

fn run(name: &str, cases: u64) {
    let targets = model_targets::TARGETS.iter().chain(&log_targets::TARGETS).chain(&control_targets::TARGETS);
    let target = targets.into_iter().find(|(found, _)| *found == name);
    let seeds = model_targets::seeds().into_iter().chain(log_targets::seeds());
    let seeds = seeds.chain(control_targets::seeds()).collect();
    generator::run(*target.expect("a target of that name"), seeds, cases);
}

#[test]
fn no_stream_of_a_pull_breaks_a_promise() {
    run("pull_stream", 20_000);
}

#[test]
fn no_manifest_of_a_model_breaks_a_promise() {
    run("model_manifest", 20_000);
}

#[test]
fn no_log_of_a_container_breaks_a_promise() {
    run("json_log", 20_000);
}

#[test]
fn no_bytes_on_a_control_connection_break_a_promise() {
    run("control_request", 15_000);
}
