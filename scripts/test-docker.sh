#!/usr/bin/env bash
# shellcheck disable=SC1091,SC2154,SC2034  # the sourced files have the rest
# test-docker.sh: builds the image of docker/ and uses it as its README says, on a Docker engine: by docker and by every
# compose program there is. Environment: PG_MAJOR, BASE_IMAGE, RUST_IMAGE; without them the default images where they can be
# pulled, else images made from Debian 12's packages and from this machine's Rust.
# All that it makes has names of its own and ends with it.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/apt.sh"
. "$(dirname "$0")/docker-bases.sh"
. "$(dirname "$0")/docker-checks.sh"
cd "$root"

docker version --format '{{.Server.Version}}' >/dev/null 2>&1 ||
    die "no Docker engine answers: nothing was built and nothing was checked"
own=asn-inventory-test
image=$own
work=$target/docker/work
log=$target/docker/test.log
# A user without an entry in the image's passwd file. Keys must belong to it or to root.
uid=$(id -u)
[ "$uid" != 0 ] || uid=12345

import_image() { docker import - "$1" >/dev/null; }

cleanup() {
    local project
    set +e
    [ -z "${loader:-}" ] || kill "$loader" 2>/dev/null
    for project in "$own-plugin" "$own-script"; do
        docker ps -aq --filter "label=com.docker.compose.project=$project" | xargs -r docker rm -f -v
        docker network ls -q --filter "label=com.docker.compose.project=$project" | xargs -r docker network rm
    done
    docker ps -aq --filter "label=$own" | xargs -r docker rm -f -v
    docker volume ls -q --filter "name=^$own-" | xargs -r docker volume rm
    docker network ls -q --filter "name=^$own$" | xargs -r docker network rm
    docker images --format '{{.Repository}}:{{.Tag}}' "$image" | xargs -r docker rmi
    [ ! -e "$work/stages" ] || stages | grep -vxFf "$work/stages" | xargs -r docker rmi
    # Compose builds under the same name, and takes it from the image before.
    [ ! -e "$work/built" ] || docker images -q --no-trunc --filter dangling=true | grep -xFf "$work/built" | xargs -r docker rmi
    [ -z "${ca_is_ours:-}" ] || rm -f docker/site/ca.crt
    rm -rf "$work"
} >>"$log" 2>&1

# What the older builder leaves of the stage that compiles: gigabytes without a name.
stages() { docker images -q --filter dangling=true --filter label=asn_inventory.stage=build; }

note_image() { docker image inspect -f '{{.Id}}' "$image:$PG_MAJOR" >>"$work/built"; }

build() {
    local start=$SECONDS
    give_certificates
    say "building the image on $BASE_IMAGE (PostgreSQL $PG_MAJOR); its log is $log"
    quietly docker build -f docker/Dockerfile --build-arg PG_MAJOR="$PG_MAJOR" --build-arg BASE_IMAGE="$BASE_IMAGE" \
        --build-arg RUST_IMAGE="$RUST_IMAGE" -t "$image:$PG_MAJOR" .
    note_image
    say "built in $((SECONDS - start)) s; the image has $(($(docker image inspect -f '{{.Size}}' "$image:$PG_MAJOR") / 1000000)) MB"
}

look_into_image() {
    docker create --label "$own" --name "$own-look" "$image:$PG_MAJOR" >/dev/null
    mkdir "$work/image"
    docker export "$own-look" | tar -C "$work/image" -x
    docker rm -v "$own-look" >/dev/null
    local lib=$work/image/usr/lib/postgresql/$PG_MAJOR/lib/asn_inventory.so
    expect "no compiler and no build tool is in the image" "$(find "$work/image" \( -name cc -o -name 'gcc*' -o -name 'clang*' \
        -o -name rustc -o -name cargo -o -name make -o -name ld -o -name rustup \) -path '*bin/*' | head)" ""
    expect "the library has no debug lines" "$(readelf -SW "$lib" | grep -c '\.debug_\|\.symtab' || true)" 0
    expect "neither the build's certificates nor its sources are in the image" \
        "$(cd "$work/image" && find site src usr/src/asn_inventory usr/local/cargo usr/local/rustup -type f 2>/dev/null | head)$(
            find "$work/image" -xdev -type f -name '*.crt' -size +100k | while read -r file; do cmp -s "$file" docker/site/ca.crt && echo "$file"; done)" ""
    expect "no path of this machine is in it" "$(grep -rlF -e "$root" -e "$target" "$work/image" 2>/dev/null | head;
        { docker history --no-trunc "$image:$PG_MAJOR"; docker image inspect "$image:$PG_MAJOR"; } | grep -F -e "$root" | head)" ""
    expect "the licences of the linked crates are in the image" "$(find "$work/image/usr/share/doc" -name crates.txt.gz -size +1k | wc -l)" 1
    rm -rf "$work/image"
}

