#!/usr/bin/env bash
# Brings a bare machine to where the extension builds: a PostgreSQL server with headers, libclang for
# pgrx's bindings, cargo-pgrx, and a private pgrx configuration. Reports its steps; says nothing and
# takes no time when everything is there. PG_CONFIG=… chooses the PostgreSQL.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/apt.sh"

asked=${PG_CONFIG:-}
pgrx_version=0.18.1

# probe PG_CONFIG: sets PG_*, and says why not in $why.
probe() {
    local out
    why=
    out=$("$1" --version --bindir --pkglibdir --sharedir --libdir --includedir-server 2>/dev/null) ||
        { why="$1 does not run"; return 1; }
    mapfile -t out <<<"$out"
    [ ${#out[@]} = 6 ] || { why="$1 is not a pg_config"; return 1; }
    PG_CONFIG=$1 PG_VERSION=${out[0]#PostgreSQL } PG_BINDIR=${out[1]} PG_PKGLIBDIR=${out[2]}
    PG_SHAREDIR=${out[3]} PG_LIBDIR=${out[4]}
    PG_MAJOR=${PG_VERSION%%[!0-9]*}
    # One name for one installation (Debian has a wrapper in /usr/bin, too): pgrx rebuilds for a new one.
    [ ! -x "$PG_BINDIR/pg_config" ] || PG_CONFIG=$PG_BINDIR/pg_config
    case $PG_MAJOR in
    15 | 16 | 17 | 18) ;;
    *) why="$1 is of PostgreSQL $PG_VERSION, not 15 to 18" && return 1 ;;
    esac
    [ -r "${out[5]}/postgres.h" ] || { why="no server headers in ${out[5]}"; return 1; }
    [ -x "$PG_BINDIR/postgres" ] && [ -x "$PG_BINDIR/initdb" ] ||
        { why="no server in $PG_BINDIR"; return 1; }
}

# The first complete installation: the one in PATH, then where packages and source builds put theirs.
find_postgres() {
    local candidate
    for candidate in "$(command -v pg_config || true)" \
        /usr/lib/postgresql/{15,18,17,16}/bin/pg_config \
        /usr/pgsql-{15,18,17,16}/bin/pg_config /usr/local/pgsql/bin/pg_config; do
        [ -x "$candidate" ] && probe "$candidate" && return 0
    done
    return 1
}

# bindgen needs the library and, beside it, clang's own headers.
have_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] && return 0
    compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null &&
        compgen -G '/usr/lib/llvm-*/lib/clang/*/include/stddef.h' >/dev/null && return 0
    command -v clang >/dev/null && { command -v llvm-config || ldconfig -p 2>/dev/null | grep libclang; } >/dev/null
}

set_up_system() {
    local missing=()
    if [ -n "$asked" ]; then
        probe "$(command -v "$asked" || echo "$asked")" || die "PG_CONFIG: $why"
    elif ! find_postgres; then
        missing+=("postgresql-$debian_major" "postgresql-server-dev-$debian_major")
    fi
    command -v cc >/dev/null || missing+=(build-essential)
    command -v pkg-config >/dev/null || missing+=(pkg-config)
    have_libclang || missing+=(libclang-dev)
    [ ${#missing[@]} = 0 ] && return
    install_packages "${missing[@]}"
    [ -n "$asked" ] || find_postgres || die "PostgreSQL is installed and still not usable: ${why:-no pg_config}"
}

is_cargo_pgrx() { [ -x "$1" ] && [ "$("$1" pgrx --version 2>/dev/null)" = "cargo-pgrx $pgrx_version" ]; }

# The very version, as pgrx demands. A different one that the user has is left alone.
set_up_cargo_pgrx() {
    local ours=$target/tools/bin/cargo-pgrx theirs
    theirs=$(command -v cargo-pgrx || true)
    CARGO_PGRX_BIN=$theirs
    is_cargo_pgrx "$theirs" && return
    CARGO_PGRX_BIN=$ours
    is_cargo_pgrx "$ours" && return
    say "installing cargo-pgrx $pgrx_version into $target/tools (a few minutes, once)"
    # Without its default features it needs no OpenSSL headers; it downloads nothing here. A debug build is
    # there in half the time and quick enough. It has a directory of its own, so that flags meant for the
    # extension cannot reach it.
    (cd "$target" && env -u RUSTFLAGS CARGO_TARGET_DIR="$target/tools/build" cargo install cargo-pgrx \
        --version "$pgrx_version" --locked --no-default-features --debug --root "$target/tools") >&2 ||
        die "cargo-pgrx $pgrx_version could not be installed"
    rm -rf "$target/tools/build"
}

# The configuration names exactly the PostgreSQL that is built for.
set_up_pgrx_home() {
    pgrx_home_of "$PG_MAJOR"
    local config=$PGRX_HOME/config.toml
    local text="[configs]
pg$PG_MAJOR = \"$PG_CONFIG\""
    [ -r "$config" ] && [ "$(cat "$config")" = "$text" ] && return
    say "building for PostgreSQL $PG_VERSION ($PG_CONFIG)"
    mkdir -p "$PGRX_HOME"
    printf '%s\n' "$text" >"$config"
}

write_setup_env() {
    local name text=
    for name in PG_CONFIG PG_VERSION PG_MAJOR PG_BINDIR PG_PKGLIBDIR PG_SHAREDIR PG_LIBDIR CARGO_PGRX_BIN; do
        text+=$(printf '%s=%q' "$name" "${!name}")$'\n'
    done
    mkdir -p "$(dirname "$setup_env")"
    [ -r "$setup_env" ] && [ "$(cat "$setup_env")"$'\n' = "$text" ] || printf %s "$text" >"$setup_env"
}

command -v cargo >/dev/null || die "no cargo in PATH: Rust 1.95 or newer is needed"
lock
set_up_system
set_up_cargo_pgrx
set_up_pgrx_home
write_setup_env
