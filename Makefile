# The README's two commands are `make demo` and `make test`; both set up what they need (tests/prepare.sh).
#
#   make demo [KEEP=1]   one disposable instance, from user data to a healthy service, and two updates
#   make test            every suite, from the planners to whole instances
#   make test-vm         a whole machine under QEMU through three boots: NVMe, cloud-init, a volume attached late
#   make lint            formatting, clippy, the rules of the house, licences and sources of dependencies
#   make fuzz [SECONDS=20]   each reader of bytes from outside, that long
#   make bench           what is measured, beside what a user would pick instead
#   make bench-logs      of that only what shipping logs costs, beside Docker's driver and the shippers installed here
#   make sizes           what the static bootstrap is made of, by crate
#   make dist            target/dist: static bootstrap, agent, agentctl, release tarball (with manual pages and completions)
#                        and its checksum

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PHONY: demo test test-vm lint fuzz bench bench-logs sizes dist prepare clean-instances

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
RELEASE := node-agent-$(VERSION)-x86_64
DIST := target/dist
HOST := x86_64-unknown-linux-gnu
MUSL := x86_64-unknown-linux-musl
# musl where its standard library is there, else glibc linked statically (ARCHITECTURE.md says what that costs).
STATIC = $(if $(wildcard $(shell rustc --print sysroot)/lib/rustlib/$(MUSL)),$(MUSL),$(HOST))
comma := ,
# Every new instance downloads the bootstrap, and its relative relocations, packed, are a tenth of its size. musl unpacks
# them since 1.2.4; with glibc they would ask for 2.36, which the agent's hosts need not have.
PACKED = $(if $(filter $(MUSL),$(STATIC)), -C link-arg=-Wl$(comma)-z$(comma)pack-relative-relocs)
STATIC_FLAGS = -C target-feature=+crt-static$(PACKED)

demo: prepare dist
	@cargo build --locked --workspace --bin demo
	@target/debug/demo $(if $(KEEP),--keep)

test: prepare dist
	@tests/run.sh

test-vm: prepare dist
	@cargo build --locked --workspace --bin machine
	@NODE_AGENT_DIST=$(CURDIR)/$(DIST) target/debug/machine

prepare:
	@tests/prepare.sh $(MAKECMDGOALS)

# What ships is built in the release profile, what runs in the tests' containers beside it because they need it static. The
# harness is in the development profile, whose dependencies are built once.
dist: | prepare
	@echo "building the static bootstrap and the tests' containers ($(STATIC))"
	@RUSTFLAGS="$(STATIC_FLAGS)" cargo build --locked --profile bootstrap --target $(STATIC) -p bootstrap
	@RUSTFLAGS="$(STATIC_FLAGS)" cargo build --locked --profile bootstrap --target $(STATIC) -p sample-app -p model-double
	@install -D -m 0755 -t target/tools target/$(STATIC)/bootstrap/sample-app target/$(STATIC)/bootstrap/model-double
	@echo "building the agent and agentctl (release)"
	@cargo build --locked --release -p agent --bins
	@echo "building what writes the manual pages and completions (release)"
	@cargo build --locked --release -p pages
	@packaging/release.sh "$(VERSION)" "target/$(STATIC)/bootstrap" target/release $(DIST)

lint:
	@tests/lint.sh

fuzz:
	@tests/fuzz.sh $(or $(SECONDS),20)

bench: prepare dist
	@cargo build --locked --workspace --bin bench
	@target/debug/bench

bench-logs: prepare dist
	@cargo build --locked --workspace --bin bench
	@target/debug/bench logs

sizes: dist
	@packaging/sizes.sh $(STATIC) "$(STATIC_FLAGS)"
