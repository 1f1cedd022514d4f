#!/bin/sh
# textfile.sh DATABASE FILE: the metrics of a database into a file of node_exporter's textfile collector, for cron. The
# file is replaced in one go, so that no reader sees half of it; if the database does not answer, it stays as it is, and
# asn_inventory_scrape_timestamp_seconds in it grows old. Host, port and user are those of the environment (PGHOST, …).
set -eu
[ $# = 2 ] || { echo "usage: $0 DATABASE FILE.prom" >&2; exit 2; }
new=$(mktemp "$(dirname "$2")/.asn_inventory.XXXXXX")
trap 'rm -f "$new"' EXIT
# Cron starts this once a minute, whether or not the one before has ended: behind a lock, or a server that hangs, connections
# would add up until loaders get none. So all of it ends within the minute.
limits='-c lock_timeout=5s -c statement_timeout=30s'
export PGCONNECT_TIMEOUT="${PGCONNECT_TIMEOUT:-10}"
# Prometheus reads UTF-8, for every encoding of the database. Warnings are in the server's log; cron would mail each.
PGCLIENTENCODING=UTF8 PGOPTIONS="$limits ${PGOPTIONS:-} -c client_min_messages=error" timeout 50 \
    psql -X -q -At -v ON_ERROR_STOP=1 -d "$1" -c 'SELECT prometheus_metrics()' >"$new"
[ -s "$new" ]
chmod 644 "$new"
mv "$new" "$2"
