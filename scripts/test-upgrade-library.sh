# The part `library` of test-upgrade.sh: from $old to the version in work, under load. Sourced, never run.
# shellcheck shell=bash

# What no released version has.
newer="SELECT count(*) FROM pg_proc WHERE proname IN ('ip_parse', 'hold_still')"

test_library() {
    local told began
    build_old
    copy_tree "$first" tree
    install_into tree "$target/upgrade/$old-$first$PG_PKGLIBDIR" "$target/upgrade/$old-$first$PG_SHAREDIR/extension"
    make_cluster soc tree
    start_server soc
    cluster=soc db=postgres
    sql "CREATE DATABASE soc"
    db=soc
    sql "CREATE EXTENSION asn_inventory"
    expect "the library of $old runs, with its own script" "$(version) $(sql "$newer")" "$old 0"
    install_mmdb soc
    wait_until "the files are in use" "SELECT count(*) = 2 FROM mmdb_editions() WHERE build_time IS NOT NULL"
    sql "$load_tables" >/dev/null
    sql "$due"
    start_loaders
    wait_for_batches

    # The files are replaced, and the server runs on.
    install_into tree "$target/pg/package-$first$PG_PKGLIBDIR" "$target/pg/package-$first$PG_SHAREDIR/extension"
    wait_for_batches
    expect_in "before the restart the doctor of $old asks for the update" "$(version_check)" "The extension is $old, the library $new."
    told=$(refused "ALTER EXTENSION asn_inventory UPDATE")
    expect_in "before the restart the update is refused" "$told" "ERROR:  55000: cannot update asn_inventory: the library of an older version is running"
    expect_in "and the hint says what to do" "$told" "HINT:  Nothing was changed. Restart the server, and run the command again."
    expect "and changes nothing" "$(version) $(sql "$newer")" "$old 0"
    told=$(db=postgres refused "CREATE EXTENSION asn_inventory")
    expect_in "a new extension is refused before the restart" "$told" "ERROR:  "
    say "   it says: $(grep -m 1 ERROR <<<"$told")"
    wait_for_batches

    # Loaders reconnect; a job ends with its session.
    start_job job-1.log
    began=$(date +%s%N)
    stop_server soc
    start_server soc
    say "   stopped and started in $((($(date +%s%N) - began) / 1000000)) ms"
    wait "$job" && die "a job that the restart ended reports success: $(cat "$work/job-1.log")"
    expect_in "the restart ends the job, and its caller is told" "$(cat "$work/job-1.log")" "terminat"
    wait_until "a worker" "SELECT worker = 'running' FROM enrichment_status"
    wait_for_batches
    expect "the new library serves the extension of before" "$(version)" "$old"
    expect "the doctor asks for the update" "$(version_check)" "error|The extension is $old, the library $new.|ALTER EXTENSION asn_inventory UPDATE;"

    start_job job-2.log
    began=$(date +%s%N)
    sql "ALTER EXTENSION asn_inventory UPDATE"
    say "   ALTER EXTENSION took $((($(date +%s%N) - began) / 1000000)) ms under load"
    expect "the extension is updated under load, and the job still runs" "$(version) $(sql "SELECT count(*) FROM enrichment_progress")" "$new 1"
    wait_for_batches
    wait "$job" || die "the job failed: $(cat "$work/job-2.log")"
    expect "the job goes on to its end" "$(sql "SELECT outcome FROM enrichment_run WHERE kind = 'backfill' ORDER BY job_id DESC LIMIT 1")" "done"
    stop_loaders
    counted_exactly "after the update"
    expect "no statement went unobserved" "$(sql "SELECT sum(unobserved) FROM ip_source")" 0
    expect "no address is left without an answer" "$(sql "SELECT count(*) FROM ip_inventory WHERE maxmind_status = 'pending'")" 0
    expect "the doctor finds no error" "$(errors)" ""

    # The next package, of which only its version is there yet.
    sed "s/^default_version = .*/default_version = '99.0'/" "$work/tree$PG_SHAREDIR/extension/asn_inventory.control" >"$work/next.control"
    put "$work/next.control" "$work/tree$PG_SHAREDIR/extension/asn_inventory.control" 644
    expect_in "of newer files than the running library the doctor says that a restart comes first" "$(version_check)" \
        "The server runs the library of $new; that of 99.0 is installed.|pg_ctl restart"
    stop_server soc
}
