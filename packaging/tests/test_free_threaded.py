"""Pythons without a GIL: the wheels, for 3.14 and for the stable ABI from 3.15 on, are looked at,
and threads run at once on the one for 3.14. No distribution has such a Python to install, so it is
built from source."""

from __future__ import annotations

import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from roots import TREE, packages

TESTS = (
    *("threads", "asyncio", "engines", "events", "exit", "leaving", "pickling", "processes"),
    *("processor", "push_to_talk", "reading", "samples", "together"),
)
# What they import.
NEEDED = ("anyio", "numpy", "pytest", "pytest-timeout", "trio")
# It imports what has no wheel for it.
BUT = "--deselect=tests/python/test_processor.py::test_the_reference_says_the_same"

WITHOUT = """
import sys, v2m_engine
assert not sys._is_gil_enabled()
"""


@pytest.mark.parametrize("python", ["cp314-cp314t", "cp315-abi3.abi3t"])
def test_the_wheel_runs_on_older_systems(
    run: Callable[..., str], tmp_path: Path, python: str
) -> None:
    (wheel,) = packages(f"*-{python}-*.whl")
    tag = wheel.stem.rpartition("-")[2]
    assert tag.startswith("manylinux_2_28_")
    system = ("--exclude=libpipewire-0.3.so.0", "--exclude=libasound.so.2")
    run("auditwheel", "repair", f"--plat={tag}", *system, f"-w{tmp_path}", wheel)
    names = zipfile.ZipFile(wheel).namelist()
    assert any(name.endswith("/scripts/v2m-engine") for name in names)


def interpreter() -> Path:
    script = [TREE / "packaging/free-threaded.sh"]
    built = subprocess.run(script, capture_output=True, text=True, check=False, timeout=1700)
    if built.returncode == 3:
        pytest.skip("no Python without a GIL on this machine: " + built.stderr)
    assert built.returncode == 0, built.stderr
    return Path(built.stdout.strip())


@pytest.mark.timeout(3600)
def test_threads_that_run_at_once(run: Callable[..., str], tmp_path: Path) -> None:
    without, venv = interpreter(), tmp_path / "venv"
    run(without, "-m", "venv", venv)
    run(venv / "bin/pip", "install", "--quiet", "--only-binary=:all:", *NEEDED)
    (installed,) = packages("*-cp314-cp314t-*.whl")
    run(venv / "bin/pip", "install", "--no-index", installed)
    (wheel,) = packages("*-abi3-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/scripts/v2m-engine"))
        engine = Path(archive.extract(name, tmp_path))
    engine.chmod(0o755)
    # What wants a GIL would turn it on, with a warning.
    there = ("env", "-u", "PYTHON_GIL", f"V2M_ENGINE_BIN={engine}")
    python = (*there, venv / "bin/python", "-W", "error::RuntimeWarning")
    run(*python, "-c", WITHOUT)
    files = [TREE / f"tests/python/test_{name}.py" for name in TESTS]
    pytest_ = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout=600", f"--rootdir={TREE}")
    run(*python, *pytest_, BUT, *files, timeout=1700)
    run("env", "V2M_TEST_ROUNDS=100", *python, *pytest_, files[0], timeout=1700)
