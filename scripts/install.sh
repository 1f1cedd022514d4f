#!/usr/bin/env bash
# Installs the release build into the PostgreSQL that PG_CONFIG names, asking sudo for rights where needed.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
load_setup
cd "$root"

hide_paths
sudo=()
[ -w "$PG_PKGLIBDIR" ] && [ -w "$PG_SHAREDIR/extension" ] || sudo=(--sudo)
"$CARGO_PGRX_BIN" pgrx install --package asn_inventory --release "${sudo[@]}" --pg-config "$PG_CONFIG" \
    --no-default-features --features "pg$PG_MAJOR" >&2
${sudo:+sudo} install -m 644 sql/upgrade/*.sql "$PG_SHAREDIR/extension/"
say "installed for PostgreSQL $PG_VERSION. Next: add asn_inventory to shared_preload_libraries in
    postgresql.conf, restart the server, and run CREATE EXTENSION asn_inventory in your database."
