#!/usr/bin/env bash
# test-versions.sh MAJOR…: the tests on each of these PostgreSQL versions, one after the other, and a table of the
# results. A server that is missing is fetched (scripts/server.sh). TEST and ARGS choose tests; PROFILE=dev builds
# quicker and slower code.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$root"

results=$target/test-versions.txt
: >"$results"

# run MAJOR: builds and tests; all output goes to its log.
run() {
    local config chosen=(--no-fail-fast)
    config=$(scripts/server.sh "$1") || return 1
    [ -z "${TEST:-}" ] || chosen=(--test suite)
    PG_CONFIG=$config scripts/setup.sh && scripts/build.sh || return 1
    say "testing on PostgreSQL $1"
    # shellcheck disable=SC2086
    scripts/run.sh scripts/test.sh cargo test -p asn_inventory_tests "${chosen[@]}" -- ${TEST:-} ${ARGS:-}
}

status=0
for major in "$@"; do
    log=$target/test-versions-$major.log
    begun=$SECONDS outcome=
    say "PostgreSQL $major (all output: $log)"
    run "$major" >"$log" 2>&1 || { outcome=failed && status=1; }
    passed=0 failed=0
    read -r passed failed < <(awk '/^test result:/ { p += $4; f += $6 } END { print p + 0, f + 0 }' "$log")
    [ "$passed" != 0 ] || { outcome="no test ran" && status=1; }
    version=$(sed -n 's/^PG_VERSION=\([^ \\]*\).*/\1/p' "$setup_env")
    case $version in "$major"*) ;; *) version=$major ;; esac
    printf '%-11s %6s %6s %5s s  %s\n' "$version" "$passed" "$failed" $((SECONDS - begun)) "${outcome:-ok}" >>"$results"
    [ -z "$outcome" ] || grep -E '^(error|test .* FAILED)' "$log" >&2 || tail -n 20 "$log" >&2
    grep -E '^==> .* did NOT run' "$log" >&2 || true
done
printf '%-11s %6s %6s %5s\n' PostgreSQL passed failed time
cat "$results"
exit $status
