#!/usr/bin/env bash
# Type-checks the extension for every PostgreSQL it supports, on a machine that has the headers of only one: against
# the bindings that ship with pgrx. It does not check linking and running; the tests do that for one version.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

for major in ${*:-15 16 17 18}; do
    say "type-checking for PostgreSQL $major"
    (cd "$root" && DOCS_RS=1 RUSTC_WRAPPER="$root/scripts/rustc-docsrs.sh" CARGO_TARGET_DIR="$target/versions" \
        cargo check --quiet --package asn_inventory --no-default-features --features "pg$major")
done
