#!/usr/bin/env bash
# Removes what install.sh put into the PostgreSQL that PG_CONFIG names. Needs neither a compiler nor a set-up.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/postgres.sh"

asked=${PG_CONFIG:-} any_server=1
choose_postgres || die "no PostgreSQL is here: name its pg_config, make uninstall PG_CONFIG=…"
extension=$PG_SHAREDIR/extension
files=()
for file in "$extension"/asn_inventory.control "$extension"/asn_inventory--*.sql "$PG_PKGLIBDIR/asn_inventory.so"; do
    [ ! -e "$file" ] || files+=("$file")
done
[ ${#files[@]} != 0 ] || { say "nothing is installed for PostgreSQL $PG_VERSION" && exit; }
owner=$(dpkg-query -S "${files[0]}" 2>/dev/null | cut -d : -f 1 || true)
[ -z "$owner" ] || die "these files are of the package $owner: apt remove $owner"
[ -w "$PG_PKGLIBDIR" ] && [ -w "$extension" ] || rights=(sudo)
"${rights[@]}" rm -f "${files[@]}"
say "removed ${#files[@]} files of PostgreSQL $PG_VERSION. Next: take asn_inventory out of shared_preload_libraries in
    postgresql.conf before the server restarts: it does not start without the library."
