# What scripts/test-docker.sh asks a running container. Sourced, never run.
# shellcheck shell=bash
# shellcheck disable=SC2154,SC2034  # own, image, work, log, uid, version: test-docker.sh

# fails NAME: that container ends by itself, and not as if all were well. One that goes on fails the check and does not hold it.
fails() {
    local status
    status=$(timeout 120 docker wait "$own-$1" 2>>"$log") || die "$own-$1 does not end"
    [ "$status" != 0 ] || die "$own-$1 ends with status 0: $(docker logs --tail 5 "$own-$1" 2>&1)"
}
# wait_until WHAT COMMAND…: for something that comes by itself.
wait_until() {
    local what=$1 end=$((SECONDS + 120))
    shift
    until "$@" 2>>"$log"; do
        [ $SECONDS -lt $end ] || die "$what: not after two minutes"
        sleep 0.2
    done
}

in_id() { docker exec "$1" psql -XAtq -v ON_ERROR_STOP=1 -U postgres -d soc -c "$2"; }
sql() { in_id "$own-$1" "$2"; }
answers_true() { [ "$(in_id "$1" "$2")" = t ]; }
wait_in() { wait_until "$2" answers_true "$1" "$3"; }
wait_for() { wait_in "$own-$1" "$2" "$3"; }
has_health() { [ "$(docker inspect -f '{{.State.Health.Status}}' "$1")" = "$2" ]; }
container_healthy() {
    local end=$((SECONDS + 120))
    until has_health "$1" healthy; do
        if [ "$(docker inspect -f '{{.State.Status}}' "$1")" != running ] || [ $SECONDS -ge $end ]; then
            docker logs "$1" >&2
            die "$1 does not become healthy"
        fi
        sleep 0.2
    done
}
healthy() { container_healthy "$own-$1"; }
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# Certificates that the downloads of the build need in this network: beside the sources, for the time of this script.
give_certificates() {
    local ca=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
    if [ ! -e docker/site/ca.crt ] && [ -r "$ca" ]; then
        ca_is_ours=1
        cp "$ca" docker/site/ca.crt
    fi
}

choose_images() {
    : "${PG_MAJOR:=}" "${BASE_IMAGE:=}" "${RUST_IMAGE:=}"
    if [ -z "$BASE_IMAGE" ]; then
        BASE_IMAGE=postgres:${PG_MAJOR:-17}-bookworm
        if quick_pull "$BASE_IMAGE"; then : "${PG_MAJOR:=17}"; else
            case ${PG_MAJOR:=15} in
            15) suite=bookworm ;;
            17) suite=trixie ;;
            *) die "no image of PostgreSQL $PG_MAJOR can be pulled, and Debian has 15 and 17 only" ;;
            esac
            BASE_IMAGE=$image:$suite
            debian_image "$suite" "$BASE_IMAGE"
        fi
    fi
    : "${PG_MAJOR:?set PG_MAJOR with BASE_IMAGE}"
    if [ -z "$RUST_IMAGE" ]; then
        RUST_IMAGE=rust:1.95-slim-bookworm
        quick_pull "$RUST_IMAGE" || { RUST_IMAGE=$image:rust && rust_image "$RUST_IMAGE"; }
    fi
}
quick_pull() { docker image inspect "$1" >/dev/null 2>&1 || timeout 600 docker pull -q "$1" >>"$log" 2>&1; }

