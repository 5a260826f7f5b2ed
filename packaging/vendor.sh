#!/bin/sh
# Brings the sources of every crate into DIRECTORY, for builders without a network. Of crates that
# no Linux build compiles (Windows' import libraries are 100 MB) only the manifest stays: Cargo
# wants to see all that Cargo.lock names. What was compiled for Windows goes everywhere.
# Usage: packaging/vendor.sh DIRECTORY
set -eu
cd "$(dirname "$0")/.."
vendor=${1:?DIRECTORY}
rm -rf "$vendor"
cargo vendor --quiet --locked --versioned-dirs "$vendor" >/dev/null

compiled=$(mktemp)
trap 'rm -f "$compiled"' EXIT
for machine in x86_64 aarch64 riscv64gc powerpc64le s390x; do
    cargo tree --quiet --locked --workspace --all-features --target "$machine-unknown-linux-gnu" \
        --prefix none --format '{p}'
done | sed -n 's/^\([^ ]*\) v\([^ ]*\).*/\1-\2/p' >"$compiled"

for crate in "$vendor"/*; do
    grep -qxF "${crate##*/}" "$compiled" && continue
    package=$(sed -n 's/.*"package":\("[0-9a-f]*"\).*/\1/p' "$crate/.cargo-checksum.json")
    find "$crate" -mindepth 1 -maxdepth 1 ! -name Cargo.toml -exec rm -rf {} +
    mkdir "$crate/src"
    : >"$crate/src/lib.rs"
    printf '{"files":{},"package":%s}' "$package" >"$crate/.cargo-checksum.json"
done

find "$vendor" -type f \( -name '*.dll' -o -name '*.exe' -o -name '*.lib' \) |
    while read -r binary; do
        rm "$binary"
        crate=${binary#"$vendor/"}
        crate=${crate%%/*}
        path=${binary#"$vendor/$crate/"}
        entry="\"$path\":\"[0-9a-f]*\""
        sed -i "s|$entry,||; s|,$entry||" "$vendor/$crate/.cargo-checksum.json"
    done
