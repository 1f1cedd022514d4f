#!/usr/bin/env bash
# test-entrypoint.sh: how docker/entrypoint.sh makes a cluster, without a Docker engine: starts that are interrupted, clusters of
# official images, files in the place of variables. The suite runs it (pgrx-tests/tests/commands.rs). Its PostgreSQL is the one
# under test, or the one in PG_BIN; the script's fixed paths become directories of its own.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

bin=${PG_BIN:-${ASN_INVENTORY_TREE:+$ASN_INVENTORY_TREE/bin}}
[ -n "$bin" ] || die "run it by scripts/run.sh, or with PG_BIN"
major=$("$bin/postgres" --version | sed 's/.* \([0-9]*\)\..*/\1/')
# A socket's path may have 107 bytes.
work=$(mktemp -d /tmp/asn_entry.XXXXXX)
entry=$work/entrypoint.sh
log=$work/log
server=

end() {
    local pid_file
    [ -z "$server" ] || kill -QUIT -- "-$server" 2>/dev/null || true
    # What pg_ctl has started is in a group of its own.
    find "$work/volume" -name postmaster.pid 2>/dev/null | while read -r pid_file; do
        immediate_stop "${pid_file%/*}" >/dev/null 2>&1 || true
    done
    rm -rf "$work"
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# The servers' user must reach all of it.
chmod 755 "$work"
mkdir "$work/volume" "$work/scripts" "$work/stubs" "$work/run" "$work/health"
ln -s /bin/true "$work/health/pg_isready"
sed -e "s|/var/lib/postgresql|$work/volume|g" -e "s|/docker-entrypoint-initdb.d|$work/scripts|g" -e "s|/run/postgresql|$work/run|g" \
    "$root/docker/entrypoint.sh" >"$entry"
# initdb, and what happens at its end. The socket of the temporary server belongs to this script.
cat >"$work/stubs/initdb" <<END
#!/bin/sh
set -eu
"$bin/initdb" --no-sync "\$@" >/dev/null
[ "\$1" = -D ]
echo "unix_socket_directories = '$work/run'" >>"\$2/postgresql.conf"
case \${AT_THE_END:-} in
stop) kill -INT "\$PPID" ;;
kill) rm "\$2/global/pg_control" && kill -KILL "\$PPID" ;;
esac
END
chmod 755 "$entry" "$work/stubs/initdb"
[ "$(id -u)" != 0 ] || chown "$(server_user)" "$work/volume" "$work/run"

# begin PGDATA [VARIABLE=VALUE…]: entrypoint.sh, in the foreground. ${limit[@]} may stand in front of it.
limit=()
begin() {
    local data=$1
    shift
    (cd / && as_server_user "${limit[@]}" env -u PGUSER -u PGDATABASE -u PGPORT PATH="$work/stubs:$bin:$PATH" PG_MAJOR="$major" PGDATA="$data" \
        PGHOST="$work/run" POSTGRES_HOST_AUTH_METHOD=trust POSTGRES_DB=soc "$@" "$entry" -c listen_addresses=) >"$work/log" 2>&1
}
# ends STATUS PGDATA [VARIABLE=VALUE…]: a start that ends by itself with that status. One that does not is a server that runs, and
# ends as well: 124.
ends() {
    local wanted=$1 status=0 limit=(timeout -k 5 60)
    shift
    begin "$@" || status=$?
    [ "$status" = "$wanted" ] || die "the start in $1 ends with $status, not with $wanted: $(tail -n 5 "$work/log")"
}
ask() { "$bin/psql" -XAtqw -h "$work/run" -U "${user:-postgres}" -d "${db:-soc}" -c "$1" 2>&1; }
# health.sh asks 127.0.0.1 first: of that nothing is here, and the rest of it is what counts.
healthy() {
    env -u POSTGRES_USER -u POSTGRES_DB -u PGUSER -u PGDATABASE -u PGPORT PATH="$work/health:$bin:$PATH" PGHOST="$work/run" "$@" \
        sh "$root/docker/health.sh" 2>&1 && echo healthy
}

