#!/usr/bin/env bash
# test-scripts.sh [NAME…]: the commands in places that are not a developer's clone: after a reboot, in an archive, in a path with a
# space, for root without a compiler. The suite runs it (pgrx-tests/tests/commands.rs). Nothing is built, and all that is
# written lies in a directory of its own.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$root"

work=$(mktemp -d /tmp/asn_scripts.XXXXXX)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
export CARGO_TARGET_DIR=$work/target
target=$CARGO_TARGET_DIR setup_env=$CARGO_TARGET_DIR/pg/setup.env

# refused COMMAND…: all that it says.
refused() { ! "$@" 2>&1 || die "this is not refused: $*"; }

# fake_postgres: one in $work/pg of which nothing runs but pg_config.
fake_postgres() {
    local pg=$work/pg
    mkdir -p "$pg"/{bin,lib,include} "$pg/share/extension" "$target"
    printf '#!/bin/sh\nprintf "%%s\\n" "PostgreSQL 15.99" %s %s %s %s %s\n' "$pg/bin" "$pg/lib" "$pg/share" "$pg/lib" "$pg/include" >"$pg/bin/pg_config"
    touch "$pg/bin/postgres" "$pg/bin/initdb" "$pg/include/postgres.h"
    chmod 755 "$pg"/bin/*
}

# demo_after_reboot: postmaster.pid is there, and its process is not, or is another one by now.
demo_after_reboot() {
    local what pid stranger
    sleep 600 &
    stranger=$!
    # shellcheck disable=SC2064  # this very process
    trap "kill $stranger" EXIT
    sleep 0 &
    pid=$!
    wait "$pid"
    for what in "$pid" "$stranger" ""; do
        mkdir -p "$target/clusters/demo/data"
        printf '%s\n' "$what" "$target/clusters/demo/data" >"$target/clusters/demo/data/postmaster.pid"
        printf '%s=%q\n' DEMO_DIR "$target/clusters/demo" DEMO_TREE "${PG_BIN:-/usr}/.." DEMO_TEMPORARY "" >"$target/demo.env"
        scripts/demo.sh stop
        expect "the demo ends after its server was killed (postmaster.pid: ${what:-empty})" "$(ls "$target/clusters")$(cat "$target/demo.env" 2>/dev/null)" ""
    done
    expect "and no process of somebody else gets a signal" "$(kill -0 "$stranger" && echo alive)" alive
}

# demo_ends_its_server: a real one, of the servers' user, as root in a container sees it, which may not look where others work.
demo_ends_its_server() {
    local bin=${PG_BIN:-/usr/lib/postgresql/15/bin} data=$target/clusters/demo/data pid try seen=()
    chmod 755 "$work"
    mkdir -p "$target/clusters/demo"
    if [ "$(id -u)" = 0 ]; then
        chown "$(server_user)" "$target/clusters/demo"
        seen=(setpriv --bounding-set -sys_ptrace --inh-caps -sys_ptrace --)
    fi
    (cd / && as_server_user "$bin/initdb" --no-sync -A trust -D "$data" >/dev/null)
    (cd / && as_server_user "$bin/pg_ctl" -D "$data" -l "$target/clusters/demo/log" -o "-c listen_addresses= -k $target/clusters/demo" -s -w start)
    read -r pid <"$data/postmaster.pid"
    # shellcheck disable=SC2064  # this very process
    trap "kill -QUIT $pid 2>/dev/null || true" EXIT
    printf '%s=%q\n' DEMO_DIR "${data%/*}" DEMO_TREE "$bin/.." DEMO_TEMPORARY "" >"$target/demo.env"
    "${seen[@]}" scripts/demo.sh stop
    # It removes its file a moment before it ends.
    for try in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    expect "the demo's server ends before its files are removed" "$(ls "$target/clusters")$(kill -0 "$pid" 2>/dev/null && echo alive)" ""
    trap - EXIT
}

clean_leaves_tools_only() {
    local dir
    for dir in pg clusters upgrade/cargo upgrade/source fuzz deb dist docker/bookworm server.abcdef tools servers; do mkdir -p "$target/$dir"; done
    touch "$target/needs.log" "$target/server-16.log"
    scripts/clean.sh
    expect "clean leaves what was fetched, and nothing that was built" "$(ls "$target" | paste -sd ' ')" "servers tools"
}

# What PGXN's client asks of a distribution.
targets_of_pgxn() {
    local file
    expect "make has the targets of PGXN's client" "$(make -n all install installcheck uninstall | grep -c '^scripts/')" 5
    file=$(sed -n 's/^ *"file": "\(.*\)",$/\1/p' META.json)
    expect "META.json names a script of SQL, or the client loads nothing" "${file##*.} $([ -r "$file" ] && echo there)" "sql there"
}

# As root has it: the package is built, and there is no cargo.
install_of_a_build() {
    local path=/usr/sbin:/usr/bin:/sbin:/bin extension=$work/pg/share/extension profile got
    fake_postgres
    PG_CONFIG=$work/pg/bin/pg_config
    export PG_CONFIG
    . scripts/postgres.sh
    asked=$PG_CONFIG
    choose_postgres
    package_is_fresh && die "without a package there is a fresh one"
    mkdir -p "$package$PG_PKGLIBDIR" "$package$PG_SHAREDIR/extension"
    echo library >"$package$PG_PKGLIBDIR/asn_inventory.so"
    touch "$package$PG_SHAREDIR/extension/"{asn_inventory.control,asn_inventory--1.sql}
    PROFILE='' package_identity >"$package.built"
    # Whoever edits the sources at this moment does not disturb.
    touch -d tomorrow "$package.built"
    PATH=$path make -s install
    expect "make install takes what make build left" "$(cat "$PG_PKGLIBDIR/asn_inventory.so") $(ls "$extension" | paste -sd ' ')" \
        "library asn_inventory--1.sql asn_inventory.control"
    touch "$extension/other.control"
    rm "$work/pg/include/postgres.h"
    PATH=$path make -s uninstall
    expect "make uninstall removes it, without headers too, and nothing else" "$(ls "$PG_PKGLIBDIR") $(ls "$extension")" " other.control"
    touch -d '2000-01-01' "$package.built"
    expect "a package that is older than its sources is built again" "$(package_is_fresh && echo fresh)" ""
    touch "$package.built"
    # As tar leaves a newer version's file, and git does not.
    (
        root=$work/newer
        mkdir "$root"
        cp -r Cargo.toml Cargo.lock asn_inventory.control rust-toolchain.toml .cargo enrich report src sql "$root/"
        find "$root" -exec touch -d '2000-01-01' {} +
        touch -d '1 hour ago' "$package.built"
        package_is_fresh && die "a source that is new here and old by its time is not seen"
        touch -d tomorrow "$package.built"
        package_is_fresh || die "sources of before are not taken"
        sed -i 's/^version = .*/version = "99.0.0"/' "$root/Cargo.toml"
        ! package_is_fresh || die "the package of another version passes for this one's"
    ) || die "a package is taken for what it is not"
    say "ok: sources of another version are seen, however old their files are"
    got=$(for profile in "" dev; do
        PROFILE=$profile package_identity >"$package.built"
        touch -d tomorrow "$package.built"
        ! PROFILE='' package_is_fresh || echo "fresh: ${profile:-release}"
    done)
    expect "and one without optimization is not installed" "$got" "fresh: release"
}

