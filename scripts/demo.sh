#!/usr/bin/env bash
# demo.sh start: the demo, in a private cluster that stays, so that one can look further.
# demo.sh stop: ends its server and removes what it left.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# Says where the demo lives, for as long as it does.
note=$target/demo.env

stop() {
    [ -r "$note" ] || return 0
    # shellcheck disable=SC1090
    . "$note"
    if [ -e "$DEMO_DIR/data/postmaster.pid" ]; then
        (cd / && as_server_user "$DEMO_TREE/bin/pg_ctl" -D "$DEMO_DIR/data" -m fast -s -w stop) ||
            die "the demo's server does not stop; see $DEMO_DIR/log"
    fi
    rm -rf "$DEMO_DIR" ${DEMO_TEMPORARY:+"$DEMO_TEMPORARY"} "$note"
}

start() {
    load_setup
    stop
    choose_place
    DEMO_DIR=$ASN_INVENTORY_WORK/demo DEMO_TREE=$ASN_INVENTORY_TREE DEMO_TEMPORARY=$temporary
    printf '%s=%q\n' DEMO_DIR "$DEMO_DIR" DEMO_TREE "$DEMO_TREE" DEMO_TEMPORARY "$DEMO_TEMPORARY" >"$note"
    cargo run -q --manifest-path "$root/Cargo.toml" -p asn_inventory_tests --bin demo -- \
        "$DEMO_DIR" ${MAXMIND_DIR:+"$MAXMIND_DIR"} || { stop; exit 1; }
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
    SELECT * FROM enrichment_status \gx
${own}End it:
    make demo-stop
END
}

case ${1:-} in
start) start ;;
stop) stop ;;
*) die "usage: demo.sh start|stop" ;;
esac
