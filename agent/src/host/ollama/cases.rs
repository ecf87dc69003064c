//! Random cases for the tests of this folder: always the same ones, and counted.

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

const SEED: [u8; 32] = *b"the same cases in every test run";

/// Runs `test` on `cases` values of `strategy`; on failure panics with the smallest value that fails.
pub(super) fn check<S: Strategy>(
    name: &str,
    cases: u32,
    strategy: S,
    test: impl Fn(S::Value) -> Result<(), TestCaseError>,
) {
    harness::requirements::tried(&format!(
        "{name}: {cases} cases, seed {:?}",
        String::from_utf8_lossy(&SEED)
    ));
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &SEED));
    if let Err(error) = runner.run(&strategy, test) {
        panic!("{name}: {error}");
    }
}
