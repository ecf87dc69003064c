#!/bin/bash
# Lays out target/dist: the three programs, and a release tarball of binaries, units, manual pages and completions with its
# checksum.
# usage: release.sh VERSION DIRECTORY_OF_STATIC_BOOTSTRAP DIRECTORY_OF_AGENT DESTINATION
# The tarball's bytes depend on its content only (sorted names, no times, no owners), so that its checksum can be pinned.
set -euo pipefail
umask 022

# Every new instance downloads the bootstrap: it is refused above this.
largest_bootstrap=6000000

version=$1 bootstrap=$2 agent=$3 destination=$4
name="node-agent-$version-x86_64"
bytes=$(stat -c %s "$bootstrap/node-bootstrap")
if [ "$bytes" -gt "$largest_bootstrap" ]; then
    printf 'node-bootstrap has %s bytes, %s are allowed; make sizes shows what it is made of\n' \
        "$bytes" "$largest_bootstrap" >&2
    exit 1
fi
mkdir -p "$destination"
layout=$(mktemp -d "$destination/.layout.XXXXXX")
trap 'rm -rf "$layout"' EXIT

install -D -m 0755 -t "$layout/$name/bin" "$bootstrap/node-bootstrap" "$agent/node-agent" "$agent/agentctl"
install -D -m 0644 -t "$layout/$name/systemd" systemd/*
"$agent/pages" "$layout/$name/share"
find "$layout/$name/share/man" -type f -exec gzip --no-name --best {} +
install -D -m 0644 -t "$layout/$name" LICENSE README.md CHANGELOG.md

tar --create --directory "$layout" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner "$name" |
    gzip --no-name --best > "$layout/$name.tar.gz"
(cd "$layout" && sha256sum "$name.tar.gz" > "$name.tar.gz.sha256")

# A finished file takes the old one's place at once: a demo that runs meanwhile reads the one or the other.
for file in "$layout/$name/bin/"* "$layout/$name.tar.gz" "$layout/$name.tar.gz.sha256"; do
    mv -f "$file" "$destination/"
done
printf '%s: %s bytes of %s, %s\n' "$destination/node-bootstrap" "$bytes" "$largest_bootstrap" \
    "$(file -b "$destination/node-bootstrap" | grep -o 'static[a-z-]* linked')"
printf 'agent: highest glibc symbol %s\n' \
    "$(objdump -T "$destination/node-agent" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n 1)"
