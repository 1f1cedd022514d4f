#!/usr/bin/env bash
# Installs the release build into the PostgreSQL that PG_CONFIG names, asking sudo for rights where needed.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
load_setup
lock

PROFILE=
build_package
extension=$PG_SHAREDIR/extension
[ -w "$PG_PKGLIBDIR" ] && [ -w "$extension" ] || rights=(sudo)
for file in "$package$extension"/*; do place "$file" "$extension/${file##*/}" 644; done
place "$package$PG_PKGLIBDIR/asn_inventory.so" "$PG_PKGLIBDIR/asn_inventory.so" 755
say "installed for PostgreSQL $PG_VERSION. Next: add asn_inventory to shared_preload_libraries in
    postgresql.conf, restart the server, and run CREATE EXTENSION asn_inventory in your database."
