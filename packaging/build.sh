#!/bin/sh
# Builds packages into dist/, the same bytes from the same commit.
# Usage: [ARCH=arm64] packaging/build.sh deb|dsc|rpm|wheel|sdist|sbom|sums ...
set -eu
cd "$(dirname "$0")/.."
# For the other architecture, the same where the compilers make its programs.
case ${ARCH:-}:$(uname -m) in
:* | amd64:x86_64 | arm64:aarch64) ;;
arm64:x86_64) exec packaging/cross.sh packaging/build.sh "$@" ;;
*)
    echo "packaging/build.sh: $ARCH can't be compiled for on $(uname -m), only arm64 on x86_64" >&2
    exit 2
    ;;
esac
root=$PWD dist=$PWD/dist work=$PWD/target/package anywhere=$PWD/packaging/anywhere.sh
# What it is compiled for, as the compiler says it and as packages do. Cross-builds have a directory
# of their own: their compiler is another.
target=${CARGO_BUILD_TARGET:-$(rustc -vV | sed -n 's/^host: //p')}
machine=${target%%-*}
[ -z "${CARGO_BUILD_TARGET:-}" ] || work=$work/$machine
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
[ $# -gt 0 ] || { echo "usage: packaging/build.sh deb|dsc|rpm|wheel|sdist|sbom|sums ..." >&2; exit 2; }

SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
# Dependencies are compiled once for all packages that use the system's compiler.
CARGO_TARGET_DIR=$work/cargo
CARGO_HOME=${CARGO_HOME:-$HOME/.cargo}
RUSTUP_HOME=${RUSTUP_HOME:-$HOME/.rustup}
export SOURCE_DATE_EPOCH CARGO_TARGET_DIR CARGO_HOME RUSTUP_HOME LC_ALL=C.UTF-8 TZ=UTC
umask 022
PATH=$root/.venv/bin:$PATH

say() { printf '\033[1m== %s\033[0m\n' "$*" >&2; }

# A copy of what git knows, as a release's tarball would have it, whatever the umask here.
stage() { # DIRECTORY
    rm -rf "$1"
    mkdir -p "$1"
    git ls-files -z | tar --null --files-from=- -c | tar -x -C "$1"
    chmod -R u=rwX,go=rX "$1"
    find "$1" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
}

# The same, to be compiled. Cargo goes by files' times, which are the same for every such copy:
# have it compile all that is ours.
stage_afresh() { # DIRECTORY
    stage "$1"
    rm -rf "$CARGO_TARGET_DIR"/release/.fingerprint/v2m-* \
        "$CARGO_TARGET_DIR"/*/release/.fingerprint/v2m-*
}

# Of a directory the same bytes, whoever has made it and when.
archive() { # PARENT NAME
    tar -C "$1" --sort=name --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
        --mtime="@$SOURCE_DATE_EPOCH" -c "$2"
}

# Where deb and rpm compile: debugging information has the path.
build=$work/build/v2m-engine-$version

deb() {
    rm -f "$work"/build/*.*deb
    stage_afresh "$build"
    cd "$build"
    cp -a packaging/debian debian
    # Cargo comes by rustup, or is newer than the distribution's: -d leaves that be.
    debian=$(dpkg-architecture -qDEB_HOST_ARCH)
    dpkg-buildpackage -a "$debian" -b -us -uc -d
    cd "$root"
    rm -f "$dist"/*_"$debian".deb
    cp "$work"/build/*.deb "$dist"
}

# Debian's source package, which is built without a network: the crates' sources are a part of it.
dsc() {
    rm -rf "$work/source"
    stage "$work/source/v2m-engine-$version"
    cd "$work/source"
    # Two blocks at a time; how many there are tells in the bytes.
    archive . "v2m-engine-$version" | xz -T2 >"v2m-engine_$version.orig.tar.xz"
    "v2m-engine-$version/packaging/vendor.sh" "$PWD/v2m-engine-$version/vendor"
    archive "v2m-engine-$version" vendor | xz -T2 >"v2m-engine_$version.orig-vendor.tar.xz"
    cp -a "v2m-engine-$version/packaging/debian" "v2m-engine-$version/debian"
    dpkg-source -b "v2m-engine-$version"
    cd "$root"
    rm -f "$dist"/*.tar.xz "$dist"/*.dsc
    cp "$work"/source/*.tar.xz "$work"/source/*.dsc "$dist"
}

rpm() {
    rm -rf "$work/rpm"
    stage_afresh "$build"
    cd "$build"
    # In place, as the compiler is told to map paths away: at another one cargo compiles all
    # dependencies again, and newer rpms have one of their own.
    # Format 4 is what every rpm reads.
    # Where the system's packages are not rpm's, it can't see what is installed.
    nodeps=
    [ -e /var/lib/rpm/rpmdb.sqlite ] || [ -e /usr/lib/sysimage/rpm/rpmdb.sqlite ] || nodeps=--nodeps
    rpmbuild -bb --build-in-place $nodeps ${CARGO_BUILD_TARGET:+--target="$machine"} \
        ${STRIP:+--define "__strip $STRIP"} \
        --define "_topdir $work/rpm" \
        --define "_buildhost reproducible" --define "_rpmformat 4" \
        packaging/rpm/v2m-engine.spec
    cd "$root"
    rm -f "$dist"/*."$machine".rpm
    cp "$work"/rpm/RPMS/*/*.rpm "$dist"
}

# Zig's libc is the one of 2.28: that is what makes the wheel run on older systems.
wheel() {
    # A fixed target directory of its own: the C compiler is another.
    CARGO_TARGET_DIR=$work/cargo-zig
    # The same flags for both, so that dependencies are compiled once. The system's
    # libraries may need a newer libc than the engine itself.
    export RUSTFLAGS="-C link-arg=-Wl,--allow-shlib-undefined -C strip=symbols"
    # Not Zig's unwinder: at its end CPython up to 3.13 ends daemon threads by the C library's,
    # which calls into whatever frames they have with data that only libgcc's understands.
    RUSTFLAGS="$RUSTFLAGS -C link-arg=$(${CC:-gcc} -print-file-name=libgcc_s.so.1)"
    # Zig links, unless another linker is named.
    unset CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER
    stage_afresh "$work/wheel"
    cd "$work/wheel"
    "$anywhere" cargo zigbuild --release --locked --bin v2m-engine --target "$target.2.28"
    # What lies there, pip puts on the environment's PATH.
    install -D -m 755 "$CARGO_TARGET_DIR/$target/release/v2m-engine" wheel.data/scripts/v2m-engine
    sed -i 's/^\[tool.maturin\]$/&\ndata = "wheel.data"/' pyproject.toml
    rm -f "$dist"/*_"$machine".whl
    # The stable ABI is for Pythons with a GIL; from 3.15 on there is one for those without, too.
    # They needn't be here, as the target is named.
    python() {
        "$anywhere" maturin build --release --locked --zig --compatibility manylinux_2_28 \
            --target "$target" --out "$dist" "$@"
    }
    python
    python --interpreter python3.14t
    python --interpreter python3.15t --features pyo3/abi3t-py315
    cd "$root"
}

sdist() {
    stage "$work/sdist"
    cd "$work/sdist"
    rm -f "$dist"/*.tar.gz
    maturin sdist --out "$dist"
    cd "$root"
}

# What the binaries are made of, as CycloneDX: every crate with its version, licence and checksum.
# SOURCE_DATE_EPOCH is its time, it has no serial number, and no path from here.
sbom() {
    stage "$work/sbom"
    cd "$work/sbom"
    rm -f "$dist"/*.cdx.json
    cargo cyclonedx --quiet --format json --spec-version 1.5 --no-build-deps --target "$target"
    for list in v2m-engine.cdx.json python/v2m-engine-python.cdx.json crates/capi/v2m-capi.cdx.json; do
        name=$(basename "$list" .cdx.json)
        sed "s|file://$work/sbom|file:///v2m-engine|g" "$list" >"$dist/$name-$version.cdx.json"
    done
    cd "$root"
}

# To be checked by `sha256sum --check`; last, as it goes over all that is in dist.
sums() {
    cd "$dist"
    rm -f SHA256SUMS
    sha256sum -- * >"$work/SHA256SUMS"
    mv "$work/SHA256SUMS" .
    cd "$root"
}

mkdir -p "$dist"
for package in "$@"; do
    case $package in
    deb | dsc | rpm | wheel | sdist | sbom | sums)
        say "building: $package"
        ("$package")
        ;;
    *)
        echo "packaging/build.sh: $package is none of deb, dsc, rpm, wheel, sdist, sbom, sums" >&2
        exit 2
        ;;
    esac
done