# serve PGDATA [VARIABLE=VALUE…]: until it answers. fast_stop ends it.
serve() {
    local try
    export -f begin as_server_user server_user
    export work bin major entry
    # A group of its own, which ends with this script.
    setsid bash -c 'begin "$@"' bash "$@" &
    server=$!
    for try in $(seq 600); do
        # The temporary server of the first start is no answer yet.
        grep -q '^asn_inventory: .*' "$work/log" 2>/dev/null && [ ! -e "$1/unfinished" ] && [ "$(ask 'SELECT 1')" = 1 ] && return
        kill -0 "$server" 2>/dev/null || break
        sleep 0.1
    done
    die "the server does not start: $(tail -n 5 "$work/log")"
}
fast_stop() {
    (cd / && as_server_user "$bin/pg_ctl" -D "$1" -m fast -w -s stop)
    wait "$server" || true
    # Its advice may still wait for 127.0.0.1, where this server does not listen; in a container it ends with process 1.
    kill -- "-$server" 2>/dev/null || true
    server=
}
immediate_stop() { (cd / && as_server_user "$bin/pg_ctl" -D "$1" -m immediate -w -s stop); }

for what in stop kill; do
    data=$work/volume/$what
    status=130
    [ "$what" = stop ] || status=137
    ends $status "$data" AT_THE_END=$what
    expect "a $what while initdb runs leaves nothing that looks like a cluster" "$([ -e "$data/PG_VERSION" ] && echo cluster)" ""
    serve "$data"
    expect "after a $what in the first start, the next one makes the whole cluster" \
        "$(ask 'SELECT current_database()')$(ls -d "$data/.making" "$data/unfinished" 2>/dev/null)" soc
    fast_stop "$data"
done

# As an image before this one left it.
rm "$work/volume/kill/global/pg_control"
ends 1 "$work/volume/kill"
expect "a cluster that initdb did not finish is refused" "$(grep -c 'the first start was interrupted' "$work/log")" 1

touch "$work/volume/stop/unfinished"
ends 1 "$work/volume/stop"
expect "a cluster whose scripts did not end is refused" "$(grep -c 'Remove the volume' "$work/log")" 1

mkdir -p "$work/volume/other"
touch "$work/volume/other/file"
[ "$(id -u)" != 0 ] || chown "$(server_user)" "$work/volume/other"
ends 1 "$work/volume/other"
expect "a directory of something else is refused, and stays" "$(grep -c 'is not empty' "$work/log") $(ls "$work/volume/other")" "1 file"

for place in data "$major/docker"; do
    mkdir -p "$work/volume/$place"
    echo "$major" >"$work/volume/$place/PG_VERSION"
    ends 1 "$work/volume/pgdata/$major"
    expect "beside a cluster of the official image in $place, no second one is made" \
        "$(grep -c "set PGDATA=$work/volume/$place," "$work/log") $([ -e "$work/volume/pgdata/$major/PG_VERSION" ] && echo second)" "1 "
    rm -r "$work/volume/${place%%/*}"
done

# One of another major, which this image cannot start; and a choice of one's own.
mkdir "$work/volume/data"
for other in 9 "$major"; do
    echo "$other" >"$work/volume/data/PG_VERSION"
    data=$work/volume/pgdata/$major
    [ "$other" = 9 ] || data=$work/volume/chosen
    serve "$data"
    expect "beside an official cluster of ${other/#$major/the same major} a cluster is made in ${data#"$work/volume/"}, and the other one named" \
        "$(grep -c "there is a cluster of PostgreSQL $other in $work/volume/data, .* It stays" "$work/log") $(cat "$work/volume/data/PG_VERSION")" "1 $other"
    fast_stop "$data"
done
rm -r "$work/volume/data"

