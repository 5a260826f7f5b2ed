"""Fixtures of more than one folder."""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig import BINARY, ROOT
from rig.libv2m import CAPI, Library
from rig.user import User


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes minutes begins first, so that the others run beside it."""
    items.sort(key=lambda item: item.get_closest_marker("first") is None)


@pytest.fixture(autouse=True)
def _engine_under_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever starts an engine starts this one."""
    monkeypatch.setenv("V2M_ENGINE_BIN", str(BINARY))


def private_engines() -> list[int]:
    """Those of this process that still run."""
    found = []
    for thread in Path("/proc/self/task").iterdir():
        # A thread or a child may end while it is looked at.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for child in (thread / "children").read_text().split():
                if b"--private" in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0"):
                    found.append(int(child))
    return found


@pytest.fixture(autouse=True)
def _own_private_engine() -> None:
    """All captures of a process share a private engine: none is an earlier test's, which a
    failed task's exception may still hold."""
    if private_engines():
        gc.collect()


@pytest.fixture
def user(tmp_path: Path) -> Iterator[User]:
    user = User(tmp_path)
    yield user
    user.stop_all()


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """libv2m as cargo and a C compiler make it."""
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    subprocess.run(
        ["cargo", "build", "--quiet", "--package", "v2m-capi"], cwd=ROOT, check=True, timeout=600
    )
    built = tmp_path_factory.mktemp("libv2m")
    (built / "libv2m.a").symlink_to(target / "debug/libv2m.a")
    subprocess.run([CAPI / "link.sh", built], check=True, timeout=120)
    return Library(built, tmp_path_factory.mktemp("programs"))
