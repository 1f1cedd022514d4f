# Base images for scripts/test-docker.sh, where none can be pulled: Debian from its packages, and Rust from this machine's
# own toolchain. Sourced after lib.sh and apt.sh, never run; import_image TAG, which makes an image of the archive that it
# reads, is the caller's. They carry nothing of the machine's settings.
# shellcheck shell=bash disable=SC2154  # target: lib.sh

# debian_image SUITE TAG: as small as Debian's own slim images: no documents, no manual pages, no translations.
debian_image() {
    local suite=$1 tag=$2 tree=$target/docker/$1
    if [ ! -e "$tree.done" ]; then
        command -v debootstrap >/dev/null || install_packages debootstrap
        say "making Debian's $suite from its packages"
        rm -rf --one-file-system "$tree"
        quietly debootstrap --variant=minbase --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
            "$suite" "$tree" "$(debian_mirror)"
        printf 'path-exclude /usr/share/%s\n' 'doc/*' 'man/*' 'info/*' 'locale/*' 'lintian/*' >"$tree/etc/dpkg/dpkg.cfg.d/slim"
        echo 'path-include /usr/share/doc/*/copyright' >>"$tree/etc/dpkg/dpkg.cfg.d/slim"
        find "$tree/usr/share/doc" -type f ! -name copyright -delete
        rm -rf "$tree"/usr/share/{man,info,locale,lintian}/* "$tree"/var/cache/apt/* "$tree"/var/lib/apt/lists/* \
            "$tree"/var/log/{apt,*.log} "$tree"/etc/{resolv.conf,hostname,hosts}
        # The mirror may be a copy of some date.
        echo 'Acquire::Check-Valid-Until "false";' >"$tree/etc/apt/apt.conf.d/90test"
        : >"$tree.done"
    fi
    # Owners and modes are Debian's own.
    tar -C "$tree" --numeric-owner --exclude './dev/*' -c . | import_image "$tag"
}

# rust_image TAG: the toolchain at the place where the official image has it.
rust_image() {
    local tree=$target/docker/rust to
    to=$tree/usr/local/rustup/toolchains/own
    rm -rf "$tree"
    mkdir -p "$to/lib"
    say "making an image of this machine's Rust"
    cp -a "$(rustc --print sysroot)/bin" "$to/"
    cp -a "$(rustc --print sysroot)/lib/." "$to/lib/"
    rm -rf "$to"/lib/rustlib/{src,rustc-src,components,install.log,uninstall.sh,manifest-*} "$to"/bin/{rust-analyzer,cargo-miri,miri,clippy-driver,cargo-clippy}
    tar -C "$tree" --numeric-owner --owner=0 --group=0 -c . | import_image "$1"
    rm -rf "$tree"
}
