# The commands for people. Every target sets up its needs first (scripts/setup.sh; quick when it is there).
#
#   make test                                   all tests, in private clusters
#   make test TEST="ingest_ dump"               the tests whose file or name has one of these in it
#   make demo MAXMIND_DIR=/path/to/mmdb/files   with your own GeoLite2 files
#   make build PG_CONFIG=/path/to/pg_config     for another PostgreSQL (15 to 18)
#
# Nothing but `setup` (Debian packages, where they are missing), `install` and `uninstall` writes outside of the target
# directory. The extension is built once, in release mode, into a private installation, target/pg/<major>,
# that test, demo and bench use alike. After `make build`, `cargo test -p asn_inventory_tests` works by
# itself, and scripts/run.sh runs any other command that starts clusters.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help all unit check setup build test demo demo-stop bench soak fuzz lint test-versions test-upgrade deb test-deb test-reproducible \
    test-docker dist install installcheck uninstall clean

PG_CONFIG ?=
MAXMIND_DIR ?=
TEST ?=
ARGS ?=
FUZZ_SECONDS ?= 60
SECONDS ?= 600
VERSIONS ?= 15 16 17 18
PROFILE ?=
PART ?=
export PG_CONFIG MAXMIND_DIR PROFILE
# For a server that is here, setup installs no second one.
deb test-deb test-reproducible: export FOR_SERVER = 1

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@printf '\n  PG_CONFIG=…   which PostgreSQL; default: the installed one, else Debian'"'"'s postgresql-15\n'

unit: ## the tests that need no PostgreSQL
	cargo test -p enrich -p report

check: lint unit ## formatting, clippy, and the tests that need no PostgreSQL

setup: ## the needs of a build: PostgreSQL with headers, libclang, cargo-pgrx
	@scripts/setup.sh

build: setup ## the extension, into a private installation under target/pg
	@scripts/build.sh

# PGXN's client asks for this, install, installcheck and uninstall.
all: build

test: build ## every test; TEST="name …" for some of pgrx-tests/tests, ARGS for the test program
	$(if $(TEST),,@scripts/setup-promtool.sh >/dev/null)
	$(if $(TEST),,cargo test -p enrich -p report)
	scripts/run.sh scripts/test.sh cargo test -p asn_inventory_tests $(if $(TEST),--test suite,--no-fail-fast) -- $(TEST) $(ARGS)

test-versions: ## the tests on PostgreSQL 15 to 18, fetched where missing; VERSIONS="16 18", TEST=name, PROFILE=dev
	@TEST="$(TEST)" ARGS="$(ARGS)" scripts/test-versions.sh $(VERSIONS)

test-upgrade: ## from 0.1.0 (FROM=…) under load, pg_upgrade of 15 to 18, with what that needs, fetched and built; PART=library or major
	@scripts/test-upgrade.sh $(PART)

demo: build ## honeypot events in, enriched addresses out; MAXMIND_DIR=… for your own files
	@scripts/demo.sh start

demo-stop: ## end the demo's server and remove its data
	@scripts/demo.sh stop

bench: build ## speed and memory, side by side with their baselines
	cargo build --release -q -p asn_inventory_tests --bin fake-sources
	scripts/run.sh cargo run --release -q -p asn_inventory_tests --bin bench $(if $(ARGS),-- $(ARGS))

soak: build ## SECONDS (default 600) of kills, stops, full disks, jumping clocks, faults and reloads under load; then all is counted
	@scripts/soak.sh $(SECONDS)

fuzz: ## hostile bytes: every fuzz target for FUZZ_SECONDS; needs a nightly compiler
	@scripts/fuzz.sh $(FUZZ_SECONDS)

lint: setup ## formatting and clippy, warnings denied
	@scripts/lint.sh

deb: build ## a Debian package for the PostgreSQL that PG_CONFIG names, and one of its debug symbols, in target/deb
	@scripts/deb.sh

test-deb: deb ## the package in a clean Debian: install, load, look up, remove, purge; as root
	@scripts/test-deb.sh

test-reproducible: deb dist ## the packages and the archive once more, in another directory: the same bytes, or an error
	@scripts/test-reproducible.sh

test-docker: ## the image of docker/, built and used as its README says, on a Docker engine
	@scripts/test-docker.sh

dist: ## the sources of the commit as PGXN takes them, in target/dist
	@scripts/dist.sh

install: ## into the PostgreSQL that PG_CONFIG names; after a build, without a compiler
	@scripts/install.sh

installcheck: ## a few questions to the extension that is installed, in the running server that PGHOST, PGPORT and PGUSER name
	@scripts/installcheck.sh

uninstall: ## out of the PostgreSQL that PG_CONFIG names
	@scripts/uninstall.sh

clean: ## remove build results (but not the tools that setup installed)
	@scripts/clean.sh
