#!/usr/bin/env bash
# upgrade-sql.sh: writes the second half of the upgrade script of the version in work: every function and view of
# sql/*.sql created again, with all comments and revocations. upgrade-sql.sh --check: only reports whether it is up to date.
#
# An upgrade creates all of them again, changed or not: if an older script bound one to an object that another role had
# planted, it is bound to the system's own then. The first half changes tables and removes or adds objects; it is written
# by hand. A released upgrade script is never changed again.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$root"

before=0.2.0
script=sql/upgrade/asn_inventory--$before--0.3.0.sql
# New functions that views, the doctor, mmdb_networks() and attach_ip_source() call: who may use those must be able to call these.
for_readers=network_lists,_update_sources,_quota_ledger,_note_source
# New names of objects: roles with rights on the old name keep them.
renamed=$(sed -nE 's/^ALTER (VIEW|FUNCTION) .* RENAME TO ([a-z_]+);$/\2/p' "$script")
mark='-- From here on written by scripts/upgrade-sql.sh.'

# The files in the order in which src/lib.rs installs them.
files() { sed -n 's|^extension_sql_file!("../\(sql/[^"]*\)".*|\1|p' src/lib.rs; }

# Names of functions, views and tables that the version before did not have; a function that has the name of an older
# view or table with parentheses.
new_objects() {
    # shellcheck disable=SC2046
    { comm -23 <(names $(files)) <(names "sql/install/asn_inventory--$before.sql")
      comm -12 <(functions $(files)) <(others "sql/install/asn_inventory--$before.sql") | sed 's/$/()/'; } |
        grep -vxF "$renamed" | paste -sd,
}
names() { named 'TABLE|VIEW|FUNCTION|PROCEDURE|SEQUENCE' "$@"; }
functions() { named 'FUNCTION|PROCEDURE' "$@"; }
others() { named 'TABLE|VIEW|SEQUENCE' "$@"; }
named() { sed -nE "s/^CREATE ($1) (@extschema@\\.)?([a-z_]+).*/\\3/p" "${@:2}" | sort -u; }

generated() {
    printf '%s\n' "$mark"
    # shellcheck disable=SC2046
    awk -v made="'{$(new_objects)}', '{$for_readers}'" '
        function flush() {
            if (text ~ /^CREATE (VIEW|FUNCTION|PROCEDURE) /) sub(/^CREATE /, "CREATE OR REPLACE ", text)
            if (text ~ /^SELECT @extschema@\._secure_extension/) sub(/NULL, NULL/, made, text)
            # Rights on objects of the version before stay: a REVOKE would make users'\'' grants the extension'\''s own,
            # and a dump leaves those out.
            if (text ~ /^REVOKE / && match(text, /@extschema@\.[a-z_]+\(/) && made !~ "[{,]" substr(text, RSTART + 12, RLENGTH - 13) "(\\(\\))?[,}]") text = ""
            if (text ~ /^(CREATE OR REPLACE|COMMENT ON|REVOKE|SELECT @extschema@\.)/) printf "%s", text
            text = ""
        }
        text == "" && !/^[A-Z]/ { next }
        { text = text $0 "\n" }
        text ~ /\n    BEGIN ATOMIC\n/ ? /^    END;$/ : text ~ / AS \$\$\n/ ? /^END \$\$;$/ : /;( *--.*)?$/ { flush() }
    ' $(files)
}

wanted=$(sed "\|^$mark|,\$d" "$script"; generated)
if [ "${1:-}" = --check ]; then
    [ "$wanted" = "$(cat "$script")" ] || die "$script is not what sql/*.sql asks for: run scripts/upgrade-sql.sh"
else
    printf '%s\n' "$wanted" >"$script"
fi