make_files() {
    say "making .mmdb files"
    quietly cargo run -q -p asn_inventory_tests --bin mmdbgen "$work/mmdb" 1 500
    quietly cargo run -q -p asn_inventory_tests --bin mmdbgen "$work/newer" 2 500
    mkdir -p "$work/secrets"
    head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$work/secrets/password"
    head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$work/secrets/greynoise"
    # As the README has it: the owner is root, and the directory keeps other users of the host away.
    chmod 700 "$work/secrets"
    chmod 644 "$work"/secrets/* "$work"/mmdb/* "$work"/newer/*
    mounts=(-e POSTGRES_DB=soc -e POSTGRES_PASSWORD_FILE=/run/secrets/postgres_password -v "$work/mmdb:/mmdb:ro"
        -v "$work/secrets/password:/run/secrets/postgres_password:ro")
    locked_down=(--read-only --tmpfs /run/postgresql --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges)
}

# run NAME OPTION… [-- ARGUMENT…]: a server that asks nobody outside.
run() {
    local name=$1 options=()
    shift
    while [ $# != 0 ] && [ "$1" != -- ]; do options+=("$1") && shift; done
    [ $# = 0 ] || shift
    docker run -d --label "$own" --name "$own-$name" --network "$own" --health-interval 1s --health-retries 2 --shm-size 256m \
        "${options[@]}" "$image:$PG_MAJOR" -c asn_inventory.cymru=off -c asn_inventory.greynoise=off "$@" >>"$log"
}

# A first start that is stopped, and one that is killed, while initdb runs: the next one makes the whole cluster.
interrupted_starts() {
    local signal volume making=/var/lib/postgresql/pgdata/$PG_MAJOR/.making
    mkdir -p "$work/stub"
    cat >"$work/stub/initdb" <<END
#!/bin/sh
/usr/lib/postgresql/$PG_MAJOR/bin/initdb "\$@" && touch "\$2/ready" && until [ -e "\$2/go" ]; do sleep 0.1; done
END
    chmod 755 "$work/stub" "$work/stub/initdb"
    for signal in INT KILL; do
        volume=(-u "$uid:$uid" "${locked_down[@]}" -v "$own-cut-$signal:/var/lib/postgresql" "${mounts[@]}")
        run cut "${volume[@]}" -v "$work/stub:/stub:ro" \
            -e PATH="/stub:/usr/lib/postgresql/$PG_MAJOR/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        wait_until "initdb runs" docker exec "$own-cut" test -e "$making/ready"
        docker kill -s "$signal" "$own-cut" >/dev/null
        [ "$signal" = KILL ] || docker exec "$own-cut" touch "$making/go"
        fails cut
        docker rm -v "$own-cut" >/dev/null
        run cut "${volume[@]}"
        healthy cut
        expect "after SIG$signal in the first start, the next one has database and extension" \
            "$(sql cut "SELECT current_database(), extversion FROM pg_extension WHERE extname = 'asn_inventory'")" "soc|$version"
        docker rm -f -v "$own-cut" >/dev/null
    done
}

# The volume of an official image: to 17, and from 18 on.
official_volumes() {
    local place
    for place in data "$PG_MAJOR/docker"; do
        docker run --rm --label "$own" -v "$own-official-${place%%/*}:/var/lib/postgresql" --entrypoint sh "$image:$PG_MAJOR" \
            -c "mkdir -p '/var/lib/postgresql/$place' && echo $PG_MAJOR >'/var/lib/postgresql/$place/PG_VERSION'"
        run official -v "$own-official-${place%%/*}:/var/lib/postgresql" "${mounts[@]}"
        fails official
        expect "beside a cluster of the official image in $place, no second one is made" \
            "$(docker logs "$own-official" 2>&1 | grep -c "set PGDATA=/var/lib/postgresql/$place,")" 1
        docker rm -v "$own-official" >/dev/null
    done
}

answers_from_files() {
    local record before
    wait_for "$1" "the files are in use" "SELECT count(*) = 2 FROM mmdb_editions() WHERE build_time IS NOT NULL"
    sql "$1" "CREATE TABLE events (payload jsonb); SELECT attach_ip_source('events', ARRAY['payload->>src_ip']);
        CREATE TABLE known AS SELECT host(network) AS ip, record FROM mmdb_networks('GeoLite2-ASN') WHERE family(network) = 4
            AND ip_class(host(network)::inet) = 'public' LIMIT 1;
        INSERT INTO events SELECT jsonb_build_object('src_ip', ip) FROM known, generate_series(1, 2)" >/dev/null
    wait_for "$1" "the event is in the inventory" "SELECT count(*) = 1 FROM ip_inventory WHERE asn_number IS NOT NULL"
    expect "an event's address is counted, with its network's number from the mounted file" \
        "$(sql "$1" "SELECT observation_count, asn_number = (record->>'autonomous_system_number')::bigint
            FROM ip_inventory JOIN known ON ip_address = ip::inet")" "2|t"
    before=$(sql "$1" "SELECT generation FROM mmdb_editions() WHERE edition = 'GeoLite2-ASN'")
    record="SELECT coalesce(mmdb_record('GeoLite2-ASN', ip::inet), '{}') <> record FROM known"
    expect "the record is the first file's" "$(sql "$1" "$record")" f
    mv "$work/newer/GeoLite2-ASN.mmdb" "$work/mmdb/"
    wait_for "$1" "the new file is in use" "SELECT generation <> '$before' FROM mmdb_editions() WHERE edition = 'GeoLite2-ASN'"
    expect "a file replaced by rename is in use without a restart" "$(sql "$1" "$record")" t
}

# From another container: the server asks for the password, and takes the one of the file only.
password_by_tcp() {
    by_tcp() {
        docker run --rm --label "$own" --network "$own" -e PGPASSWORD="$2" -e PGCONNECT_TIMEOUT=10 "$image:$PG_MAJOR" \
            psql -h "$own-$1" -XAtqw -U postgres -d soc -c 'SELECT 1' 2>&1
    }
    expect "the password of the secret file is taken by TCP" "$(by_tcp "$1" "$(cat "$work/secrets/password")")" 1
    expect "and no other" "$(by_tcp "$1" wrong | grep -o 'password authentication failed')" "password authentication failed"
}

restart_keeps_rows() {
    local start=${EPOCHREALTIME/./}
    docker restart -t 60 "$own-$1" >/dev/null
    wait_for "$1" "the restarted server" "SELECT true"
    say "restarted and answering in $(((${EPOCHREALTIME/./} - start) / 1000)) ms"
    expect "a restart keeps the rows" "$(sql "$1" "SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM ip_inventory)")" "2|1"
}

# The server stands still, with its port open: only a question finds that out.
health() {
    healthy "$1"
    docker kill -s STOP "$own-$1" >/dev/null
    wait_until "a server that stands still is unhealthy" has_health "$own-$1" unhealthy
    expect "a server that does not answer is unhealthy" "$(docker inspect -f '{{.State.Health.Status}}' "$own-$1")" unhealthy
    docker kill -s CONT "$own-$1" >/dev/null
    wait_until "the server that goes on is healthy" has_health "$own-$1" healthy
    expect "and healthy once it answers again" "$(docker inspect -f '{{.State.Health.Status}}' "$own-$1")" healthy
    sql "$1" "ALTER DATABASE soc CONNECTION LIMIT 0; CREATE ROLE watcher LOGIN" >/dev/null
    expect "a database that takes no connection is not healthy" \
        "$(docker exec -e POSTGRES_USER=watcher "$own-$1" /usr/local/lib/asn_inventory/health.sh >/dev/null && echo healthy || echo not)" not
    sql "$1" "ALTER DATABASE soc CONNECTION LIMIT -1" >/dev/null
}

stop_under_load() {
    local start acknowledged=$work/acknowledged
    : >"$acknowledged"
    sql "$1" "CREATE TABLE loaded (n bigint, payload jsonb); SELECT attach_ip_source('loaded', ARRAY['payload->>src_ip'])" >/dev/null
    # Every number that comes back was committed.
    seq 1000000 | sed 's|.*|INSERT INTO loaded SELECT &, jsonb_build_object('"'src_ip'"', '"'64.0.0.0'"'::inet + (random() * 1000000)::int) FROM generate_series(1, 100) RETURNING n;|' |
        docker exec -i "$own-$1" sh -c 'psql -XAtq -U postgres -d soc | uniq' >"$acknowledged" 2>>"$log" &
    loader=$!
    wait_until "the loader inserts" test -s "$acknowledged"
    start=${EPOCHREALTIME/./}
    docker stop -t 60 "$own-$1" >/dev/null
    say "stopped under load in $(((${EPOCHREALTIME/./} - start) / 1000)) ms"
    expect "a stop under load ends within the grace period, with exit code 0" "$(docker inspect -f '{{.State.Status}} {{.State.ExitCode}}' "$own-$1")" "exited 0"
    expect "it was a clean shutdown" "$(docker logs --tail 3 "$own-$1" 2>&1 | grep -c 'database system is shut down')" 1
    expect "a stopped server is not healthy" "$(docker inspect -f '{{.State.Health.Status}}' "$own-$1" | grep -cx healthy)" 0
    wait "$loader" || true
    loader=
    docker start "$own-$1" >/dev/null
    healthy "$1"
    expect "after it no committed row is missing" "$(sql "$1" "SELECT count(*) >= 100 * $(sort -un "$acknowledged" | wc -l) FROM loaded")" t
    docker rm -f -v "$own-$1" >/dev/null
}

# A volume of version 0.1.0, made with the script that it had; then the image as it is.
upgrade() {
    local volume=(-u "$uid:$uid" "${locked_down[@]}" -v "$own-old:/var/lib/postgresql" "${mounts[@]}")
    echo "CREATE EXTENSION asn_inventory VERSION '0.1.0';" >"$work/old.sql"
    chmod 644 "$work/old.sql"
    run old "${volume[@]}" -v "$work/old.sql:/docker-entrypoint-initdb.d/10-asn_inventory.sql:ro" \
        -v "$root/sql/install/asn_inventory--0.1.0.sql:/usr/share/postgresql/$PG_MAJOR/extension/asn_inventory--0.1.0.sql:ro"
    healthy old
    sql old "CREATE TABLE events (payload jsonb); SELECT attach_ip_source('events', ARRAY['payload->>src_ip']);
        INSERT INTO events VALUES ('{\"src_ip\": \"64.0.0.1\"}'), ('{\"src_ip\": \"64.0.0.2\"}')" >/dev/null
    wait_for old "version 0.1.0 has the events in its inventory" "SELECT count(*) = 2 FROM ip_inventory"
    docker stop -t 60 "$own-old" >/dev/null
    docker rm -v "$own-old" >/dev/null
    run old "${volume[@]}"
    healthy old
    wait_until "the log says what to do" log_has old 'ALTER EXTENSION asn_inventory UPDATE'
    expect "on an older volume the log names the database and both versions" \
        "$(docker logs "$own-old" 2>&1 | grep -o 'database soc has version 0.1.0 of the extension, this image has [0-9.]*[0-9]')" \
        "database soc has version 0.1.0 of the extension, this image has $version"
    expect "and the doctor the cure" "$(sql old "SELECT remedy FROM enrichment_doctor() WHERE check_name = 'version'")" "ALTER EXTENSION asn_inventory UPDATE;"
    sql old "ALTER EXTENSION asn_inventory UPDATE"
    expect "the update keeps the rows" "$(sql old "SELECT extversion, (SELECT count(*) FROM ip_inventory), (SELECT count(*) FROM events)
        FROM pg_extension WHERE extname = 'asn_inventory'")" "$version|2|2"
    sql old "INSERT INTO events VALUES ('{\"src_ip\": \"64.0.0.3\"}')"
    wait_for old "events go on after the update" "SELECT count(*) = 3 FROM ip_inventory"
    expect "after it the doctor finds no error" "$(sql old "SELECT count(*) FROM enrichment_doctor() WHERE level = 'error'")" 0
    docker rm -f -v "$own-old" >/dev/null
}
log_has() { docker logs "$own-$1" 2>&1 | grep "$2" >>"$log"; }
