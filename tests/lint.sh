#!/bin/bash
# Formatting, lints, the rules of the house, the form of every message, and what dependencies may be.
set -euo pipefail

cargo fmt --all --check
# Found from the workspace whatever directory cargo runs it in.
export CLIPPY_CONF_DIR=$PWD
cargo clippy --locked --workspace --all-targets -- -D warnings
cargo test --quiet --locked --workspace --test house --test messages
if ! command -v cargo-deny >/dev/null; then
    echo "installing cargo-deny (about two minutes, once)"
    cargo install --quiet --locked --version 0.20.2 cargo-deny
fi
# Offline, so that no advisory database is looked for: what it checks is in Cargo.lock and in the sources.
cargo fetch --quiet --locked
cargo deny --offline --log-level error check bans licenses sources
bash -n packaging/*.sh tests/*.sh
