"""Built twice, the packages are the same bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from roots import DIST, TREE


def digests() -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in DIST.iterdir()}


def test_the_same_commit_gives_the_same_bytes(run: Callable[..., str]) -> None:
    before = digests()
    kinds = {Path(name).suffix for name in before}
    assert {".deb", ".rpm", ".whl", ".gz"} <= kinds, "run `make packages` first"
    run(TREE / "packaging/build.sh", "deb", "rpm", "wheel", "sdist", timeout=3600)
    after = digests()
    assert {name for name in before if before[name] != after.get(name)} == set()
