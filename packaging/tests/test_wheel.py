"""The wheel and the sdist: checked, and used where pip put them."""

from __future__ import annotations

import json
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from roots import Root, packages

RELEASES = {"bookworm": "3.11", "trixie": "3.13"}


def test_auditwheel_finds_nothing_that_is_not_everywhere(
    run: Callable[..., str], tmp_path: Path
) -> None:
    (wheel,) = packages("*.whl")
    assert wheel.name.endswith("-cp311-abi3-manylinux_2_28_x86_64.whl") or "aarch64" in wheel.name
    # The engine takes these two from the system: docs/packaging.md.
    system = ("--exclude=libpipewire-0.3.so.0", "--exclude=libasound.so.2")
    run("auditwheel", "repair", "--plat=manylinux_2_28_x86_64", *system, f"-w{tmp_path}", wheel)
    (repaired,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(repaired).namelist()
    assert not [name for name in names if ".libs/" in name], "something had to be bundled"
    # The module alone needs nothing at all but libc.
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith("_native.abi3.so")]
        module = archive.extract(name, tmp_path)
    needed = subprocess.check_output(["readelf", "-d", module], text=True)
    assert "libpipewire" not in needed and "libasound" not in needed


@pytest.mark.parametrize("release", RELEASES)
def test_pip_install_is_all_it_takes(root: Callable[..., Root], release: str) -> None:
    there = root(release)
    there.run("useradd", "--create-home", "user")
    (wheel,) = packages("*.whl")
    there.give(wheel, f"/v2m/dist/{wheel.name}")
    there.run("python3", "-m", "venv", "/v2m/venv")
    there.run("/v2m/venv/bin/pip", "install", "--no-index", f"/v2m/dist/{wheel.name}")
    path = "PATH=/v2m/venv/bin:/usr/bin:/bin"
    used = there.run("env", path, "python", "/v2m/use.py", user="user", timeout=120)
    said = json.loads(used.stdout.splitlines()[-1])
    assert said["python"].startswith(RELEASES[release])

    # Without a library of the system: a reason, and another engine if there is one.
    (library,) = there.directory.glob("usr/lib/*/libasound.so.2")
    hidden = there.directory / "v2m/hidden"
    hidden.mkdir()
    library.rename(hidden / library.name)
    for target in library.parent.glob("libasound.so.2.*"):
        target.rename(hidden / target.name)
    broken = there.run("env", path, "python", "/v2m/use.py", user="user", check=False)
    assert broken.returncode != 0
    assert "EngineUnavailableError" in broken.stderr and "libasound2 (Debian)" in broken.stderr
    other = there.directory / "v2m/other/v2m-engine"
    other.parent.mkdir()
    other.write_text('#!/bin/sh\nLD_LIBRARY_PATH=/v2m/hidden exec /v2m/venv/bin/v2m-engine "$@"\n')
    other.chmod(0o755)
    path = "PATH=/v2m/other:/usr/bin:/bin"
    used = there.run("env", path, "/v2m/venv/bin/python", "/v2m/use.py", user="user", timeout=120)
    assert json.loads(used.stdout.splitlines()[-1])["version"] == said["version"]


def test_the_sdist_builds(run: Callable[..., str], tmp_path: Path) -> None:
    (sdist,) = packages("*.tar.gz")
    run("pip", "wheel", "--no-deps", "--wheel-dir", tmp_path, sdist, timeout=1500)
    (wheel,) = tmp_path.glob("*.whl")
    assert any(name.endswith("_native.abi3.so") for name in zipfile.ZipFile(wheel).namelist())
