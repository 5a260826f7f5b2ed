#!/bin/sh
# Prints the path of a Python without a GIL. Debian has none to install, so it is built from
# Debian's source of Python 3.13 into target/package/python, once (some minutes). Exit code 3: the
# source can't be had.
set -eu
cd "$(dirname "$0")/.."
release=trixie version=3.13
place=$PWD/target/package/python/${version}t
python=$place/bin/python${version}t

say() { printf '\033[1m== %s\033[0m\n' "$*" >&2; }

if [ ! -x "$python" ]; then
    say "building a Python without a GIL"
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    # An apt of its own, with that release's sources from where this machine has its packages.
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep '/debian/$' | head -n 1)
    printf 'Types: deb-src\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n' \
        "$mirror" "$release" /usr/share/keyrings/debian-archive-keyring.gpg >"$work/debian.sources"
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/source"
    from() {
        apt-get -qq -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$work" \
            -o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache" "$@"
    }
    { from update && (cd "$work" && from source --download-only --tar-only "python$version"); } ||
        { say "Debian's source of Python $version can't be had"; exit 3; }
    tar -xJf "$work"/python*.orig.tar.xz -C "$work/source" --strip-components=1
    # What tests of ours run on it needs neither speed nor its own tests.
    (
        cd "$work/source" &&
            ./configure --quiet --disable-gil --disable-test-modules --with-ensurepip=install \
                --prefix="$place" CFLAGS="-O1 -g0" &&
            make --silent -j2 &&
            make --silent install DESTDIR="$work/installed"
    ) >"$work/log" 2>&1 || { tail -n 30 "$work/log" >&2; exit 1; }
    mkdir -p "${place%/*}"
    mv "$work/installed$place" "$place"
fi
"$python" -c 'import sys; sys.exit(sys._is_gil_enabled())'
echo "$python"
