//! The fuzz targets of the bootstrap and of node.toml without a fuzzer, on any compiler.

#![expect(clippy::expect_used, reason = "a target panics when a promise is broken")]
#![expect(clippy::disallowed_methods, reason = "makes the seeds with the real tools")]

#[path = "generator.rs"]
mod generator;
#[path = "src/seed_inputs.rs"]
mod seed_inputs;
#[expect(unreachable_pub, reason = "the other crate that this is compiled in exports it")]
#[path = "src/targets.rs"]
mod targets;

use targets::{TARGETS, Target, encode_device};

fn run(target: Target, otherwise: u64) {
    generator::run(target, seed_inputs::all(), otherwise);
}

fn target(name: &str) -> Target {
    *TARGETS.iter().find(|(found, _)| *found == name).expect("a target of that name")
}

#[test]
fn no_device_breaks_a_promise_of_the_signature_reader() {
    run(target("signatures"), 1500);
}

#[test]
fn no_partition_table_breaks_a_promise() {
    run(target("partition_table"), 3000);
}

#[test]
fn no_bytes_are_a_mark_that_is_written_otherwise() {
    run(target("mark"), 20_000);
}

#[test]
fn no_identify_data_is_a_name_that_is_another_one_when_read_again() {
    run(target("identify"), 20_000);
}

#[test]
fn no_text_of_node_toml_breaks_a_promise() {
    run(target("node_toml"), 1500);
}
