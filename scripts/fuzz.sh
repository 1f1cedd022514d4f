#!/usr/bin/env bash
# fuzz.sh SECONDS [TARGET…]: each fuzz target for so long, from its seeds. Needs a nightly compiler (the sanitizer's flags are
# not stable) and cargo-fuzz, which it installs into the target directory.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$root"

seconds=${1:?usage: fuzz.sh SECONDS [TARGET…]}
shift
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(sed -n 's/^name = "\(.*\)"$/\1/p' fuzz/Cargo.toml | tail -n +2)

rustup run nightly rustc --version >/dev/null 2>&1 || die "a nightly Rust is needed: rustup toolchain install nightly"
fuzzer=$(command -v cargo-fuzz || echo "$target/tools/bin/cargo-fuzz")
if [ ! -x "$fuzzer" ]; then
    say "installing cargo-fuzz into $target/tools"
    cargo install cargo-fuzz --version 0.13.1 --locked --root "$target/tools" >&2
fi
export PATH=${fuzzer%/*}:$PATH
for name in "${targets[@]}"; do
    say "$name, $seconds s"
    mkdir -p "fuzz/corpus/$name"
    CARGO_TARGET_DIR=$target/fuzz RUSTUP_TOOLCHAIN=nightly cargo fuzz run "$name" "fuzz/corpus/$name" "fuzz/seeds/$name" -- \
        -max_total_time="$seconds" -max_len=65536 -timeout=10 -rss_limit_mb=2048 -print_final_stats=0 2>&1 |
        { grep -E '^error|SUMMARY|panicked|Test unit written|ALARM|DONE|Done ' || true; } ||
        die "$name: it does not build, or see fuzz/artifacts/$name"
done
