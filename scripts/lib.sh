# Common code of the scripts: paths, the servers' user, messages. Sourced, never run.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

# One absolute target directory for everything, wherever the user's cargo would put it.
target=${CARGO_TARGET_DIR:-${CARGO_BUILD_TARGET_DIR:-$root/target}}
case $target in /*) ;; *) target=$PWD/$target ;; esac
export CARGO_TARGET_DIR=$target

# Results of scripts/setup.sh: PG_CONFIG, PG_MAJOR, PG_BINDIR, PG_PKGLIBDIR, PG_SHAREDIR,
# PG_LIBDIR, PG_VERSION and CARGO_PGRX_BIN.
setup_env=$target/pg/setup.env

# pgrx's configuration is ours alone: the user's own ~/.pgrx stays as it is. One a major version: pgrx builds anew when
# the file changes, and would after each change of the PostgreSQL.
pgrx_home_of() { export PGRX_HOME=$target/pgrx/$1; }
pgrx_home_of "$(sed -n 's/^PG_MAJOR=//p' "$setup_env" 2>/dev/null)"

# pgrx formats its bindings with rustfmt and gives up where there is none.
command -v rustfmt >/dev/null 2>&1 || export RUSTFMT=${RUSTFMT:-true}

say() { printf '==> %s\n' "$*" >&2; }
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

passed=0
# expect WHAT GOT WANTED: one check of a test. Its failure shows the end of the file in $log, where there is one.
expect() {
    [ "$2" = "$3" ] || die "$1: expected '$3', got '$2'${log:+ ($(tail -n 5 "$log" 2>/dev/null))}"
    passed=$((passed + 1))
    say "ok: $1"
}

# quietly COMMAND…: what it says goes to $log.
quietly() { "$@" >>"$log" 2>&1 || { tail -n 20 "$log" >&2 && die "this failed: $* (see $log)"; }; }

# The version that these sources are of. That of the workspace stands first in its file.
version_of_sources() { sed -n '/^version = /{s/.*"\(.*\)".*/\1/p;q}' "$root/Cargo.toml"; }

load_setup() {
    [ -r "$setup_env" ] || die "not set up yet: run make setup"
    # shellcheck disable=SC1090
    . "$setup_env"
}

# Where a build happens must not be seen in what it makes: two builds of one commit give the same bytes, and no path of
# the machine is in the library. Of RUSTFLAGS and [target] these are the flags that are joined with cargo-pgrx's own.
hide_paths() {
    local map triple rust= c=
    triple=$(rustc -vV | sed -n 's/^host: //p' | tr a-z- A-Z_)
    # The last one that fits counts.
    for map in "${CARGO_HOME:-$HOME/.cargo}=/usr/src/cargo" "$root=/usr/src/asn_inventory" "$target=/usr/src/target"; do
        # Both are lists with spaces between their elements, and know no other way to write one.
        case $map in *[[:space:]]*) say "${map%=*} has a space in it: that path will be in the library" && continue ;; esac
        rust+=" --remap-path-prefix=$map"
        c+=" -ffile-prefix-map=$map"
    done
    export "CARGO_TARGET_${triple}_RUSTFLAGS=${rust# }" CFLAGS="${CFLAGS:-}$c"
}

# Of what a package is: this version for this PostgreSQL, this profile, and sources that did not change since.
package_identity() {
    printf '%s\n' "$(version_of_sources)" "$PG_CONFIG" "$PG_VERSION" "$PG_PKGLIBDIR" "$PG_SHAREDIR" "profile: ${PROFILE:-}"
}

# Whether $package is there and is what build_package would make: then nothing that compiles is needed.
package_is_fresh() {
    package=$target/pg/package-$PG_MAJOR
    [ -r "$package$PG_PKGLIBDIR/asn_inventory.so" ] && [ "$(cat "$package.built" 2>/dev/null)" = "$(package_identity)" ] || return 1
    # A directory is newer when a file in it is gone. By the time of its change here: what an archive brings is as old as it was there.
    (cd "$root" && [ -z "$(find Cargo.toml Cargo.lock asn_inventory.control rust-toolchain.toml .cargo enrich report src sql \
        -cnewer "$package.built" -print -quit)" ])
}

