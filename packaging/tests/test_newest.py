"""The tests of PipeWire beside the newest: the wheel in a root of Debian's next release."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from roots import TREE, Root, packages

# What `make test` installs for them (packaging/setup.sh), as Debian has it.
NEEDED = (
    *("alsa-utils", "bindfs", "binutils", "bsdutils", "dbus-daemon", "espeak-ng", "gcc"),
    *("libasound2-dev", "libasound2-plugins", "libc6-dev", "libpipewire-0.3-dev", "passwd"),
    *("pipewire-pulse", "pkgconf", "pocketsphinx-testdata", "procps", "pulseaudio-utils", "strace"),
    *("tmux", "util-linux", "wireplumber", "python3-numpy", "python3-pytest"),
    *("python3-pytest-timeout", "python3-pytest-xdist", "python3-soundfile"),
)
# The model that the detector is compared with is no package; `make test` does it.
BUT = "--ignore=tests/pipewire/test_vad.py"


@pytest.mark.timeout(3600)
def test_all_of_pipewire(root: Callable[..., Root], run: Callable[..., str]) -> None:
    there = root("forky")
    there.apt("update")
    there.apt("install", "--yes", "--no-install-recommends", *NEEDED)
    tree = there.directory / "v2m"
    run("sh", "-c", f'git -C {TREE} archive HEAD | tar -x -C "$0"', tree)
    (wheel,) = packages("*-abi3-*.whl")
    there.give(wheel, f"/v2m/dist/{wheel.name}")
    there.run("python3", "-m", "venv", "--system-site-packages", "/v2m/venv")
    there.run("/v2m/venv/bin/pip", "install", "--no-index", f"/v2m/dist/{wheel.name}")
    assert "libpipewire 1.6" in there.run("pipewire", "--version").stdout
    environment = (
        *("env", "-C", "/v2m", "V2M_ENGINE_BIN=/v2m/venv/bin/v2m-engine"),
        "PATH=/v2m/venv/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    )
    # The shell is the root's first process, which inherits the orphans.
    options = f"-q -n 5 --dist worksteal --timeout 300 {BUT}"
    tests = f"python -m pytest {options} tests/pipewire; exit $?"
    there.run(*environment, "sh", "-c", tests, timeout=3000)
