#!/usr/bin/env bash
# test-upgrade.sh [library] [major]: the upgrades that need other libraries or servers than the tests have. They begin with
# version 0.1.0, or the one that FROM names.
#
#   library   from a released version, built out of this repository's history, to the version in work: the files are replaced under a
#             running server, it is restarted, the extension is updated, and loaders and a job go on all the time
#   major     pg_upgrade of PostgreSQL 15 to 18 with a populated inventory, by copy and by link
#
# What is missing is fetched (scripts/server.sh) and built, without optimization unless PROFILE says so.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/clusters.sh"
cd "$root"
mkdir -p "$target/upgrade"
# The postgres 15 that everything begins with.
first=15 last=18
new=$(version_of_sources)
old=${FROM:-0.1.0}

# build MAJOR: the version in work for that PostgreSQL; its tree is target/pg/<major>.
build() {
    local config log=$target/upgrade/build-$1.log
    say "building $new for PostgreSQL $1 ($log)"
    config=$(scripts/server.sh "$1") || die "there is no PostgreSQL $1"
    { PG_CONFIG=$config scripts/setup.sh && PROFILE=${PROFILE:-dev} scripts/build.sh; } >"$log" 2>&1 ||
        { tail -n 20 "$log" >&2 && die "$new could not be built for PostgreSQL $1"; }
}

# The last commit that was that version: before the one that took it out.
old_commit() {
    local next commit
    next=$(git log -1 --format=%H -S"version = \"$old\"" -- Cargo.toml 2>/dev/null)
    commit=$(git rev-parse -q --verify "v$old^{commit}" || git rev-parse -q --verify "$next^") ||
        die "the history of this clone does not reach back to $old: git fetch --unshallow"
    git show "$commit:Cargo.toml" | grep -qx "version = \"$old\"" || die "$commit is not $old: is this a whole clone?"
    echo "$commit"
}

build_old() {
    local commit package=$target/upgrade/$old-$first log=$target/upgrade/build-$old.log
    commit=$(old_commit)
    [ "$(cat "$package/commit" 2>/dev/null)" != "$commit" ] || return 0
    say "building $old of ${commit:0:12} ($log)"
    rm -rf "$package" "$target/upgrade/source"
    mkdir -p "$target/upgrade/source"
    git archive "$commit" | tar -x -C "$target/upgrade/source"
    (
        lock
        export CARGO_TARGET_DIR=$target/upgrade/cargo
        cd "$target/upgrade/source"
        "$CARGO_PGRX_BIN" pgrx package --package asn_inventory --pg-config "$PG_CONFIG" --out-dir "$package" --profile dev \
            --no-default-features --features "pg$PG_MAJOR"
    ) >"$log" 2>&1 || { tail -n 20 "$log" >&2 && die "$old could not be built"; }
    echo "$commit" >"$package/commit"
}

# copy_tree MAJOR NAME: an installation of its own, whose files can be replaced.
copy_tree() {
    cp -a "$target/pg/$1" "$work/$2"
    chmod -R a+rX "$work/$2"
}

# put FROM TO MODE: as package managers do, under another name first.
put() { install -m "$3" "$1" "$2.new" && mv -f "$2.new" "$2"; }

# install_into TREE LIBRARY SCRIPTS: this library and these scripts in place of what is there.
install_into() {
    local file extension=$work/$1$PG_SHAREDIR/extension
    put "$2/asn_inventory.so" "$work/$1$PG_PKGLIBDIR/asn_inventory.so" 755
    for file in "$3"/asn_inventory*; do put "$file" "$extension/${file##*/}" 644; done
    for file in "$extension"/asn_inventory*; do [ -e "$3/${file##*/}" ] || rm -f "$file"; done
}

# Small mmdb files, made once.
mmdb_files() {
    [ -e "$target/upgrade/mmdb/GeoLite2-ASN.mmdb" ] ||
        cargo run -q -p asn_inventory_tests --bin mmdbgen "$target/upgrade/mmdb" 1 500 >"$target/upgrade/mmdb.log" 2>&1 ||
        { cat "$target/upgrade/mmdb.log" >&2 && die "no mmdb files"; }
}

# install_mmdb CLUSTER
install_mmdb() {
    local file to=$work/$1/data/asn_inventory/maxmind
    install -d -m 700 ${ASN_INVENTORY_USER:+-o "$ASN_INVENTORY_USER"} "${to%/*}" "$to"
    for file in "$target"/upgrade/mmdb/*.mmdb; do
        install -m 640 ${ASN_INVENTORY_USER:+-o "$ASN_INVENTORY_USER"} "$file" "$to/${file##*/}.new"
        mv "$to/${file##*/}.new" "$to/${file##*/}"
    done
}

version() { sql "SELECT extversion FROM pg_extension WHERE extname = 'asn_inventory'"; }
errors() { sql "SELECT check_name || ': ' || detail FROM enrichment_doctor() WHERE level = 'error'"; }
version_check() { sql "SELECT level, detail, remedy FROM enrichment_doctor() WHERE check_name = 'version'"; }
due="INSERT INTO ip_inventory (ip_address, observation_count) SELECT '51.15.0.0'::inet + i, 0 FROM generate_series(1, 100000) i"
job_runs="SELECT coalesce(max(processed), 0) > 500 FROM enrichment_progress"

# start_job LOG: a backfill, whose caller waits for it in the background ($job).
start_job() {
    sql "SELECT processed, errors FROM backfill_inventory(commit_interval => 100, workers => 1)" >"$work/$1" 2>&1 &
    job=$!
    wait_until "a job to be under way" "$job_runs"
}

. "$(dirname "$0")/test-upgrade-library.sh"
. "$(dirname "$0")/test-upgrade-major.sh"

[ $# != 0 ] || set -- library major
for part in "$@"; do case $part in library | major) ;; *) die "usage: test-upgrade.sh [library] [major]" ;; esac done
case " $* " in *" library "*) old_commit >/dev/null ;; esac
case " $* " in *" major "*) build "$last" ;; esac
build "$first"
load_setup
mmdb_files
make_work
for part in "$@"; do "test_$part"; done
say "test result: ok. $passed passed; 0 failed"
