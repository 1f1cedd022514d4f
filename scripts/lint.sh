#!/usr/bin/env bash
# Formatting and clippy over all four crates, warnings denied.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
load_setup
cd "$root"

for component in rustfmt clippy; do
    tool=${component/clippy/cargo-clippy}
    "$tool" --version >/dev/null 2>&1 && continue
    command -v rustup >/dev/null || die "$component is not installed"
    say "installing $component"
    rustup component add "$component"
done
for script in scripts/*.sh .ci/run; do bash -n "$script"; done
scripts/upgrade-sql.sh --check
cargo fmt --all --check
cargo clippy -p enrich -p report -p asn_inventory_tests --all-targets -- -D warnings
cargo clippy -p asn_inventory --no-default-features --features "pg$PG_MAJOR" --all-targets -- -D warnings
