#!/usr/bin/env bash
# test-deb.sh: as root. Checks the package that `make deb` made as a user would: installs it by apt into a clean Debian,
# starts a cluster, loads events, asks, removes and purges. All of it lives in a directory and in namespaces of its own,
# which end with this script; nothing is installed into this system but debootstrap and lintian.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/apt.sh"
load_setup
cd "$root"

[ "$(id -u)" = 0 ] || die "a Debian root can be made by root only"
case $PG_MAJOR in
15) suite=bookworm ;;
17) suite=trixie ;;
*) die "Debian has PostgreSQL 15 and 17: choose one by PG_CONFIG" ;;
esac
if [ "${1:-}" != inside ]; then
    command -v debootstrap >/dev/null && command -v lintian >/dev/null || install_packages debootstrap lintian
    # A mount, a process or a server that outlives this script would be in the way of the next one.
    exec unshare --mount --pid --fork --kill-child "$0" inside
fi

name=postgresql-$PG_MAJOR-asn-inventory
deb=$(echo "$target/deb/${name}"_*.deb)
[ -f "$deb" ] || die "not built yet: run make deb"
base=$target/deb/debian-$suite
log=$target/deb/test.log
: >"$log"

inside() { chroot "$base" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"; }
sql() { inside runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1 -d "${DB:-postgres}" -c "$1"; }
# wait_until WHAT SQL: for something that the server does by itself.
wait_until() {
    local try
    for try in $(seq 300); do
        [ "$(sql "$2" 2>>"$log")" = t ] && return
        sleep 0.2
    done
    die "$1: not after a minute"
}

cleanup() {
    umount "$base/proc" "$base/dev/shm" 2>/dev/null || true
    rm -rf --one-file-system "$base"
}

make_root() {
    rm -rf "$base"
    say "making a clean Debian root ($suite)"
    quietly debootstrap --variant=minbase --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
        "$suite" "$base" "$(debian_mirror)"
    # The machine's own way to the mirror.
    cp -L /etc/resolv.conf "$base/etc/resolv.conf" 2>/dev/null || true
    [ ! -r /etc/ssl/certs/ca-certificates.crt ] || install -D -t "$base/etc/ssl/certs" /etc/ssl/certs/ca-certificates.crt
    echo 'Acquire::Check-Valid-Until "false";' >"$base/etc/apt/apt.conf.d/90test"
    printf '#!/bin/sh\nexit 101\n' >"$base/usr/sbin/policy-rc.d"
    chmod 755 "$base/usr/sbin/policy-rc.d"
    mkdir -p "$base/etc/postgresql-common/createcluster.d"
    echo 'create_main_cluster = false' >"$base/etc/postgresql-common/createcluster.d/test.conf"
}

start_cluster() {
    quietly inside pg_createcluster "$PG_MAJOR" main
    quietly inside pg_conftool "$PG_MAJOR" main set shared_preload_libraries asn_inventory
    quietly inside pg_conftool "$PG_MAJOR" main set listen_addresses ''
    quietly inside pg_conftool "$PG_MAJOR" main set asn_inventory.cymru off
    quietly inside pg_ctlcluster "$PG_MAJOR" main start
}

load_and_ask() {
    local files=$base/var/lib/postgresql/$PG_MAJOR/main/asn_inventory/maxmind
    DB=postgres sql "CREATE DATABASE soc"
    DB=soc
    sql "CREATE EXTENSION asn_inventory"
    expect "the extension has the package's version" "$(sql "SELECT extversion FROM pg_extension WHERE extname = 'asn_inventory'")" \
        "$(dpkg-deb -f "$deb" Version)"
    [ -e "$target/deb/mmdb/GeoLite2-ASN.mmdb" ] || quietly cargo run -q --manifest-path "$root/Cargo.toml" -p asn_inventory_tests --bin mmdbgen "$target/deb/mmdb" 1 500
    for file in "$target"/deb/mmdb/*.mmdb; do inside install -o postgres -m 640 /dev/stdin "${files#"$base"}/${file##*/}" <"$file"; done
    wait_until "the files are in use" "SELECT count(*) = 2 FROM mmdb_editions() WHERE build_time IS NOT NULL"
    sql "CREATE TABLE events (payload jsonb); SELECT attach_ip_source('events', ARRAY['payload->>src_ip'])" >/dev/null
    # An address that the file knows, twice, and one that is private.
    sql "CREATE TABLE known AS SELECT host(network) AS ip, record FROM mmdb_networks('GeoLite2-ASN') WHERE family(network) = 4
             AND ip_class(host(network)::inet) = 'public' LIMIT 1;
         INSERT INTO events SELECT jsonb_build_object('src_ip', ip) FROM known, generate_series(1, 2);
         INSERT INTO events VALUES ('{\"src_ip\": \"10.0.0.1\"}')"
    wait_until "the events are in the inventory" "SELECT count(*) = 2 FROM ip_inventory"
    expect "an event's address is counted, with its network's number" \
        "$(sql "SELECT observation_count, asn_number = (record->>'autonomous_system_number')::bigint
                FROM ip_inventory JOIN known ON ip_address = ip::inet")" "2|t"
    expect "a look-up answers without a table" "$(sql "SELECT ip_class('10.0.0.1')")" private
    expect "the doctor finds no error" "$(sql "SELECT count(*) FROM enrichment_doctor() WHERE level = 'error'")" 0
}

remove() {
    quietly inside pg_ctlcluster "$PG_MAJOR" main stop
    quietly inside apt-get -y remove "$name"
    expect "after removal no library is left" "$(find "$base/usr/lib/postgresql" -name '*asn_inventory*')" ""
    # It has no files of settings: nothing of it is left to purge. So once more.
    quietly inside apt-get -y --no-install-recommends install "/tmp/$name.deb"
    quietly inside apt-get -y purge "$name"
    expect "after the purge no file is left" "$(find "$base/usr" -name '*asn?inventory*')" ""
    expect "and dpkg does not know it" "$(inside dpkg-query -W -f '${Status}' "$name" 2>/dev/null || true)" ""
    quietly inside pg_conftool "$PG_MAJOR" main remove shared_preload_libraries
    quietly inside pg_ctlcluster "$PG_MAJOR" main start
    expect "the events are still there" "$(sql 'SELECT count(*) FROM events')" 3
    quietly inside pg_ctlcluster "$PG_MAJOR" main stop
}

quietly lintian --no-tag-display-limit --fail-on error "$target/deb/$name"*.deb
expect "lintian finds no error" "$(grep '^E:' "$log")" ""
trap cleanup EXIT
make_root
mount -t proc proc "$base/proc"
mount -t tmpfs tmpfs "$base/dev/shm" 2>/dev/null || { mkdir -p "$base/dev/shm" && mount -t tmpfs tmpfs "$base/dev/shm"; }
install -m 644 "$deb" "$base/tmp/$name.deb"
quietly inside apt-get update
quietly inside apt-get -y --no-install-recommends install "/tmp/$name.deb"
expect "the package is installed" "$(inside dpkg-query -W -f '${Status}' "$name")" "install ok installed"
start_cluster
load_and_ask
remove
say "test result: ok. $passed passed; 0 failed"
