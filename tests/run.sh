#!/bin/bash
# Every suite. The closing lines say how many tests ran, and which were skipped for want of what.
set -euo pipefail

log=target/test.log
: > "$log"
export NODE_AGENT_DIST="$PWD/target/dist"
echo "building the suites"
cargo test --locked --workspace --no-run
echo "running the suites (whole output: $log)"
status=0
cargo test --locked --workspace --no-fail-fast 2>&1 | tee -a "$log" | grep -E --line-buffered '^(test |running|     Running|test result|error|failures)|panicked|SKIPPED|^TRIED' || status=${PIPESTATUS[0]}
passed=$(awk '/^test result/ { n += $4 } END { print n + 0 }' "$log")
failed=$(awk '/^test result/ { n += $6 } END { print n + 0 }' "$log")
skipped=$(grep -c '^SKIPPED' "$log" || true)
grep -E '^(TRIED|SKIPPED)' "$log" || true
if [ "$failed" != 0 ] || [ "$status" != 0 ]; then
    # What failed tells its own story: command, outputs, state.
    # A story longer than that ends awk by a signal, which is no reason to keep the count to ourselves.
    awk '/^failures:/ { on = 1 } /^test result/ { on = 0 } on' "$log" | head -n 400 || true
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$status" = 0 ]
