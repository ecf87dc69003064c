//! What an ordinary suite feeds to a target: every seed, and what a seeded generator makes of the seeds.
//!
//! `FUZZ_SEED` and `FUZZ_CASES` set what is tried; `FUZZ_SEEDS_TO` is a folder that the seeds are left in, for libFuzzer.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// A target and its name.
type Target = (&'static str, fn(&[u8]));

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

/// Panics with the first input that breaks a promise of the target.
pub(crate) fn run((name, target): Target, seeds: Vec<(&'static str, Vec<u8>)>, otherwise: u64) {
    let (seed, cases) = (from_environment("FUZZ_SEED", 1), from_environment("FUZZ_CASES", otherwise));
    let inputs: Vec<Vec<u8>> =
        seeds.into_iter().filter(|(of, _)| *of == name).map(|(_, input)| input).collect();
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
