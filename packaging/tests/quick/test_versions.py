"""One version: what it is written in agrees."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[3]
MANIFEST = tomllib.loads((TREE / "Cargo.toml").read_text())
VERSION = MANIFEST["workspace"]["package"]["version"]

# The newest that each speaks of.
PLACES = {
    "CHANGELOG.md": r"^## ([\d.]+): ",
    "packaging/debian/changelog": r"^v2m-engine \(([\d.]+)-\d+\)",
    "packaging/rpm/v2m-engine.spec": r"^Version: +(\S+)",
    "packaging/arch/PKGBUILD": r"^pkgver=(\S+)",
    "packaging/nix/default.nix": r'^  version = "(.+)";',
    "packaging/metainfo/io.github.v2m_engine.v2m_engine.metainfo.xml": r'<release version="(.+?)"',
    "docs/status.md": r'"version": "(.+?)"',
    "crates/capi/include/v2m.h": r'version of the library, as "(.+?)"',
}


@pytest.mark.parametrize("place", PLACES)
def test_every_place_has_the_version(place: str) -> None:
    found = re.search(PLACES[place], (TREE / place).read_text(), re.MULTILINE)
    assert found and found[1] == VERSION


def test_changelogs_have_an_entry_for_it() -> None:
    spec = (TREE / "packaging/rpm/v2m-engine.spec").read_text()
    newest = spec.partition("%changelog\n")[2].splitlines()[0]
    assert newest.endswith(f" - {VERSION}-1")


def test_every_crate_has_the_version() -> None:
    manifests = ["Cargo.toml", "python/Cargo.toml", "tools/generate/Cargo.toml"]
    manifests += [str(path.relative_to(TREE)) for path in TREE.glob("crates/*/Cargo.toml")]
    for name in manifests:
        text = (TREE / name).read_text()
        assert tomllib.loads(text)["package"]["version"] == {"workspace": True}, name
        asked = re.findall(r'path = ".+?", version = "(.+?)"', text)
        assert set(asked) <= {VERSION}, name
    for lock in ("Cargo.lock", "fuzz/Cargo.lock"):
        packages = tomllib.loads((TREE / lock).read_text())["package"]
        ours = {p["version"] for p in packages if "source" not in p and "fuzz" not in p["name"]}
        assert ours == {VERSION}, lock


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def test_symbols_are_of_releases() -> None:
    """None is said to be of a later one than this."""
    listed = (TREE / "packaging/debian/libv2m1.symbols").read_text()
    since = re.findall(r"@V2M_\d+ ([\d.]+)$", listed, re.MULTILINE)
    assert since and max(map(numbers, since)) <= numbers(VERSION)


def test_the_watch_file_finds_the_release_by_its_tag() -> None:
    watch = (TREE / "packaging/debian/watch").read_text().replace("\\\n", "")
    page, pattern = watch.split()[-2:]
    repository = MANIFEST["workspace"]["package"]["repository"]
    assert page == f"{repository}/tags"
    # As the page links them.
    link = f"/v2m-engine/v2m_engine/archive/refs/tags/v{VERSION}.tar.gz"
    found = re.fullmatch(pattern, link)
    assert found and found[1] == VERSION
    rename = re.search(r"filenamemangle=s%(.+?)%(.+?)%", watch)
    assert rename
    name = re.sub(rename[1], rename[2].replace("$", "\\"), link)
    assert name == f"v2m-engine-{VERSION}.tar.gz"
    assert not re.fullmatch(pattern, link.replace("tar.gz", "zip"))
