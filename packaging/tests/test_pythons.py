"""The wheel under newer Pythons, as Debian has them: processes that fork, spawn and are killed,
interrupted waits, daemon threads and tasks at the interpreter's end, opens that are cancelled.
`make test` has the same tests under one Python."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from roots import TREE, Root, packages

RELEASES = {"trixie": "3.13", "forky": "3.14"}
TESTS = ("processes", "exit", "leaving", "pickling", "asyncio", "samples", "reading")
NEEDED = ("pytest", "pytest-timeout", "numpy", "anyio", "trio", "uvloop")


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("release", RELEASES)
def test_ends_at_bad_moments(root: Callable[..., Root], release: str) -> None:
    there = root(release)
    there.apt("update")
    debs = (f"python3-{name}" for name in NEEDED)
    there.apt("install", "--yes", "--no-install-recommends", "espeak-ng", *debs)
    there.give(TREE / "tests/python", "/v2m/tests/python")
    (wheel,) = packages("*-abi3-*.whl")
    there.give(wheel, f"/v2m/dist/{wheel.name}")
    there.run("python3", "-m", "venv", "--system-site-packages", "/v2m/venv")
    there.run("/v2m/venv/bin/pip", "install", "--no-index", f"/v2m/dist/{wheel.name}")
    environment = (
        *("env", "PATH=/v2m/venv/bin:/usr/bin:/bin"),
        "V2M_ENGINE_BIN=/v2m/venv/bin/v2m-engine",
    )
    version = there.run(*environment, "python", "--version").stdout
    assert version.split()[1].startswith(RELEASES[release])
    files = (f"/v2m/tests/python/test_{name}.py" for name in TESTS)
    options = ("-q", "-p", "no:cacheprovider", "--import-mode=importlib", "--timeout=300")
    # The shell is the root's first process, which inherits the orphans.
    pytest_ = ("sh", "-c", 'python -m pytest "$@"; exit $?', "sh", *options)
    there.run(*environment, *pytest_, "-o", "pythonpath=/v2m/tests", *files, timeout=1500)
