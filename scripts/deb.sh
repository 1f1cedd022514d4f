#!/usr/bin/env bash
# deb.sh: a Debian package of the extension, and one of its debug symbols, into target/deb. The PostgreSQL under
# PG_CONFIG says for which major version; the package is laid out for Debian's own servers of it, and depends on them.
#
# Two builds of one commit give the same bytes: no path of the machine (hide_paths), one time for all files (the
# commit's), root as their owner, one thread for the compressor.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/apt.sh"
load_setup
cd "$root"
export LC_ALL=C TZ=UTC
umask 022

version=$(version_of_sources)
name=postgresql-$PG_MAJOR-asn-inventory
# The archive of `make dist` has no history, and gives its files the commit's time. It may lie in another repository.
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
    if [ -e .git ]; then SOURCE_DATE_EPOCH=$(git log -1 --format=%ct); else SOURCE_DATE_EPOCH=$(stat -c %Y CHANGELOG.md); fi
fi
export SOURCE_DATE_EPOCH
# What hide_paths leaves out would be in the library.
case "${CARGO_HOME:-$HOME/.cargo}$root$target" in
*[[:space:]]*) die "a package cannot be built here: a path has a space in it ($root, $target, ${CARGO_HOME:-$HOME/.cargo}), and would be in the library" ;;
esac
command -v dpkg-shlibdeps >/dev/null || install_packages dpkg-dev
arch=$(dpkg --print-architecture)
built=$target/pg/package-$PG_MAJOR
out=$target/deb
tree=$out/$name
symbols=$tree-dbgsym

# fill TEMPLATE NAME=VALUE…
fill() {
    local text pair
    text=$(cat "packaging/deb/$1")
    shift
    for pair in "NAME=$name" "VERSION=$version" "ARCH=$arch" "MAJOR=$PG_MAJOR" "$@"; do
        text=${text//"@${pair%%=*}@"/"${pair#*=}"}
    done
    printf '%s\n' "$text"
}

# gzip as it is reproducible: without name and time.
packed() { gzip -9n; }

library() {
    local so=$tree/usr/lib/postgresql/$PG_MAJOR/lib/asn_inventory.so id debug
    install -Dm 644 "$built$PG_PKGLIBDIR/asn_inventory.so" "$so"
    id=$(readelf -n "$so" | sed -n 's/.*Build ID: //p')
    [ -n "$id" ] || die "the library has no build id"
    debug=$symbols/usr/lib/debug/.build-id/${id:0:2}/${id:2}.debug
    mkdir -p "${debug%/*}"
    objcopy --only-keep-debug --compress-debug-sections "$so" "$debug"
    chmod 644 "$debug"
    strip --strip-unneeded --remove-section=.comment "$so"
    objcopy --add-gnu-debuglink="$debug" "$so"
    fill control-dbgsym "BUILD_ID=$id" "SIZE=$(installed_size "$symbols")" >"$work/control-dbgsym"
}

documents() {
    local doc=$tree/usr/share/doc/$name
    mkdir -p "$doc" "$symbols/usr/share/doc"
    scripts/crates.sh texts | packed >"$doc/crates.txt.gz"
    # Of a failure within an argument, the shell does not hear.
    local crates
    crates=$(scripts/crates.sh list)
    [ -n "$crates" ] || die "the list of crates is empty"
    fill copyright "LICENSE=$(cat LICENSE)" "CRATES=$crates" >"$doc/copyright"
    packed <CHANGELOG.md >"$doc/NEWS.md.gz"
    packed >"$doc/changelog.gz" <<END
$name ($version) unstable; urgency=medium

  * What this version changes is in NEWS.md.gz.

 -- asn_inventory maintainers <maintainers@asn-inventory.invalid>  $(date -R -d "@$SOURCE_DATE_EPOCH")
END
    ln -s "$name" "$symbols/usr/share/doc/$name-dbgsym"
}

# The libraries that it needs, by what it was linked with.
dependencies() {
    mkdir -p "$work/debian"
    printf 'Source: %s\n\nPackage: %s\nArchitecture: any\n' "$name" "$name" >"$work/debian/control"
    (cd "$work" && dpkg-shlibdeps -O "$tree"/usr/lib/postgresql/*/lib/asn_inventory.so 2>"$work/shlibdeps.log") |
        sed 's/^shlibs:Depends=//' || { cat "$work/shlibdeps.log" >&2 && return 1; }
}

# In KiB, each file and directory by itself, as Debian's tools count.
installed_size() {
    find "$1" -path "$1/DEBIAN" -prune -o -type f -printf '%s\n' -o -printf '1\n' |
        awk '{ n += int(($1 + 1023) / 1024) } END { print n }'
}

# pack TREE CONTROL
pack() {
    mkdir "$1/DEBIAN"
    cp "$2" "$1/DEBIAN/control"
    (cd "$1" && find . -path ./DEBIAN -prune -o -type f -printf '%P\n' | sort | xargs -d '\n' md5sum) >"$1/DEBIAN/md5sums"
    find "$1" -exec touch -hd "@$SOURCE_DATE_EPOCH" {} +
    dpkg-deb --root-owner-group -Zxz --threads-max=1 --build "$1" "$out" >/dev/null
    say "$out/$(basename "$1")_${version}_$arch.deb"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -rf "$tree" "$symbols"
extension=$tree/usr/share/postgresql/$PG_MAJOR/extension
mkdir -p "$extension" "$symbols"
install -m 644 "$built$PG_SHAREDIR/extension"/asn_inventory* "$extension/"
library
documents
needs=$(dependencies)
[ -n "$needs" ] || die "dpkg-shlibdeps names no library that this one needs"
# Packages of versions before, which a pattern would find as well.
rm -f "$out/$name"_*.deb "$out/$name-dbgsym"_*.deb
fill control "DEPENDS=postgresql-$PG_MAJOR, $needs" "SIZE=$(installed_size "$tree")" >"$work/control"
pack "$tree" "$work/control"
pack "$symbols" "$work/control-dbgsym"
