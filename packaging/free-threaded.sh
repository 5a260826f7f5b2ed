#!/bin/sh
# Prints the path of a Python without a GIL. Debian has none to install, so it is built from
# Debian's source into target/package/python, once (some minutes): the newest that can be had, as
# mirrors list sources that they don't have. Exit code 3: none can be had.
set -eu
cd "$(dirname "$0")/.."
place=$PWD/target/package/python

say() { printf '\033[1m== %s\033[0m\n' "$*" >&2; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

# Unpacks Debian's source into $work/source, by an apt of its own that asks where this machine has
# its packages from.
fetch() { # RELEASE VERSION
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep '/debian/$' | head -n 1)
    printf 'Types: deb-src\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n' \
        "$mirror" "$1" /usr/share/keyrings/debian-archive-keyring.gpg >"$work/debian.sources"
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/source"
    # A mirror of Debian's testing may be older than its word is good for.
    from() {
        apt-get -qq -o Acquire::Check-Valid-Until=false -o APT::Sandbox::User=root \
            -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$work" \
            -o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache" "$@"
    }
    from update && (cd "$work" && from source --download-only --tar-only "python$2") &&
        tar -xJf "$work/python$2"*.orig.tar.xz -C "$work/source" --strip-components=1
}

# What tests of ours run on it needs neither speed nor its own tests.
build() { # PREFIX
    (
        cd "$work/source" &&
            ./configure --quiet --disable-gil --disable-test-modules --with-ensurepip=install \
                --prefix="$1" CFLAGS="-O1 -g0" &&
            make --silent -j2 &&
            make --silent install DESTDIR="$work/installed"
    ) >"$work/log" 2>&1 || { tail -n 30 "$work/log" >&2; exit 1; }
    mkdir -p "${1%/*}"
    mv "$work/installed$1" "$1"
}

for of in forky/3.14 trixie/3.13; do
    version=${of#*/}
    python=$place/${version}t/bin/python${version}t
    [ -x "$python" ] || {
        say "building Python $version without a GIL"
        fetch "${of%/*}" "$version" ||
            { say "Debian's source of Python $version can't be had"; continue; }
        build "$place/${version}t"
    }
    "$python" -c 'import sys; sys.exit(sys._is_gil_enabled())'
    echo "$python"
    exit
done
exit 3
