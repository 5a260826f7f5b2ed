#!/bin/sh
# Runs a build so that what comes out does not say where it was made: neither the
# sources' place nor Cargo's, in messages, debugging information and build ids.
# Usage: packaging/anywhere.sh cargo build ...
set -eu
flags= cflags=
map() { # DIRECTORY NAME
    flags="$flags --remap-path-prefix=$1=$2"
    cflags="$cflags -ffile-prefix-map=$1=$2"
}
# The last that fits counts.
map "${CARGO_HOME:-$HOME/.cargo}" /cargo
# Where rpm builds in place, the shell believes to be in a directory that is a link to it.
map "$(pwd -P)" .
map "${CARGO_TARGET_DIR:-$PWD/target}" target
# Where the standard library's sources are installed, the compiler prefers their path.
release=$(rustc -vV | sed -n 's/^commit-hash: //p')
map "$(rustc --print sysroot)/lib/rustlib/src/rust" "/rustc/$release"
export RUSTFLAGS="${RUSTFLAGS:-}$flags" CFLAGS="${CFLAGS:-}$cflags" CARGO_INCREMENTAL=0
exec "$@"
