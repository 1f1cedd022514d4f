#!/usr/bin/env bash
# test-reproducible.sh: builds the packages and the archive of this commit once more, in a clone in another directory with a target
# directory of its own, and compares them byte by byte with those that `make deb dist` made here. It costs a second release
# build. What differs is kept in target/reproducible beside what was made here.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
load_setup
cd "$root"

[ -e .git ] || die "it builds a commit: run it in a clone of the repository"
[ -z "$(git status --porcelain)" ] || die "what is not committed would be in one build alone: commit it first"
commit=$(git rev-parse HEAD)
version=$(version_of_sources)
name=postgresql-$PG_MAJOR-asn-inventory
again=$target/reproducible
log=$target/reproducible.log
: >"$log"
work=$(mktemp -d "${TMPDIR:-/tmp}/asn_inventory.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

quietly git clone --no-checkout "$root" "$work/another_clone"
quietly git -C "$work/another_clone" checkout --detach "$commit"
say "building ${commit:0:12} once more, in $work; its log is $log"
# The tools need no second build: they are no part of what is compared. Settings of this make are not that one's, but for PG_CONFIG.
export PATH=$target/tools/bin:$PATH
quietly env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL CARGO_TARGET_DIR="$work/results" \
    make -C "$work/another_clone" deb dist PG_CONFIG="$PG_CONFIG"

rm -rf "$again"
mkdir -p "$again"
architecture=$(dpkg --print-architecture)
for file in "deb/${name}_${version}_$architecture.deb" "deb/$name-dbgsym_${version}_$architecture.deb" "dist/asn_inventory-$version.zip"; do
    [ -f "$target/$file" ] || die "not built yet: run make deb dist"
    cp "$work/results/$file" "$again/"
    expect "${file##*/}: the same bytes" "$(cmp "$target/$file" "$again/${file##*/}" 2>&1 && echo same)" same
done
rm -rf "$again"
say "test result: ok. $passed passed; 0 failed"
