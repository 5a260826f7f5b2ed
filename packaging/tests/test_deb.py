"""The Debian packages: checked, installed into clean roots, used there, removed."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from roots import USE, Root, packages

# PipeWire and Python as the releases have them.
RELEASES = {"bookworm": ("0.3.65", "3.11"), "trixie": ("1.4", "3.13")}


def test_lintian_finds_no_fault(run: Callable[..., str]) -> None:
    changes = packages("*.deb")
    output = run(
        "lintian", "--allow-root", "--no-tag-display-limit", "--fail-on=error,warning", *changes
    )
    assert "E:" not in output and "W:" not in output, output


def test_a_program_is_compiled_against_the_library(root: Callable[..., Root]) -> None:
    """Where nothing else of ours is installed: no engine, which it says."""
    there = root("bookworm")
    there.install(*packages("libv2m*[1v]_*.deb"))
    there.apt("install", "--yes", "--no-install-recommends", "gcc", "libc6-dev", "pkgconf")
    example = "/usr/share/doc/libv2m-dev/examples/level.c"
    compiled = f"cc -Wall -Werror {example} $(pkg-config --cflags --libs v2m) -lm -o /tmp/level"
    there.run("sh", "-c", compiled)
    ran = there.run("/tmp/level", check=False)
    assert ran.returncode == 1 and "install it" in ran.stderr, ran
    assert "libv2m.so.1" in there.run("sh", "-c", "ldd /tmp/level").stdout


@pytest.mark.parametrize("release", RELEASES)
def test_installed_used_removed(root: Callable[..., Root], release: str) -> None:
    there = root(release)
    there.run("useradd", "--create-home", "user")
    before = there.files()
    there.install(*packages("*engine_*.deb"))

    version = there.run("v2m-engine", "--version").stdout
    assert "v2m-engine" in version
    used = there.run("python3", *USE, user="user").stdout
    said = json.loads(used.splitlines()[-1])
    pipewire, python = RELEASES[release]
    assert said["pipewire"].startswith(pipewire) and said["python"].startswith(python), said
    assert said["engine"] == "/usr/bin/v2m-engine"

    # Nobody enabled a microphone.
    wanted = [name for name in there.files() if "wants/v2m-engine" in name]
    assert wanted == []

    configuration = there.directory / "etc/v2m-engine/config.toml"
    configuration.write_text(configuration.read_text() + "history = 30\n")
    there.apt("remove", "--yes", "v2m-engine", "python3-v2m-engine")
    assert "history = 30" in configuration.read_text()
    # And what systemd's helper keeps to know it enabled nothing, until the purge.
    kept = ("var/lib/dpkg/", "var/lib/systemd/deb-systemd-user-helper-enabled/")
    left = {name for name in there.files() - before if not name.startswith(kept)}
    assert {n for n in left if "v2m" in n} == {"etc/v2m-engine", "etc/v2m-engine/config.toml"}
    there.apt("purge", "--yes", "v2m-engine", "python3-v2m-engine")
    there.apt("autoremove", "--purge", "--yes")
    left = {name for name in there.files() - before if not name.startswith("var/lib/dpkg/")}
    assert left == set()
    assert "v2m" not in (there.directory / "var/lib/dpkg/status").read_text()
