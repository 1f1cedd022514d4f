#!/usr/bin/env bash
# test.sh COMMAND…: runs the tests, and says at the end how many of those ran that need an extension which is not
# everywhere. A test that did not run must not look as if it had passed.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

needs=$target/needs.log
rm -f "$needs"
status=0
"$@" || status=$?
for extension in $(cut -d ' ' -f 1 "$needs" 2>/dev/null | sort -u); do
    ran=$(grep -c "^$extension ran " "$needs" 2>/dev/null || true)
    missed=$(grep -c "^$extension not-run " "$needs" 2>/dev/null || true)
    [ "${ran:-0}" != 0 ] && say "$ran tests with $extension ran"
    [ "${missed:-0}" != 0 ] && say "$missed tests with $extension did NOT run: this PostgreSQL has no $extension"
done
exit $status
