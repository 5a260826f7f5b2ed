#!/bin/sh
# Runs a command where cargo and cc compile for arm64, and what they made runs under qemu.
# Usage: packaging/cross.sh cargo test -p v2m-ring
#
# That is a Debian root with both architectures' packages, in target/package/roots; as root,
# made by mmdebstrap at the first call (3 GB, some minutes). The tree lies there where it lies
# here, crates are shared with this machine's Cargo, and everything that the command starts
# ends with it. This machine's kernel is told to run arm64's programs by the root's qemu, until
# it restarts.
set -eu
[ $# -gt 0 ] || { echo "usage: packaging/cross.sh COMMAND [ARGUMENT ...]" >&2; exit 2; }
tree=$(cd "$(dirname "$0")/.." && pwd)
root=$tree/target/package/roots/cross-arm64
triple=aarch64-linux-gnu

say() { printf '\033[1m== %s\033[0m\n' "$*" >&2; }

[ "$(id -u)" -eq 0 ] || { echo "packaging/cross.sh makes a Debian root: run it as root" >&2; exit 1; }

# Compilers, Debian's packaging tools, what is linked or run for arm64, and recordings that tests hear.
packages="ca-certificates build-essential crossbuild-essential-arm64 rustc cargo libstd-rust-dev:arm64
    clang libclang-dev pkgconf git python3 debhelper dh-python rpm qemu-user
    libpipewire-0.3-dev:arm64 libasound2-dev:arm64 pocketsphinx-testdata alsa-utils"
if [ ! -d "$root" ]; then
    say "making a Debian root that compiles for arm64"
    mkdir -p "${root%/*}"
    rm -rf "$root.new"
    # A mirror of Debian's testing may be older than its word is good for.
    # shellcheck disable=SC2086 # a list of names
    mmdebstrap --quiet --format=directory --variant=apt --architectures=amd64,arm64 \
        --aptopt='Acquire::Check-Valid-Until "false"' --include="$(echo $packages | tr ' ' ,)" \
        forky "$root.new"
    mv "$root.new" "$root"
fi

# The kernel opens the interpreter now (F), so that it needs no path in other roots; P: programs
# get their own name.
formats=/proc/sys/fs/binfmt_misc
[ -e $formats/register ] || mount -t binfmt_misc binfmt_misc $formats
if [ ! -e $formats/qemu-aarch64 ]; then
    elf='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
    mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
    printf '%s' ":qemu-aarch64:M::$elf:$mask:$root/usr/bin/qemu-aarch64:OPF" >$formats/register
fi

# What git knows of the tree may lie elsewhere.
git=$(git -C "$tree" rev-parse --path-format=absolute --git-common-dir 2>/dev/null || echo "$tree")
cargo=${CARGO_HOME:-$HOME/.cargo}
mkdir -p "$cargo/registry"
# What the wheel is made with is in a virtual environment (packaging/setup.sh packages).
zig=$(PATH=$tree/.venv/bin:$PATH && command -v cargo-zigbuild || :)
tools=${zig%/bin/cargo-zigbuild}

export root tree git cargo tools triple
# shellcheck disable=SC2016 # for the shell in there
exec unshare --mount --pid --fork --kill-child sh -euc '
    bind() { # DIRECTORY PLACE
        mkdir -p "$root$2"
        mount --rbind "$1" "$root$2"
    }
    bind "$tree" "$tree"
    case $git in "$tree" | "$tree"/*) ;; *) bind "$git" "$git" ;; esac
    bind "$cargo/registry" /cargo/registry
    [ -z "$tools" ] || bind "$tools" /opt/tools
    bind /etc/ssl/certs /etc/ssl/certs
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    # The file that is there of its name.
    for zig in "$root"/opt/tools/lib/python3*/site-packages/ziglang/zig; do :; done
    exec chroot "$root" env -i \
        HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin:/opt/tools/bin LC_ALL=C.UTF-8 TZ=UTC \
        TERM="${TERM:-dumb}" ${SOURCE_DATE_EPOCH:+SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH"} \
        CARGO_HOME=/cargo CARGO_TARGET_DIR="$tree/target/arm64" CARGO_INCREMENTAL=0 \
        CARGO_BUILD_TARGET=aarch64-unknown-linux-gnu CC=$triple-gcc STRIP=$triple-strip \
        CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=$triple-gcc \
        CARGO_ZIGBUILD_ZIG_PATH="${zig#"$root"}" PKG_CONFIG_ALLOW_CROSS=1 PKG_CONFIG_LIBDIR=/usr/lib/$triple/pkgconfig:/usr/share/pkgconfig \
        GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0="*" \
        sh -euc "cd \"\$0\" && exec \"\$@\"" "$tree" "$@"
' sh "$@"
