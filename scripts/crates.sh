#!/usr/bin/env bash
# crates.sh list: the crates that are linked into the library, with version and licence, a line each.
# crates.sh texts: their licences and notices, each text once, below the names of the crates that bring it.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
load_setup
cd "$root"
export LC_ALL=C

# name version|licence, without our own and without macros, which run in the compiler only.
crates() {
    cargo tree --locked -p asn_inventory --no-default-features --features "pg$PG_MAJOR" \
        --target "$(rustc -vV | sed -n 's/^host: //p')" -e normal,no-proc-macro --prefix none --no-dedupe -f '{p}|{l}' |
        grep -vF " ($root" | sed 's/ v/ /' | sort -u
}

# name version, a tab, the directory of its sources: in cargo's registry, vendored, or wherever this machine has them.
places() {
    cargo metadata --locked --format-version 1 --filter-platform "$(rustc -vV | sed -n 's/^host: //p')" |
        grep -oE '\{"name":"[^"]*","version":"[^"]*","id":|"manifest_path":"[^"]*"' |
        sed -nE '/^\{/{ s/.*"name":"([^"]*)","version":"([^"]*)".*/\1 \2/; h; d; }; s|^"manifest_path":"(.*)/Cargo.toml"$|\1|; H; x; s/\n/\t/p'
}

texts() {
    local crate licence dir files file sum kept=$work/texts
    mkdir "$kept"
    crates >"$work/crates"
    places >"$work/places"
    shopt -s nullglob
    while IFS='|' read -r crate licence; do
        dir=$(awk -F '\t' -v crate="$crate" '$1 == crate { print $2; exit }' "$work/places")
        [ -d "$dir" ] || die "the source of $crate is not on this machine: run cargo fetch"
        files=("$dir"/{LICENSE,LICENCE,license,COPYING,COPYRIGHT,NOTICE,UNLICENSE}*)
        # Without a file, the authors are all that the crate says.
        [ ${#files[@]} != 0 ] || { sed -n '/^authors = \[.*\]$/p; /^authors = \[$/,/^\]$/p' "$dir/Cargo.toml" >"$work/authors" && files=("$work/authors"); }
        for file in "${files[@]}"; do
            [ -f "$file" ] || continue
            sum=$(sha256sum <"$file" | cut -c 1-32)
            cp "$file" "$kept/$sum.text"
            printf '%s (%s): %s\n' "$crate" "$licence" "$(basename "$file")" >>"$kept/$sum.names"
        done
    done <"$work/crates"
    for file in "$kept"/*.names; do
        printf '%s\n' '----------------------------------------------------------------------'
        sort -u "$file"
        echo
        cat "${file%.names}.text"
        echo
    done
}

case ${1:-} in
list) crates | sed 's/|/: /' ;;
texts)
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    texts
    ;;
*) die "usage: crates.sh list|texts" ;;
esac
