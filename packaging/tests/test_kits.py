"""What a release and other distributions are given, as far as it can be checked here."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from roots import DIST, TREE, Root, packages

PACKAGING = TREE / "packaging"


def test_the_pkgbuild_is_parsed(run: Callable[..., str]) -> None:
    functions = 'declare -F prepare build check "${pkgname[@]/#/package_}"'
    script = f'source "$0" && {functions}'
    names = run("bash", "-eu", "-c", script, PACKAGING / "arch/PKGBUILD").split()
    assert len(names) == 6, names


def test_the_nix_expression_is_parsed(run: Callable[..., str]) -> None:
    assert "buildRustPackage" in run("nix-instantiate", "--parse", PACKAGING / "nix/default.nix")


def test_the_metainfo_is_valid(run: Callable[..., str]) -> None:
    (metainfo,) = (PACKAGING / "metainfo").iterdir()
    run("appstreamcli", "validate", "--no-net", metainfo)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("test", ["python", "library"])
def test_the_packages_own_tests(
    root: Callable[..., Root], run: Callable[..., str], tmp_path: Path, test: str
) -> None:
    """By autopkgtest, in a root that has nothing but what it installs for the test."""
    there = root("trixie")
    there.apt("update")
    directory = there.directory
    shutil.copytree(PACKAGING / "debian", tmp_path / "source/debian")
    mounted = 'mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && exec "$@"'
    said = run(
        *("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", mounted, directory),
        *("autopkgtest", "--no-built-binaries", f"--test-name={test}"),
        *packages("*engine_*.deb"),
        *packages("libv2m*[1v]_*.deb"),
        *(tmp_path / "source", "--", "chroot", directory),
        timeout=1500,
    )
    assert re.search(rf"^{test} +PASS$", said, re.MULTILINE), said


def test_the_release_says_what_is_in_it() -> None:
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=DIST, check=True)
    listed = {line.split()[1] for line in (DIST / "SHA256SUMS").read_text().splitlines()}
    assert listed == {path.name for path in DIST.iterdir()} - {"SHA256SUMS"}
    locked = (TREE / "Cargo.lock").read_text()
    boms = packages("*.cdx.json")
    assert len(boms) == 3
    for bom in boms:
        text = bom.read_text()
        said = json.loads(text)
        assert "serialNumber" not in said and str(Path.home()) not in text
        for component in said["components"]:
            assert f'name = "{component["name"]}"\nversion = "{component["version"]}"' in locked
