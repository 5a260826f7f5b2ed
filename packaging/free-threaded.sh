#!/bin/sh
# Prints the path of a Python 3.14 without a GIL. Debian and Ubuntu have none to install, so it is
# built from the release that Ubuntu 26.04 has the source of into target/package/python, once (some
# minutes). Exit code 3: the source can't be had.
set -eu
cd "$(dirname "$0")/.."
version=3.14
source=http://archive.ubuntu.com/ubuntu/pool/main/p/python3.14/python3.14_3.14.4.orig.tar.xz
sum=d923c51303e38e249136fc1bdf3568d56ecb03214efdef48516176d3d7faaef8
prefix=$PWD/target/package/python/${version}t
python=$prefix/bin/python${version}t

say() { printf '\033[1m== %s\033[0m\n' "$*" >&2; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

# What tests of ours run on it needs neither speed nor its own tests.
build() {
    (
        tar -xJf "$work/python.tar.xz" -C "$work/source" --strip-components=1 && cd "$work/source" &&
            ./configure --quiet --disable-gil --disable-test-modules --with-ensurepip=install \
                --prefix="$prefix" CFLAGS="-O1 -g0" &&
            make --silent -j2 &&
            make --silent install DESTDIR="$work/installed"
    ) >"$work/log" 2>&1 || { tail -n 30 "$work/log" >&2; exit 1; }
    mkdir -p "${prefix%/*}"
    mv "$work/installed$prefix" "$prefix"
}

[ -x "$python" ] || {
    say "building Python $version without a GIL"
    mkdir "$work/source"
    /usr/lib/apt/apt-helper download-file "$source" "$work/python.tar.xz" "SHA256:$sum" >&2 ||
        { say "the source of Python $version can't be had"; exit 3; }
    build
}
"$python" -c 'import sys; sys.exit(sys._is_gil_enabled())'
echo "$python"
