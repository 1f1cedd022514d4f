# The part `major` of test-upgrade.sh: pg_upgrade with a populated inventory. Sourced, never run.
# shellcheck shell=bash

# Installed editions, and whether each network of the file has its number in a look-up.
known="SELECT format('%s %s', (SELECT count(*) FROM mmdb_editions() WHERE build_time IS NOT NULL), bool_and(ip_asn(host(network)::inet) IS NOT NULL))
    FROM mmdb_networks('GeoLite2-ASN')"

# What must be the same before and after.
major_state() {
    sql "SELECT * FROM ip_inventory ORDER BY 1"
    sql "SELECT tbl, ip_columns, observed_at, attached_at, observations, unparsable, populated_at, rows_seen, method FROM ip_source ORDER BY tbl::text COLLATE \"C\""
    sql "SELECT address, seen, first_seen, last_seen, source, addresses, packed, rows FROM ip_observation ORDER BY 1, 2, 3"
    sql "SELECT * FROM enrichment_run ORDER BY 1"
    sql "SELECT * FROM ip_asn_history ORDER BY 1, 2"
    sql "SELECT * FROM source_quota"
    sql "SELECT * FROM maxmind_walk"
    sql "SELECT tgrelid::regclass, tgname, tgenabled, tgfoid::regproc FROM pg_trigger WHERE NOT tgisinternal ORDER BY tgrelid::regclass::text COLLATE \"C\", 2"
    sql "SELECT pg_get_indexdef(c.oid) FROM pg_class c JOIN pg_am a ON a.oid = c.relam WHERE a.amname = 'ip_observer' ORDER BY c.relname COLLATE \"C\""
}

# Some builds of PostgreSQL note something of their own in the options of each column. The new server refuses options that it
# does not know, whoever owns the table, and pg_upgrade ends.
forget_options() {
    local db
    for db in template1 postgres soc not_updated; do
        sql "SET allow_system_table_mods = on;
             WITH gone AS (UPDATE pg_attribute SET attoptions = NULL WHERE attoptions::text !~ '[{,]n_distinct' RETURNING attoptions)
             SELECT count(*) FROM gone" | sed "/^0$/d; s/^/==>    options that the new server would refuse, removed from columns in $db: /" >&2
    done
}

make_populated() {
    make_cluster before tree-first
    start_server before
    cluster=before db=postgres
    sql "CREATE DATABASE soc"
    sql "CREATE DATABASE not_updated"
    db=not_updated
    sql "CREATE EXTENSION asn_inventory VERSION '$old'; CREATE TABLE events (loader int, src_ip inet);
         SELECT attach_ip_source('events', ARRAY['src_ip']); INSERT INTO events VALUES (1, '8.8.8.8'), (2, '8.8.8.8')" >/dev/null
    db=soc
    sql "CREATE EXTENSION asn_inventory"
    install_mmdb before
    sql "$load_tables" >/dev/null
    wait_until "the walk" "SELECT count(*) = 1 FROM maxmind_walk"
    sql "CREATE TABLE late (ip inet); INSERT INTO late VALUES ('45.155.205.9'); SELECT attach_ip_source('late', ARRAY['ip'])" >/dev/null
    sql "CREATE TABLE by_row (ip inet); SELECT attach_ip_source('by_row', ARRAY['ip'], method => 'row')" >/dev/null
    sql "CREATE TABLE by_index (k int, ip inet) PARTITION BY LIST (k); CREATE TABLE by_index_1 PARTITION OF by_index DEFAULT;
         SELECT attach_ip_source('by_index', ARRAY['ip'], method => 'index')" >/dev/null
    sql "INSERT INTO events SELECT 1, '34.64.0.0'::inet + i % 3000 FROM generate_series(1, 10000) i; INSERT INTO parts VALUES (1, '1.1.1.1'), (3, '1.1.1.1')"
    wait_until "the first events are absorbed" "SELECT sum(observations) = 10002 FROM ip_source"
    sql "INSERT INTO ip_inventory (ip_address, observation_count) VALUES ('51.15.0.1', 0)"
    sql "SELECT backfill_inventory()" >/dev/null
    sql "UPDATE ip_inventory SET asn_number = 64500 WHERE ip_address = '1.1.1.1'"
    sql "INSERT INTO source_quota VALUES ('greynoise', now(), 7, NULL)"
    # A queue that nobody absorbs: plain rows and packed ones.
    setting before asn_inventory.databases none
    reload_server before
    wait_until "the worker is gone" "SELECT worker = 'not running' FROM enrichment_status"
    sql "INSERT INTO events SELECT 1, '34.65.0.0'::inet + i FROM generate_series(1, 100) i; INSERT INTO events VALUES (1, '34.64.0.1')"
    sql "INSERT INTO by_row VALUES ('45.155.205.9')"
    major_state >"$work/state-before"
    forget_options
    setting before asn_inventory.databases ''
    stop_server before
    # As operators have it: the queue is full, and the server is set to absorb it as soon as it runs.
}

