#!/usr/bin/env bash
# Builds the extension in release mode and puts it into a private PostgreSQL installation,
# target/pg/<major>: the system's own PostgreSQL is never written to, and need not be writable.
#
# PostgreSQL finds its libraries and its share directory relative to its executable. So the tree repeats
# the system's paths under a root of its own, with real copies of the executables (a symbolic link would
# be resolved to the system's) and links to everything else. target/pg/current names the tree built last,
# and <tree>/bin its executables. PROFILE=dev builds without optimization: for tests on many versions.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
load_setup
lock

tree=$target/pg/$PG_MAJOR

# link_entries FROM TO: a link in TO for every entry of FROM but this extension's own, should it be installed. Of a server
# in the target directory (scripts/server.sh) copies: the tree may move to where the servers' user cannot follow a link.
link_entries() {
    local place=(ln -sfn)
    case $PG_BINDIR in "$target"/*) place=(cp -a --remove-destination) ;; esac
    mkdir -p "$2"
    find "$1" -mindepth 1 -maxdepth 1 ! -name 'asn_inventory*' -exec "${place[@]}" -t "$2" {} +
}

# The directories, named relative to the executables, from which these take libraries: a server that can be moved as a
# whole brings its own libpq and more, and finds them by $ORIGIN.
relative_libraries() {
    ldd "$PG_BINDIR"/* 2>/dev/null | sed -n "s|.*=> \($PG_BINDIR/\.\./.*\)/[^/]* (.*|\1|p" | sort -u
}

# The source of the tree: a package upgrade of PostgreSQL makes a new one.
tree_identity() {
    cat "$setup_env"
    stat -c '%n %s %Y' "$PG_BINDIR/postgres" "$PG_SHAREDIR" "$PG_SHAREDIR/extension" "$PG_PKGLIBDIR"
}

build_tree() {
    local identity
    identity=$(tree_identity)
    [ -r "$tree/identity" ] && [ "$(cat "$tree/identity")" = "$identity" ] && return
    say "making a private installation of PostgreSQL $PG_MAJOR in $tree"
    rm -rf "$tree"
    mkdir -p "$tree$PG_BINDIR"
    cp -L "$PG_BINDIR"/* "$tree$PG_BINDIR/"
    link_entries "$PG_PKGLIBDIR" "$tree$PG_PKGLIBDIR"
    link_entries "$PG_SHAREDIR" "$tree$PG_SHAREDIR"
    rm -rf "$tree$PG_SHAREDIR/extension"
    link_entries "$PG_SHAREDIR/extension" "$tree$PG_SHAREDIR/extension"
    # A PostgreSQL built from source may look for libpq beside its executables.
    find "$PG_LIBDIR" -maxdepth 1 -name 'libpq.so*' >"$tree/libpq.list"
    mkdir -p "$tree$PG_LIBDIR"
    while read -r lib; do ln -sfn "$lib" "$tree$PG_LIBDIR/"; done <"$tree/libpq.list"
    rm "$tree/libpq.list"
    relative_libraries | while read -r lib; do link_entries "$(realpath "$lib")" "$tree$(realpath "$lib")"; done
    ln -sfn ".$PG_BINDIR" "$tree/bin"
    printf '%s\n' "$identity" >"$tree/identity"
}

place_extension() {
    local file extension=$tree$PG_SHAREDIR/extension
    placed=
    for file in "$extension"/asn_inventory*; do
        [ -e "$package$PG_SHAREDIR/extension/${file##*/}" ] || [ -e "$root/sql/install/${file##*/}" ] || rm -f "$file"
    done
    # The scripts of older versions are for the tests of upgrades alone: no package has them.
    for file in "$package$PG_SHAREDIR/extension"/* "$root"/sql/install/*; do place "$file" "$extension/${file##*/}" 644; done
    place "$package$PG_PKGLIBDIR/asn_inventory.so" "$tree$PG_PKGLIBDIR/asn_inventory.so" 755
    ln -sfn "$PG_MAJOR" "$target/pg/current"
    [ -z "$placed" ] || say "asn_inventory is in $tree"
}

build_package
build_tree
place_extension