headers_are_named() {
    fake_postgres
    rm "$work/pg/include/postgres.h"
    expect "without headers, their package is named" \
        "$(PG_CONFIG=$work/pg/bin/pg_config refused scripts/setup.sh | grep -o 'no server headers in .*\. Install them: .*')" \
        "no server headers in $work/pg/include. Install them: Debian has them in postgresql-server-dev-15"
}

spaces_in_the_path() {
    local copy="$work/a b" got
    mkdir -p "$copy/scripts" "$copy/target/pg"
    cp scripts/{lib,apt,deb}.sh "$copy/scripts/"
    cp Cargo.toml CHANGELOG.md "$copy/"
    cp rust-toolchain.toml "$work/"
    printf 'PG_MAJOR=15\nPG_CONFIG=none\n' >"$copy/target/pg/setup.env"
    # What is left to hide is the home of cargo: from each of both compilers.
    got=$(cd "$work" && env -u CARGO_TARGET_DIR -u CFLAGS CARGO_HOME="$work/cargo" bash -euc '
        . "$1/scripts/lib.sh"
        hide_paths 2>/dev/null
        flags=$(compgen -v | grep "^CARGO_TARGET_.*_RUSTFLAGS$")
        whole=0 broken=0
        for option in ${!flags} $CFLAGS; do
            case $option in
            --remap-path-prefix=*=* | -ffile-prefix-map=*=*) whole=$((whole + 1)) ;;
            *) broken=$((broken + 1)) ;;
            esac
        done
        echo "$whole whole, $broken broken"' bash "$copy") || die "in a path with a space, no options are made"
    expect "in a path with a space, the compilers get whole options" "$got" "2 whole, 0 broken"
    # No history is there, either.
    expect "and make deb says what is wrong" \
        "$(refused env -u CARGO_TARGET_DIR "$copy/scripts/deb.sh" | grep -c -e 'a path has a space in it' -e 'fatal')" 1
}

# A mirror beside the registry, as after a change of cargo's configuration: a crate has its sources twice.
licences_with_two_registries() {
    local theirs=${CARGO_HOME:-$HOME/.cargo} home=$work/home entry
    mkdir -p "$home/registry/src" "$target/pg"
    for entry in "$theirs"/config.toml "$theirs"/git; do [ ! -e "$entry" ] || ln -s "$entry" "$home/"; done
    for entry in "$theirs"/registry/{index,cache}; do ln -s "$entry" "$home/registry/"; done
    for entry in "$theirs"/registry/src/*; do
        ln -s "$entry" "$home/registry/src/"
        ln -s "$entry" "$home/registry/src/mirror-${entry##*/}"
    done
    echo "PG_MAJOR=${PG_MAJOR:-15}" >"$setup_env"
    expect "the licences are found where a crate's sources are there twice" "$(CARGO_HOME=$home scripts/crates.sh texts | grep -c '^serde_json .*LICENSE-MIT')" 1
}

[ $# != 0 ] || set -- demo_after_reboot demo_ends_its_server clean_leaves_tools_only targets_of_pgxn install_of_a_build headers_are_named \
    spaces_in_the_path licences_with_two_registries
for name in "$@"; do
    rm -rf "$target"
    mkdir -p "$target"
    # Each with settings of its own.
    ("$name")
done
say "all of it: ok"
