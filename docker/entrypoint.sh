#!/bin/sh
# Starts PostgreSQL: as root (then it runs as postgres), as postgres, or as any other user. Makes the cluster in an empty
# volume first. It takes the official postgres image's variables, and runs on that base, too: one way to start, which the
# tests see. Unlike that image's own script it keeps the password out of the server's environment, and asks for it on
# 127.0.0.1 as well.
set -eu

# Where this image has its cluster, if PGDATA says nothing else, and where official images have theirs: to 17, and from 18 on.
ours=/var/lib/postgresql/pgdata/$PG_MAJOR
official="/var/lib/postgresql/data /var/lib/postgresql/$PG_MAJOR/docker"
# initdb works in here. What stands here at a start is of one that was interrupted.
making=$PGDATA/.making

say() { printf 'asn_inventory: %s\n' "$*" >&2; }
die() {
    say "$*"
    exit 1
}

# psql as a local superuser, by the socket.
ask() { psql -XAtqw -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" "$@"; }

# from_file VARIABLE: its value may stand in the file that VARIABLE_FILE names. A file that only root may read is read before
# root's rights are dropped. Once the cluster is made, no such mistake keeps it from its start.
from_file() {
    eval "file=\${$1_FILE:-} value=\${$1:-}"
    [ -n "$file" ] || return 0
    if [ -n "$value" ]; then
        made || die "set $1_FILE or $1, not both"
    elif value=$(cat "$file"); then
        export "$1=$value"
    else
        unreadable="user $(id -u) cannot read $file, which $1_FILE names"
        made || die "$unreadable (docker/README.md, Secrets)"
        say "$unreadable. The cluster is made already, so the server starts without it."
    fi
    unset "$1_FILE" value
}
made() { [ -s "$PGDATA/PG_VERSION" ]; }

drop_root() {
    mkdir -p "$PGDATA" /run/postgresql ${POSTGRES_INITDB_WALDIR:+"$POSTGRES_INITDB_WALDIR"}
    find "$PGDATA" /run/postgresql ${POSTGRES_INITDB_WALDIR:+"$POSTGRES_INITDB_WALDIR"} \
        ! -user postgres -exec chown -h postgres:postgres {} +
    exec setpriv --reuid postgres --regid postgres --init-groups -- "$0" "$@"
}

# initdb, with a name for a user that has none.
init() {
    if ! getent passwd "$(id -u)" >/dev/null; then
        names=$(mktemp -d)
        echo "postgres:x:$(id -u):$(id -g)::/:/bin/sh" >"$names/passwd"
        echo "postgres:x:$(id -g):" >"$names/group"
        set -- env LD_PRELOAD=libnss_wrapper.so NSS_WRAPPER_PASSWD="$names/passwd" NSS_WRAPPER_GROUP="$names/group" "$@"
    fi
    [ -z "${POSTGRES_PASSWORD:-}" ] || set -- "$@" --pwfile=/dev/stdin
    printf '%s\n' "${POSTGRES_PASSWORD:-}" | "$@"
    [ -z "${names:-}" ] || rm -r "$names"
}

# As the official image does: most are written for bash, and call its function for SQL. One with the right to run may name
# another program.
run_script() {
    if [ -x "$1" ] && [ "$(head -c 2 "$1")" = '#!' ]; then
        "$1"
    else
        # shellcheck disable=SC2016
        bash -Eeo pipefail -c 'docker_process_sql() { psql -X -v ON_ERROR_STOP=1 -w -U "$POSTGRES_USER" -d "$POSTGRES_DB" "$@"; }; . "$1"' bash "$1"
    fi
}

# unpacked PROGRAM FILE
unpacked() {
    command -v "$1" >/dev/null || die "this image has no $1 for $2: pack it with gzip, or install $1 in an image of your own"
    # Of a failure in front of a pipe, the shell does not hear: a file that is cut off must not look like a short one.
    { "$1" -dc "$2" || echo "$2" >"$PGDATA/unfinished"; } | ask -d "$POSTGRES_DB"
    [ ! -s "$PGDATA/unfinished" ] || die "$1 cannot unpack $2"
}

run_scripts() {
    for file in /docker-entrypoint-initdb.d/*; do
        case $file in
        *.sql) ask -d "$POSTGRES_DB" -f "$file" ;;
        *.sql.gz) unpacked gunzip "$file" ;;
        *.sql.xz) unpacked xz "$file" ;;
        *.sql.zst) unpacked zstd "$file" ;;
        *.sh) run_script "$file" ;;
        *)
            [ ! -e "$file" ] || say "$file is not run: its name ends neither in .sql, .sql.gz, .sql.xz or .sql.zst nor in .sh"
            continue
            ;;
        esac
        say "ran $file"
    done
}

# Only ours: initdb links pg_wal to a directory that it found empty.
remove_unmade() {
    [ ! -L "$making/pg_wal" ] || [ ! -d "$making/pg_wal" ] || find "$making/pg_wal/" -mindepth 1 -delete
    rm -rf "$making"
}

# A stop that comes while initdb runs is acted upon when it ends, and a kill at any time: what they leave must not be taken for a
# cluster. So initdb works in a directory of its own, and PG_VERSION, which makes a directory a cluster, comes last.
make_directory() {
    if [ -d "$making" ]; then
        say "the first start was interrupted, and begins again"
        remove_unmade
    fi
    [ -z "$(ls -A "$PGDATA")" ] ||
        die "$PGDATA is not empty, and no cluster is in it. If it is where a volume is mounted, set PGDATA to a directory below it."
    # The socket is inside of the container. By TCP also a neighbour in a shared network may come: never without password.
    # shellcheck disable=SC2086
    init initdb -D "$making" -U "$POSTGRES_USER" --encoding=UTF8 --auth-local=trust --auth-host="$method" --no-instructions \
        ${POSTGRES_INITDB_WALDIR:+--waldir="$POSTGRES_INITDB_WALDIR"} ${POSTGRES_INITDB_ARGS:-}
    printf '\nhost all all all %s\n' "$method" >>"$making/pg_hba.conf"
    touch "$PGDATA/unfinished"
    find "$making" -mindepth 1 -maxdepth 1 ! -name PG_VERSION -exec mv -t "$PGDATA" {} +
    mv "$making/PG_VERSION" "$PGDATA/"
    rmdir "$making"
}

make_cluster() {
    method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
    [ -n "${POSTGRES_PASSWORD:-}" ] || [ "$method" = trust ] ||
        die "a new cluster needs a password for $POSTGRES_USER: set POSTGRES_PASSWORD_FILE"
    say "making a cluster in $PGDATA"
    make_directory
    pg_ctl -D "$PGDATA" -w -t 600 -o "-c listen_addresses=''" start
    [ "$POSTGRES_DB" = postgres ] || echo 'CREATE DATABASE :"db"' | ask -d postgres -v db="$POSTGRES_DB"
    run_scripts
    pg_ctl -D "$PGDATA" -w -t 600 -m fast stop
    rm "$PGDATA/unfinished"
}

# What the owner of an existing volume has to do. It runs beside the server and must not fail: PostgreSQL, as process 1,
# takes a child's failure for a crash of its own.
advise() {
    try=0
    # With a user's name: without one it gives up where the system has none for this user.
    until pg_isready -q -h 127.0.0.1 -U "$POSTGRES_USER"; do
        try=$((try + 1))
        [ "$try" -lt 1800 ] || return 0
        sleep 2
    done
    # What cannot be asked is not known to be missing: pg_hba.conf is the owner's, and the database may have another name now.
    libraries=$(ask -d "$POSTGRES_DB" -c 'SHOW shared_preload_libraries' 2>/dev/null) || return 0
    case $libraries in
    *asn_inventory*) ;;
    *) say "this cluster's postgresql.conf does not load the extension. Add shared_preload_libraries = 'asn_inventory' and asn_inventory.maxmind_dir = '/mmdb' there, and restart." ;;
    esac
    ask -d "$POSTGRES_DB" -c 'SELECT datname FROM pg_catalog.pg_database WHERE datallowconn' | while read -r db; do
        ask -d "$db" -c "
            SELECT pg_catalog.format('database %I has version %s of the extension, this image has %s. Run there: ALTER EXTENSION asn_inventory UPDATE;',
                                     pg_catalog.current_database(), e.extversion, a.default_version)
            FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_available_extensions a ON a.name = e.extname
            WHERE e.extname = 'asn_inventory' AND e.extversion <> a.default_version" </dev/null
    done | while read -r line; do say "$line"; done
}

case ${1:-} in -*) set -- postgres "$@" ;; esac
[ "${1:-postgres}" = postgres ] || exec "$@"
[ $# != 0 ] || set -- postgres
case " $* " in *" --version "* | *" -V "* | *" --help "* | *" -C "*) exec "$@" ;; esac

for variable in POSTGRES_USER POSTGRES_DB; do from_file "$variable"; done
: "${POSTGRES_USER:=postgres}"
: "${POSTGRES_DB:=$POSTGRES_USER}"
: "${LANG:=C.UTF-8}"
export POSTGRES_USER POSTGRES_DB LANG
if ! made; then
    for variable in POSTGRES_PASSWORD POSTGRES_INITDB_ARGS; do from_file "$variable"; done
fi
[ "$(id -u)" != 0 ] || drop_root "$@"
{ mkdir -p "$PGDATA" && chmod 700 "$PGDATA"; } ||
    die "user $(id -u) cannot use $PGDATA: the volume belongs to $(stat -c %u "$PGDATA" 2>/dev/null || echo another user)"
interrupted="the first start was interrupted, and $PGDATA is incomplete. Remove the volume and start again."
[ ! -e "$PGDATA/unfinished" ] || die "$interrupted"
if made; then
    read -r major <"$PGDATA/PG_VERSION"
    [ "$major" = "$PG_MAJOR" ] || die "$PGDATA is of PostgreSQL $major, this image is of $PG_MAJOR (docker/README.md, Another PostgreSQL)"
    # initdb, as an earlier version of this image ran it, was killed.
    [ -e "$PGDATA/global/pg_control" ] || die "$interrupted"
    (advise || true) &
else
    for place in $official; do
        [ "$PGDATA" != "$place" ] && [ -s "$place/PG_VERSION" ] || continue
        major=$(cat "$place/PG_VERSION") || major=$PG_MAJOR
        there="there is a cluster of PostgreSQL $major in $place, where the official image has it"
        # Whoever has set PGDATA has chosen, and a cluster of another major is none for this image.
        [ "$PGDATA" != "$ours" ] || [ "$major" != "$PG_MAJOR" ] || die "$there: set PGDATA=$place, or mount another volume"
        say "$there. It stays as it is."
    done
    trap 'exit 130' INT TERM
    make_cluster
    trap - INT TERM
fi
unset POSTGRES_PASSWORD
exec "$@"
