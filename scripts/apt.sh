# Debian's packages: installed where a build needs them, or only downloaded. Sourced after lib.sh, never run.
# shellcheck shell=bash

# The PostgreSQL that Debian 12 has.
debian_major=15

# Debian starts its own cluster with the server package, which is not needed here.
no_cluster=
forbid_system_cluster() {
    local dir=/etc/postgresql-common/createcluster.d
    no_cluster=$dir/asn_inventory_setup.conf
    $sudo mkdir -p "$dir"
    printf '%s\n' '# Removed when the set-up of asn_inventory ends.' 'create_main_cluster = false' |
        $sudo tee "$no_cluster" >/dev/null
}
allow_system_cluster() {
    [ -n "$no_cluster" ] || return 0
    $sudo rm -f "$no_cluster"
    $sudo rmdir --ignore-fail-on-non-empty "$(dirname "$no_cluster")"
    no_cluster=
}
trap allow_system_cluster EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

install_packages() {
    local command="apt-get install -y --no-install-recommends $*"
    command -v apt-get >/dev/null ||
        die "needed and not found: $* (names of Debian packages; this system has no apt-get)"
    sudo=
    if [ "$(id -u)" != 0 ]; then
        sudo="sudo -n"
        $sudo true 2>/dev/null ||
            die "some packages are needed, and installing them takes rights you do not have. Run
    sudo apt-get update && sudo $command
and try again."
    fi
    local log=$target/setup-apt.log
    say "installing $* (and what they need; see $log)"
    case " $* " in *" postgresql-$debian_major "*) forbid_system_cluster ;; esac
    $sudo apt-get -q -o DPkg::Lock::Timeout=300 update >"$log" 2>&1 ||
        say "apt-get update failed; going on with the lists there are"
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 \
        install -y --no-install-recommends "$@" >>"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        die "this failed: $command"
    }
    allow_system_cluster
}

# Where this Debian system gets its packages from: the same mirror has the other releases.
debian_mirror() {
    apt-get indextargets --format '$(SITE) $(CREATED_BY) $(RELEASE)' 2>/dev/null |
        awk '$2 == "Packages" && $3 !~ /-/ { print $1; exit }' | grep . ||
        die "this is no Debian system: install PostgreSQL from its own packages, with headers"
}

# download_package SUITE PACKAGE: the package of another Debian release, into $work. Not installed, and the system's
# lists stay as they are.
download_package() {
    local suite=$1 package=$2 own=$work/apt
    mkdir -p "$own/lists/partial" "$own/cache/archives/partial" "$own/parts"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(debian_mirror) $suite main" >"$own/sources.list"
    # As root, apt-get would give its downloads to a user who cannot enter this directory.
    local apt=(apt-get -q -o "Dir::Etc::SourceList=$own/sources.list" -o "Dir::Etc::SourceParts=$own/parts"
        -o "Dir::State::Lists=$own/lists" -o "Dir::Cache=$own/cache" -o "APT::Sandbox::User=$(id -un)")
    say "fetching $package of Debian's $suite"
    (cd "$work" && "${apt[@]}" update && "${apt[@]}" download "$package") >>"$log" 2>&1 ||
        die "$package could not be fetched (see $log)"
}
