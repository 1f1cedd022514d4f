#!/usr/bin/env bash
# Removes what was built: both cargo profiles, the private installation, the demo, packages, and what the tests of upgrades,
# packages and images made. What was fetched stays (tools, PostgreSQL servers), and so do other files of a shared target directory.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$root"

lock
"$root/scripts/demo.sh" stop
cargo clean --quiet --release
cargo clean --quiet --profile dev
# Debian roots in there may have a mount of a test that was killed: what is behind it is not ours.
rm -rf --one-file-system "$target"/{pg,pgrx,clusters,fixtures,upgrade,fuzz,deb,dist,docker} \
    "$target"/{server,promtool,faketime}.?????? "$target"/{setup-apt,setup-promtool,setup-faketime,server-*,test-versions-*,needs}.log \
    "$target"/{test-versions.txt,test-waiting.log}
