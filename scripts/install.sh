#!/usr/bin/env bash
# Installs the release build into the PostgreSQL that PG_CONFIG names, asking sudo for rights where needed. What
# `make build` has made of these very sources is installed as it is: that takes no compiler, and root may have none.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/postgres.sh"

PROFILE=
asked=${PG_CONFIG:-}
if ! choose_postgres || ! package_is_fresh; then
    PG_CONFIG=$asked FOR_SERVER=1 "$root/scripts/setup.sh"
    load_setup
fi
pgrx_home_of "$PG_MAJOR"
lock
if ! package_is_fresh; then
    [ -n "${CARGO_PGRX_BIN:-}" ] || die "another build replaces this one: run it again"
    build_package
fi
extension=$PG_SHAREDIR/extension
[ -w "$PG_PKGLIBDIR" ] && [ -w "$extension" ] || rights=(sudo)
for file in "$package$extension"/*; do place "$file" "$extension/${file##*/}" 644; done
place "$package$PG_PKGLIBDIR/asn_inventory.so" "$PG_PKGLIBDIR/asn_inventory.so" 755
say "installed for PostgreSQL $PG_VERSION. Next: add asn_inventory to shared_preload_libraries in
    postgresql.conf, restart the server, and run CREATE EXTENSION asn_inventory in your database."