# upgrade MODE: into a new cluster `after-MODE`, from a copy of `before`.
upgrade() {
    local mode=$1 name=after-$1 from=from-$1
    tree_of[$from]=tree-first
    cp -a "$work/before" "$work/$from"
    make_cluster "$name" tree-last --no-data-checksums
    setting "$name" asn_inventory.databases none
    (cd "$work/$name" && in_upgrade "$mode" "$from" "$name") >"$work/pg_upgrade-$mode.log" 2>&1 ||
        { tail -n 30 "$work/pg_upgrade-$mode.log" "$work/$name"/data/pg_upgrade_output.d/*/log/*.log >&2 && die "pg_upgrade --$mode failed"; }
}

in_upgrade() {
    socket_of "$3"
    as_server_user env -u PGHOST -u PGPORT "$work/tree-last/bin/pg_upgrade" --"$1" --retain -U postgres --socketdir "$socket" \
        -b "$work/tree-first/bin" -B "$work/tree-last/bin" -d "$work/$2/data" -D "$work/$3/data"
}

check_upgraded() {
    local mode=$1 told
    cluster=after-$mode db=soc
    told=$(cat "$work/$cluster"/data/pg_upgrade_output.d/*/log/pg_upgrade_server*.log 2>/dev/null || true)
    expect "--$mode: no process of the extension runs during pg_upgrade" "$(grep '\] asn_inventory' <<<"$told" || true)" ""
    # The files of the extension: copied by hand, as the page of operations says.
    if [ "$mode" = copy ]; then
        cp -a "$work/from-$mode/data/asn_inventory" "$work/$cluster/data/"
    fi
    start_server "$cluster"
    major_state >"$work/state-$mode"
    expect "--$mode: inventory, sources, queue, jobs, history, quota, walk and triggers are as before" "$(diff "$work/state-before" "$work/state-$mode" | head -n 5)" ""
    setting "$cluster" asn_inventory.databases ''
    reload_server "$cluster"
    wait_until "a worker" "SELECT worker = 'running' FROM enrichment_status"
    wait_until "the queue is absorbed" "SELECT count(*) = 0 FROM ip_observation"
    if [ "$mode" != copy ]; then
        expect "--$mode: without its files nothing is installed, and what is absorbed gets no answer" \
            "$(sql "SELECT count(*) FROM mmdb_editions()") $(sql "SELECT count(*) FROM ip_inventory WHERE maxmind_status = 'unavailable'")" "0 101"
        install_mmdb "$cluster"
        wait_until "the files are imported anew" "SELECT count(*) = 2 FROM mmdb_editions() WHERE build_time IS NOT NULL"
        expect "--$mode: backfill gives it to them" "$(sql "SELECT processed FROM backfill_inventory()")" 101
    fi
    expect "--$mode: look-ups answer from both files" "$(sql "$known")" "2 t"
    expect "--$mode: what was queued counts once" "$(sql "SELECT sum(observations) FROM ip_source") $(sql "SELECT observation_count FROM ip_inventory WHERE ip_address = '34.64.0.1'")" \
        "10104 $(sql "SELECT count(*) FROM events WHERE src_ip = '34.64.0.1'")"
    sql "INSERT INTO events VALUES (1, '34.64.0.2'); INSERT INTO parts_2 VALUES (3, '45.155.205.8'); INSERT INTO by_row VALUES ('45.155.205.9'); INSERT INTO by_index VALUES (1, '45.155.205.8');
         CREATE TABLE parts_3 PARTITION OF parts FOR VALUES IN (5); INSERT INTO parts_3 VALUES (5, '45.155.205.8')"
    wait_until "the triggers fire, of a new partition, too" "SELECT sum(observations) = 10109 FROM ip_source"
    wait_until "by_row" "SELECT observation_count = 2 FROM ip_inventory WHERE ip_address = '45.155.205.9'"
    expect "--$mode: populate adds nothing twice" "$(sql "SELECT populate_ip_inventory('events')")" 0
    told=$(refused "SELECT populate_ip_inventory('late')")
    say "   populate of a table that was not populated before: $(grep -m 1 ERROR <<<"$told")"
    expect "--$mode: the inventory is not compared with the same files again, and nothing is stale" \
        "$(sql "SELECT count(*) FROM enrichment_run WHERE kind = 'walk'") $(sql "SELECT processed FROM refresh_stale('maxmind')")" "$(grep -c '|walk|' "$work/state-before") 0"
    expect "--$mode: jobs go on numbering" "$(sql "SELECT job_id > (SELECT max(job_id) FROM enrichment_run) FROM refresh_range('1.1.1.1', 'maxmind')")" t
    db=not_updated
    sql "ALTER EXTENSION asn_inventory UPDATE; INSERT INTO events VALUES (1, '8.8.8.8')"
    wait_until "the events of the database of $old" "SELECT observation_count = 3 FROM ip_inventory WHERE ip_address = '8.8.8.8'"
    expect "--$mode: a database that is still of $old is upgraded, and updated afterwards" "$(version) $(errors)" "$new "
    db=soc
    socket_of "$cluster"
    in_tree tree-last vacuumdb -q -h "$socket" -U postgres --all --analyze-in-stages --missing-stats-only
    expect "--$mode: the doctor finds no error" "$(errors)" ""
    sql "SELECT check_name, level, detail FROM enrichment_doctor() WHERE level <> 'ok'" | sed 's/^/==>    doctor: /' >&2
    stop_server "$cluster"
}

test_major() {
    local mode
    copy_tree "$first" tree-first
    copy_tree "$last" tree-last
    make_populated
    for mode in copy link; do
        upgrade "$mode"
        check_upgraded "$mode"
    done
}