# The variables that name files, the directory of the log, and packed scripts.
echo owner >"$work/user"
echo files >"$work/db"
echo --data-checksums >"$work/arguments"
echo 'CREATE TABLE from_gz ()' | gzip >"$work/scripts/1.sql.gz"
# Not each machine has these two. What stands in for them signs what it unpacks, so each must have its own file.
for packer in xz zstd; do
    echo 'CREATE TABLE from_packer ()' | gzip >"$work/scripts/2.sql.${packer/zstd/zst}"
    printf '#!/bin/sh\n[ "$1" = -dc ] && gunzip -c <"$2" | sed s/packer/%s/\n' $packer >"$work/stubs/$packer"
    chmod 755 "$work/stubs/$packer"
done
touch "$work/scripts/3.txt"
mkdir "$work/wal"
[ "$(id -u)" != 0 ] || chown "$(server_user)" "$work/wal"
user=owner db=files
more=(POSTGRES_DB= POSTGRES_USER_FILE="$work/user" POSTGRES_DB_FILE="$work/db" POSTGRES_INITDB_ARGS_FILE="$work/arguments"
    POSTGRES_INITDB_WALDIR="$work/wal")
ends 130 "$work/volume/files" "${more[@]}" AT_THE_END=stop
serve "$work/volume/files" "${more[@]}"
expect "the variables' files name the user, the database and the arguments of initdb" \
    "$(ask "SELECT current_user || ' ' || current_database() || ' ' || current_setting('data_checksums')")" "owner files on"
expect "the log of changes is where POSTGRES_INITDB_WALDIR says, also after a first start that was interrupted" \
    "$(readlink "$work/volume/files/pg_wal") $(ls "$work/wal" | grep -c '^0')" "$work/wal 1"
expect "packed scripts run" "$(ask "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relname LIKE 'from\\_%'")" "from_gz from_xz from_zstd"
expect "and a file of another kind is named" "$(grep -c '3.txt is not run' "$work/log")" 1
fast_stop "$work/volume/files"

# The variables count when the cluster is made: afterwards their files may be gone, or the variables stand beside them.
rm "$work/user"
serve "$work/volume/files" "${more[@]}" POSTGRES_DB=files
expect "a file that is gone after the first start is named, and no start fails by it" "$(grep -c 'cannot read .*/user, .* POSTGRES_USER_FILE .* already' "$work/log")" 1
expect "and the health check takes it for none" "$(healthy POSTGRES_USER_FILE="$work/user" POSTGRES_DB_FILE="$work/none")" "healthy"
fast_stop "$work/volume/files"
ends 1 "$work/volume/new" POSTGRES_USER_FILE="$work/user"
expect "for a new cluster, such a file must be there" "$(grep -c 'cannot read .*/user' "$work/log")" 1
ends 1 "$work/volume/new" POSTGRES_DB_FILE="$work/db"
expect "and names nothing that a variable names, too" "$(grep -c 'set POSTGRES_DB_FILE or POSTGRES_DB, not both' "$work/log")" 1

# All programs of PATH but one.
mkdir "$work/without"
IFS=: read -ra places <<<"$work/stubs:$bin:$PATH"
for place in "${places[@]}"; do ln -s "$place"/* "$work/without/" 2>/dev/null || true; done
rm "$work/without/xz"
ends 1 "$work/volume/without" PATH="$work/without"
expect "what unpacks a script and is not here is named" \
    "$(grep -c "this image has no xz for $work/scripts/2.sql.xz: pack it with gzip" "$work/log")" 1
immediate_stop "$work/volume/without"

printf broken >"$work/scripts/1.sql.gz"
user=postgres db=soc
ends 1 "$work/volume/broken"
expect "a packed script that is broken is no short one" "$(grep -c 'gunzip cannot unpack' "$work/log")" 1
immediate_stop "$work/volume/broken"
say "test result: ok. $passed passed; 0 failed"
