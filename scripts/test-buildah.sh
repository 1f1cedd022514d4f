#!/usr/bin/env bash
# test-buildah.sh: where no Docker engine runs. Builds the image of docker/ with buildah in chroot isolation, and runs it in
# a chroot: as an arbitrary user, with mounted files and secrets, a restart, an update of an older volume, a stop. A chroot
# has no read-only root, no health status, no process 1 and no compose: those are checked on an engine only.
# shellcheck disable=SC1091,SC2154,SC2034  # the sourced files have the rest
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/apt.sh"
. "$(dirname "$0")/docker-bases.sh"
. "$(dirname "$0")/docker-checks.sh"
cd "$root"

[ "$(id -u)" = 0 ] || die "no Docker engine answers, and buildah's chroot isolation needs root: nothing was checked"
command -v buildah >/dev/null || install_packages buildah
image=localhost/asn-inventory-test
work=$target/docker/buildah
log=$target/docker/buildah.log
uid=12345
data=$work/data
PG_MAJOR=15 BASE_IMAGE=$image:bookworm RUST_IMAGE=$image:rust
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml)

# A storage of its own, which ends with this script.
b() { buildah --root "$work/root" --runroot "$work/runroot" --storage-driver vfs "$@"; }
import_image() {
    local container
    container=$(b from scratch)
    cat >"$work/image.tar"
    quietly b add -q "$container" "$work/image.tar" /
    quietly b commit -q "$container" "$1"
    quietly b rm "$container"
    rm "$work/image.tar"
}

cleanup() {
    set +e
    [ ! -s "$data/pgdata/$PG_MAJOR/postmaster.pid" ] || kill -QUIT "$(head -n 1 "$data/pgdata/$PG_MAJOR/postmaster.pid")"
    [ -z "${server:-}" ] || wait "$server"
    b rm --all
    [ -z "${ca_is_ours:-}" ] || rm -f docker/site/ca.crt
    rm -rf --one-file-system "$work"
} >>"$log" 2>&1

# start OPTION…: the server of the image in the background.
start() {
    b run --isolation chroot --user "$uid:$uid" -v "$data:/var/lib/postgresql" -v "$work/mmdb:/mmdb:ro" \
        -v "$work/secrets:/run/secrets:ro" -v "$work/tmp:/tmp" -e PGPORT="$port" -e POSTGRES_DB=soc \
        -e POSTGRES_PASSWORD_FILE=/run/secrets/password "$@" "$container" -- \
        /usr/local/lib/asn_inventory/entrypoint.sh -c asn_inventory.cymru=off -c asn_inventory.greynoise=off \
        -c unix_socket_directories=/tmp -c asn_inventory.greynoise_api_key=file:/run/secrets/greynoise >"$work/server.log" 2>&1 &
    server=$!
    wait_until "the server answers" healthy_here
}
inside() { b run --isolation chroot --user "$uid:$uid" -v "$work/tmp:/tmp" -e PGPORT="$port" -e PGHOST=/tmp -e POSTGRES_DB=soc "$container" -- "$@"; }
healthy_here() { kill -0 "$server" && inside /usr/local/lib/asn_inventory/health.sh >>"$log"; }
sql() { inside psql -XAtq -v ON_ERROR_STOP=1 -U postgres -d soc -c "$1"; }
is_true() { [ "$(sql "$1")" = t ]; }
stop() {
    kill -INT "$(head -n 1 "$data/pgdata/$PG_MAJOR/postmaster.pid")"
    local status=0
    wait "$server" || status=$?
    server=
    expect "a stop ends with exit code 0" "$status" 0
}

upgrade() {
    echo "CREATE EXTENSION asn_inventory VERSION '0.1.0';" >"$work/old.sql"
    chmod 644 "$work/old.sql"
    rm -rf "$data"
    install -d -m 1777 "$data"
    start -v "$work/old.sql:/docker-entrypoint-initdb.d/10-asn_inventory.sql:ro" \
        -v "$root/sql/install/asn_inventory--0.1.0.sql:/usr/share/postgresql/$PG_MAJOR/extension/asn_inventory--0.1.0.sql:ro"
    sql "CREATE TABLE events (payload jsonb); SELECT attach_ip_source('events', ARRAY['payload->>src_ip']);
        INSERT INTO events VALUES ('{\"src_ip\": \"64.0.0.1\"}')" >/dev/null
    wait_until "the event is in the inventory" is_true "SELECT count(*) = 1 FROM ip_inventory"
    stop
    start
    wait_until "the log says what to do" grep -q 'database soc has version 0.1.0 of the extension' "$work/server.log"
    sql "ALTER EXTENSION asn_inventory UPDATE"
    expect "the update of an older volume keeps the rows" "$(sql "SELECT extversion, (SELECT count(*) FROM ip_inventory)
        FROM pg_extension WHERE extname = 'asn_inventory'")" "$version|1"
    stop
}

mkdir -p "$target/docker"
: >"$log"
trap 'exit 130' INT
trap 'exit 143' TERM HUP
trap 'cleanup; allow_system_cluster' EXIT
(cleanup)
ca_is_ours=
install -d -m 755 "$work"
install -d -m 1777 "$work/tmp" "$data"
debian_image bookworm "$BASE_IMAGE"
rust_image "$RUST_IMAGE"
give_certificates
say "building the image with buildah; its log is $log"
quietly b bud --isolation chroot -f docker/Dockerfile --build-arg PG_MAJOR="$PG_MAJOR" --build-arg BASE_IMAGE="$BASE_IMAGE" \
    --build-arg RUST_IMAGE="$RUST_IMAGE" -t "$image:$PG_MAJOR" .
container=$(b from --pull-never "$image:$PG_MAJOR")
make_files
port=$(free_port)
start
expect "a new cluster has the extension, as user $uid" "$(stat -c %u "$data/pgdata/$PG_MAJOR/PG_VERSION") $(
    sql "SELECT extversion FROM pg_extension WHERE extname = 'asn_inventory'")" "$uid $version"
wait_until "the mounted files are in use" is_true "SELECT count(*) = 2 FROM mmdb_editions() WHERE build_time IS NOT NULL"
expect "a key that is a mounted file is found" "$(sql "SELECT state FROM secret_references() WHERE setting ~ 'greynoise'")" resolves
sql "CREATE TABLE kept AS SELECT 1 AS n"
stop
start
expect "a restart keeps the rows" "$(sql "SELECT n FROM kept")" 1
stop
upgrade
say "read-only root, health status, process 1 and compose were not checked: that takes a Docker engine"
say "test result: ok. $passed passed; 0 failed"
