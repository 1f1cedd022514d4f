#!/usr/bin/env bash
# Prints where promtool is, Prometheus's own checker of metrics and alert rules: the one in PATH, or else the one of
# Debian's package prometheus, kept with the tools in the target directory. The package is unpacked and not installed:
# the service in it is not needed, and it takes no rights. Quick when it is there. The tests run this by themselves.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

ours=$target/tools/bin/promtool

# download OPTIONS…: the package, into the working directory.
download() { (cd "$work" && apt-get -q "$@" download prometheus) >>"$log" 2>&1; }

# Where the system's lists are old, or were never fetched, lists of our own are.
fetch() {
    local own=(-o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache")
    # As root, apt-get would give its downloads to a user who cannot enter this directory.
    local sandbox=(-o "APT::Sandbox::User=$(id -un)")
    download "${sandbox[@]}" && return
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
    apt-get -q "${sandbox[@]}" "${own[@]}" update >>"$log" 2>&1
    download "${sandbox[@]}" "${own[@]}"
}

set_up() {
    local advice="Put promtool into PATH: it comes with Prometheus, in Debian's package prometheus or from prometheus.io."
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
        die "promtool is needed and not found, and this is no Debian system. $advice"
    work=$(mktemp -d "$target/promtool.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    log=$target/setup-promtool.log
    : >"$log"
    say "unpacking promtool out of Debian's package prometheus into $target/tools (20 MB, once)"
    fetch && dpkg-deb -x "$work"/prometheus_*.deb "$work/tree" 2>>"$log" && [ -x "$work/tree/usr/bin/promtool" ] || {
        tail -n 5 "$log" >&2
        die "promtool is needed and could not be fetched (see $log). $advice"
    }
    mkdir -p "$(dirname "$ours")"
    mv "$work/tree/usr/bin/promtool" "$ours.new"
    mv "$ours.new" "$ours"
}

found=$(command -v promtool || true)
if [ -z "$found" ]; then
    found=$ours
    # Tests run side by side: the first of them fetches it, the others wait.
    [ -x "$ours" ] || { mkdir -p "$target"; exec 8>"$target/.promtool.lock"; flock 8; [ -x "$ours" ] || set_up; }
fi
"$found" --version >/dev/null 2>&1 || die "$found does not run"
echo "$found"
