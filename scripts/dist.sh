#!/usr/bin/env bash
# dist.sh: the sources of the commit as PGXN takes them: asn_inventory-<version>.zip in target/dist, with META.json.
# The same commit gives the same bytes.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$root"

version=$(version_of_sources)
[ "$(grep -c "\"version\": \"$version\"" META.json)" = 2 ] || die "META.json is not of version $version"
validator=$(command -v pgxn_meta || echo "$target/tools/bin/pgxn_meta")
if [ ! -x "$validator" ]; then
    say "installing pgxn_meta, PGXN's validator, into $target/tools"
    cargo install pgxn_meta --version 0.7.0 --locked --debug --root "$target/tools" >&2
fi
"$validator" META.json >&2
[ -e .git ] || die "it packs the sources of a commit: run it in a clone of the repository"
name=asn_inventory-$version
mkdir -p "$target/dist"
[ -z "$(git status --porcelain)" ] || say "what is not committed is not in it"
TZ=UTC git archive --format=zip -9 --prefix="$name/" -o "$target/dist/$name.zip" HEAD
say "$target/dist/$name.zip"
