"""Debian's source package: checked, and built by the next release's own toolchain alone."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from roots import USE, Root, packages

# Nobody looks into a try.
WITHOUT = "DEB_BUILD_OPTIONS=noautodbgsym"
# Debian's name for a 32-bit machine, and the compiler's.
SMALL = ("armhf", "armv7-unknown-linux-gnueabihf")


def unpacked(root: Callable[..., Root]) -> Root:
    """Forky with a user, who has the source package in `source`."""
    there = root("forky")
    there.apt("update")
    there.apt("install", "--yes", "--no-install-recommends", "dpkg-dev", "passwd")
    there.run("useradd", "--create-home", "user")
    (dsc,) = packages("*.dsc")
    for file in (dsc, *packages("*.tar.xz")):
        there.give(file, f"/home/user/{file.name}")
    there.run("chown", "--recursive", "user:user", "/home/user")
    extract = f"cd /home/user && dpkg-source --extract {dsc.name} source"
    there.run("sh", "-c", extract, user="user")
    return there


@pytest.mark.timeout(1800)
def test_lintian_finds_no_fault(run: Callable[..., str]) -> None:
    options = ("--allow-root", "--no-tag-display-limit", "--fail-on=error,warning")
    output = run("lintian", *options, *packages("*.dsc"), timeout=1800)
    assert "E:" not in output and "W:" not in output, output


@pytest.mark.timeout(5400)
def test_forky_builds_it_without_a_network(root: Callable[..., Root]) -> None:
    there = unpacked(root)
    needed = ("build-dep", "--yes", "--no-install-recommends", "/home/user/source")
    there.run("apt-get", "-qq", *needed, timeout=1800)
    build = "cd /home/user/source && dpkg-buildpackage --build=binary --no-sign"
    inside = ("env", WITHOUT, "sh", "-c", build)
    there.run(*inside, user="user", network=False, timeout=5000)

    install = "apt-get install -qq --yes --no-install-recommends /home/user/*.deb"
    there.run("sh", "-c", install, timeout=600)
    said = json.loads(there.run("python3", *USE, user="user").stdout.splitlines()[-1])
    assert said["engine"] == "/usr/bin/v2m-engine" and said["pipewire"].startswith("1.6"), said


@pytest.mark.timeout(1800)
def test_a_32_bit_machine_is_refused_by_name(root: Callable[..., Root]) -> None:
    there = unpacked(root)
    architecture, target = SMALL
    there.run("dpkg", "--add-architecture", architecture)
    there.apt("update")
    needed = ("cargo", "rustc", f"libstd-rust-dev:{architecture}")
    there.apt("install", "--yes", "--no-install-recommends", *needed)
    home = "CARGO_HOME=/home/user/source/debian/cargo-home"
    crates = "install -D -m 644 debian/vendored.toml debian/cargo-home/config.toml"
    check = f"cargo check --locked --package v2m-ring --target {target}"
    inside = ("env", home, "sh", "-c", f"cd /home/user/source && {crates} && {check}")
    done = there.run(*inside, user="user", network=False, check=False, timeout=900)
    assert done.returncode != 0 and "v2m_engine needs a 64-bit target" in done.stderr, done
