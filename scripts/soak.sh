#!/usr/bin/env bash
# soak.sh SECONDS: the soak test (pgrx-tests/src/bin/soak). Its server's clock jumps by libfaketime, out of Debian's
# package, which is unpacked and not installed; where there is none, the clock stands still, and it says so.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/apt.sh"
load_setup
cd "$root"

# The servers' user must be able to read it: where the tree is, it can (scripts/build.sh).
ours=$target/pg/$PG_MAJOR/libfaketime.so.1
log=$target/setup-faketime.log

fetch() {
    work=$(mktemp -d "$target/faketime.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    : >"$log"
    (download_package "$(. /etc/os-release && echo "$VERSION_CODENAME")" libfaketime) &&
        dpkg-deb -x "$work"/libfaketime_*.deb "$work/tree" && install -m 644 "$work"/tree/usr/lib/*/faketime/libfaketime.so.1 "$ours"
}

[ -r "$ours" ] || ! command -v apt-get >/dev/null || fetch || true
export SOAK_FAKETIME=
if [ -r "$ours" ]; then SOAK_FAKETIME=$ours; else say "no libfaketime: the clock does NOT jump in this run"; fi
cargo build --release -q -p asn_inventory_tests --bin fake-sources
scripts/run.sh cargo run --release -q -p asn_inventory_tests --bin soak -- "$@"
