# Which PostgreSQL it is about. Sourced after lib.sh, never run.
# shellcheck shell=bash disable=SC2034  # the scripts that source it have the rest

# Not empty: nothing is compiled, so a server without headers will do.
any_server=

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
    [ -n "$any_server" ] || [ -r "${out[5]}/postgres.h" ] || { why="no server headers in ${out[5]}"; return 1; }
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

# The one that PG_CONFIG asked for, or the first one found.
choose_postgres() {
    if [ -n "${asked:-}" ]; then
        probe "$(command -v "$asked" || echo "$asked")" || die "PG_CONFIG: $why$(headers_of "${PG_MAJOR:-}")"
    else
        find_postgres
    fi
}

# headers_of MAJOR: how they are installed, where only they are missing.
headers_of() {
    case $why in "no server headers"*) printf '. Install them: Debian has them in postgresql-server-dev-%s' "$1" ;; esac
}

# Ends where a server without headers is installed, since a build would be for another one.
want_headers() {
    local server major found=
    for server in /usr/lib/postgresql/*/bin/postgres /usr/pgsql-*/bin/postgres /usr/local/pgsql/bin/postgres; do
        [ -x "$server" ] || continue
        major=$("$server" --version 2>/dev/null | sed -n 's/^[^0-9]*\([0-9]*\).*/\1/p')
        found+="
    PostgreSQL $major in ${server%/bin/postgres}: postgresql-server-dev-$major"
    done
    [ -z "$found" ] || die "the server headers of PostgreSQL are missing. Install them, and try again. What is here, and Debian's packages:$found"
}