# As an arbitrary user, on a read-only root, without any right of root.
as_anybody() {
    run any -u "$uid:$uid" "${locked_down[@]}" -v "$own-any:/var/lib/postgresql" "${mounts[@]}" \
        -v "$work/secrets/greynoise:/run/secrets/greynoise:ro" \
        -- -c "asn_inventory.greynoise_api_key=file:/run/secrets/greynoise" \
        -c "asn_inventory.maxmind_license_key=file:/run/secrets/maxmind"
    healthy any
    expect "the server runs as process 1, as user $uid" "$(docker top "$own-any" -o pid,uid,comm | awk 'NR == 2 { print $2, $3 }')" "$uid postgres"
    expect "its root is read-only" "$(docker exec "$own-any" touch /x 2>&1 | grep -o 'Read-only file system')" "Read-only file system"
    expect "a new cluster has the extension in its database" \
        "$(sql any "SELECT current_database(), extversion FROM pg_extension WHERE extname = 'asn_inventory'")" "soc|$version"
    answers_from_files any
    wait_for any "the worker has looked for the keys" "SELECT bool_and(state IN ('resolves', 'missing')) FROM secret_references()"
    expect "a key in a mounted file is found, and one that is not there is missed" \
        "$(sql any "SELECT string_agg(state, ' ' ORDER BY setting) FROM secret_references()")" "resolves missing"
    expect "no environment of the server has the password" "$(docker exec "$own-any" cat /proc/1/environ | tr '\0' '\n' | grep -c "$(cat "$work/secrets/password")")" 0
    password_by_tcp any
    restart_keeps_rows any
    health any
    stop_under_load any
}

as_others() {
    echo 'words=(made by bash); [[ ${#words[@]} = 3 ]] && docker_process_sql -c "CREATE TABLE by_script ()"' >"$work/20-own.sh"
    chmod 644 "$work/20-own.sh"
    run root -v "$own-root:/var/lib/postgresql" -v "$work/20-own.sh:/docker-entrypoint-initdb.d/20-own.sh:ro" "${mounts[@]}"
    run postgres -u 999:999 "${locked_down[@]}" -v "$own-postgres:/var/lib/postgresql" "${mounts[@]}"
    healthy root
    healthy postgres
    expect "started as root, it runs as postgres" "$(docker top "$own-root" -o pid,uid,comm | awk 'NR == 2 { print $2, $3 }')" "999 postgres"
    expect "and answers" "$(sql root "SELECT ip_class('10.0.0.1')")" private
    expect "a script for bash ran at the first start" "$(sql root "SELECT to_regclass('by_script')")" by_script
    expect "a role of another name makes no answering server unhealthy" \
        "$(docker exec -e POSTGRES_USER=gone "$own-root" /usr/local/lib/asn_inventory/health.sh >/dev/null && echo healthy || echo not)" healthy
    expect "started as postgres, it answers" "$(sql postgres "SELECT ip_class('10.0.0.1')")" private
    docker rm -f -v "$own-root" "$own-postgres" >/dev/null
    run none
    fails none
    expect "without a password, no cluster is made" "$(docker logs "$own-none" 2>&1 | grep -c 'password')" 1
}

# compose NAME COMMAND…: up, ask, down, up again, with the commands of the README.
by_compose() {
    local project=$own-$1 rows
    shift
    export PG_MAJOR BASE_IMAGE RUST_IMAGE IMAGE=$image DATA_VOLUME=$project-data MMDB_DIR=$work/mmdb RUN_AS=$uid:$uid
    export POSTGRES_PASSWORD_FILE=$work/secrets/password PG_PORT
    PG_PORT=$(free_port)
    up() { quietly "$@" -p "$project" -f docker/compose.yaml up -d --build && note_image; }
    asked() { "$@" -p "$project" -f docker/compose.yaml exec -T postgres psql -U postgres soc -XAtqc "$question"; }
    up "$@"
    id=$("$@" -p "$project" -f docker/compose.yaml ps -q postgres)
    container_healthy "$id"
    question="SELECT count(*) FROM pg_extension WHERE extname = 'asn_inventory'"
    expect "$*: up makes a healthy server with the extension" "$(asked "$@")" 1
    wait_in "$id" "$*: the mounted files are in use" "SELECT count(*) = 2 FROM mmdb_editions() WHERE build_time IS NOT NULL"
    question="CREATE TABLE kept AS SELECT 1 AS n"
    asked "$@" >/dev/null
    expect "$*: the port is published on this machine" "$(timeout 5 bash -c "exec 3<>/dev/tcp/127.0.0.1/$PG_PORT" && echo open)" open
    quietly "$@" -p "$project" -f docker/compose.yaml down
    up "$@"
    id=$("$@" -p "$project" -f docker/compose.yaml ps -q postgres)
    container_healthy "$id"
    question="SELECT n FROM kept"
    rows=$(asked "$@")
    quietly "$@" -p "$project" -f docker/compose.yaml down -v
    expect "$*: rows outlive down and up" "$rows" 1
}

mkdir -p "$target/docker"
: >"$log"
trap 'exit 130' INT
trap 'exit 143' TERM HUP
trap 'cleanup; allow_system_cluster' EXIT
(cleanup)
ca_is_ours=
mkdir -p "$work"
stages >"$work/stages"
choose_images
version=$(version_of_sources)
build
look_into_image
make_files
docker network create --label "$own" "$own" >/dev/null
as_anybody
as_others
interrupted_starts
official_volumes
upgrade
compose_programs=0
if docker compose version >/dev/null 2>&1; then by_compose plugin docker compose && compose_programs=1; fi
if command -v docker-compose >/dev/null; then by_compose script docker-compose && compose_programs=1; fi
[ "$compose_programs" = 1 ] || die "no compose program is here: neither docker compose nor docker-compose"
say "test result: ok. $passed passed; 0 failed"
