"""Built again, afresh and at another place, the packages are the same bytes."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from roots import DIST, TREE

AGAIN = TREE / "target/package/again"
CROSS = "target/package/roots/cross-arm64"
# What a builder may have set, and must not matter.
HABITS = ("TZ=Asia/Kathmandu", "LC_ALL=C", "sh", "-c", 'umask 077 && exec "$0" "$@"')


def digests(directory: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.iterdir())
    }


@pytest.mark.timeout(14_400)
def test_the_same_commit_gives_the_same_bytes(run: Callable[..., str]) -> None:
    changed = run("git", "-C", TREE, "status", "--porcelain", "--untracked-files=no")
    assert changed == "", "what is not committed is not in the second build"
    first = digests(DIST)
    kinds = ["", ".deb", ".dsc", ".gz", ".json", ".rpm", ".whl", ".xz"]
    assert sorted({Path(name).suffix for name in first}) == kinds, "run `make release` first"

    shutil.rmtree(AGAIN, ignore_errors=True)
    run("env", *HABITS, "git", "clone", "--quiet", TREE, AGAIN)
    build = (AGAIN / "packaging/build.sh", "deb", "rpm", "wheel")
    if any("arm64" in name for name in first):
        # What compiles for it is the same compiler, as it is here.
        AGAIN.joinpath(CROSS).parent.mkdir(parents=True)
        AGAIN.joinpath(CROSS).symlink_to(TREE / CROSS)
        run("env", *HABITS, "env", "ARCH=arm64", *build, timeout=7000)
    run("env", *HABITS, *build, "dsc", "sdist", "sbom", "sums", timeout=7000)
    # Left there if it differs, to be looked into.
    assert digests(AGAIN / "dist") == first
    shutil.rmtree(AGAIN)
