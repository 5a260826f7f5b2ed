"""What a release and other distributions are given, as far as it can be checked here."""

from __future__ import annotations

import json
import re
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


@pytest.mark.parametrize("test", ["python", "library"])
def test_the_packages_own_tests(root: Callable[..., Root], test: str) -> None:
    """What autopkgtest runs, in a root with what it installs."""
    control = (PACKAGING / "debian/tests/control").read_text().split("\n\n")
    (depends,) = (
        re.search(r"^Depends: (.+)$", stanza, re.MULTILINE)
        for stanza in control
        if re.search(rf"^Tests: {test}$", stanza, re.MULTILINE)
    )
    assert depends is not None
    there = root("trixie")
    there.give(PACKAGING / "debian/tests" / test, f"/v2m/{test}")
    there.install(*packages("*engine_*.deb"), *packages("libv2m*[1v]_*.deb"))
    there.apt("install", "--yes", "--no-install-recommends", *depends[1].split(", "))
    there.run("useradd", "--create-home", "user")
    there.run(f"/v2m/{test}", user="user")


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
