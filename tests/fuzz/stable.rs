//! The fuzz targets without a fuzzer: every seed, and what a seeded generator makes of the seeds, on any compiler.
//!
//! `FUZZ_SEED` and `FUZZ_CASES` set what is tried; `FUZZ_SEEDS_TO` is a folder that the seeds are left in, for libFuzzer.

#![expect(clippy::expect_used, reason = "a target panics when a promise is broken")]
#![expect(clippy::disallowed_methods, reason = "makes the seeds with the real tools")]

#[path = "src/seed_inputs.rs"]
mod seed_inputs;
#[expect(unreachable_pub, reason = "the other crate that this is compiled in exports it")]
#[path = "src/targets.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use targets::{TARGETS, Target, encode_device};

/// `splitmix64`
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) >> 1).expect("63 bits") % bound.max(1)
    }
}

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Bytes that formats give a meaning to.
const TELLING: [u8; 10] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'[', b'$', b'\n', b'='];

fn mutate(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let at = random.below(input.len());
    match random.below(7) {
        0 if !input.is_empty() => input[at] ^= 1 << random.below(8),
        1 if !input.is_empty() => input[at] = TELLING[random.below(TELLING.len())],
        2 => input.insert(at, TELLING[random.below(TELLING.len())]),
        3 => input.truncate(at),
        4 => {
            let end = (at + 1 + random.below(64)).min(input.len());
            input.drain(at..end);
        }
        5 => {
            let end = (at + 1 + random.below(64)).min(input.len());
            let copied = input[at..end].to_vec();
            let to = random.below(input.len());
            input.splice(to..to, copied);
        }
        _ => {
            let from = random.below(other.len());
            let end = (from + 1 + random.below(600)).min(other.len());
            input.splice(at..at, other[from..end].iter().copied());
        }
    }
}

fn run((name, target): Target, otherwise: u64) {
    let (seed, cases) = (from_environment("FUZZ_SEED", 1), from_environment("FUZZ_CASES", otherwise));
    let inputs: Vec<Vec<u8>> =
        seed_inputs::all().into_iter().filter(|(of, _)| *of == name).map(|(_, input)| input).collect();
    assert!(!inputs.is_empty(), "{name} has no seed");
    if let Some(folder) = std::env::var_os("FUZZ_SEEDS_TO") {
        let folder = std::path::Path::new(&folder).join(name);
        std::fs::create_dir_all(&folder).expect("a folder for the seeds");
        for (number, input) in inputs.iter().enumerate() {
            std::fs::write(folder.join(number.to_string()), input).expect("a seed");
        }
    }
    inputs.iter().for_each(|input| target(input));
    for case in 0..cases {
        let mut random = Random(seed.wrapping_mul(1_000_003).wrapping_add(case));
        let mut input = inputs[random.below(inputs.len())].clone();
        for _ in 0..=random.below(6) {
            let other = &inputs[random.below(inputs.len())];
            mutate(&mut input, other, &mut random);
        }
        if catch_unwind(AssertUnwindSafe(|| target(&input))).is_err() {
            panic!("{name}: FUZZ_SEED={seed}, case {case}: {:?}", String::from_utf8_lossy(&input));
        }
    }
    harness::requirements::tried(&format!(
        "{name}: {} seeds and {cases} cases, FUZZ_SEED={seed}",
        inputs.len()
    ));
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
