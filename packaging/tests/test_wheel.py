"""The wheel and the sdist: checked, and used where pip put them."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
import wave
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from roots import SPEECH, TREE, USE, Root, packages

USE_HERE = (TREE / "packaging/tests/use.py", TREE / "tests", SPEECH)
RELEASES = {"bookworm": "3.11", "trixie": "3.13"}


@pytest.mark.parametrize("python", ["cp311-abi3", "cp314-cp314t", "cp315-abi3.abi3t"])
def test_auditwheel_finds_nothing_that_is_not_everywhere(
    run: Callable[..., str], tmp_path: Path, python: str
) -> None:
    tag = f"manylinux_2_28_{platform.machine()}"
    (wheel,) = packages(f"*-{python}-{tag}.whl")
    # The engine takes these two from the system: docs/packaging.md.
    system = ("--exclude=libpipewire-0.3.so.0", "--exclude=libasound.so.2")
    run("auditwheel", "repair", f"--plat={tag}", *system, f"-w{tmp_path}", wheel)
    (repaired,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(repaired).namelist()
    assert not [name for name in names if ".libs/" in name], "something had to be bundled"
    # The module alone needs nothing at all but libc, and its compiler's unwinder: threads
    # that an interpreter ends are unwound by that.
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if "/_native." in n and n.endswith(".so")]
        module = archive.extract(name, tmp_path)
    needed = subprocess.check_output(["readelf", "-d", module], text=True)
    assert "libpipewire" not in needed and "libasound" not in needed
    assert "libgcc_s.so.1" in needed


def interpreter(version: str) -> Path | None:
    """On PATH, or of pyenv."""
    found = shutil.which(f"python{version}")
    pyenv = Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}")
    candidates = [Path(found)] if found else []
    for path in [*pyenv, *candidates]:
        done = subprocess.run([path, "-c", "import venv, ensurepip"], check=False)
        if done.returncode == 0:
            return path
    return None


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_used_by_every_python_that_is_here(
    run: Callable[..., str], prepared: None, tmp_path: Path, version: str
) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} on this machine")
    (wheel,) = packages("*-abi3-*.whl")
    run(python, "-m", "venv", tmp_path / "venv")
    run(tmp_path / "venv/bin/pip", "install", "--no-index", wheel)
    path = f"PATH={tmp_path}/venv/bin:/usr/bin:/bin"
    used = run("env", "-u", "V2M_ENGINE_BIN", path, "python", *USE_HERE)
    said = json.loads(used.splitlines()[-1])
    assert said["python"].startswith(version)
    assert said["engine"] == f"{tmp_path}/venv/bin/v2m-engine"


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_interpreters_end_with_threads_inside(
    run: Callable[..., str], tmp_path: Path, version: str
) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} on this machine")
    (wheel,) = packages("*-abi3-*.whl")
    run(python, "-m", "venv", tmp_path / "venv")
    run(tmp_path / "venv/bin/pip", "install", "--no-index", wheel)
    with wave.open(str(tmp_path / "silence.wav"), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16000)
        out.writeframes(bytes(2 * 16000 * 60))
    inside = TREE / "tests/python/ends_inside.py"
    for number in range(10):
        for what in ("detecting", "reading", "waiting", "tasks"):
            arguments = (f"file:{tmp_path}/silence.wav", what, tmp_path / f"{number}.wav")
            # Fails if it does.
            said = run(tmp_path / "venv/bin/python", inside, *arguments)
            assert said.splitlines()[0] == "the end"


@pytest.mark.parametrize("release", RELEASES)
def test_pip_install_is_all_it_takes(root: Callable[..., Root], release: str) -> None:
    there = root(release)
    there.run("useradd", "--create-home", "user")
    (wheel,) = packages("*-abi3-*.whl")
    there.give(wheel, f"/v2m/dist/{wheel.name}")
    there.run("python3", "-m", "venv", "/v2m/venv")
    there.run("/v2m/venv/bin/pip", "install", "--no-index", f"/v2m/dist/{wheel.name}")
    path = "PATH=/v2m/venv/bin:/usr/bin:/bin"
    used = there.run("env", path, "python", *USE, user="user")
    said = json.loads(used.stdout.splitlines()[-1])
    assert said["python"].startswith(RELEASES[release])
    assert said["engine"] == "/v2m/venv/bin/v2m-engine"

    # Without a library of the system: a reason, and another engine if there is one.
    (library,) = there.directory.glob("usr/lib/*/libasound.so.2")
    hidden = there.directory / "v2m/hidden"
    hidden.mkdir()
    library.rename(hidden / library.name)
    for target in library.parent.glob("libasound.so.2.*"):
        target.rename(hidden / target.name)
    broken = there.run("env", path, "python", *USE, user="user", check=False)
    assert broken.returncode != 0
    assert "EngineUnavailableError" in broken.stderr and "libasound2 (Debian)" in broken.stderr
    other = there.directory / "v2m/other/v2m-engine"
    other.parent.mkdir()
    other.write_text('#!/bin/sh\nLD_LIBRARY_PATH=/v2m/hidden exec /v2m/venv/bin/v2m-engine "$@"\n')
    other.chmod(0o755)
    path = "PATH=/v2m/other:/usr/bin:/bin"
    used = there.run("env", path, "/v2m/venv/bin/python", *USE, user="user")
    assert json.loads(used.stdout.splitlines()[-1])["version"] == said["version"]


@pytest.mark.timeout(3600)
def test_the_sdist_has_all_of_it(run: Callable[..., str], prepared: None, tmp_path: Path) -> None:
    """Module and engine, built from nothing else, and used together."""
    (sdist,) = packages("*.tar.gz")
    venv, built = tmp_path / "venv", tmp_path / "built"
    run(sys.executable, "-m", "venv", venv)
    build = ("env", f"CARGO_TARGET_DIR={built}")
    run(*build, venv / "bin/pip", "install", "--no-deps", sdist, timeout=1800)
    run("tar", "-xf", sdist, "-C", tmp_path)
    (sources,) = tmp_path.glob("v2m_engine-*")
    cargo = ("cargo", "build", "--release", "--locked", "--manifest-path")
    run(*build, *cargo, sources / "Cargo.toml", timeout=1800)
    shutil.copy(built / "release/v2m-engine", venv / "bin")
    path = f"PATH={venv}/bin:/usr/bin:/bin"
    used = run("env", "-u", "V2M_ENGINE_BIN", path, "python", *USE_HERE)
    assert json.loads(used.splitlines()[-1])["engine"] == str(venv / "bin/v2m-engine")