# The extension as its files lie in a root directory, $package. PROFILE=dev builds without optimization.
build_package() {
    package=$target/pg/package-$PG_MAJOR
    mkdir -p "${package%/*}"
    rm -f "$package.built"
    # Its time is that of the beginning: what is edited during the build is newer.
    package_identity >"$package.begun"
    # Code for tests shares its crates with the tests, which are built as cargo likes it.
    [ -n "${PROFILE:-}" ] || hide_paths
    rm -rf "$package"
    (cd "$root" && "$CARGO_PGRX_BIN" pgrx package --package asn_inventory --pg-config "$PG_CONFIG" --out-dir "$package" \
        ${PROFILE:+--profile "$PROFILE"} --no-default-features --features "pg$PG_MAJOR" >/dev/null)
    install -m 644 "$root"/sql/upgrade/*.sql "$package$PG_SHAREDIR/extension/"
    mv "$package.begun" "$package.built"
}

rights=()
# A running server may have the old library mapped: files are replaced, never written in place.
# place FROM TO MODE, with the rights of ${rights[@]}.
place() {
    local from=$1 to=$2
    cmp -s "$from" "$to" && return
    "${rights[@]}" install -m "$3" "$from" "$to.new"
    "${rights[@]}" mv -f "$to.new" "$to"
    placed=1
}

# The user that servers run as: PostgreSQL refuses root. Empty: the caller.
server_user() {
    [ "$(id -u)" = 0 ] || return 0
    if id -u postgres >/dev/null 2>&1; then echo postgres; else echo nobody; fi
}

# as_server_user COMMAND…
as_server_user() {
    local user
    user=$(server_user)
    if [ -z "$user" ]; then "$@"; else
        setpriv --reuid "$(id -u "$user")" --regid "$(id -g "$user")" --clear-groups -- "$@"
    fi
}

# The place of clusters and their server: ASN_INVENTORY_TREE, ASN_INVENTORY_WORK, ASN_INVENTORY_USER. Where
# the servers' user cannot reach the checkout, all that moves to a new directory, named in $temporary, which
# the caller removes. ASN_INVENTORY_CLUSTERS: another place for clusters, as one in memory.
choose_place() {
    ASN_INVENTORY_TREE=$target/pg/$PG_MAJOR
    ASN_INVENTORY_WORK=${ASN_INVENTORY_CLUSTERS:-$target/clusters}
    ASN_INVENTORY_USER=$(server_user)
    export ASN_INVENTORY_TREE ASN_INVENTORY_WORK ASN_INVENTORY_USER
    temporary=
    [ -x "$ASN_INVENTORY_TREE/bin/postgres" ] || die "not built yet: run make build"
    mkdir -p "$ASN_INVENTORY_WORK"
    as_server_user test -r "$ASN_INVENTORY_TREE$PG_PKGLIBDIR/asn_inventory.so" -a -x "$ASN_INVENTORY_WORK" \
        2>/dev/null && return
    temporary=$(mktemp -d /tmp/asn_inventory.XXXXXX)
    chmod 755 "$temporary"
    say "$ASN_INVENTORY_USER cannot reach $target: servers live in $temporary"
    cp -a "$ASN_INVENTORY_TREE" "$temporary/tree"
    chmod -R a+rX "$temporary/tree"
    mkdir "$temporary/clusters"
    ASN_INVENTORY_TREE=$temporary/tree
    ASN_INVENTORY_WORK=${ASN_INVENTORY_CLUSTERS:-$temporary/clusters}
}

# One set-up or build at a time: two terminals may run make.
lock() {
    mkdir -p "$target"
    exec 9>"$target/.asn_inventory.lock"
    flock 9
}
