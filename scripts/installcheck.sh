#!/usr/bin/env bash
# Checks the installed extension in a running server, the one that PGHOST, PGPORT and PGUSER name: a superuser makes a database,
# the extension in it, asks, and drops both. It needs no preload: the worker and the tests of it are `make test`'s.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/postgres.sh"

asked=${PG_CONFIG:-} any_server=1
command -v psql >/dev/null || { choose_postgres && PATH+=:$PG_BINDIR; } || die "no psql is here: name its server's PG_CONFIG"
db=asn_inventory_installcheck
ask() { psql -XAtqw -v ON_ERROR_STOP=1 -d "$@"; }
[ "$(ask postgres -c "SELECT count(*) FROM pg_catalog.pg_database WHERE datname = '$db'")" = 0 ] ||
    die "there is a database $db already: drop it, or let the other check end"
trap 'ask postgres -c "DROP DATABASE IF EXISTS $db WITH (FORCE)" >/dev/null' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
ask postgres -c "CREATE DATABASE $db"
ask "$db" -c "CREATE EXTENSION asn_inventory"
# answers WHAT SQL RESULT
answers() {
    local got
    got=$(ask "$db" -c "$2")
    expect "$1" "$got" "$3"
}
answers "the extension is that of these sources" "SELECT extversion FROM pg_extension WHERE extname = 'asn_inventory'" "$(version_of_sources)"
answers "the library answers" "SELECT ip_class('10.0.0.1') || ' ' || ip_class('100.64.0.1')" "private cgnat"
answers "a table is attached" "CREATE TABLE events (src_ip inet); SELECT attach_ip_source('events', ARRAY['src_ip']) IS NULL" t
answers "its trigger counts" "INSERT INTO events VALUES ('192.0.2.1'), ('192.0.2.1'); SELECT count(*) > 0 FROM ip_observation" t
