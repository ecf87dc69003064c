#!/bin/bash
# Fuzzes every reader of bytes from outside: `tests/fuzz.sh SECONDS`, for each target. With libFuzzer where a nightly
# compiler can be had, else with the seeded generator that the suites run, too, from a seed of this moment.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-20}
targets="signatures partition_table mark identify node_toml pull_stream model_manifest json_log control_request"
build=target/fuzz

without_libfuzzer() {
    echo "$1: the same targets run on stable, without coverage"
    FUZZ_SEED=$(date +%s) FUZZ_CASES=$((seconds * 200)) cargo test --locked --workspace --test fuzz -- --nocapture
    exit 0
}
command -v g++ >/dev/null || without_libfuzzer "no g++ to build libFuzzer with"
cargo +nightly --version >/dev/null 2>&1 ||
    timeout 120 rustup toolchain install nightly --profile minimal >/dev/null 2>&1 ||
    without_libfuzzer "no nightly compiler is to be had"

# What ships is what is fuzzed: the versions of the workspace's own lock file.
cp Cargo.lock tests/fuzz/Cargo.lock
# Only what reads the bytes is looked into; all that it is linked with (the AWS SDK, too) is only compiled.
flags='["-Cpasses=sancov-module","-Cllvm-args=-sanitizer-coverage-level=4","-Cllvm-args=-sanitizer-coverage-inline-8bit-counters","-Cllvm-args=-sanitizer-coverage-pc-table","-Cllvm-args=-sanitizer-coverage-trace-compares","-Ccodegen-units=1"]'
looked_into=(-Z profile-rustflags)
for package in agent bootstrap node fuzz toml_parser; do
    looked_into+=(--config "profile.dev.package.$package.rustflags=$flags")
done
cargo +nightly build --quiet --manifest-path tests/fuzz/Cargo.toml --target-dir "$build" --features libfuzzer --bins \
    "${looked_into[@]}" || without_libfuzzer "the nightly compiler does not build the targets"

# They are made by the real tools, and by code that cannot be linked with what looks into it.
FUZZ_SEEDS_TO=$PWD/$build/seeds FUZZ_CASES=0 cargo test --quiet --locked --workspace --test fuzz >/dev/null
for target in $targets; do
    mkdir -p "$build/corpus/$target" "$build/found"
    log=$build/$target.log
    # A device is two MiB of reads: no input takes a second, so one that does is a finding.
    if ! "$build/debug/$target" -max_total_time="$seconds" -timeout=10 -max_len=8192 -rss_limit_mb=2048 \
        -artifact_prefix="$build/found/$target-" "$build/corpus/$target" "$build/seeds/$target" > "$log" 2>&1; then
        grep -v '^#' "$log" | tail -n 60
        echo "$target: an input that breaks a promise lies in $build/found; run $build/debug/$target on it"
        exit 1
    fi
    grep -E '^(#[0-9]+\s+DONE|Done)' "$log" | tr '\n' ' ' | sed "s/^/$target: /"
    echo
done
