#!/usr/bin/env bash
# Removes what was built: both cargo profiles, the private installation, the demo. The tools that setup
# installed stay, and so do other files of a shared target directory.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$root"

"$root/scripts/demo.sh" stop
cargo clean --quiet --release
cargo clean --quiet --profile dev
rm -rf "$target/pg" "$target/pgrx" "$target/clusters" "$target/fixtures"
