"""Debian's source package: checked, and built by the next release's own toolchain alone."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from roots import USE, Root, packages

# Nobody looks into a try.
WITHOUT = "DEB_BUILD_OPTIONS=noautodbgsym"


def test_lintian_finds_no_fault(run: Callable[..., str]) -> None:
    options = ("--allow-root", "--no-tag-display-limit", "--fail-on=error,warning")
    output = run("lintian", *options, *packages("*.dsc"), timeout=1800)
    assert "E:" not in output and "W:" not in output, output


@pytest.mark.timeout(5400)
def test_forky_builds_it_without_a_network(root: Callable[..., Root]) -> None:
    there = root("forky")
    there.apt("update")
    there.apt("install", "--yes", "--no-install-recommends", "dpkg-dev", "passwd")
    there.run("useradd", "--create-home", "user")
    (dsc,) = packages("*.dsc")
    for file in (dsc, *packages("*.tar.xz")):
        there.give(file, f"/home/user/{file.name}")
    there.run("chown", "--recursive", "user:user", "/home/user")
    needed = ("build-dep", "--yes", "--no-install-recommends", f"/home/user/{dsc.name}")
    there.run("apt-get", "-qq", *needed, timeout=1800)

    def build(command: str, timeout: float = 300) -> str:
        inside = ("env", WITHOUT, "sh", "-c", f"cd /home/user && {command}")
        return there.run(*inside, user="user", network=False, timeout=timeout).stdout

    build(f"dpkg-source --extract {dsc.name} source")
    build("cd source && dpkg-buildpackage --build=binary --no-sign", timeout=5000)

    install = "apt-get install -qq --yes --no-install-recommends /home/user/*.deb"
    there.run("sh", "-c", install, timeout=600)
    said = json.loads(there.run("python3", *USE, user="user").stdout.splitlines()[-1])
    assert said["engine"] == "/usr/bin/v2m-engine" and said["pipewire"].startswith("1.6"), said
