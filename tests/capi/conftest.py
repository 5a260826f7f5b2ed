"""libv2m as cargo and a C compiler make it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from rig import ROOT
from rig.libv2m import CAPI, Library


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    subprocess.run(
        ["cargo", "build", "--quiet", "--package", "v2m-capi"], cwd=ROOT, check=True, timeout=600
    )
    built = tmp_path_factory.mktemp("libv2m")
    (built / "libv2m.a").symlink_to(target / "debug/libv2m.a")
    subprocess.run([CAPI / "link.sh", built], check=True, timeout=120)
    return Library(built, tmp_path_factory.mktemp("programs"))


@pytest.fixture(scope="session")
def client(library: Library) -> Path:
    """The scenes of `client.c`."""
    return library.compile(ROOT / "tests/capi/client.c")
