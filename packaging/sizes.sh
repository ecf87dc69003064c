#!/bin/bash
# Prints what the static bootstrap is made of, by crate: the symbols of a build that differs from the released one only
# in that it keeps them.
# usage: sizes.sh TARGET FLAGS (its directory below target/ is where the release was built, with these flags of rustc)
# The released file stays as it is: this one is linked beside it, to another name.
set -euo pipefail

target=$1 flags=$2
built="target/$target/bootstrap/node-bootstrap"
kept=$(mktemp)
restored=0
[ ! -e "$built" ] || cp -p "$built" "$kept"
restore() { [ "$restored" = 1 ] || { [ ! -s "$kept" ] || cp -p "$kept" "$built"; restored=1; }; rm -f "$kept"; }
trap restore EXIT

RUSTFLAGS="$flags" CARGO_PROFILE_BOOTSTRAP_STRIP=none \
    cargo build --quiet --locked --profile bootstrap --target "$target" -p bootstrap
unstripped=$(mktemp)
cp "$built" "$unstripped"

# A symbol belongs to the crate that its path begins with; a generic one to the crate of the generic code.
nm --print-size --size-sort --demangle --radix=d "$unstripped" | awk '
    $3 ~ /^[tTrRdDwWvV]$/ {
        name = $4
        sub(/^<+/, "", name); sub(/^&(mut )?/, "", name); sub(/^dyn /, "", name)
        crate = name
        if (name ~ /::/) { sub(/::.*/, "", crate) } else { crate = "C and assembly (ring, libc)" }
        if (crate ~ /^(core|alloc|std|compiler_builtins|hashbrown|addr2line|gimli|miniz_oxide_std|rustc_demangle)$/) crate = "std"
        else if (crate ~ /^aws_/) crate = "aws sdk (aws_*)"
        else if (crate ~ /^(rustls|webpki|ring|rustls_.*|untrusted|tokio_rustls|hyper_rustls)$/) crate = "tls (rustls, ring, webpki)"
        else if (crate ~ /^(hyper|hyper_util|h2|http|http_body.*|httparse|reqwest|tower.*|url|idna|icu_.*|percent_encoding)$/) crate = "http (hyper, h2, reqwest, url)"
        else if (crate ~ /^(tokio|tokio_util|mio|futures_.*)$/) crate = "tokio"
        else if (crate ~ /^(clap.*|anstream|anstyle.*|strsim)$/) crate = "clap"
        else if (crate ~ /^(toml.*|winnow|serde.*|schemars)$/) crate = "serde, toml, json"
        else if (crate ~ /^(tracing.*|matchers|regex.*|aho_corasick|sharded_slab|thread_local)$/) crate = "tracing"
        else if (crate ~ /^(node|bootstrap|node_bootstrap)$/) crate = "ours (node, bootstrap)"
        size[crate] += $2; sum += $2
    }
    END {
        for (crate in size) if (size[crate] >= 4096) { printf "%d %s\n", size[crate], crate } else { rest += size[crate] }
        printf "%d others, each below 4 KB\n", rest
        printf "%d all symbols\n", sum
    }' | sort -rn | awk '{ kilobytes = $1 / 1000; $1 = ""; printf "%8.0f KB %s\n", kilobytes, $0 }'
rm -f "$unstripped"
printf 'released: %s bytes\n' "$(stat -c %s target/dist/node-bootstrap 2>/dev/null || echo 'not built')"
