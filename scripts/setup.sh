#!/usr/bin/env bash
# Brings a bare machine to where the extension builds: a PostgreSQL server with headers, libclang for
# pgrx's bindings, cargo-pgrx, and a private pgrx configuration. Reports its steps; says nothing and
# takes no time when everything is there. PG_CONFIG=… chooses the PostgreSQL. FOR_SERVER=1: what is built is for a server of
# this machine, not for tests.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/apt.sh"
. "$(dirname "$0")/postgres.sh"

asked=${PG_CONFIG:-}
pgrx_version=0.18.1

# bindgen needs the library and, beside it, clang's own headers.
have_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] && return 0
    compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null &&
        compgen -G '/usr/lib/llvm-*/lib/clang/*/include/stddef.h' >/dev/null && return 0
    command -v clang >/dev/null && { command -v llvm-config || ldconfig -p 2>/dev/null | grep libclang; } >/dev/null
}

set_up_system() {
    local missing=()
    if ! choose_postgres; then
        # For a server that is here already, a second one is no help.
        [ -z "${FOR_SERVER:-}" ] || want_headers
        missing+=("postgresql-$debian_major" "postgresql-server-dev-$debian_major")
    fi
    command -v cc >/dev/null || missing+=(build-essential)
    command -v pkg-config >/dev/null || missing+=(pkg-config)
    have_libclang || missing+=(libclang-dev)
    [ ${#missing[@]} = 0 ] && return
    install_packages "${missing[@]}"
    choose_postgres || die "PostgreSQL is installed and still not usable: ${why:-no pg_config}"
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
