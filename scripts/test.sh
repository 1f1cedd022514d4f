#!/usr/bin/env bash
# test.sh COMMAND…: runs the tests, and says at the end how many of those ran that need an extension which is not
# everywhere. A test that did not run must not look as if it had passed.
#
# Tests that wait for the clock would keep a core from its work: those run in a process of their own beside the others, where all
# are asked for, which is when COMMAND ends in `--`.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# Substrings of their names, as the test program takes them: each test is in one of the two processes, whatever stands here.
waiting=(maxmind_schedule:: mmdb_sources_settings:: mmdb_sources::a_source_with_its_own_schedule
    mmdb_sources::lists_of_networks_come_by_url worker_errors::a_lock_of_more_than_a_minute doctor_worker::)
waiting_log=$target/test-waiting.log
needs=$target/needs.log
rm -f "$needs"
status=0

end() {
    [ -z "${beside:-}" ] || kill -- "-$beside" 2>/dev/null || true
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

if [ "${*: -1}" = -- ]; then
    # Built once, before both begin.
    "${@:1:$#-1}" --no-run
    setsid cargo test --manifest-path "$root/Cargo.toml" -p asn_inventory_tests --test suite -- --test-threads=2 "${waiting[@]}" \
        >"$waiting_log" 2>&1 &
    beside=$!
    for name in "${waiting[@]}"; do set -- "$@" --skip "$name"; done
    "$@" || status=$?
    wait "$beside" || { [ $status != 0 ] || status=101; }
    beside=
    say "the tests that wait for the clock ($waiting_log):"
    cat "$waiting_log"
    grep -q '^test result: ' "$waiting_log" || { [ $status != 0 ] || status=101; }
else
    "$@" || status=$?
fi
for extension in $(cut -d ' ' -f 1 "$needs" 2>/dev/null | sort -u); do
    ran=$(grep -c "^$extension ran " "$needs" 2>/dev/null || true)
    missed=$(grep -c "^$extension not-run " "$needs" 2>/dev/null || true)
    [ "${ran:-0}" != 0 ] && say "$ran tests with $extension ran"
    [ "${missed:-0}" != 0 ] && say "$missed tests with $extension did NOT run: this PostgreSQL has no $extension"
done
exit $status
