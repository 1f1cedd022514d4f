# Private clusters for scripts: servers, sessions, loaders, conditions. Sourced after lib.sh, never run.
# shellcheck shell=bash
#
# A cluster is a directory $work/<name> with data, log and socket; its server comes from the tree in $work/<tree>, and
# ends with the script.

declare -A tree_of=()

# Everything that the servers' user makes, and what its servers read, lies in $work.
make_work() {
    choose_place
    work=$ASN_INVENTORY_WORK/upgrade.$$
    rm -rf "$work"
    mkdir -p "$work"
    chmod 755 "$work"
    trap end_work EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
}

end_work() {
    local status=$? name
    touch "$work/stop" 2>/dev/null || true
    for name in "${!tree_of[@]}"; do stop_server "$name" immediate 2>/dev/null || true; done
    # What this script started in the background, by its own id.
    kill $(jobs -p) 2>/dev/null || true
    wait 2>/dev/null || true
    if [ $status != 0 ]; then
        rm -rf "$target/upgrade/failed"
        mkdir -p "$target/upgrade/failed"
        cp -r "$work"/*/log "$work"/*.log "$target/upgrade/failed/" 2>/dev/null || true
        for name in "${!tree_of[@]}"; do cp "$work/$name/log" "$target/upgrade/failed/$name.log" 2>/dev/null || true; done
        say "failed; logs are in $target/upgrade/failed"
    fi
    rm -rf "$work" "/tmp/asn_inventory.$$".* ${temporary:+"$temporary"}
}

# in_tree TREE PROGRAM…: as the servers' user, from a directory that it can read.
in_tree() {
    local tree=$1 program=$2
    shift 2
    (cd / && as_server_user env -u PGHOST -u PGPORT -u PGUSER -u PGDATABASE -u PGOPTIONS -u RUST_BACKTRACE \
        "$work/$tree/bin/$program" "$@")
}

# make_cluster NAME TREE [initdb's options…]
make_cluster() {
    local name=$1 tree=$2
    shift 2
    tree_of[$name]=$tree
    install -d -m 700 ${ASN_INVENTORY_USER:+-o "$ASN_INVENTORY_USER"} "$work/$name"
    in_tree "$tree" initdb --no-sync -E UTF8 --locale=C.UTF-8 -A trust -U postgres -D "$work/$name/data" "$@" >>"$work/initdb.log"
    socket_of "$name"
    cat >>"$work/$name/data/postgresql.conf" <<CONF
listen_addresses = ''
unix_socket_directories = '$socket'
fsync = off
max_worker_processes = 20
timezone = 'UTC'
log_line_prefix = '%m [%p] %b %d: '
shared_preload_libraries = 'asn_inventory'
asn_inventory.absorb_interval = '50ms'
asn_inventory.cymru = off
CONF
}

# A socket's path may have 107 bytes.
socket_of() {
    socket=$work/$1
    [ ${#socket} -gt 90 ] || return 0
    socket=/tmp/asn_inventory.$$.$1
    [ -d "$socket" ] || install -d -m 700 ${ASN_INVENTORY_USER:+-o "$ASN_INVENTORY_USER"} "$socket"
}

start_server() {
    in_tree "${tree_of[$1]}" pg_ctl -D "$work/$1/data" -l "$work/$1/log" -w -s start ||
        { tail -n 20 "$work/$1/log" >&2 && die "the server $1 does not start"; }
}
stop_server() { in_tree "${tree_of[$1]}" pg_ctl -D "$work/$1/data" -m "${2:-fast}" -w -s stop; }
reload_server() { in_tree "${tree_of[$1]}" pg_ctl -D "$work/$1/data" -s reload; }
setting() { printf "%s = '%s'\n" "$2" "$3" >>"$work/$1/data/postgresql.conf"; }

# psql_in CLUSTER DATABASE ARGUMENT…
psql_in() {
    local name=$1 db=$2
    shift 2
    socket_of "$name"
    in_tree "${tree_of[$name]}" psql -XAtq -v ON_ERROR_STOP=1 -h "$socket" -U postgres -d "$db" "$@"
}
# sql STATEMENT: in $cluster and $db.
sql() { psql_in "$cluster" "$db" -c "$1"; }
# refused STATEMENT: all that the server says to it.
refused() { ! psql_in "$cluster" "$db" -v VERBOSITY=verbose -c "$1" 2>&1 || die "this is not refused: $1"; }

# expect_in WHAT TEXT PART: PART stands in TEXT.
expect_in() {
    case $2 in *"$3"*) expect "$1" here here ;; *) die "$1: expected '$3' in: $2" ;; esac
}
# wait_until WHAT SQL: until the query gives t.
wait_until() {
    local end=$((SECONDS + 120))
    until [ "$(sql "$2" 2>>"$work/wait.log")" = t ]; do
        [ ! -e "$work/failed" ] || die "a loader's statement failed: $(cat "$work/failed")"
        [ $SECONDS -lt $end ] || die "$1: not after two minutes"
        sleep 0.1
    done
}

# Tables that loaders fill: a batch is known by its number, so one whose answer was lost is not loaded again.
load_tables="
    CREATE TABLE batches (loader int, batch int, PRIMARY KEY (loader, batch));
    CREATE TABLE events (loader int, src_ip inet);
    CREATE TABLE parts (loader int, src text) PARTITION BY LIST (loader);
    CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1, 2); CREATE TABLE parts_2 PARTITION OF parts FOR VALUES IN (3, 4);
    SELECT attach_ip_source('events', ARRAY['src_ip']); SELECT attach_ip_source('parts', ARRAY['src']);"

# batch LOADER NUMBER: statements that load it once. Small ones, larger ones, COPY, and some that are rolled back.
batch() {
    printf 'SELECT NOT EXISTS (SELECT FROM batches WHERE (loader, batch) = (%s, %s)) AS fresh \\gset\n\\if :fresh\n' "$1" "$2"
    printf 'BEGIN; INSERT INTO events VALUES (%s, NULL), (%s, %s); ROLLBACK;\n' "$1" "$1" "'9.9.9.9'"
    printf 'BEGIN; INSERT INTO batches VALUES (%s, %s); INSERT INTO events VALUES (%s, %s);\n' "$1" "$2" "$1" "'45.155.$1.$(($2 % 250))'"
    case $(($2 % 3)) in
    0) printf "INSERT INTO events SELECT %s, '34.64.0.0'::inet + (i * 7 + %s) %% 3000 FROM generate_series(1, 200) i;\n" "$1" "$2" ;;
    1) printf "INSERT INTO parts SELECT %s, host('34.65.0.0'::inet + (i * 3 + %s) %% 500) FROM generate_series(1, 20) i;\n" "$1" "$2" ;;
    # Not from STDIN: where \if passes over the COPY, psql takes its data for commands.
    *) printf "COPY events FROM PROGRAM 'seq -f \"%s,45.156.%s.%%g\" %s %s' (DELIMITER ',');\n" "$1" "$1" $(($2 % 240)) $(($2 % 240 + 9)) ;;
    esac
    printf 'COMMIT;\n\\endif\n'
}

# loader NUMBER: sessions of twenty batches each, until $work/stop is there. A session that is cut, or cannot begin, is
# begun again; a statement that fails is a failure of the test.
loader() {
    local first=1 n status
    while [ ! -e "$work/stop" ]; do
        status=0
        for n in $(seq "$first" $((first + 19))); do batch "$1" "$n"; done |
            psql_in "$cluster" "$db" -f - >>"$work/loader-$1.log" 2>&1 || status=$?
        case $status in
        0) first=$((first + 20)) ;;
        2) ;;
        *) tail -n 5 "$work/loader-$1.log" >"$work/failed" && return 1 ;;
        esac
    done
}

start_loaders() {
    local n
    rm -f "$work/stop"
    loaders=()
    for n in 1 2 3 4; do
        loader "$n" &
        loaders+=($!)
    done
}

# wait_for_batches: each loader has committed five more.
wait_for_batches() {
    local before
    before=$(sql "SELECT coalesce(string_agg(format('(%s,%s)', loader, n), ',' ORDER BY loader), '(0,0)') FROM (SELECT loader, max(batch) AS n FROM batches GROUP BY 1) b")
    wait_until "the loaders to go on" "SELECT count(*) = 4 AND bool_and(n > coalesce(was, 0) + 5)
        FROM (SELECT loader, max(batch) AS n FROM batches GROUP BY 1) b LEFT JOIN (VALUES $before) v(l, was) ON l = loader"
}

stop_loaders() {
    touch "$work/stop"
    wait "${loaders[@]}" || die "a loader's statement failed: $(cat "$work/failed")"
}

# counted_exactly WHAT: nothing waits, and each address counts as often as the tables have it.
counted_exactly() {
    wait_until "the queue to be absorbed" "SELECT count(*) = 0 FROM ip_observation"
    expect "$1: each address is counted exactly" "$(sql "
        SELECT coalesce(e.ip, i.ip_address), e.n, i.observation_count FROM ip_inventory i
        FULL JOIN (SELECT ip, count(*) AS n FROM (SELECT src_ip AS ip FROM events UNION ALL SELECT src::inet FROM parts) e GROUP BY 1) e
            ON e.ip = i.ip_address WHERE coalesce(e.n, 0) IS DISTINCT FROM i.observation_count LIMIT 5")" ""
    expect "$1: each table's count is that of its rows" "$(sql "
        SELECT tbl, observations - n FROM ip_source
        JOIN (SELECT 'events'::regclass AS tbl, count(*) AS n FROM events UNION ALL SELECT 'parts', count(*) FROM parts) n USING (tbl)
        WHERE observations <> n")" ""
}
