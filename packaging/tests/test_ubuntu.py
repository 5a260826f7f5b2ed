"""Ubuntu's releases: the wheel in each, the Debian packages where they can be installed, and the
oldest PipeWire that the engine captures from, library and daemon."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from roots import TREE, USE, Root, packages


class Release(NamedTuple):
    pipewire: str
    python: str
    #: Its own name of alsa-lib.
    alsa: str = "libasound2t64"


RELEASES = {
    # Its own Python is 3.10, which is too old; another one is there to install.
    "jammy": Release("0.3.48", "3.11", "libasound2"),
    "noble": Release("1.0.5", "3.12"),
    "resolute": Release("1.6.2", "3.14"),
}
# What the tests of PipeWire themselves import.
TOOLS = ("numpy", "pytest", "pytest-timeout", "pytest-xdist", "soundfile")
NEEDED = (
    *("alsa-utils", "bindfs", "binutils", "bsdutils", "dbus-daemon", "espeak-ng", "gcc"),
    *("libasound2-dev", "libasound2-plugins", "libc6-dev", "libpipewire-0.3-dev", "pkgconf"),
    *("pocketsphinx-testdata", "procps", "strace", "tmux", "util-linux"),
)
# What takes a session manager; and what takes a library or a model that jammy has not.
BUT = ("desktop", "doctor", "environments", "virtual_microphone", "realtime", "vad")
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def with_wheel(root: Callable[..., Root], release: str) -> Root:
    """A root of that release with the wheel in /v2m/venv, and a user."""
    there, wanted = root(release), RELEASES[release]
    there.apt("update")
    needed = (f"python{wanted.python}-venv", wanted.alsa, "passwd")
    there.apt("install", "--yes", "--no-install-recommends", *needed)
    there.run("useradd", "--create-home", "user")
    (wheel,) = packages("*-abi3-*.whl")
    there.give(wheel, f"/v2m/dist/{wheel.name}")
    there.run(f"python{wanted.python}", "-m", "venv", "/v2m/venv")
    there.run("/v2m/venv/bin/pip", "install", "--no-index", f"/v2m/dist/{wheel.name}")
    return there


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("release", RELEASES)
def test_the_wheel_hears_pipewire(root: Callable[..., Root], release: str) -> None:
    there, wanted = with_wheel(root, release), RELEASES[release]
    path = f"PATH=/v2m/venv/bin:{PATH}"
    used = there.run("env", path, "python", *USE, user="user").stdout
    said = json.loads(used.splitlines()[-1])
    assert said["pipewire"] == wanted.pipewire and said["python"].startswith(wanted.python), said
    assert said["engine"] == "/v2m/venv/bin/v2m-engine"


# jammy's C library and Python are older than those that the packages are made with.
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("release", ["noble", "resolute"])
def test_the_packages_are_installed_used_removed(root: Callable[..., Root], release: str) -> None:
    there, wanted = root(release), RELEASES[release]
    there.apt("update")
    there.apt("install", "--yes", "--no-install-recommends", "passwd")
    there.run("useradd", "--create-home", "user")
    there.install(*packages("*engine_*.deb"))
    used = there.run("python3", *USE, user="user").stdout
    said = json.loads(used.splitlines()[-1])
    assert said["pipewire"] == wanted.pipewire and said["python"].startswith(wanted.python), said
    assert said["engine"] == "/usr/bin/v2m-engine"
    there.apt("purge", "--yes", "v2m-engine", "python3-v2m-engine")
    assert not [name for name in there.files() if "v2m" in name and "var/lib/dpkg/" not in name]


@pytest.mark.timeout(3600)
def test_all_of_the_oldest_pipewire(
    root: Callable[..., Root], run: Callable[..., str], tmp_path: Path
) -> None:
    """The tests of PipeWire with 0.3.48, library and daemon, without a session manager: jammy's
    wants logind."""
    there = with_wheel(root, "jammy")
    there.apt("install", "--yes", "--no-install-recommends", *NEEDED)
    # A root knows no more of certificates than the release does.
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:")
    run(*pip, "--python-version", RELEASES["jammy"].python, "--dest", tmp_path / "wheels", *TOOLS)
    there.give(tmp_path / "wheels", "/v2m/wheels")
    there.run("/v2m/venv/bin/pip", "install", "--no-index", "--find-links=/v2m/wheels", *TOOLS)
    run("sh", "-c", f'git -C {TREE} archive HEAD | tar -x -C "$0"', there.directory / "v2m")
    environment = (
        *("env", "-C", "/v2m", "V2M_ENGINE_BIN=/v2m/venv/bin/v2m-engine"),
        f"PATH=/v2m/venv/bin:{PATH}",
    )
    but = " ".join(f"--ignore=tests/pipewire/test_{name}.py" for name in BUT)
    # The shell is the root's first process, which inherits the orphans.
    tested = (
        f"python -m pytest -q -n 5 --dist worksteal --timeout 300 {but} tests/pipewire; exit $?"
    )
    there.run(*environment, "sh", "-c", tested, timeout=3000)
