#!/bin/sh
# Sets up a bare Debian 12 or Ubuntu 22.04+ host with Rust for `make demo` and `make test`: says in one line what is
# missing and cannot be installed, installs the rest, and says while it does.
set -eu

need_gib=15
say() { printf '%s\n' "$*"; }
stop() { printf 'cannot go on: %s\n' "$*" >&2; exit 1; }

[ "$(uname -s)/$(uname -m)" = Linux/x86_64 ] || stop "this is $(uname -s)/$(uname -m); it needs Linux on x86-64"
[ "$(id -u)" = 0 ] || stop "not root; mounts, namespaces and block devices need it (try: sudo -E make ${1:-demo})"
command -v cargo >/dev/null || stop "no cargo on the PATH; install Rust from https://rustup.rs"
command -v apt-get >/dev/null || stop "no apt-get; the test bench needs Debian 12 or Ubuntu 22.04 or newer"
free_gib=$(df -Pk . | awk 'NR == 2 { print int($4 / 1048576) }')
have_gib=0
[ ! -d target ] || have_gib=$(du -sk target | awk '{ print int($1 / 1048576) }')
[ $((free_gib + have_gib)) -ge "$need_gib" ] ||
    stop "$free_gib GiB free in $(pwd); building and the instance's image need $need_gib GiB"
[ -e /dev/loop-control ] || stop "no /dev/loop-control; the model volume is a loop device (try: modprobe loop)"

# What the host lacks, by package: a C compiler for ring, libsystemd for the agent, and the test bench.
wanted="gcc g++ pkg-config libsystemd-dev musl-tools debootstrap debian-archive-keyring systemd-container systemd-journal-remote docker.io docker-registry skopeo \
busybox-static strace groff-base xfsprogs e2fsprogs btrfs-progs dosfstools exfatprogs f2fs-tools ntfs-3g genisoimage cryptsetup-bin lvm2 \
bcache-tools gdisk fdisk util-linux iproute2 iptables nftables curl file binutils python3-venv tmux"
# What reads our metrics, rules and completions with other people's eyes: promtool comes with the server, which nobody starts.
case " $* " in *" test "*) wanted="$wanted prometheus zsh fish" ;; esac
# The whole machine: 70 MB that nobody else needs.
case " $* " in *" test-vm "*) wanted="$wanted qemu-system-x86 dnsmasq-base" ;; esac
missing=""
for package in $wanted; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
if [ -n "$missing" ]; then
    say "installing with apt-get:$missing"
    log=$(mktemp)
    # The engine and the registry are started by the tests, each in its own place, never by the host.
    policy=/usr/sbin/policy-rc.d
    [ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' > "$policy" && chmod +x "$policy" && made_policy=1; }
    trap '[ -z "${made_policy:-}" ] || rm -f "$policy"' EXIT
    # shellcheck disable=SC2086
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $missing; } \
        > "$log" 2>&1 || stop "apt-get failed: $(tail -n 1 "$log") (log: $log)"
    rm -f "$log"
fi

target=x86_64-unknown-linux-musl
if ! [ -d "$(rustc --print sysroot)/lib/rustlib/$target" ]; then
    say "adding the Rust target $target"
    # Without it the bootstrap is linked statically against glibc; the Makefile sees which of the two is there.
    rustup target add "$target" >/dev/null 2>&1 || say "not to be had: node-bootstrap will be static with glibc"
fi

# For the suite that runs the same binaries against somebody else's reading of the AWS protocols.
moto=5.2.5
case " $* " in *" test "*)
    if [ "$(cat target/moto/version 2>/dev/null)" != "$moto" ]; then
        say "installing moto $moto into target/moto (half a minute, once)"
        rm -rf target/moto
        log=$(mktemp)
        if python3 -m venv target/moto > "$log" 2>&1 &&
            target/moto/bin/pip install --quiet --disable-pip-version-check --retries 1 "moto[server]==$moto" >> "$log" 2>&1; then
            printf '%s\n' "$moto" > target/moto/version
        else
            rm -rf target/moto
            say "not to be had: the suite against moto will be skipped ($(tail -n 1 "$log"))"
        fi
        rm -f "$log"
    fi ;;
esac
