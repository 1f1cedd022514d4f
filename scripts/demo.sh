#!/usr/bin/env bash
# demo.sh start: the demo, in a private cluster that stays, so that one can look further.
# demo.sh stop: ends its server and its fakes of the network sources, and removes their files.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# Says where the demo lives, for as long as it does.
note=$target/demo.env
# The inventory as a page.
page=$target/demo-report.html

stop() {
    [ -r "$note" ] || return 0
    # shellcheck disable=SC1090
    . "$note"
    DEMO_SOURCES=${DEMO_SOURCES:-$DEMO_DIR-sources}
    if server_runs; then
        (cd / && as_server_user "$DEMO_TREE/bin/pg_ctl" -D "$DEMO_DIR/data" -m fast -s -w stop) ||
            die "the demo's server does not stop; see $DEMO_DIR/log"
    fi
    end_sources
    rm -rf "$DEMO_DIR" "$DEMO_SOURCES" ${DEMO_TEMPORARY:+"$DEMO_TEMPORARY"} "$page" "$note"
}

# After a reboot or a kill, postmaster.pid names no process, or one of somebody else: the server was started on its data
# directory. Where it works is no proof: root in a container may not see that of another user's process.
server_runs() {
    local pid i words
    read -r pid 2>/dev/null <"$DEMO_DIR/data/postmaster.pid" || return 1
    # Not one of a single user, either, which is negative.
    case $pid in '' | *[!0-9]*) return 1 ;; esac
    # Where /proc hides what others run, a process that the servers' user may signal is taken for it.
    [ -e "/proc/$pid" ] || { as_server_user sh -c 'kill -0 "$1"' sh "$pid" 2>/dev/null; return; }
    mapfile -d '' -t words 2>/dev/null <"/proc/$pid/cmdline" || return 1
    for i in "${!words[@]}"; do
        [ "${words[i]}" != -D ] || [ ! "${words[i + 1]:-}" -ef "$DEMO_DIR/data" ] || return 0
    done
    return 1
}

# The process that the fakes' file names may be another one by now: it is theirs if it was started for this directory.
end_sources() {
    local pid
    pid=$(sed -n 's/^ *"pid": *\([0-9]*\).*/\1/p' "$DEMO_SOURCES/fake-sources.json" 2>/dev/null) || return 0
    [ -n "$pid" ] && tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | grep -qxF -- "$DEMO_SOURCES" || return 0
    kill "$pid"
}

start() {
    load_setup
    stop
    choose_place
    DEMO_DIR=$ASN_INVENTORY_WORK/demo DEMO_SOURCES=$ASN_INVENTORY_WORK/demo-sources
    DEMO_TREE=$ASN_INVENTORY_TREE DEMO_TEMPORARY=$temporary
    printf '%s=%q\n' DEMO_DIR "$DEMO_DIR" DEMO_SOURCES "$DEMO_SOURCES" DEMO_TREE "$DEMO_TREE" \
        DEMO_TEMPORARY "$DEMO_TEMPORARY" >"$note"
    cargo build -q --manifest-path "$root/Cargo.toml" -p asn_inventory_tests --bin demo --bin fake-sources ||
        { stop; exit 1; }
    "$target/debug/demo" "$DEMO_DIR" "$DEMO_SOURCES" ${MAXMIND_DIR:+"$MAXMIND_DIR"} || { stop; exit 1; }
    "$DEMO_TREE/bin/psql" -X -h "$DEMO_DIR" -U postgres -d honeypot -Atc 'SELECT inventory_report()' >"$page" ||
        { stop; exit 1; }
    local psql=psql own=
    [ -n "${MAXMIND_DIR:-}" ] || own="The same with your own GeoLite2 files:
    make demo MAXMIND_DIR=/path/to/mmdb/files
"
    command -v psql >/dev/null || psql=$DEMO_TREE/bin/psql
    cat <<END
The server stays. Connect:
    $psql -h $DEMO_DIR -U postgres honeypot
and try:
    SELECT ip_country('1.1.1.1'), ip_asn_org('1.1.1.1'), ip_class('100.64.0.1');
    SELECT * FROM lookup_ip('8.8.8.8') \gx
    INSERT INTO raw_events (payload) VALUES ('{"src_ip": "81.2.69.142"}');
    SELECT * FROM ip_inventory WHERE ip_address = '81.2.69.142' \gx
    SELECT * FROM ip_story('218.92.0.67');
    SELECT * FROM top_networks LIMIT 10;
    SELECT * FROM enrichment_status \gx
    SELECT * FROM source_status \gx
The inventory as a page, inventory_report(), to open in a browser:
    $page
Team Cymru and GreyNoise are fakes in this demo, on loopback ports, and what they say is made up.
${own}End it:
    make demo-stop
END
}

case ${1:-} in
start) start ;;
stop) stop ;;
*) die "usage: demo.sh start|stop" ;;
esac
