#!/bin/sh
# Puts what was built where distributions want it; every package format uses this.
#
#   packaging/install.sh engine BINARY DESTDIR
#   packaging/install.sh python EXTENSION DESTDIR
#
# Pages, completions and the configuration are made by v2m-generate (tools/generate) beside
# BINARY, or by GENERATE. Directories follow Debian; override by PYTHONDIR, ZSHDIR, UNITDIR,
# RULESDIR.
set -eu
cd "$(dirname "$0")/.."
part=${1:?engine or python} built=${2:?what was built} root=${3:?DESTDIR}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)

put() { # FILE MODE PATH
    install -D -m "$2" "$1" "$root$3"
}

case $part in
engine)
    put "$built" 755 /usr/bin/v2m-engine
    put packaging/systemd/v2m-engine.socket 644 "${UNITDIR:-/usr/lib/systemd/user}/v2m-engine.socket"
    put packaging/systemd/v2m-engine.service 644 "${UNITDIR:-/usr/lib/systemd/user}/v2m-engine.service"
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
    (cd python && find v2m_engine -name '*.py' -o -name '*.pyi' -o -name py.typed) | while read -r module; do
        put "python/$module" 644 "$site/$module"
    done
    info=$root$site/v2m_engine-$version.dist-info
    mkdir -p "$info"
    printf 'Metadata-Version: 2.1\nName: v2m-engine\nVersion: %s\nSummary: %s\nLicense: MIT\nRequires-Python: >=3.11\n' \
        "$version" "$(sed -n 's/^description = "\(.*\)"/\1/p' pyproject.toml)" >"$info/METADATA"
    printf 'v2m_engine\n' >"$info/top_level.txt"
    ;;
*)
    echo "packaging/install.sh: $part is neither engine nor python" >&2
    exit 2
    ;;
esac
