#!/bin/sh
# Puts what was built where distributions want it; every package format uses this.
#
#   packaging/install.sh engine BINARY DESTDIR
#   packaging/install.sh python EXTENSION DESTDIR
#   packaging/install.sh lib|lib-dev DIRECTORY DESTDIR
#
# Pages, completions and the configuration are made by v2m-generate (tools/generate) beside
# BINARY, or by GENERATE. The library is linked by crates/capi/link.sh into DIRECTORY.
# Directories follow Debian; override by PYTHONDIR, ZSHDIR, UNITDIR, RULESDIR, LIBDIR.
set -eu
cd "$(dirname "$0")/.."
part=${1:?engine, python, lib or lib-dev} built=${2:?what was built} root=${3:?DESTDIR}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)

put() { # FILE MODE PATH
    install -D -m "$2" "$1" "$root$3"
}

case $part in
engine)
    put "$built" 755 /usr/bin/v2m-engine
    put packaging/systemd/v2m-engine.socket 644 "${UNITDIR:-/usr/lib/systemd/user}/v2m-engine.socket"
    put packaging/systemd/v2m-engine.service 644 "${UNITDIR:-/usr/lib/systemd/user}/v2m-engine.service"
    metainfo=io.github.v2m_engine.v2m_engine.metainfo.xml
    put "packaging/metainfo/$metainfo" 644 "/usr/share/metainfo/$metainfo"
    put udev/60-v2m-engine.rules 644 "${RULESDIR:-/usr/lib/udev/rules.d}/60-v2m-engine.rules"

    generated=$(mktemp -d)
    trap 'rm -rf "$generated"' EXIT
    "${GENERATE:-${built%/*}/v2m-generate}" "$generated"
    put "$generated/config.toml" 644 /etc/v2m-engine/config.toml
    for page in "$generated"/man/*.[15]; do
        put "$page" 644 "/usr/share/man/man${page##*.}/${page##*/}"
    done
    put "$generated/completions/v2m-engine.bash" 644 /usr/share/bash-completion/completions/v2m-engine
    put "$generated/completions/_v2m-engine" 644 "${ZSHDIR:-/usr/share/zsh/vendor-completions}/_v2m-engine"
    put "$generated/completions/v2m-engine.fish" 644 /usr/share/fish/vendor_completions.d/v2m-engine.fish
    ;;
python)
    site=${PYTHONDIR:-/usr/lib/python3/dist-packages}
    put "$built" 644 "$site/v2m_engine/_native.abi3.so"
    (cd python && find v2m_engine -name '*.py' -o -name '*.pyi' -o -name py.typed) |
        while read -r module; do put "python/$module" 644 "$site/$module"; done
    info=$root$site/v2m_engine-$version.dist-info
    mkdir -p "$info"
    printf 'Metadata-Version: 2.1\nName: v2m-engine\nVersion: %s\nSummary: %s\nLicense: MIT\nRequires-Python: >=3.11\n' \
        "$version" "$(sed -n 's/^description = "\(.*\)"/\1/p' pyproject.toml)" >"$info/METADATA"
    printf 'v2m_engine\n' >"$info/top_level.txt"
    ;;
lib)
    put "$built/libv2m.so.1" 755 "${LIBDIR:-/usr/lib}/libv2m.so.1"
    ;;
lib-dev)
    lib=${LIBDIR:-/usr/lib}
    put crates/capi/include/v2m.h 644 /usr/include/v2m.h
    put crates/capi/v2m.3 644 /usr/share/man/man3/v2m.3
    mkdir -p "$root$lib/pkgconfig"
    ln -sf libv2m.so.1 "$root$lib/libv2m.so"
    sed "s|@libdir@|$lib|; s|@version@|$version|" crates/capi/v2m.pc.in >"$root$lib/pkgconfig/v2m.pc"
    ;;
*)
    echo "packaging/install.sh: $part is none of engine, python, lib, lib-dev" >&2
    exit 2
    ;;
esac
